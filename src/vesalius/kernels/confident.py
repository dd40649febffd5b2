"""Which labels are doubtful: confident learning on predictions that have not seen the label they judge.

Northcutt, Jiang and Chuang, *Confident learning: estimating uncertainty in dataset labels*, JAIR 2021. A case counts as
confidently of class j when its probability of j reaches the mean probability of j over the cases that are labelled j. The counts of
(label, confident class), brought to the label counts, estimate the joint distribution of given and true labels; what lies off its diagonal
is the share of wrong labels. Written from the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-12


@dataclass(frozen=True)
class Doubts:
    """What confident learning says of ``N`` labels among ``K`` classes.

    Parameters
    ----------
    margin: ``[N]`` probability of the given class minus the largest of the others: -1 (surely wrong) .. 1.
    likelier: ``[N]`` the class other than the given one with the largest probability.
    confident: ``[N]`` whether the case lies off the diagonal of the confident joint.
    joint: ``[K, K]`` estimated shares of (given, true), summing to 1.
    thresholds: ``[K]`` mean probability of a class over the cases that are labelled with it (NaN: no case).
    """

    margin: np.ndarray
    likelier: np.ndarray
    confident: np.ndarray
    joint: np.ndarray
    thresholds: np.ndarray

    @property
    def share(self) -> float:
        """Estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))

    @property
    def order(self) -> np.ndarray:
        """All cases, the most doubtful first: those off the diagonal by their margin, then the others by theirs."""
        return np.lexsort((self.margin, ~self.confident))


def doubts(p: np.ndarray, labels: np.ndarray) -> Doubts:
    """Judge the labels of ``N`` cases.

    Parameters
    ----------
    p: ``[N, K]`` probabilities from models that have not learnt from the case nor from its patient.
    labels: ``[N]`` given classes, 0 .. K - 1.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    >>> found = doubts(p, np.array([0, 0, 1, 1, 0]))
    >>> found.order[0].item(), found.likelier[4].item(), found.confident.tolist()
    (4, 1, [False, False, False, False, True])
    """
    n, k = p.shape
    given = np.eye(k, dtype=bool)[labels]
    counts = given.sum(0)
    thresholds = np.divide((p * given).sum(0), counts, out=np.full(k, np.nan), where=counts > 0)
    likelier = np.where(given, -np.inf, p).argmax(1)
    margin = p[np.arange(n), labels] - p[np.arange(n), likelier]
    reached = p >= np.where(np.isnan(thresholds), np.inf, thresholds) - FLOOR
    believed = np.where(reached, p, -np.inf).argmax(1)
    counted = reached.any(1)
    joint = _joint(labels[counted], believed[counted], counts)
    return Doubts(margin, likelier, counted & (believed != labels), joint, thresholds)


def _joint(given: np.ndarray, believed: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Counts of confident cases brought to the label counts, as shares; a class without confident cases is taken to be right."""
    k = len(counts)
    table = np.bincount(given * k + believed, minlength=k * k).reshape(k, k).astype(float)
    table[table.sum(1) == 0] += np.eye(k)[table.sum(1) == 0]
    table *= (counts / table.sum(1))[:, None]
    return table / max(table.sum(), FLOOR)


def agreement(features: np.ndarray, labels: np.ndarray, patients: np.ndarray, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A second witness: the nearest cases of other patients.

    Parameters
    ----------
    features: ``[N, D]``; distances are Euclidean. labels: ``[N]`` given classes. patients: ``[N]`` numbers.

    Returns the rows of the ``k`` nearest cases ``[N, k]``, the nearest first (-1 where there are fewer), and the share of them that
    carry the same label ``[N]`` (NaN where there are none).
    """
    n = len(features)
    k = min(k, n)
    squares = np.square(features).sum(1)
    near = np.full((n, k), -1)
    for start in range(0, n, 1024):
        rows = slice(start, start + 1024)
        away = squares[rows, None] + squares[None] - 2 * features[rows] @ features.T
        away = np.where(patients[rows, None] == patients[None], np.inf, away)
        first = np.argpartition(away, k - 1, axis=1)[:, :k]
        held = np.take_along_axis(away, first, 1)
        order = np.argsort(held, axis=1, kind="stable")
        near[rows] = np.where(np.isinf(np.take_along_axis(held, order, 1)), -1, np.take_along_axis(first, order, 1))
    known = near >= 0
    same = (labels[near] == labels[:, None]) & known
    return near, np.divide(same.sum(1), known.sum(1), out=np.full(n, np.nan), where=known.any(1))
