"""How well ids stay with their objects: MOTA (CLEAR MOT: Bernardin and Stiefelhagen, EURASIP 2008) and IDF1 (Ristani et al., ECCV workshops 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vesalius.kernels.boxgeometry import iou

Frame = tuple[np.ndarray, np.ndarray]
"""Ids ``[N]`` and boxes ``[N, 2 * ndim]`` of one frame."""


@dataclass(frozen=True)
class TrackScores:
    """``mota``: 1 - (misses + false + switches) / true boxes (at most 1, may be negative). ``idf1``: share of boxes whose id is right, after
    every true object is given one found id at most. ``switches``: how often the id of a true object changed. NaN without any true box."""

    mota: float
    idf1: float
    switches: int
    misses: int
    false: int
    n_true: int


def track_scores(truth: Sequence[Frame], found: Sequence[Frame], *, threshold: float = 0.5) -> TrackScores:
    """Score found tracks against true ones, frame by frame (both sequences are equally long).

    A found box can be a true one from an IoU of ``threshold`` on; a pair that was one object in the frame before stays one while it may.
    """
    held: dict[int, int] = {}
    switches = misses = false = 0
    overlaps: dict[tuple[int, int], int] = {}
    for (true_ids, true_boxes), (ids, boxes) in zip(truth, found, strict=True):
        meets = iou(np.asarray(true_boxes, float), np.asarray(boxes, float)) >= threshold
        for a, b in np.argwhere(meets):
            pair = (int(true_ids[a]), int(ids[b]))
            overlaps[pair] = overlaps.get(pair, 0) + 1
        pairs = _pairs(meets, np.asarray(true_ids), np.asarray(ids), held)
        switches += sum(held.get(true, other) != other for true, other in pairs)
        held.update(pairs)
        misses, false = misses + len(true_ids) - len(pairs), false + len(ids) - len(pairs)
    n_true, n_found = (sum(len(ids) for ids, _ in each) for each in (truth, found))
    mota = 1 - (misses + false + switches) / n_true if n_true else float("nan")
    return TrackScores(mota, _idf1(overlaps, n_true, n_found) if n_true else float("nan"), switches, misses, false, n_true)


def _pairs(meets: np.ndarray, true_ids: np.ndarray, ids: np.ndarray, held: dict[int, int]) -> list[tuple[int, int]]:
    """True and found ids that are one object in a frame; those of the frame before weigh more than any number of new ones."""
    if not meets.size:
        return []
    kept = np.array([[held.get(int(true)) == int(other) for other in ids] for true in true_ids])
    weight = meets * (1.0 + len(ids) * len(true_ids) * kept)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return [(int(true_ids[a]), int(ids[b])) for a, b in zip(rows, columns, strict=True) if meets[a, b]]


def _idf1(overlaps: dict[tuple[int, int], int], n_true: int, n_found: int) -> float:
    trues, others = (sorted({pair[k] for pair in overlaps}) for k in (0, 1))
    table = np.array([[overlaps.get((true, other), 0) for other in others] for true in trues]).reshape(len(trues), len(others))
    right = float(table[linear_sum_assignment(table, maximize=True)].sum())
    return 2 * right / (n_true + n_found)
