"""Facts of the files as numbers for a small model; never the clinical columns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from vesalius.core.cohort import Source
from vesalius.core.target import missing
from vesalius.formats.acquisition import acquisition

MOST_VALUES = 40
"""A fact with more values than this is a number or names the file."""
LEAST_FILES = 3
"""A value that fewer files have is left out."""


def facts_of(sources: list[Source]) -> pd.DataFrame:
    """A row a file, a column a fact (see `formats.acquisition`)."""
    return pd.DataFrame([acquisition(source) for source in sources])


def columns_of(facts: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each fact that varies as numbers ``[n, D]``: a column a value, and the number itself where it is one."""
    made = {str(name): _columns(facts[name]) for name in facts.columns}
    return {name: block for name, block in made.items() if block.shape[1] and block.std(0).max() > 0}


def _columns(cells: pd.Series) -> np.ndarray:
    text = np.array(["" if missing(value) else str(value) for value in cells])
    values, counts = np.unique(text, return_counts=True)
    each = [text == value for value, n in zip(values, counts, strict=True) if n >= LEAST_FILES] if len(values) <= MOST_VALUES else []
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    if len(values) > 2 and np.isfinite(numbers).mean() > 0.5:
        each.append(np.where(np.isfinite(numbers), numbers, np.nanmedian(numbers)))
    return np.column_stack([column.astype(float) for column in each]) if each else np.zeros((len(text), 0))


def most_telling(columns: dict[str, np.ndarray], truth: np.ndarray) -> str:
    """The fact of which one column goes with the truth ``[n, M]`` most (absolute correlation)."""
    def told(block: np.ndarray) -> float:
        moved = block[:, block.std(0) > 0]
        joint = np.corrcoef(np.column_stack([moved, truth[:, truth.std(0) > 0]]).T)
        return float(np.abs(joint[: moved.shape[1], moved.shape[1] :]).max(initial=0))

    return max(columns, key=lambda name: told(columns[name]))
