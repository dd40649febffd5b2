"""Detection with anchors, in any number of axes: where they are, which true box each answers for, and boxes relative to them.

Ren et al., *Faster R-CNN*, NeurIPS 2015 (anchors, relative boxes); Zhang et al., *Bridging the gap between anchor-based and anchor-free
detection*, CVPR 2020 (adaptive assignment). Boxes are ``(low..., high...)`` in array order, in samples of the tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from vesalius.errors import OptionError
from vesalius.networks._points import overlaps, points_of

LARGEST_LOG = math.log(1000 / 16)
"""A box is at most so many times (as a logarithm) larger than its anchor."""
COVERED, MET = 0.5, 0.4
"""A box is not judged where an unjudged one covers so much of it, or meets it with such an overlap (intersection over union)."""
LEAST_SIDE, LARGEST_SIDE = 1 / 26, 0.6
"""Sides of the smallest and of the largest anchor as parts of the shortest side of the tile."""
NEAREST = 9
"""Anchors of each level that are candidates for a true box (Zhang et al.)."""
PADDED = -50.0
"""Raw value of a candidate that is none."""


def default_sides(size: Sequence[int], n: int) -> list[float]:
    """``n`` sides of anchors for a tile, evenly spaced on a logarithmic scale.

    >>> [round(side) for side in default_sides((416, 416), 4)]
    [16, 40, 100, 250]
    """
    low, high = math.log(min(size) * LEAST_SIDE), math.log(min(size) * LARGEST_SIDE)
    return [math.exp(low + (high - low) * i / max(n - 1, 1)) for i in range(n)]


def shared_out(sides: Sequence[float], levels: int) -> list[list[float]]:
    """Which sides each level of a pyramid has: in order where they are as many a level, else every level has all.

    >>> shared_out([8, 4, 16, 32], 2), shared_out([8, 16, 32], 2)
    ([[4, 8], [16, 32]], [[8, 16, 32], [8, 16, 32]])

    Raises
    ------
    OptionError: no side, or one that is not positive.
    """
    ordered = sorted(sides)
    if not ordered or ordered[0] <= 0:
        raise OptionError("impossible anchors", expected="sides in samples, each greater than 0", got=list(sides))
    if len(ordered) % levels:
        return [ordered] * levels
    n = len(ordered) // levels
    return [ordered[i * n : (i + 1) * n] for i in range(levels)]


def anchors_of(
    shapes: Sequence[Sequence[int]], strides: Sequence[int], sides: Sequence[Sequence[float]], ratios: Sequence[float], device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Anchors about the centres of the cells of each level's map, ``[A, 2 * ndim]``; cells in order, all anchors of a cell together.

    A ratio is the side along the first axis over that along the others; area or volume stay those of a cube of the side.
    """
    levels = []
    for shape, stride, each in zip(shapes, strides, sides, strict=True):
        n = len(shape)
        half = torch.tensor([[side * ratio ** ((n - 1 if i == 0 else -1) / n) / 2 for i in range(n)] for side in each for ratio in ratios], device=device)
        middle = points_of(shape, stride, device)[:, None]
        levels.append(torch.cat([middle - half, middle + half], -1).flatten(0, 1))
    return torch.cat(levels)


def flat(maps: Sequence[torch.Tensor], k: int) -> torch.Tensor:
    """Maps ``[B, anchors * k, *shape]`` to ``[B, A, k]`` in the order of `anchors_of`."""
    return torch.cat([each.unflatten(1, (-1, k)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2) for each in maps], 1)


def encoded(boxes: torch.Tensor, anchors: torch.Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """Boxes relative to anchors ``[..., 2 * ndim]``: shift of the middle in sides, logarithm of the ratio of sides; times ``weights``."""
    n = boxes.shape[-1] // 2
    sides, own = anchors[..., n:] - anchors[..., :n], (boxes[..., n:] - boxes[..., :n]).clamp(min=1e-3)
    shift = (boxes[..., :n] + boxes[..., n:] - anchors[..., :n] - anchors[..., n:]) / 2 / sides
    return torch.cat([shift * weights[0], (own / sides).log() * weights[1]], -1)


def decoded(deltas: torch.Tensor, anchors: torch.Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """The inverse of `encoded`."""
    n = anchors.shape[-1] // 2
    sides = anchors[..., n:] - anchors[..., :n]
    middle = (anchors[..., :n] + anchors[..., n:]) / 2 + deltas[..., :n] / weights[0] * sides
    half = (deltas[..., n:] / weights[1]).clamp(max=LARGEST_LOG).exp() * sides / 2
    return torch.cat([middle - half, middle + half], -1)


def parted(truth: torch.Tensor, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The judged rows ``[N, 2 * d + 3]`` of one case's padded truth, and the boxes ``[I, 2 * d]`` that are ignored."""
    known = truth[truth[:, 2 * d] >= 0]
    ignored = known[:, 2 * d + 1] >= 0.5
    return known[~ignored], known[ignored][:, : 2 * d]


def unjudged(boxes: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """``[A]``: a box that an ignored one covers or meets, see `COVERED`; it is no background."""
    if not len(ignored):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    d = boxes.shape[1] // 2
    a, b = boxes[:, None], ignored[None]
    inner = (torch.minimum(a[..., d:], b[..., d:]) - torch.maximum(a[..., :d], b[..., :d])).clamp(min=0).prod(-1)
    own = (boxes[:, d:] - boxes[:, :d]).prod(-1).clamp(min=1e-6)
    return ((inner >= COVERED * own[:, None]) | (overlaps(a, b) >= MET)).any(1)


def adaptive(anchors: torch.Tensor, counts: Sequence[int], boxes: torch.Tensor) -> torch.Tensor:
    """Which of ``[N, 2 * ndim]`` true boxes each of ``[A, 2 * ndim]`` anchors answers for, -1: none; ``counts`` of the levels' anchors.

    Candidates are the anchors of each level whose middles are nearest; those whose overlap is at least mean plus standard
    deviation of all candidates', and whose middle lies in the box, are taken. Where none is left the best candidate is.
    """
    if not len(boxes):
        return torch.full((len(anchors),), -1, dtype=torch.long, device=anchors.device)
    d = anchors.shape[1] // 2
    middle = (anchors[:, :d] + anchors[:, d:]) / 2
    far = torch.cdist((boxes[:, :d] + boxes[:, d:]) / 2, middle)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    nearest = [each.topk(min(NEAREST, n), 1, largest=False).indices + start for each, n, start in zip(far.split(list(counts), 1), counts, starts, strict=True)]
    near = torch.cat(nearest, 1)
    iou = overlaps(boxes[:, None], anchors[near])
    within = ((middle[near] > boxes[:, None, :d]) & (middle[near] < boxes[:, None, d:])).all(-1)
    taken = within & (iou >= iou.mean(1, keepdim=True) + iou.std(1, keepdim=True, unbiased=False))
    taken |= ~taken.any(1, keepdim=True) & (torch.arange(near.shape[1], device=near.device) == iou.argmax(1, keepdim=True))
    score = torch.full((len(boxes), len(anchors)), -1.0, device=anchors.device).scatter(1, near, torch.where(taken, iou, torch.full_like(iou, -1.0)))
    best = score.max(0)
    return torch.where(best.values >= 0, best.indices, torch.full_like(best.indices, -1))
