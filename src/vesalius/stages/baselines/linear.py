"""A regularised linear model on features, its strength chosen by patient-grouped cross-validation inside training."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from vesalius.core.target import TargetSpec
from vesalius.seed import generator

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Inverse regularisation C of the logistic regression (and 1 / alpha of the ridge), from strict to free ..."""
FEATURES = 30
"""... of so many standardised features; with more of them C shrinks in proportion, so that one grid fits all."""
FOLDS = 3
CROSS_ROWS = 5_000
FIT_ROWS = 30_000
FLOOR = 1e-6

Predict = Callable[[np.ndarray], np.ndarray]
"""From features ``[N, D]`` to probabilities ``[N, K]`` (regression: values ``[N, 1]``)."""
Fit = Callable[[np.ndarray, np.ndarray], Predict]


def log_odds(p: np.ndarray) -> np.ndarray:
    """Probabilities to log odds, kept finite."""
    p = np.clip(p, FLOOR, 1 - FLOOR)
    return np.log(p / (1 - p))


def raw_of(p: np.ndarray, target: TargetSpec) -> np.ndarray:
    """Probabilities to the raw values that a network would give: log odds per label, log probabilities, or values."""
    if target.kind == "regression":
        return p
    return log_odds(p) if target.kind == "multilabel" else np.log(np.clip(p, FLOOR, 1))


def folds(patients: np.ndarray, truth: np.ndarray, seed: int, k: int = FOLDS) -> np.ndarray:
    """The fold of each row ``[N]``: patients stay whole, and classes are dealt evenly (by the patient's first row)."""
    people, first, place = np.unique(patients, return_index=True, return_inverse=True)
    stratum = truth[first] if truth.ndim == 1 else truth[first] @ (2.0 ** np.arange(truth.shape[1]))
    order = np.lexsort((generator(seed, "folds").permutation(len(people)), stratum))
    fold = np.empty(len(people), int)
    fold[order] = np.arange(len(people)) % k
    return fold[place]


def loss_of(p: np.ndarray, truth: np.ndarray, target: TargetSpec) -> float:
    """Mean log loss, or mean squared error of a regression."""
    if target.kind == "regression":
        return float(np.square(p[:, 0] - truth).mean())
    if target.kind == "multilabel":
        return float(-np.log(np.clip(np.where(truth > 0.5, p, 1 - p), FLOOR, 1)).mean())
    return float(-np.log(np.clip(p[np.arange(len(truth)), truth], FLOOR, 1)).mean())


def cross_loss(fit: Fit, features: np.ndarray, truth: np.ndarray, patients: np.ndarray, target: TargetSpec, seed: int) -> float:
    """Loss on patients that were not learnt from; infinite when there are too few patients."""
    fold, found = folds(patients, truth, seed), []
    for k in range(FOLDS):
        inside, outside = fold != k, fold == k
        if inside.any() and outside.any():
            found.append(loss_of(fit(features[inside], truth[inside])(features[outside]), truth[outside], target))
    return float(np.mean(found)) if found else float("inf")


def best_strength(features: np.ndarray, truth: np.ndarray, patients: np.ndarray, target: TargetSpec, seed: int) -> tuple[float, float]:
    """The strength of least cross-validated loss, and that loss. The search stops where a freer model is clearly worse."""
    kept = capped(patients, CROSS_ROWS, seed)
    features, truth, patients = features[kept], truth[kept], patients[kept]
    losses: dict[float, float] = {}
    share = min(1.0, FEATURES / features.shape[1])
    for strength in (each * share for each in STRENGTHS):
        losses[strength] = cross_loss(fitter(target, strength), features, truth, patients, target, seed)
        if losses[strength] > 1.05 * min(losses.values()):
            break
    best = min(losses, key=lambda strength: losses[strength])
    return best, losses[best]


def linear_model(features: np.ndarray, truth: np.ndarray, patients: np.ndarray, target: TargetSpec, seed: int) -> tuple[Predict, float]:
    """The linear model of the best strength, and its cross-validated loss.

    It learns from at most 30,000 rows (5,000 while the strength is chosen), drawn by patient: a linear model gains nothing from more.
    """
    strength, loss = best_strength(features, truth, patients, target, seed)
    kept = capped(patients, FIT_ROWS, seed)
    return fitter(target, strength)(features[kept], truth[kept]), loss


def capped(patients: np.ndarray, most: int, seed: int) -> np.ndarray:
    """All rows, or those of randomly drawn whole patients until ``most`` is reached (at least one patient)."""
    if len(patients) <= most:
        return np.arange(len(patients))
    _, place, size = np.unique(patients, return_inverse=True, return_counts=True)
    order = generator(seed, "capped").permutation(len(size))
    chosen = order[: max(1, int(np.searchsorted(size[order].cumsum(), most, side="right")))]
    return np.flatnonzero(np.isin(place, chosen))


def standardised(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Each feature with mean 0 and spread 1 on ``rows``, cut at 10 spreads; a constant one becomes 0. Keeps the type."""
    mean, spread = features[rows].mean(0), features[rows].std(0)
    return np.clip((features - mean) / np.where(spread > 1e-6, spread, np.inf).astype(features.dtype), -10, 10)


def fitter(target: TargetSpec, strength: float) -> Fit:
    """How a linear model of this strength is fitted for this kind of target."""
    if target.kind == "regression":
        return lambda x, y: _ridge(x, y, strength)
    if target.kind == "multilabel":
        return lambda x, y: _each_label(x, y, strength)
    return lambda x, y: _logistic(x, y, target.n_out, strength)


def _ridge(x: np.ndarray, y: np.ndarray, strength: float) -> Predict:
    model = Ridge(alpha=1 / strength).fit(x, y)
    return lambda new: model.predict(new)[:, None]


def _each_label(x: np.ndarray, y: np.ndarray, strength: float) -> Predict:
    models = [_logistic(x, y[:, k].astype(int), 2, strength) for k in range(y.shape[1])]
    return lambda new: np.stack([model(new)[:, 1] for model in models], axis=1)


def _logistic(x: np.ndarray, y: np.ndarray, k: int, strength: float) -> Predict:
    """Multinomial logistic regression; classes that are absent from ``y`` get probability 0."""
    seen = np.unique(y)
    if len(seen) == 1:
        return lambda new: np.tile(np.eye(k)[seen[0]], (len(new), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(x, y)

    def predict(new: np.ndarray) -> np.ndarray:
        p = np.zeros((len(new), k))
        p[:, model.classes_] = model.predict_proba(new)
        return p

    return predict
