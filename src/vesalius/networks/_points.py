"""One-stage detection without anchors: points, which point answers for which box, and the loss.

Points: Tian et al., *FCOS*, ICCV 2019. Assignment: task alignment, Feng et al., *TOOD*, ICCV 2021. Box loss: Rezatofighi et al.,
*Generalized intersection over union*, CVPR 2019, which holds in any number of axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

ALIGN_SCORE, ALIGN_OVERLAP = 0.5, 6.0
"""Exponents of the class probability and of the overlap in the alignment of a point with a box (YOLOv8's use of TOOD)."""
MOST_POINTS = 10
"""Points that may answer for one box."""
TINY = 1e-7


def points_of(shape: Sequence[int], stride: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Centres of the cells of a map, in samples of the tile, ``[cells, ndim]``.

    >>> points_of((1, 2), 8).tolist()
    [[4.0, 4.0], [4.0, 12.0]]
    """
    axes = [(torch.arange(n, device=device, dtype=torch.float32) + 0.5) * stride for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def overlaps(a: torch.Tensor, b: torch.Tensor, generalized: bool = False) -> torch.Tensor:
    """Intersection over union of boxes ``[..., 2 * ndim]`` that broadcast; ``generalized`` lessens it by the empty share of the hull."""
    n = a.shape[-1] // 2
    inner = (torch.minimum(a[..., n:], b[..., n:]) - torch.maximum(a[..., :n], b[..., :n])).clamp(min=0).prod(-1)
    union = (a[..., n:] - a[..., :n]).clamp(min=0).prod(-1) + (b[..., n:] - b[..., :n]).clamp(min=0).prod(-1) - inner
    iou = inner / (union + TINY)
    if not generalized:
        return iou
    hull = (torch.maximum(a[..., n:], b[..., n:]) - torch.minimum(a[..., :n], b[..., :n])).clamp(min=0).prod(-1)
    return iou - (hull - union) / (hull + TINY)


def aligned(
    probability: torch.Tensor, boxes: torch.Tensor, points: torch.Tensor, strides: torch.Tensor, truth: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which true box each point of one case answers for.

    Parameters
    ----------
    probability: ``[A, K]`` of the classes. boxes: ``[A, 2 * ndim]`` predicted. points: ``[A, ndim]``; strides: ``[A]`` of their map.
    truth: ``[N, 2 * ndim + 1]``: corners and class.

    Returns
    -------
    ``[A]`` index of the true box (-1: none), and ``[A]`` the class target in [0, 1]: its alignment, scaled so that the best point of
    a box has that point's overlap.

    A box so small that no point lies in it is answered for by the points next to its middle. A box all of whose points went to another one
    (a small object upon a large one) gets its best point back.
    """
    a, n, d = len(points), len(truth), points.shape[1]
    if not n:
        return torch.full((a,), -1, device=points.device), torch.zeros(a, device=points.device)
    iou = overlaps(boxes[None], truth[:, None, : 2 * d])
    score = probability[:, truth[:, -1].long()].T
    inside = _inside(points, strides, truth, d)
    metric = torch.where(inside, score.clamp(min=TINY) ** ALIGN_SCORE * iou ** ALIGN_OVERLAP + TINY, torch.zeros_like(iou))
    best, place = metric.topk(min(MOST_POINTS, a), 1)
    chosen = torch.zeros_like(metric, dtype=torch.bool).scatter_(1, place, best > 0)
    owner = torch.where(chosen, iou + TINY, torch.full_like(iou, -1.0)).max(0)
    mine = _none_lost(torch.where(owner.values >= 0, owner.indices, torch.full_like(owner.indices, -1)), metric)
    kept = metric * (torch.arange(n, device=mine.device)[:, None] == mine[None])
    most = kept.amax(1, keepdim=True).clamp(min=TINY)
    reach = (iou * (kept > 0)).amax(1, keepdim=True)
    return mine, (kept / most * reach).amax(0)


def _none_lost(mine: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
    """Every box that has no point takes its best one from a box that keeps another."""
    counts = torch.bincount(mine[mine >= 0], minlength=len(metric))
    for k in torch.nonzero(counts == 0).flatten().tolist():
        free = (metric[k] > 0) & ((mine < 0) | (counts[mine.clamp(min=0)] > 1))
        if free.any():
            point = int(torch.where(free, metric[k], torch.full_like(metric[k], -1.0)).argmax())
            counts[mine[point]] -= int(mine[point] >= 0)
            mine[point], counts[k] = k, 1
    return mine


def _inside(points: torch.Tensor, strides: torch.Tensor, truth: torch.Tensor, d: int) -> torch.Tensor:
    """``[N, A]``: the point lies in the box, or within a cell of the middle of a box that is smaller than that."""
    low, high = truth[:, None, :d], truth[:, None, d : 2 * d]
    within = ((points[None] > low) & (points[None] < high)).all(-1)
    finest = strides.min()
    near = ((points[None] - (low + high) / 2).abs().amax(-1) <= finest) & (strides[None] == finest)
    return torch.where(within.any(1, keepdim=True), within, near)


def point_loss(
    raw: torch.Tensor, boxes: torch.Tensor, risk: torch.Tensor | None, points: torch.Tensor, strides: torch.Tensor, truth: torch.Tensor,
    weights: tuple[float, float] = (1.0, 2.5),
) -> torch.Tensor:
    """Loss per case ``[B]``.

    Parameters
    ----------
    raw: class logits ``[B, A, K]``. boxes: ``[B, A, 2 * ndim]``. risk: logits ``[B, A]`` or None.
    truth: ``[B, N, 2 * ndim + 3]``, see docs/architecture.md. weights: of the class loss and of the box loss.

    Each case's sum is divided by the batch's mean of the class targets, so that a case with many boxes counts more than one with few.
    """
    d = points.shape[1]
    parts, sums = [], []
    for one_raw, one_boxes, one_truth, one_risk in zip(raw, boxes, truth, risk if risk is not None else [None] * len(raw), strict=True):
        total, weight = _case_loss(one_raw, one_boxes, one_risk, points, strides, one_truth, weights, d)
        parts.append(total)
        sums.append(weight)
    return torch.stack(parts) / torch.stack(sums).mean().clamp(min=1.0)


def _case_loss(
    raw: torch.Tensor, boxes: torch.Tensor, risk: torch.Tensor | None, points: torch.Tensor, strides: torch.Tensor, truth: torch.Tensor,
    weights: tuple[float, float], d: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    known = truth[truth[:, 2 * d] >= 0]
    judged, ignored = known[known[:, 2 * d + 1] < 0.5], known[known[:, 2 * d + 1] >= 0.5]
    with torch.no_grad():
        mine, share = aligned(raw.sigmoid(), boxes, points, strides, judged[:, : 2 * d + 1])
        target = torch.zeros_like(raw)
        hit = mine >= 0
        target[hit, judged[mine[hit], 2 * d].long()] = share[hit]
        free = hit | ~_within_any(points, ignored, d)
    entropy = F.binary_cross_entropy_with_logits(raw, target, reduction="none").sum(1)
    total = weights[0] * (entropy * free).sum()
    if hit.any():
        own = judged[mine[hit]]
        total = total + weights[1] * ((1 - overlaps(boxes[hit], own[:, : 2 * d], True)) * share[hit]).sum()
        if risk is not None:
            total = total + _risk_loss(risk[hit], own[:, 2 * d + 2], share[hit])
    return total, share.sum()


def _within_any(points: torch.Tensor, boxes: torch.Tensor, d: int) -> torch.Tensor:
    if not len(boxes):
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)
    return ((points[:, None] > boxes[None, :, :d]) & (points[:, None] < boxes[None, :, d : 2 * d])).all(-1).any(1)


def _risk_loss(raw: torch.Tensor, truth: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    known = torch.isfinite(truth) & (truth >= 0)
    each = F.binary_cross_entropy_with_logits(raw[known], truth[known], reduction="none")
    return (each * share[known]).sum()
