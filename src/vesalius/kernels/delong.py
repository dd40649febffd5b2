"""Variance of the area under the ROC curve, for one image per patient.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, by the mid-ranks of Sun and Xu, IEEE Signal
Processing Letters 2014: O(N log N) instead of all pairs. With several images per patient the cases are
not independent; use `vesalius.kernels.stats.paired` there.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from vesalius.errors import TooFewError
from vesalius.kernels.stats import LEVEL


@dataclass(frozen=True)
class Difference:
    """First minus second area, its interval and the two-sided p of no difference."""

    value: float
    low: float
    high: float
    p: float


def _components(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components ``[S, n_positive]`` and ``[S, n_negative]`` of S scores ``[S, N]``."""
    positive = np.asarray(truth) == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        raise TooFewError("the variance of an AUC is undefined", expected="two cases of each class", got=f"{m} positive and {n} negative")
    every = rankdata(scores, axis=1)
    of_positive = (every[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    of_negative = 1 - (every[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    return of_positive, of_negative


def _covariance(of_positive: np.ndarray, of_negative: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(of_positive)) / of_positive.shape[1] + np.atleast_2d(np.cov(of_negative)) / of_negative.shape[1]


def delong(truth: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and its variance.

    Parameters
    ----------
    truth: ``[N]`` 0/1. p: ``[N]`` any score, higher is more positive; ties count one half.

    Raises
    ------
    TooFewError: fewer than two cases of a class.
    """
    parts = _components(truth, np.asarray(p, float)[None])
    return float(parts[0].mean()), float(_covariance(*parts)[0, 0])


def delong_interval(truth: np.ndarray, p: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Interval on the logit scale, so that it stays within (0, 1); the value itself where the variance is 0."""
    area, variance = delong(truth, p)
    if variance == 0 or area in (0.0, 1.0):
        return area, area
    z = NormalDist().inv_cdf((1 + level) / 2)
    half = z * np.sqrt(variance) / (area * (1 - area))
    odds = np.log(area / (1 - area))
    return float(1 / (1 + np.exp(half - odds))), float(1 / (1 + np.exp(-half - odds)))


def delong_paired(truth: np.ndarray, p1: np.ndarray, p2: np.ndarray, level: float = LEVEL) -> Difference:
    """AUC of the first minus the second score on the same cases; ``p`` is 1 when the scores rank alike.

    Raises
    ------
    TooFewError: fewer than two cases of a class.
    """
    parts = _components(truth, np.stack([p1, p2]).astype(float))
    difference = float(parts[0][0].mean() - parts[0][1].mean())
    covariance = _covariance(*parts)
    spread = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    if spread < 1e-12:
        return Difference(difference, difference, difference, 1.0 if abs(difference) < 1e-12 else 0.0)
    normal = NormalDist()
    half = normal.inv_cdf((1 + level) / 2) * spread
    return Difference(difference, difference - half, difference + half, 2 * (1 - normal.cdf(abs(difference) / spread)))
