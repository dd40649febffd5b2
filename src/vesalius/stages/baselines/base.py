"""What a baseline is given, and what it must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.registry import Registry

Progress = Callable[[int, int, str], None]


def quiet(done: int, total: int, what: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Task:
    """Images and labels of a run, and which rows may be learnt from.

    Parameters
    ----------
    images: array-like ``[N, C, (Z,) Y, X]`` of uint8 or uint16.
    frame: ``[N]`` rows of the cohort, in the order of ``images``.
    target: kind and classes. seed: of every random choice. jobs: processes for the reading of images.
    """

    images: Any
    frame: pd.DataFrame
    target: TargetSpec
    seed: int = 0
    jobs: int | None = None
    progress: Progress = field(default=quiet, compare=False)

    @property
    def truth(self) -> np.ndarray:
        """Encoded labels of all rows."""
        return self.target.encode(self.frame["label"].tolist())

    @property
    def train(self) -> np.ndarray:
        """Rows of the training split that have a label."""
        truth = self.truth
        known = ~np.isnan(truth).any(1) if truth.ndim == 2 else np.isfinite(truth) if self.target.kind == "regression" else truth >= 0
        return np.flatnonzero((self.frame["split"].to_numpy() == "train") & known)

    @property
    def patients(self) -> np.ndarray:
        return self.frame["patient"].to_numpy(str)


Baseline = Callable[[Task], np.ndarray | None]
"""Learns from ``task.train`` only; gives raw values ``[N, n_out]`` of all rows (log probabilities, per-label log odds
of a multilabel target, values of a regression), or None where it does not apply."""

BASELINES: Registry[Baseline] = Registry("baseline", "vesalius.stages.baselines")
