"""How large boxes are and how much of them is shared, in two or three dimensions.

A box is ``(low..., high...)`` in array order with continuous edges (`core.boxes`). Everything here is of arrays ``[N, 2 * ndim]``; sizes and overlaps
are computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesalius.errors import DataError

CELLS = 2**21
"""Pairs of boxes that are compared at once."""


def volumes(boxes: np.ndarray) -> np.ndarray:
    """Area (2-D) or volume (3-D) in samples ``[N]`` float64; 0 where an edge is not above the other.

    >>> volumes(np.array([[0, 0, 2, 3], [4, 4, 4, 9]])).tolist()
    [6.0, 0.0]
    """
    low, high = _corners(boxes)
    return (high - low).clip(0).prod(1)


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area or volume that each of a ``[N, 2d]`` shares with each of b ``[M, 2d]``: ``[N, M]`` float64."""
    (low, high), (other_low, other_high) = _corners(a), _corners(b)
    if low.shape[1] != other_low.shape[1]:
        raise DataError("boxes of another number of axes cannot be compared", expected=f"{low.shape[1]} axes", got=other_low.shape[1])
    shared = np.ones((len(low), len(other_low)))
    for axis in range(low.shape[1]):  # one axis after the other: no array of pairs x axes
        top = np.minimum.outer(high[:, axis], other_high[:, axis])
        shared *= (top - np.maximum.outer(low[:, axis], other_low[:, axis])).clip(0)
    return shared


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each of a ``[N, 2d]`` with each of b ``[M, 2d]``: ``[N, M]`` float64; 0 where both are empty.

    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3], [5, 5, 6, 6]])).round(3).tolist()
    [[0.333, 0.0]]
    """
    shared = intersections(a, b)
    union = volumes(a)[:, None] + volumes(b)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def overlapping(boxes: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pairs of boxes ``[N, 2d]`` whose IoU is above ``threshold``, ``[P]`` both; boxes apart along the first axis are not compared.

    >>> [each.tolist() for each in overlapping(np.array([[0, 0, 4, 4], [9, 9, 12, 12], [0, 0, 4, 5]]), 0.5)]
    [[0], [2]]
    """
    order = np.argsort(_corners(boxes)[0][:, 0], kind="stable")
    low, high = (each[order] for each in _corners(boxes))
    size = volumes(boxes)[order]
    reach = np.searchsorted(low[:, 0], high[:, 0], side="left") - np.arange(len(low)) - 1
    found = [np.zeros((2, 0), np.int64)]
    for rows in _chunks(reach.clip(0)):
        n = reach[rows].clip(0)
        i = np.repeat(rows, n)
        j = i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(n) - n, n)
        shared = np.ones(len(i))
        for axis in range(low.shape[1]):
            shared *= (np.minimum(high[i, axis], high[j, axis]) - np.maximum(low[i, axis], low[j, axis])).clip(0)
        union = size[i] + size[j] - shared
        above = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0) > threshold
        found.append(np.stack([order[i[above]], order[j[above]]]))
    one, other = np.concatenate(found, 1)
    return one, other


def _chunks(counts: np.ndarray) -> list[np.ndarray]:
    """Rows in groups of about `CELLS` pairs."""
    group = np.cumsum(counts) // CELLS
    return [rows for rows in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(group)) + 1) if len(rows)]


def covered(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of each of a ``[N, 2d]`` that lies in each of b ``[M, 2d]``: ``[N, M]`` float64; 0 for an empty box."""
    shared, own = intersections(a, b), volumes(a)[:, None]
    return np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)


def mirrored(boxes: np.ndarray, axes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Boxes of an image that was mirrored along ``axes`` (spatial, 0 the first), in the image as it was; and the other way round.

    >>> mirrored(np.array([[0, 1, 2, 4]]), (1,), (10, 10)).tolist()
    [[0, 6, 2, 9]]
    """
    turned, d = np.array(boxes), len(shape)
    for axis in axes:
        turned[:, axis], turned[:, d + axis] = shape[axis] - boxes[:, d + axis], shape[axis] - boxes[:, axis]
    return turned


def clipped(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Boxes cut to the image; one that lies outside is left without extent (`volumes` is 0)."""
    return np.clip(boxes, 0, np.tile(np.asarray(shape), 2)).astype(boxes.dtype)


def _corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise DataError("these are no boxes", expected="[N, 4] or [N, 6]: low..., high...", got=boxes.shape)
    half = boxes.shape[1] // 2
    return boxes[:, :half], boxes[:, half:]
