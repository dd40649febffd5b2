"""What the pages of a mask run read from its predictions: a row per case and class (docs/architecture.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both, same, say

LARGE = 20_000
"""Sizes beyond this are told in mL (cm2) instead of mm3 (mm2)."""
BIG_UNIT = {3: (1000.0, "unit.ml"), 2: (100.0, "unit.cm2")}
SMALL_UNIT = {3: "unit.mm3", 2: "unit.mm2"}


def rows_of(facts: RunFacts) -> pd.DataFrame | None:
    """The test's rows, or None where there are none of a mask run."""
    found = facts.predictions
    if found is None or not {"id", "split", "class", "dice"} <= set(found.columns):
        return None
    test = found[found["split"] == "test"].reset_index(drop=True)
    return test if len(test) else None


def names_of(rows: pd.DataFrame) -> list[str]:
    """The classes, in order of first appearance."""
    return list(map(str, dict.fromkeys(rows["class"])))


@dataclass(frozen=True)
class Unit:
    """What a stored size is divided by, and what the result is called."""

    divisor: float
    name: Both


def unit_of(facts: RunFacts, rows: pd.DataFrame) -> Unit:
    """Of the sizes: samples where no spacing is known; mm3 or mm2 by the axes of the input; mL or cm2 where they are large."""
    if "unit" in rows and (rows["unit"].astype(str) != "mm").any():
        return Unit(1.0, say("unit.samples"))
    ndim = ndim_of(facts)
    largest = float(np.nanmax(rows[["size_true", "size_predicted"]].to_numpy(float), initial=0.0))
    divisor, key = BIG_UNIT[ndim] if largest > LARGE else (1.0, SMALL_UNIT[ndim])
    return Unit(divisor, say(key))


def length_of(facts: RunFacts) -> Both:
    """The unit of distances: mm, or pixels where no spacing is known."""
    rows = rows_of(facts)
    found = set() if rows is None or "unit" not in rows else set(rows["unit"].astype(str))
    return _length("mm" if found <= {"mm"} else "pixel" if len(found) == 1 else "mixed")


def _length(unit: str) -> Both:
    return say({"mm": "unit.mm", "pixel": "unit.pixels"}.get(unit, "unit.mixed"))


def ndim_of(facts: RunFacts) -> int:
    """Spatial axes, by the plan or by the sizes that the audit counted; 3 where neither says."""
    planned = facts.plan.get("input.size") if facts.plan is not None else None
    shapes = [size["shape"] for size in facts.audit.get("sizes", []) if size.get("shape")]
    found = len(planned) if planned else len(shapes[0]) if shapes else 3
    return found if found in SMALL_UNIT else 3


def tolerance_of(facts: RunFacts) -> Both | None:
    """The distance within which NSD counts a surface as right, with its unit."""
    found: Any = facts.metrics.get("tolerance")
    if isinstance(found, dict):
        found = (found.get("value"), found.get("unit", "mm"))
    elif isinstance(found, (int, float)):
        found = (found, "mm")
    if not found or not isinstance(found[0], (int, float)):
        return None
    unit = _length(str(found[1]))
    return Both(f"{found[0]:g} {unit.en}", f"{found[0]:g} {unit.zh}")


@dataclass(frozen=True)
class Doubted:
    """Each case's error (1 - mean Dice over its defined classes) and uncertainty, the surest first."""

    errors: np.ndarray
    doubts: np.ndarray

    @property
    def risks(self) -> np.ndarray:
        """Mean error of the surest cases, for every number of cases."""
        return running_mean(self.errors)


def doubted(rows: pd.DataFrame) -> Doubted | None:
    """None with fewer than three cases that have both, or where all are equally sure."""
    if "uncertainty" not in rows:
        return None
    cases = rows.groupby("id", sort=True).agg(dice=("dice", "mean"), doubt=("uncertainty", "first")).dropna()
    if len(cases) < 3 or cases["doubt"].nunique() < 2:
        return None
    cases = cases.sort_values("doubt", kind="stable")
    return Doubted(1 - cases["dice"].to_numpy(float), cases["doubt"].to_numpy(float))


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the first 1, 2, … values.

    >>> running_mean(np.array([1.0, 3.0])).tolist()
    [1.0, 2.0]
    """
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def agreement(rows: pd.DataFrame, unit: Unit) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By class the mean of true and predicted size and their difference (predicted - true), of the cases that have either."""
    found = {}
    for name in names_of(rows):
        mine = rows[rows["class"] == name]
        true, predicted = (mine[column].to_numpy(float) / unit.divisor for column in ("size_true", "size_predicted"))
        known = np.isfinite(true) & np.isfinite(predicted) & ((true > 0) | (predicted > 0))
        if known.any():
            found[name] = ((true + predicted)[known] / 2, (predicted - true)[known])
    return found


def limits(differences: np.ndarray) -> tuple[float, float, float]:
    """Bias and the 95 % limits of agreement (Bland and Altman, Lancet 1986); the limits are NaN for a single case."""
    bias = float(differences.mean())
    spread = 1.96 * float(differences.std(ddof=1)) if len(differences) > 1 else math.nan
    return bias, bias - spread, bias + spread


def plain(value: float) -> Both:
    return same("–" if not math.isfinite(value) else f"{value:,.4g}".replace("-", "−"))
