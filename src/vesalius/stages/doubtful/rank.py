"""Which labels of whole images are doubtful: confident learning on out-of-fold predictions, grouped by patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vesalius.core.target import TargetSpec
from vesalius.kernels.confident import Doubts, agreement, doubts
from vesalius.kernels.stats import wilson
from vesalius.seed import generator
from vesalius.stages.baselines.base import Task
from vesalius.stages.baselines.histogram import intensity_features
from vesalius.stages.baselines.hog import hog_features
from vesalius.stages.baselines.linear import FLOOR, best_strength, fitter, folds, standardised

FOLDS = 5
NEAR = 10
"""Neighbours that are asked."""
CONVINCED_MARGIN, CONVINCED_NEAR = -0.8, 0.4
"""A label is named with conviction when its probability is so far below that of the likelier one, and at most so many neighbours share it."""
PLANTED = 0.05
"""Share of the labels that are changed on purpose to see whether such changes are found in this very data."""
PLANTED_LEAST = 5
TRUSTED = 0.5
"""Of the changed labels this share must be found for a name to carry conviction."""
OUTLIER = 4.5
"""Robust deviations (1.4826 MAD) beyond which a value is named with conviction."""


@dataclass(frozen=True)
class Question:
    """One single-label question about ``N`` images: the label itself, or one sign of several.

    ``labels`` ``[N]`` classes; ``network`` ``[N, K]`` probabilities of the network, NaN where it has learnt from the image.
    """

    features: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    network: np.ndarray
    target: TargetSpec


@dataclass(frozen=True)
class Judged:
    """The answer to a `Question`: all arrays ``[N]`` (``p`` ``[N, K]``, ``near`` ``[N, 10]`` rows)."""

    p: np.ndarray
    margin: np.ndarray
    likelier: np.ndarray
    confident: np.ndarray
    convinced: np.ndarray
    near: np.ndarray
    agreement: np.ndarray
    by_network: np.ndarray
    share: float
    self_test: dict[str, Any] | None

    @property
    def order(self) -> np.ndarray:
        """All rows, the most doubtful first."""
        return np.lexsort((self.margin, ~self.confident))


def features_of(task: Task) -> np.ndarray:
    """Standardised edges and brightness ``[N, D]`` float32, as the baselines have them."""
    both = np.concatenate([hog_features(task).astype(np.float32), intensity_features(task).astype(np.float32)], axis=1)
    return standardised(both, np.arange(len(both)))


def judge(question: Question, seed: int, *, self_test: bool = True) -> Judged:
    """Find doubtful labels.

    A linear model predicts each fifth of the patients from the others, twice: the second time without the labels that the first
    doubted. Images that the network has not learnt from (validation, test) are judged by the network where it fits them better.
    """
    q, code = question, np.unique(question.patients, return_inverse=True)[1]
    strength = best_strength(q.features, q.labels, q.patients, q.target, seed)[0]
    p, found = _twice(q, q.labels, strength, seed)
    near, same = agreement(q.features, q.labels, code, NEAR)
    asked = _ask_network(q, p)
    if asked.any():
        p = np.where(asked[:, None], q.network, p)
        found = _joined(found, doubts(q.network[asked], q.labels[asked]), asked)
    proof = _planted(q, found, strength, seed) if self_test else None
    believed = asked | (proof is not None and proof["found"] >= TRUSTED)
    convinced = found.confident & (found.margin <= CONVINCED_MARGIN) & (np.nan_to_num(same, nan=0.0) <= CONVINCED_NEAR) & believed
    return Judged(p, found.margin, found.likelier, found.confident, convinced, near, same, asked, found.share, proof)


def _twice(q: Question, labels: np.ndarray, strength: float, seed: int) -> tuple[np.ndarray, Doubts]:
    first = doubts(_crossed(q, labels, np.ones(len(labels), bool), strength, seed), labels)
    p = _crossed(q, labels, ~first.confident, strength, seed)
    return p, doubts(p, labels)


def _crossed(q: Question, labels: np.ndarray, learns: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Probabilities of each fifth of the patients from the rest ``[N, K]``."""
    fit, fold = fitter(q.target, strength), folds(q.patients, labels, seed, FOLDS)
    p = np.full((len(labels), q.target.n_out), 1 / q.target.n_out)
    for k in range(FOLDS):
        inside, outside = (fold != k) & learns, fold == k
        if inside.any() and outside.any():
            p[outside] = fit(q.features[inside], labels[inside])(q.features[outside])
    return p


def _ask_network(q: Question, p: np.ndarray) -> np.ndarray:
    """Rows that the network judges: those it has not learnt from, where its log loss there is the smaller."""
    rows = np.flatnonzero(np.isfinite(q.network).all(1))
    if not len(rows):
        return np.zeros(len(p), bool)
    losses = [-np.log(np.clip(each[rows, q.labels[rows]], FLOOR, 1)).mean() for each in (q.network, p)]
    return np.isin(np.arange(len(p)), rows) if losses[0] < losses[1] else np.zeros(len(p), bool)


def _joined(all_: Doubts, some: Doubts, where: np.ndarray) -> Doubts:
    """The second judge's word on the rows of ``where``; the joint is the mean of both by their cases."""
    margin, likelier, confident = all_.margin.copy(), all_.likelier.copy(), all_.confident.copy()
    margin[where], likelier[where], confident[where] = some.margin, some.likelier, some.confident
    part = float(where.mean())
    return Doubts(margin, likelier, confident, (1 - part) * all_.joint + part * some.joint, all_.thresholds)


def _planted(q: Question, found: Doubts, strength: float, seed: int) -> dict[str, Any] | None:
    """Change some undoubted labels on purpose: which share of the first as many names are they? None where there are too few to change."""
    rng, free = generator(seed, "planted doubts"), np.flatnonzero(~found.confident)
    n = max(PLANTED_LEAST, round(PLANTED * len(q.labels)))
    if len(free) < 4 * n or q.target.n_out < 2:
        return None
    chosen, changed = rng.choice(free, n, replace=False), q.labels.copy()
    changed[chosen] = (changed[chosen] + rng.integers(1, q.target.n_out, n)) % q.target.n_out
    order = _twice(q, changed, strength, seed)[1].order
    first = order[~found.confident[order]][:n]
    hit = int(np.isin(first, chosen).sum())
    low, high = wilson(hit, n)
    return {"planted": n, "hit": hit, "found": hit / n, "low": low, "high": high}


@dataclass(frozen=True)
class Outliers:
    """Values far from what other patients' images predict: robust deviation and out-of-fold prediction ``[N]``."""

    deviation: np.ndarray
    predicted: np.ndarray

    @property
    def convinced(self) -> np.ndarray:
        return np.asarray(np.abs(self.deviation) >= OUTLIER)

    @property
    def order(self) -> np.ndarray:
        return np.argsort(-np.abs(self.deviation), kind="stable")


def outliers(features: np.ndarray, values: np.ndarray, patients: np.ndarray, network: np.ndarray, target: TargetSpec, seed: int) -> Outliers:
    """Judge the values of a regression; ``network`` ``[N]`` is NaN where it has learnt from the image."""
    strength, fold = best_strength(features, values, patients, target, seed)[0], folds(patients, values, seed, FOLDS)
    predicted, fit = np.full(len(values), float(np.mean(values))), fitter(target, strength)
    for k in range(FOLDS):
        if (fold == k).any() and (fold != k).any():
            predicted[fold == k] = fit(features[fold != k], values[fold != k])(features[fold == k])[:, 0]
    known = np.isfinite(network)
    deviation = _robust(values - predicted)
    if known.any() and np.abs(values - network)[known].mean() < np.abs(values - predicted)[known].mean():
        predicted = np.where(known, network, predicted)
        deviation[known] = _robust((values - predicted)[known])
    return Outliers(deviation, predicted)


def _robust(residual: np.ndarray) -> np.ndarray:
    middle = np.median(residual)
    return np.asarray((residual - middle) / max(1.4826 * float(np.median(np.abs(residual - middle))), 1e-12))
