"""What a small model reaches by chance: labels are dealt out anew over the patients of each fold, and the model learns again.

The spread of cross-validated figures is larger than resampling the cases shows (models of several folds share their training cases), so that chance is
asked directly (permutation test, Ojala and Garriga, JMLR 2010).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from vesalius.kernels.crossridge import crossed_many
from vesalius.seed import generator
from vesalius.stages.trust._small import Small

DEALS = 199
"""The least p is 0.005, which stays below 0.05 when it is adjusted for ten tests."""


def crossed_with_chance(
    gram: np.ndarray, small: Small, fold: np.ndarray, seed: int, deals: int = DEALS, within: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """What the small models say ``[n, M]``, and one-sided p of their figure against labels dealt out anew.

    ``within``: strata ``[n]`` (finer than the folds, groups whole) within which the figure is taken and labels are dealt; the folds by default.
    """
    strata = fold if within is None else within
    truths = np.stack([small.truth, *(small.truth[dealt(small.groups, strata, seed, draw)] for draw in range(deals))])
    said = crossed_many(gram, truths, fold)
    reached = np.array([figure(truth, each, strata, small.metric) for truth, each in zip(truths, said, strict=True)])
    if not np.isfinite(reached[0]):
        return said[0], 1.0
    by_chance = reached[1:][np.isfinite(reached[1:])]
    return said[0], float((1 + (by_chance >= reached[0]).sum()) / (1 + len(by_chance)))


def dealt(groups: np.ndarray, fold: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """For each case the case whose label it gets ``[n]``: the labels of a group go to another group of its fold, whole (repeated where it is larger)."""
    rng, given = generator(seed, "deal labels", draw), np.arange(len(groups))
    members = _members(groups)
    for k in np.unique(fold):
        mine = np.unique(groups[fold == k])
        for one, other in zip(mine, rng.permutation(mine), strict=True):
            given[members[one]] = np.resize(members[other], len(members[one]))
    return given


def _members(groups: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(groups, kind="stable")
    names, starts = np.unique(groups[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))


def figure(truth: np.ndarray, said: np.ndarray, fold: np.ndarray, metric: str) -> float:
    """AUC within folds, averaged over folds and columns, or R2; NaN where undefined."""
    if metric == "r2":
        return float(1 - np.square(truth - said).sum() / np.square(truth - truth.mean(0)).sum())
    areas = np.concatenate([_auc(truth[fold == k], said[fold == k]) for k in np.unique(fold)])
    return float(areas[np.isfinite(areas)].mean()) if np.isfinite(areas).any() else float("nan")


def _auc(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column ``[M]`` by the rank sum; NaN with one class only."""
    positive = truth > 0.5
    n, m = positive.sum(0), (~positive).sum(0)
    ranks = rankdata(said, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((ranks * positive).sum(0) - n * (n + 1) / 2) / (n * m))
