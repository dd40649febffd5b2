"""``cohort.parquet``: a row per image, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vesalius.core.target import missing, text_of
from vesalius.errors import RunError
from vesalius.storage import atomic_file

COLUMNS = ("id", "path", "member", "hash", "patient", "label", "split", "official_split", "duplicate_cluster", "excluded_because")


def write_cohort(frame: pd.DataFrame, path: str | Path) -> None:
    """Write ``cohort.parquet`` as a whole or not at all; columns of mixed kinds become text.

    Raises
    ------
    RunError: the disk is full or the folder cannot be written.
    """
    plain = frame.copy()
    for name in plain.columns[[kind.kind == "O" for kind in plain.dtypes]]:
        if len({type(value) for value in plain[name] if not missing(value)}) > 1:
            plain[name] = [None if missing(value) else text_of(value) for value in plain[name]]
    atomic_file(path, lambda part: plain.to_parquet(part, index=False))


def read_cohort(path: str | Path) -> pd.DataFrame:
    """Read ``cohort.parquet``; what is missing in a text column is None.

    Raises
    ------
    RunError: there is none, or it is not one.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError("the cohort of the run cannot be read", where=path, expected="a cohort.parquet", got=type(error).__name__, do="run fit again") from error
    lost = [name for name in COLUMNS if name not in frame.columns]
    if lost:
        raise RunError("the cohort of the run is of another schema", where=path, expected=", ".join(COLUMNS), got=f"no column {lost[0]}", do="run fit again")
    for name in frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame
