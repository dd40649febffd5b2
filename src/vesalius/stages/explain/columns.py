"""Which clinical columns the clinical baseline rests on: permutation importance (Breiman 2001; Fisher, Rudin and Dominici, JMLR 2019) with interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from vesalius.core.target import TargetSpec
from vesalius.kernels.figures import ratio
from vesalius.kernels.stats import bootstrap
from vesalius.seed import generator
from vesalius.stages.baselines.base import Task
from vesalius.stages.baselines.clinical import clinical_model

REPEATS = 10
LEAST_IMAGES = 20
DRAWS = 1000
FLOOR = 1e-6


def column_importance(task: Task, *, split: str = "test", repeats: int = REPEATS) -> list[dict[str, Any]] | None:
    """How much larger the loss of the clinical baseline becomes when a column is dealt out anew, the most important first.

    Parameters
    ----------
    split: the images whose columns are dealt out; those of ``train`` are learnt from. repeats: how often, the mean of which is given.

    Returns ``[{"column", "value", "low", "high", "n_patients", "n_images"}]`` with the loss in nats (regression: squared unit), intervals by patient;
    None where there is no clinical column or fewer than `LEAST_IMAGES` images. All columns of one text column are dealt out together.
    """
    rows = _known(task, split)
    made = clinical_model(task) if len(rows) >= LEAST_IMAGES else None
    if made is None:
        return None
    table, model = made
    before, patients = loss_each(model(table)[rows], task.truth[rows], task.target), task.patients[rows]
    found = []
    for name, columns in _groups(table).items():
        more = np.mean([loss_each(model(_dealt(table, columns, rows, task.seed, i))[rows], task.truth[rows], task.target) for i in range(repeats)], 0) - before
        figure = bootstrap(lambda w, more=more: ratio((w * more[:, None]).sum(0), w.sum(0)), patients, DRAWS, task.seed)  # type: ignore[misc]
        if figure is not None:
            found.append({"column": name} | figure.to_dict())
    return sorted(found, key=lambda row: (-row["value"], row["column"]))


def _known(task: Task, split: str) -> np.ndarray:
    truth = task.truth
    known = np.isfinite(truth).all(1) if truth.ndim == 2 else np.isfinite(truth) if task.target.kind == "regression" else truth >= 0
    return np.flatnonzero(known & (task.frame["split"] == split).to_numpy())


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """The features of each column of the user's."""
    groups: dict[str, list[str]] = {}
    for name in table.columns:
        groups.setdefault(str(name).partition("=")[0], []).append(str(name))
    return groups


def _dealt(table: pd.DataFrame, columns: list[str], rows: np.ndarray, seed: int, i: int) -> pd.DataFrame:
    order, changed = generator(seed, "columns", columns[0], i).permutation(rows), table.copy()
    for name in columns:
        values = table[name].to_numpy(copy=True)
        values[rows] = values[order]
        changed[name] = values
    return changed


def loss_each(raw: np.ndarray, truth: np.ndarray, target: TargetSpec) -> np.ndarray:
    """Minus the log of the probability given to the truth, or the squared error of a regression: ``[N]`` of raw values ``[N, n_out]``."""
    if target.kind == "regression":
        return np.asarray(np.square(raw[:, 0] - truth))
    if target.kind == "multilabel":
        p = expit(raw)
        return np.asarray(-np.log(np.clip(np.where(truth > 0.5, p, 1 - p), FLOOR, 1)).mean(1))
    p = softmax(raw, axis=1)
    return np.asarray(-np.log(np.clip(p[np.arange(len(truth)), truth.astype(int)], FLOOR, 1)))
