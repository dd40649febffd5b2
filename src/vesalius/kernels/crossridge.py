"""A small linear model asked about cases that it has not seen: ridge regression in its dual form, crossed over folds.

With N cases and D >> N features the dual (Saunders, Gammerman and Vovk, ICML 1998) needs only the products of the cases, ``[N, N]``, so that
models on many views of the same cases cost little. Classes are learnt as 0/1 columns; their scores are for ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

STRENGTHS = (0.03, 0.3, 3.0, 30.0)
"""Penalties beside products whose mean over a case with itself is 1."""
STILL = 1e-6
"""A feature that varies less than this is left out."""


def products(*blocks: np.ndarray) -> np.ndarray:
    """Products of the cases ``[N, N]`` float64 from blocks of features ``[N, D]``; every block weighs the same, every feature in it too.

    Features are brought to mean 0 and spread 1 and cut at 10 spreads; constant ones are left out. The mean of the diagonal is 1
    (0 where nothing varies).
    """
    total = np.zeros((len(blocks[0]), len(blocks[0])))
    for block in blocks:
        block = np.asarray(block, np.float32).reshape(len(block), -1)
        spread = block.std(0)
        kept = block[:, spread > STILL]
        if kept.shape[1]:
            scaled = np.clip((kept - kept.mean(0)) / spread[spread > STILL], -10, 10)
            total += (scaled @ scaled.T).astype(np.float64) / kept.shape[1]
    scale = float(np.trace(total)) / len(total)
    return total / scale if scale > 0 else total


def crossed(gram: np.ndarray, truth: np.ndarray, fold: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> np.ndarray:
    """What models say of the fold that each of them has not seen, ``[N, M]``.

    Parameters
    ----------
    gram: as `products` gives it. truth: ``[N, M]`` numbers. fold: ``[N]``, 0 .. K-1 with K of 3 or more.
    strengths: penalties to choose from, for each fold by how well the next fold is told from the others.
    """
    return crossed_many(gram, np.asarray(truth, np.float64)[None], fold, strengths)[0]


def crossed_many(gram: np.ndarray, truths: np.ndarray, fold: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> np.ndarray:
    """`crossed` for several truths ``[B, N, M]`` of the same cases (labels dealt out anew, say) at hardly more cost than for one: ``[B, N, M]``."""
    said, n_folds = np.zeros(truths.shape), int(fold.max()) + 1
    flat = truths.transpose(1, 0, 2).reshape(truths.shape[1], -1)
    for k in range(n_folds):
        mine, inner, others = np.flatnonzero(fold == k), np.flatnonzero(fold == (k + 1) % n_folds), np.flatnonzero(fold != k)
        core = np.setdiff1d(others, inner)
        losses = [np.square(told(gram, flat, core, inner, each) - flat[inner]).mean(0) for each in strengths] if len(core) and len(inner) else [flat[0] * 0]
        best = np.stack(losses).reshape(len(losses), len(truths), -1).mean(2).argmin(0)
        for place in np.unique(best):
            chosen = np.flatnonzero(best == place)
            picked = truths[chosen].transpose(1, 0, 2).reshape(truths.shape[1], -1)
            made = told(gram, picked, others, mine, strengths[place])
            said[np.ix_(chosen, mine)] = made.reshape(len(mine), len(chosen), -1).transpose(1, 0, 2)
    return said


def told(gram: np.ndarray, truth: np.ndarray, learnt: np.ndarray, asked: np.ndarray, strength: float) -> np.ndarray:
    """What a model of ``learnt`` cases says of ``asked`` ones, ``[n, M]``."""
    own = gram[np.ix_(learnt, learnt)]
    mean = truth[learnt].mean(0)
    factor = cho_factor(own + strength * np.eye(len(learnt)), lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(gram[np.ix_(asked, learnt)] @ cho_solve(factor, truth[learnt] - mean, check_finite=False) + mean)
