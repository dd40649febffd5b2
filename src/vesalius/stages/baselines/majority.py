"""The answer without looking: how frequent each class is in training, or the mean value."""

from __future__ import annotations

import numpy as np

from vesalius.stages.baselines.base import BASELINES, Task
from vesalius.stages.baselines.linear import log_odds


@BASELINES.register("majority")
def majority(task: Task) -> np.ndarray:
    """The same row for every image; a class that training lacks keeps a small probability (one case in N + K)."""
    truth, k = task.truth[task.train], task.target.n_out
    if task.target.kind == "regression":
        row = np.array([truth.mean()])
    elif task.target.kind == "multilabel":
        row = log_odds(truth.mean(0))
    else:
        counts = np.bincount(truth, minlength=k)
        row = np.log((counts + 1) / (counts.sum() + k))
    return np.repeat(row[None], len(task.frame), axis=0)
