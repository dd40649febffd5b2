"""RetinaNet in two and three dimensions: Lin et al., *Focal loss for dense object detection*, ICCV 2017.

One stage with anchors on a pyramid of features; the heads are MONAI's n-D ones (Cardoso et al., arXiv:2211.02701, 2022), the anchors are
assigned as by Zhang et al., *ATSS*, CVPR 2020, and boxes learn by Rezatofighi et al., *Generalized intersection over union*, CVPR 2019.
Assignment and loss are ours: MONAI's give one number a batch, and know no boxes that are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._anchors import adaptive, anchors_of, decoded, default_sides, encoded, flat, parted, shared_out, unjudged
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._points import overlaps
from vesalius.networks._pyramid import Pyramid, pyramid

ALPHA, GAMMA = 0.25, 2.0
"""Weight of what is there against what is not, and by how much what is easy counts less (Lin et al.)."""
BOX_WEIGHT = 2.0
TO_BOX = (4.0, 4.0)
"""By how much a raw change of an anchor is divided: a step of the optimizer moves all raw values alike, and boxes ten times too large learn slowly."""
MOST = 1000
"""Candidates that are given for a tile: those with the largest raw value of a class."""
SCALES = {2: 2, 3: 1}
"""Sides of anchors at each level, by default."""
RATIOS: dict[int, tuple[float, ...]] = {2: (0.5, 1.0, 2.0), 3: (1.0,)}


class RetinaNet(nn.Module):
    """See the contract of networks that detect in docs/architecture.md."""

    def __init__(self, backbone: Pyramid, n_out: int, ndim: int, sides: Sequence[Sequence[float]], ratios: Sequence[float], risk: bool) -> None:
        super().__init__()
        self.ndim, self.n_out, self.risk = ndim, n_out, risk
        self.sides, self.ratios = [list(each) for each in sides], list(ratios)
        self.backbone, self.multiple = backbone, 32 if ndim == 2 else 16
        n = len(self.sides[0]) * len(self.ratios)
        heads = library("monai.apps.detection.networks.retinanet_network")
        self.classes = heads.RetinaNetClassificationHead(backbone.width, n, n_out, ndim)
        self.borders = heads.RetinaNetRegressionHead(backbone.width, n, ndim)

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        maps = self.backbone(x)
        # MONAI's own forward looks at every value for NaN, which neither an exporter nor a plan can follow
        raw = flat([self.classes.cls_logits(self.classes.conv(each)) for each in maps], self.n_out).float()
        deltas = flat([self.borders.bbox_reg(self.borders.conv(each)) for each in maps], 2 * self.ndim).float()
        anchors = anchors_of([each.shape[2:] for each in maps], self.backbone.strides, self.sides, self.ratios, x.device)
        boxes = decoded(deltas, anchors, TO_BOX)
        if truth is None:
            return self._best(raw, boxes)
        counts = [each.shape[2:].numel() * len(self.sides[0]) * len(self.ratios) for each in maps]
        return torch.stack([self._case_loss(*case, anchors, counts) for case in zip(raw, boxes, deltas, truth, strict=True)])

    def _best(self, raw: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        k = self.n_out - int(self.risk)
        place = raw[..., :k].amax(-1).topk(min(MOST, raw.shape[1]), 1).indices[..., None]
        both = torch.cat([boxes, raw], -1)
        return both.gather(1, place.expand(-1, -1, both.shape[-1]))

    def _case_loss(
        self, raw: torch.Tensor, boxes: torch.Tensor, deltas: torch.Tensor, truth: torch.Tensor, anchors: torch.Tensor, counts: Sequence[int],
    ) -> torch.Tensor:
        d, k = self.ndim, self.n_out - int(self.risk)
        judged, ignored = parted(truth, d)
        mine = adaptive(anchors, counts, judged[:, : 2 * d])
        hit = mine >= 0
        target = torch.zeros_like(raw[:, :k])
        target[hit, judged[mine[hit], 2 * d].long()] = 1
        loss = (focal(raw[:, :k], target).sum(1) * (hit | ~unjudged(anchors, ignored))).sum()
        if hit.any():
            own = judged[mine[hit]]
            loss = loss + BOX_WEIGHT * box_loss(boxes[hit], deltas[hit], anchors[hit], own[:, : 2 * d])
            loss = loss + (risk_loss(raw[hit, k], own[:, 2 * d + 2]).sum() if self.risk else 0.0)
        return loss / hit.sum().clamp(min=1)


def focal(raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each logit, weighted by `ALPHA` and by how wrong it is to the power of `GAMMA`; the shape of ``raw``."""
    p = raw.sigmoid()
    wrong = p + target - 2 * p * target
    return (ALPHA * target + (1 - ALPHA) * (1 - target)) * wrong**GAMMA * F.binary_cross_entropy_with_logits(raw, target, reduction="none")


def box_loss(boxes: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """What the generalised overlap lacks, and the distance of the changes of the anchors from the right ones: the overlap of a box far too large
    hardly depends on its sides (both together: Carion et al., *DETR*, ECCV 2020)."""
    far = F.smooth_l1_loss(deltas, encoded(truth, anchors, TO_BOX), beta=1.0, reduction="sum") / TO_BOX[0]
    return (1 - overlaps(boxes, truth, True)).sum() + far


def risk_loss(raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each box whose risk is known (0 or 1), ``[known]``; NaN or a negative number: not known."""
    known = torch.isfinite(truth) & (truth >= 0)
    return F.binary_cross_entropy_with_logits(raw[known], truth[known], reduction="none")


def retinanet(
    channels: int, n_out: int, size: tuple[int, ...], backbone: str | None = None, anchors: Sequence[float] | None = None,
    ratios: Sequence[float] | None = None, finest: int | None = None, width: int | None = None, risk: bool = False,
) -> nn.Module:
    """RetinaNet.

    Parameters
    ----------
    backbone: see `_pyramid.pyramid`; by default ``resnet18`` in 2-D and ``resnet10`` in 3-D.
    anchors: sides in samples, shared out over the levels of the pyramid as `_anchors.shared_out` says; by default from ``size``.
    ratios: of an anchor's first side to its others. finest: stride of the finest map, 8 by default in 2-D and 4 in 3-D.
    width: channels of the pyramid, a multiple of 8; 128 in 2-D and 64 in 3-D. risk: the last of ``n_out`` is the risk of a box.

    Raises
    ------
    OptionError: an unknown backbone, anchors or ratios that are none, or a pyramid that cannot be.
    """
    d = len(size)
    made = pyramid(backbone or {2: "resnet18", 3: "resnet10"}[d], d, channels, finest or {2: 8, 3: 4}[d], width or {2: 128, 3: 64}[d])
    levels = len(made.strides)
    sides = shared_out(default_sides(size, SCALES[d] * levels) if anchors is None else anchors, levels)
    shapes = RATIOS[d] if ratios is None else tuple(ratios)
    if not shapes or min(shapes) <= 0:
        raise OptionError("impossible anchors", expected="ratios of sides, each greater than 0", got=list(shapes))
    return RetinaNet(made, n_out, d, sides, shapes, risk)


PAPER = "Lin et al., Focal loss for dense object detection, ICCV 2017"
enter(NetworkInfo("retinanet", PAPER, 2017, (2, 3), 32, library="MONAI", detects=True), retinanet)
