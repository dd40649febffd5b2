"""The baselines on the folds of a run, so that they learn from the same images as the networks that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.kernels.calibrate import Calibrator
from vesalius.stages.baselines.base import Progress
from vesalius.stages.baselines.run import run_baselines


def run_crossed(
    images: Any, frame: pd.DataFrame, target: TargetSpec, held: Sequence[np.ndarray], *, seed: int, progress: Progress | None = None, jobs: int | None = None
) -> pd.DataFrame:
    """Train every baseline once a fold; each predicts the fold that it has not seen, and all of them, averaged, the test set.

    Parameters
    ----------
    images, frame, target, seed, jobs: as for `run_baselines`. held: for each fold the rows (by place) that it holds out.

    Returns the table of `run_baselines` with ``fold`` (-1 in the test). A baseline that does not apply to some fold is absent.
    """
    split, tables = frame["split"].to_numpy(), []
    for number, rows in enumerate(held):
        parts = np.where(split == "test", "test", np.where(np.isin(np.arange(len(split)), rows), "validation", "train"))
        tables.append(run_baselines(images, frame.assign(split=parts), target, seed=seed, progress=progress, jobs=jobs).assign(fold=number))
    every = pd.concat(tables, ignore_index=True)
    known = every.groupby("model")["fold"].nunique()
    every = every[every["model"].isin(known.index[known == len(held)])]
    return pd.concat([every[every["split"] == "validation"], _averaged(every[every["split"] == "test"], target)], ignore_index=True)


def _averaged(test: pd.DataFrame, target: TargetSpec) -> pd.DataFrame:
    """A row a model and image: the mean of the folds' raw values, as the networks are averaged."""
    raw = [str(name) for name in test if str(name).startswith("raw_")]
    said = ["value"] if target.kind == "regression" else [f"p_{name}" for name in target.classes]
    groups = test.groupby(["model", "id"], sort=False)
    table = groups.first().reset_index()[[str(name) for name in test]]
    table[raw] = groups[raw].mean().to_numpy()
    table[said] = Calibrator(target.kind)(table[raw].to_numpy())
    return table.assign(fold=-1)
