"""Does the uncertainty say which answers are wrong: the risk of those that are kept, against how many are kept.

Answers are kept from the most certain on. The selective risk at a coverage is the mean risk of the answers kept; its
mean over all coverages is AURC (Geifman and El-Yaniv 2018, arXiv 1805.08206; Jaeger et al. 2023, arXiv 2211.15259).
Equal uncertainties are kept in no order: the mean over all orders is taken, exactly.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from vesalius.kernels.figures import ratio


class RiskCoverage:
    """AURC of weighted samples.

    Parameters
    ----------
    uncertainty: ``[N]``, high where the answer is doubted. risk: ``[N]``, e.g. 1 - Dice.

    Called with whole-number weights ``[N, B]`` (how often answer n counts in sample b) it gives ``[B]``, NaN where
    nothing counts. The risk itself as ``uncertainty`` gives the best that is possible; a constant one gives
    chance, which is the mean risk.

    >>> float(RiskCoverage(np.array([0.1, 0.2]), np.array([0.0, 1.0]))(np.ones((2, 1)))[0])
    0.25
    """

    def __init__(self, uncertainty: np.ndarray, risk: np.ndarray) -> None:
        levels, level = np.unique(uncertainty, return_inverse=True)
        self.order = np.argsort(level, kind="stable")
        self.starts = np.searchsorted(level[self.order], np.arange(len(levels)))
        self.risk = np.asarray(risk, float)[:, None]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        mass, loss = (np.add.reduceat(each[self.order], self.starts, axis=0) for each in (weights, weights * self.risk))
        before, lost = mass.cumsum(0) - mass, loss.cumsum(0) - loss
        mean = np.divide(loss, mass, out=np.zeros_like(loss), where=mass > 0)
        # The j-th of m equals is kept with `before + j` in all, at a risk of (lost + j mean) / (before + j); summed over j = 1 .. m.
        area = loss + (lost - before * mean) * (digamma(before + mass + 1) - digamma(before + 1))
        return ratio(area.sum(0), mass.sum(0))


def curve(uncertainty: np.ndarray, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and selective risk ``[N]``, for a plot; equal uncertainties in the order given.

    >>> [part.tolist() for part in curve(np.array([0.2, 0.1]), np.array([1.0, 0.0]))]
    [[0.5, 1.0], [0.0, 0.5]]
    """
    n = np.arange(1, len(risk) + 1)
    return n / len(risk), np.cumsum(np.asarray(risk, float)[np.argsort(uncertainty, kind="stable")]) / n
