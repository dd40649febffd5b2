"""Variance of the area under the ROC curve.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, by the mid-ranks of Sun and Xu, IEEE Signal
Processing Letters 2014: O(N log N) instead of all pairs. With several images per patient, of which some may be positive
and some not, the components are summed by patient (Obuchowski, Biometrics 1997); with one image per patient both are
the same. Intervals use Student's t of the rarer class's patients, since few patients make the variance itself uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import rankdata

from vesalius.errors import DataError, TooFewError
from vesalius.kernels.stats import LEVEL, codes


@dataclass(frozen=True)
class Difference:
    """First minus second area, its interval and the two-sided p of no difference."""

    value: float
    low: float
    high: float
    p: float


def delong(truth: np.ndarray, p: np.ndarray, patients: Any = None) -> tuple[float, float]:
    """Area under the ROC curve and its variance.

    Parameters
    ----------
    truth: ``[N]`` 0/1. p: ``[N]`` any score, higher is more positive; ties count one half.
    patients: ``[N]`` whose image each is; None takes every image for a patient of its own.

    Raises
    ------
    TooFewError: fewer than two patients with images of a class. DataError: lengths disagree.
    """
    areas, covariance, _ = _areas(truth, np.asarray(p, float)[None], patients)
    return float(areas[0]), float(covariance[0, 0])


def delong_interval(truth: np.ndarray, p: np.ndarray, level: float = LEVEL, patients: Any = None) -> tuple[float, float]:
    """Interval on the logit scale, so that it stays within (0, 1); the value itself where the variance is 0. See `delong`."""
    areas, covariance, freedom = _areas(truth, np.asarray(p, float)[None], patients)
    area, variance = float(areas[0]), float(covariance[0, 0])
    if variance <= 0 or area in (0.0, 1.0):
        return area, area
    half = float(stdtrit(freedom, (1 + level) / 2)) * np.sqrt(variance) / (area * (1 - area))
    odds = np.log(area / (1 - area))
    return float(1 / (1 + np.exp(half - odds))), float(1 / (1 + np.exp(-half - odds)))


def delong_paired(truth: np.ndarray, p1: np.ndarray, p2: np.ndarray, level: float = LEVEL, patients: Any = None) -> Difference:
    """AUC of the first minus the second score on the same cases; ``p`` is 1 when the scores rank alike. See `delong`."""
    areas, covariance, freedom = _areas(truth, np.stack([p1, p2]).astype(float), patients)
    difference = float(areas[0] - areas[1])
    spread = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    if spread < 1e-12:
        return Difference(difference, difference, difference, 1.0 if abs(difference) < 1e-12 else 0.0)
    half = float(stdtrit(freedom, (1 + level) / 2)) * spread
    return Difference(difference, difference - half, difference + half, float(2 * stdtr(freedom, -abs(difference) / spread)))


def _areas(truth: np.ndarray, scores: np.ndarray, patients: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Areas of S scores ``[S, N]``, their covariance ``[S, S]`` and the degrees of freedom that it rests on."""
    positive = np.asarray(truth) == 1
    place = np.arange(len(positive)) if patients is None else codes(patients)[0]
    if not len(positive) == scores.shape[1] == len(place):
        raise DataError("truth, scores and patients do not fit", expected="as many of each", got=f"{len(positive)}, {scores.shape[1]} and {len(place)}")
    whose = (place[positive], place[~positive])
    held = [len(np.unique(each)) for each in whose]
    if min(held) < 2:
        unit = "cases" if patients is None else "patients"
        raise TooFewError("the variance of an AUC is undefined", expected=f"two {unit} of each class", got=f"{held[0]} positive and {held[1]} negative")
    parts = _components(positive, scores)
    areas = parts[0].mean(1)
    sums = [_summed(part - areas[:, None], each, place.max() + 1) for part, each in zip(parts, whose, strict=True)]
    return areas, _covariance(sums, held, [len(each) for each in whose]), min(held) - 1


def _components(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components ``[S, n_positive]`` and ``[S, n_negative]``."""
    m, n = int(positive.sum()), int((~positive).sum())
    every = rankdata(scores, axis=1)
    of_positive = (every[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    of_negative = 1 - (every[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    return of_positive, of_negative


def _summed(parts: np.ndarray, place: np.ndarray, people: int) -> np.ndarray:
    """Components ``[S, n]`` added up by patient, ``[S, P]``."""
    return np.stack([np.bincount(place, part, people) for part in parts])


def _covariance(sums: list[np.ndarray], held: list[int], n: list[int]) -> np.ndarray:
    """Obuchowski's covariance: of positives, of negatives, and of both within a patient.

    ``sums``: centred components by patient ``[S, P]`` of either class; ``held``: patients with images of that class; ``n``: its images.
    """
    ones = [h / (h - 1) * each @ each.T / k**2 for each, h, k in zip(sums, held, n, strict=True)]
    people = sums[0].shape[1]
    across = people / (people - 1) * sums[0] @ sums[1].T / (n[0] * n[1])
    return np.asarray(ones[0] + ones[1] + across + across.T)
