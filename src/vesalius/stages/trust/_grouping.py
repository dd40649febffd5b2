"""Which groups the columns of a cohort make: the values themselves, bands of age, thirds of a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vesalius.core.target import missing, text_of
from vesalius.errors import LabelError
from vesalius.stages.cohortfile import COLUMNS

AGES = (0, 18, 40, 65, 80)
FEW_VALUES = 6
MANY_VALUES = 20
MISSING = ""
"""The group of cases whose cell holds nothing; it is counted, not compared."""
DICOM_AGE = re.compile(r"\s*(\d{1,3})([DWMY])\s*")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True)
class Column:
    """Groups that a column makes: the group of each case (`MISSING` for none) and their names in order; ``why`` (en, zh) where it makes none."""

    name: str
    group: np.ndarray
    groups: tuple[str, ...] = ()
    why: tuple[str, str] | None = None


def columns_of(frame: pd.DataFrame, chosen: list[str] | None = None) -> list[Column]:
    """The groups of every further column of ``cohort.parquet``, or of the chosen ones.

    Raises
    ------
    LabelError: a chosen column is absent, or it holds nothing.
    """
    known = [str(name) for name in frame.columns if name not in COLUMNS]
    for name in chosen or []:
        if name not in known:
            raise LabelError(f"there is no column '{name}' to make groups of", expected=f"one of {', '.join(known) or 'no further columns'}",
                             do="give the table that holds it with --table")
        if all(missing(value) for value in frame[name]):
            raise LabelError(f"the column '{name}' holds nothing", expected="a value for some of the cases", got=f"{len(frame)} empty cells",
                             do="fill the column, or choose another")
    return [column_of(name, frame[name]) for name in chosen or known]


def column_of(name: str, cells: pd.Series) -> Column:
    """The groups of one column."""
    gaps = np.array([missing(value) for value in cells])
    if gaps.all():
        return Column(name, np.full(len(cells), MISSING), why=("it holds nothing", "该列没有任何值"))
    numbers = _numbers(cells, gaps)
    if numbers is not None and "age" in re.split(r"[^a-z]+", name.lower()):
        return _banded(name, numbers, np.array(AGES[1:], float), [_band(i) for i in range(len(AGES))])
    if numbers is not None and len(np.unique(numbers[~gaps])) > FEW_VALUES:
        cuts = np.unique(np.quantile(numbers[~gaps], [1 / 3, 2 / 3]))
        edges = ["−∞", *(f"{cut:g}" for cut in cuts), "∞"]
        return _banded(name, numbers, cuts, [f"[{low}, {high})" for low, high in zip(edges[:-1], edges[1:], strict=True)])
    words = np.array([MISSING if gap else text_of(value) for value, gap in zip(cells, gaps, strict=True)])
    names = sorted(set(words) - {MISSING})
    if len(names) < 2:
        return Column(name, words, tuple(names), ("all cases have the same value", "所有病例的值相同"))
    if len(names) > MANY_VALUES:
        return Column(name, words, (), (f"it has {len(names)} different values", f"该列有 {len(names)} 个不同的值"))
    return Column(name, words, tuple(names))


def _band(i: int) -> str:
    return f"{AGES[i]}–{AGES[i + 1] - 1}" if i + 1 < len(AGES) else f"{AGES[i]}+"


def _banded(name: str, numbers: np.ndarray, cuts: np.ndarray, names: list[str]) -> Column:
    words = np.array([MISSING if np.isnan(value) else names[int(np.searchsorted(cuts, value, side="right"))] for value in numbers])
    held = tuple(each for each in names if (words == each).any())
    return Column(name, words, held, None if len(held) > 1 else ("all cases have the same value", "所有病例的值相同"))


def _numbers(cells: pd.Series, gaps: np.ndarray) -> np.ndarray | None:
    """The cells as numbers (ages as DICOM writes them, ``045Y``, in years); None where one is neither number nor empty."""
    made = np.full(len(cells), np.nan)
    for i in np.flatnonzero(~gaps):
        found = DICOM_AGE.fullmatch(str(cells.iloc[i]))
        try:
            made[i] = int(found[1]) * YEARS[found[2]] if found else float(cells.iloc[i])
        except (TypeError, ValueError):
            return None
    return made
