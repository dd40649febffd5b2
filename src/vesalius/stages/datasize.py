"""Would more patients help? A small model is trained on growing parts of the patients and judged on validation.

Each draw orders the patients of the training split once and takes its first eighth, quarter, half and all, so that
the parts of a draw are nested. The gain of the last doubling is what a further doubling can be expected to bring at
most: learning curves flatten (an inverse power law; Figueroa et al., BMC Med Inform Decis Mak 2012).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from vesalius.core.target import TargetSpec
from vesalius.kernels.scores import figure_of
from vesalius.kernels.stats import Weighted, resample
from vesalius.seed import generator
from vesalius.stages.baselines.base import Progress, Task, quiet
from vesalius.stages.baselines.hog import hog_features
from vesalius.stages.baselines.linear import best_strength, capped, fitter, standardised
from vesalius.stages.evaluate import PRIMARY, SECOND

PARTS = (1 / 8, 1 / 4, 1 / 2, 1.0)
DRAWS = 5
RESAMPLES = 500
LEAST_PATIENTS = 8
"""A part with fewer patients than this is left out."""
MOST_IMAGES = 10_000
"""Of a larger training split a random part by patient is the whole."""
WORTH = 0.005
"""A gain below this is called little."""
COLUMNS = ("n_patients", "n_images", "value", "low", "high", "metric", "gain", "gain_low", "gain_high", "worth")
"""What a row holds; a table of an empty curve has these columns and no row."""
CHANCE = {"auc": 0.5, "r2": 0.0, "kappa": 0.0, "accuracy": 0.0}


def data_size_curve(
    images: Any, frame: pd.DataFrame, target: TargetSpec, *, seed: int, progress: Progress | None = None, jobs: int | None = None
) -> list[dict[str, Any]]:
    """The validation figure of the HOG baseline for each part of the training patients.

    Parameters
    ----------
    images, frame: as for `run_baselines`; only training and validation are used.

    Returns a row per part, from small to all: ``n_patients``, ``n_images``, ``value`` (mean over draws), ``low`` and
    ``high`` (95 %, over draws and resampled validation patients), ``metric``, ``gain`` with ``gain_low`` and ``gain_high``
    (over the part of half the size, paired; of the first row over chance) and ``worth`` (what counts as a gain).
    Empty when validation or training are too small for a figure.
    """
    used = frame["split"].isin(["train", "validation"]).to_numpy()
    rows = np.flatnonzero(used)
    task = Task(_Rows(images, rows), frame[used].reset_index(drop=True), target, seed, jobs, progress or quiet)
    train = task.train[capped(task.patients[task.train], MOST_IMAGES, seed)]
    judged = _judged(task)
    sizes = _sizes(len(np.unique(task.patients[train])))
    if not len(judged) or not sizes:
        return []
    with threadpool_limits(1):
        features = standardised(hog_features(task), train)
        made = _predictions(task, features, train, judged, sizes)
    return _rows(task, judged, sizes, made)


class _Rows:
    """Some rows of an array that is not copied (a memory map of all images)."""

    def __init__(self, images: Any, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> np.ndarray:
        return np.asarray(self.images[self.rows[which]])


def _judged(task: Task) -> np.ndarray:
    """Validation rows with a truth."""
    truth = task.truth
    known = ~np.isnan(truth).any(1) if truth.ndim == 2 else np.isfinite(truth) if task.target.kind == "regression" else truth >= 0
    return np.flatnonzero((task.frame["split"] == "validation").to_numpy() & known)


def _sizes(people: int) -> list[int]:
    return sorted({max(1, round(part * people)) for part in PARTS if round(part * people) >= LEAST_PATIENTS})


def _predictions(task: Task, features: np.ndarray, train: np.ndarray, judged: np.ndarray, sizes: list[int]) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """For each (size, draw): number of training images and predictions on validation. All patients are drawn once."""
    truth, patients = task.truth, task.patients
    strength, _ = best_strength(features[train], truth[train], patients[train], task.target, task.seed)
    fit, made = fitter(task.target, strength), {}
    jobs = [(size, draw) for size in sizes for draw in range(1 if size == sizes[-1] else DRAWS)]
    for done, (size, draw) in enumerate(jobs, 1):
        rows = train[_rank(patients[train], truth[train], task.seed, draw) < size]
        made[size, draw] = len(rows), fit(features[rows], truth[rows])(features[judged])
        task.progress(done, len(jobs), "parts of the patients learnt")
    return made


def _rank(patients: np.ndarray, truth: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The place ``[N]`` of each row's patient in the order of a draw; classes take turns, so that the first ones hold all of them."""
    people, first, place = np.unique(patients, return_index=True, return_inverse=True)
    stratum = np.zeros(len(people)) if truth.dtype.kind == "f" and truth.ndim == 1 else truth[first] if truth.ndim == 1 else truth[first].argmax(1)
    chance = generator(seed, "data size", draw).random(len(people))
    share = np.zeros(len(people))
    for value in np.unique(stratum):
        mine = np.flatnonzero(stratum == value)
        share[mine] = (chance[mine].argsort().argsort() + chance[mine]) / len(mine)
    return share.argsort().argsort()[place]


def _rows(task: Task, judged: np.ndarray, sizes: list[int], made: dict[tuple[int, int], tuple[int, np.ndarray]]) -> list[dict[str, Any]]:
    truth, patients = task.truth[judged], task.patients[judged]
    usual = PRIMARY.get(task.target.kind, "auc")
    for metric in dict.fromkeys([usual, SECOND] if task.target.kind != "regression" else [usual]):
        keys = list(made)
        together = _together([figure_of(task.target, truth, made[key][1], metric) for key in keys])
        found = resample(together, patients, RESAMPLES, task.seed, jackknife=False)
        if np.isfinite(found.value).all():
            draws = {size: [k for k, key in enumerate(keys) if key[0] == size] for size in sizes}
            images = {size: round(np.mean([made[key][0] for key in keys if key[0] == size])) for size in sizes}
            return _settled(sizes, images, metric, found.value, found.draws, draws, generator(task.seed, "which draw"))
    return []


def _together(figures: list[Weighted]) -> Weighted:
    return lambda weights: np.stack([figure(weights) for figure in figures])


def _settled(
    sizes: list[int], images: dict[int, int], metric: str, value: np.ndarray, resampled: np.ndarray, draws: dict[int, list[int]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Every resample of the validation patients meets one random draw of the training patients."""
    columns = np.arange(resampled.shape[1])
    picked = {size: resampled[rng.choice(draws[size], len(columns)), columns] for size in sizes}
    before, middle_before, rows = np.full(len(columns), CHANCE[metric]), CHANCE[metric], []
    for size in sizes:
        middle = float(value[draws[size]].mean())
        low, high = _bounds(picked[size], middle)
        gain_low, gain_high = _bounds(picked[size] - before, middle - middle_before)
        rows.append({
            "n_patients": size, "n_images": images[size], "value": middle, "low": low, "high": high, "metric": metric,
            "gain": middle - middle_before, "gain_low": gain_low, "gain_high": gain_high, "worth": WORTH,
        })
        before, middle_before = picked[size], middle
    return rows


def _bounds(draws: np.ndarray, middle: float) -> tuple[float, float]:
    """95 % of the draws that exist; always around the middle."""
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return float(min(low, middle)), float(max(high, middle))
