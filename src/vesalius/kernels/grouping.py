"""Groups that must stay together, and dealing them out so that every part resembles the whole."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

QUANTILES = 5


def join(*columns: Sequence[Hashable]) -> np.ndarray:
    """Number of the group of each row, int64 ``[N]``: rows that agree in any column are together, and so are theirs.

    A value of None stands for "alone" and joins nothing. Groups are numbered by first row.

    >>> join(["p", "q", "q", "r"], [7, 7, None, None]).tolist()
    [0, 0, 0, 1]
    """
    n = len(columns[0])
    edges: list[tuple[int, int]] = []
    for column in columns:
        first: dict[Hashable, int] = {}
        edges += [(first.setdefault(value, row), row) for row, value in enumerate(column) if value is not None]
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    label = connected_components(sparse.coo_matrix((np.ones(len(a), bool), (a, b)), shape=(n, n)), directed=False)[1]
    _, first_row, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first_row))[inverse], np.int64)


def strata(truth: np.ndarray) -> np.ndarray:
    """Marks ``[N, S]`` (0/1) that are to be spread evenly: one-hot classes, the marks of a multilabel, or fifths of a regression.

    Parameters
    ----------
    truth: as `TargetSpec.encode` gives it: int ``[N]`` (-1 unknown), float ``[N, K]`` or float ``[N]``.
    """
    if truth.ndim == 2:
        return np.nan_to_num(truth).astype(np.float64)
    if truth.dtype.kind == "f":
        known = truth[np.isfinite(truth)]
        edges = np.quantile(known, np.linspace(0, 1, QUANTILES + 1)[1:-1]) if len(known) else np.zeros(0)
        truth = np.where(np.isfinite(truth), np.searchsorted(edges, truth, side="right"), -1)
    return (truth[:, None] == np.arange(truth.max(initial=0) + 1)).astype(np.float64)


def deal(groups: np.ndarray, marks: np.ndarray, fractions: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Deal whole groups into parts, int64 ``[N]``: each part gets its fraction of every mark as nearly as groups allow.

    Iterative stratification (Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", ECML
    PKDD 2011) with groups as the unit: the rarest mark first, its larger groups first, each to the part that
    lacks most of it. Afterwards a part without a mark takes a group from the part that has most of them.

    Parameters
    ----------
    groups: int ``[N]``, 0 .. G-1. marks: ``[N, S]``. fractions: of the images, one per part, adding up to 1.
    random: breaks ties.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    held = np.zeros((n_groups, marks.shape[1] + 1))
    np.add.at(held, groups, np.column_stack([marks, np.ones(len(groups))]))
    wanted = np.outer(fractions, held.sum(0))
    part = np.full(n_groups, -1, np.int64)
    order = random.permutation(n_groups)
    for mark in [*np.argsort(held[:, :-1].sum(0), kind="stable"), marks.shape[1]]:
        mine = [g for g in order if part[g] < 0 and held[g, mark] > 0]
        for group in sorted(mine, key=lambda g: -held[g, mark]):
            lack = wanted[:, mark] + 1e-9 * wanted[:, -1]  # equal lack of the mark: who lacks more images
            part[group] = int(np.argmax(lack))
            wanted[part[group]] -= held[group]
    return _repaired(part, held[:, :-1], len(fractions))[groups]


def _repaired(part: np.ndarray, held: np.ndarray, n_parts: int) -> np.ndarray:
    """Give a part that lacks a mark the smallest suitable group of the part with most groups of it."""
    for mark in range(held.shape[1]):
        for poor in range(n_parts):
            having = [np.flatnonzero((part == p) & (held[:, mark] > 0)) for p in range(n_parts)]
            rich = int(np.argmax([len(groups) for groups in having]))
            if len(having[poor]) or len(having[rich]) < 2:
                continue
            free = [g for g in having[rich] if not _last(part, held, int(g))]
            if free:
                part[min(free, key=lambda g: held[g].sum())] = poor
    return part


def _last(part: np.ndarray, held: np.ndarray, group: int) -> bool:
    """Whether the group alone holds one of its marks in its part."""
    others = held[(part == part[group]) & (np.arange(len(part)) != group)]
    return bool(((held[group] > 0) & ((others > 0).sum(0) == 0)).any())
