"""Every registered baseline on the split of the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, TooFewError
from vesalius.kernels.calibrate import Calibrator
from vesalius.stages.baselines.base import BASELINES, Progress, Task, quiet

ORDER = ("majority", "clinical", "histogram", "hog")
"""From the simplest to the richest; further ones follow by name."""
KEPT = ["id", "path", "patient", "split", "label"]


def run_baselines(
    images: Any, frame: pd.DataFrame, target: TargetSpec, *, seed: int, progress: Progress | None = None, jobs: int | None = None
) -> pd.DataFrame:
    """Train every baseline on the training split and predict validation and test.

    Parameters
    ----------
    images: array-like ``[N, C, (Z,) Y, X]`` uint8 or uint16; row i belongs to row i of ``frame``.
    frame: ``id, path, patient, label, split`` and the clinical columns; splits train, validation and test.
    jobs: processes; all cores by default.

    Returns ``baselines.parquet`` of the contract (``docs/architecture.md``): the columns of ``predictions.parquet``
    with ``model``. A baseline that does not apply (no clinical columns) is absent.

    Raises
    ------
    DataError: images and table differ in length. TooFewError: no training image has a label.
    """
    if len(images) != len(frame):
        raise DataError("images and table do not fit", expected="one row per image", got=f"{len(images)} images and {len(frame)} rows")
    task = Task(images, frame.reset_index(drop=True), target, seed, jobs, progress or quiet)
    if not len(task.train):
        raise TooFewError("there is nothing to learn from", expected="labelled images in the training split", got="none", do="check the labels and the split")
    names = [name for name in ORDER if name in BASELINES] + [name for name in BASELINES if name not in ORDER]
    tables = []
    for done, name in enumerate(names, 1):
        with threadpool_limits(1):  # these fits are too small for threads, which wait for one another on a busy machine
            raw = BASELINES.get(name)(task)
        if raw is not None:
            tables.append(table_of(task, raw).assign(model=name))
        task.progress(done, len(names), "baselines trained")
    return pd.concat(tables, ignore_index=True)


def table_of(task: Task, raw: np.ndarray) -> pd.DataFrame:
    """Identity, truth, raw values and probabilities of validation and test."""
    target, judged = task.target, task.frame["split"].isin(["validation", "test"]).to_numpy()
    table, truth = task.frame.loc[judged, KEPT].reset_index(drop=True).copy(), task.truth[judged]
    names = list(target.classes) or ["value"]
    table[[f"truth_{name}" for name in names] if truth.ndim == 2 else ["truth"]] = truth if truth.ndim == 2 else truth[:, None]
    table[[f"raw_{name}" for name in names]] = raw[judged]
    columns = ["value"] if target.kind == "regression" else [f"p_{name}" for name in names]
    table[columns] = Calibrator(target.kind)(raw[judged])
    return table
