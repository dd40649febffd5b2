"""When to leave a case to a doctor: a threshold with a guaranteed error, and where doubt comes from.

Geifman and El-Yaniv, *Selective classification for deep neural networks*, NeurIPS 2017 (selection with guaranteed risk). Losses between 0
and 1 use the bound of Hoeffding and Bentkus (Bates et al., JACM 2021). Uncertainty of an ensemble: Depeweg et al., ICML 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import xlogy
from scipy.stats import beta, binom

from vesalius.seed import generator

SURE = 0.95


@dataclass(frozen=True)
class Selection:
    """Keep the answers whose certainty is at least ``threshold``: then at most ``bound`` of them are wrong, with a probability of `SURE`.

    ``coverage`` is the share of the calibration cases that are kept, ``n`` their number, ``observed`` their mean loss.
    """

    threshold: float
    bound: float
    coverage: float
    n: int
    observed: float


def upper_bound(losses: np.ndarray, sure: float = SURE) -> float:
    """The expected loss is not above this, with a probability of ``sure``: exact for losses of 0 and 1 (Clopper and Pearson), else Hoeffding-Bentkus.

    >>> round(upper_bound(np.zeros(59)), 4)
    0.0495
    """
    n, mean = len(losses), float(losses.mean()) if len(losses) else 1.0
    if n == 0 or mean >= 1:
        return 1.0
    if np.isin(losses, (0.0, 1.0)).all():
        wrong = round(mean * n)
        return float(beta.ppf(sure, wrong + 1, n - wrong))
    return float(brentq(lambda mu: _tail(mean, mu, n) - (1 - sure), mean + 1e-12, 1 - 1e-12)) if _tail(mean, 1 - 1e-12, n) < 1 - sure else 1.0


def _tail(mean: float, mu: float, n: int) -> float:
    """Bound on the probability of so small a mean of n losses when the expected loss is mu."""
    apart = xlogy(mean, mean / mu) + xlogy(1 - mean, (1 - mean) / (1 - mu))
    return float(min(np.exp(-n * apart), np.e * binom.cdf(np.ceil(n * mean), n, mu)))


def one_a_patient(patients: np.ndarray, seed: int) -> np.ndarray:
    """Rows of one randomly drawn image of each patient: what the bounds need, independent cases."""
    order = generator(seed, "one a patient").permutation(len(patients))
    return np.sort(order[np.unique(patients[order], return_index=True)[1]])


def select(certainty: np.ndarray, losses: np.ndarray, error: float, sure: float = SURE) -> Selection | None:
    """The threshold that keeps the most answers at an expected loss of at most ``error``, by Geifman and El-Yaniv's binary search.

    Parameters
    ----------
    certainty: ``[N]`` of independent cases, high where the answer is sure. losses: ``[N]`` in [0, 1]. error: in (0, 1).

    The search looks at ceil(log2 N) thresholds, each with its share of ``1 - sure``. None where nothing can be promised.
    """
    n = len(certainty)
    if n < 2:
        return None
    ranked = np.argsort(-certainty, kind="stable")
    looks = int(np.ceil(np.log2(n)))
    fewest, most, best = 1, n, None
    for _ in range(looks):
        asked = (fewest + most + 1) // 2
        threshold = float(certainty[ranked[asked - 1]])
        kept = certainty >= threshold
        bound = upper_bound(losses[kept], 1 - (1 - sure) / looks)
        if bound <= error:
            best = Selection(threshold, bound, float(kept.mean()), int(kept.sum()), float(losses[kept].mean()))
            fewest = asked
        else:
            most = max(asked - 1, 1)
    return best


def certainty_of(p: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """How sure an answer is, ``[N]`` in [0, 1]: the largest probability; with a threshold how far the second class is from it, as a share of the way there is.

    >>> certainty_of(np.array([[0.9, 0.1], [0.4, 0.6]]), 0.2).round(6).tolist()
    [0.5, 0.5]
    """
    if threshold is None:
        return np.asarray(p.max(1))
    way = np.where(p[:, 1] >= threshold, 1 - threshold, threshold)
    return np.abs(p[:, 1] - threshold) / np.maximum(way, 1e-12)


def decomposed(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the doubt of an ensemble comes from, in nats ``[N]`` each: total, of the data (aleatoric), of the model (epistemic).

    ``p``: ``[M, N, K]`` probabilities of M members. Total is the entropy of the mean, aleatoric the mean of the entropies, epistemic the rest.
    """
    total = entropy(p.mean(0))
    data = entropy(p).mean(0)
    return total, data, np.maximum(total - data, 0)


def entropy(p: np.ndarray) -> np.ndarray:
    """Over the last axis, in nats."""
    return np.asarray(-xlogy(p, p).sum(-1))
