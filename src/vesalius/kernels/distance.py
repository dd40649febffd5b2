"""How far one thing is from many: Mahalanobis distance with shrinkage, directions that tell two groups apart, bounds that new values rarely exceed.

Mahalanobis distance of features for inputs of another kind: Lee et al., NeurIPS 2018, here without classes (one Gaussian for all), of the covariance
shrunk by Ledoit and Wolf (*Journal of Multivariate Analysis* 88:365, 2004). The linear discriminant is Fisher's, with the same shrinkage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student
from sklearn.covariance import ledoit_wolf

from vesalius.errors import DataError
from vesalius.seed import generator

LEAST_SCALE = 1e-2
"""A feature that never varied counts as varying by so much: else rounding would be a large distance."""
TAIL, TAIL_FEWEST = 0.1, 20
"""The part of the values that is taken for the tail, and the fewest values that have one."""
FEWEST = 4
"""Rows from which a spread is known at all."""


@dataclass(frozen=True)
class Gaussian:
    """Where many rows lie.

    Parameters
    ----------
    centre, scale: ``[D]``, mean and deviation. whiten: ``[D, D]``; ``(x - centre) / scale @ whiten`` has the covariance 1 (shrunk).
    """

    centre: np.ndarray
    scale: np.ndarray
    whiten: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, least: float = LEAST_SCALE) -> Gaussian:
        """The Gaussian of ``[N, D]``; D may exceed N.

        Raises
        ------
        DataError: fewer than four rows, or numbers that are not finite.
        """
        rows = np.asarray(rows, np.float64)
        if len(rows) < FEWEST or not np.isfinite(rows).all():
            raise DataError("no spread can be told from these rows", expected=f"{FEWEST} rows of finite numbers", got=f"{len(rows)} rows")
        centre, spread = rows.mean(0), rows.std(0)
        scale = np.maximum(spread, least)
        covariance, _ = ledoit_wolf((rows - centre) / scale, assume_centered=True)
        # What hardly varies keeps its floor: its small variance would undo the floor.
        covariance[np.diag_indices_from(covariance)] += 1 - (spread / scale) ** 2
        values, vectors = np.linalg.eigh(covariance)
        return cls(centre, scale, vectors / np.sqrt(np.maximum(values, 1e-8)))

    def white(self, rows: np.ndarray) -> np.ndarray:
        """``[..., D]`` with mean 0 and covariance 1 over the rows it was made of."""
        return np.asarray(((np.asarray(rows, np.float64) - self.centre) / self.scale) @ self.whiten)

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of ``[..., D]`` divided by the root of D: about 1 for rows like those it was made of.

        >>> rows = np.random.default_rng(0).normal(size=(500, 3))
        >>> Gaussian.of(rows).distance(np.array([[0.0, 0, 0], [9, 0, 0]])).round(0).tolist()
        [0.0, 5.0]
        """
        return np.asarray(np.sqrt((self.white(rows) ** 2).mean(-1)))


def direction_between(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Fisher's linear discriminant ``[D]``: ``rows @ direction`` is larger for ``other`` ``[M, D]`` than for ``own`` ``[N, D]``.

    Raises
    ------
    DataError: fewer than four rows in a group.
    """
    if min(len(own), len(other)) < FEWEST:
        raise DataError("too few rows to tell two groups apart", expected=f"{FEWEST} in each", got=(len(own), len(other)))
    centred = np.concatenate([own - own.mean(0), other - other.mean(0)])
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    return np.asarray(np.linalg.solve(covariance + 1e-8 * np.eye(len(covariance)), other.mean(0) - own.mean(0)))


def rarely_beyond(values: np.ndarray, share: float) -> float:
    """A bound that a new value of the same kind exceeds with a probability of about ``share`` at most.

    The largest of the conformal bound (Vovk 2005), where there are values enough for one, of the prediction bound of Student for a normal variable
    (Hahn and Meeker 1991), and of an exponential tail through the values above the 90th percentile (Pickands 1975), where there are 20 values or more: few
    values make a wide bound, and a long tail is followed.

    Raises
    ------
    DataError: fewer than four values.

    >>> rarely_beyond(np.random.default_rng(0).normal(size=2000), 0.01).__round__(1)
    2.3
    """
    values = np.sort(np.asarray(values, float))
    n = len(values)
    if n < FEWEST:
        raise DataError("too few values for a bound", expected=FEWEST, got=n)
    place = math.ceil((n + 1) * (1 - share))
    conformal = values[place - 1] if place <= n else -math.inf
    spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / n)
    return float(max(conformal, values.mean() + student.ppf(1 - share, n - 1) * spread, _tail(values, share)))


def _tail(values: np.ndarray, share: float) -> float:
    """Where an exponential tail leaves a share of values beyond."""
    start = float(np.quantile(values, 1 - TAIL))
    if len(values) < TAIL_FEWEST or share >= TAIL:
        return -math.inf
    return start + float((values[values > start] - start).mean()) * math.log(TAIL / share)


def projection(wide: int, narrow: int, seed: int = 0) -> np.ndarray:
    """A random matrix ``[wide, narrow]`` with orthonormal columns, under which distances keep their order nearly (Johnson and Lindenstrauss 1984);
    the unit matrix where ``wide`` is not the larger."""
    if wide <= narrow:
        return np.eye(wide)
    return np.linalg.qr(generator(seed, "projection", wide, narrow).normal(size=(wide, narrow)))[0]
