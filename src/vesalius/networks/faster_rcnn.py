"""Faster R-CNN, two stages: Ren et al., *Faster R-CNN: towards real-time object detection with region proposal networks*, NeurIPS 2015.

Proposals on a pyramid of features (Lin et al., CVPR 2017), each then looked at by itself (RoIAlign: He et al., *Mask R-CNN*, ICCV 2017).
The layers are torchvision's. Proposals, sampling and loss are ours: torchvision's give one number a batch and as many boxes as
there happen to be, and know no boxes that are not judged. A box is refined for all classes alike.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from vesalius.errors import OptionError
from vesalius.networks._anchors import PADDED, anchors_of, decoded, default_sides, encoded, flat, parted, shared_out, unjudged
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._points import overlaps
from vesalius.networks._pyramid import Pyramid, pyramid
from vesalius.networks.retinanet import risk_loss

RATIOS = (0.5, 1.0, 2.0)
SCALES = 2
"""Sides of anchors at each level, by default."""
FIRST, SECOND = (256, 0.5, 0.7, 0.3), (128, 0.25, 0.5, 0.5)
"""Of each stage: boxes that are learnt from in a case, the largest part of them that holds something, and the overlaps from which one holds
something and below which it is background (Ren et al.; Girshick, *Fast R-CNN*, ICCV 2015)."""
TO_BOX = (10.0, 5.0)
"""How much a shift and a change of size weigh in the second stage."""
BEFORE, LEARNT = 1000, 500
"""Proposals of each level before suppression; of a case after it in training."""
SAME = 0.7
"""Proposals that overlap more than this are one."""
NEVER = -1e4
"""A logit that counts for nothing in a sum; some engines are wrong with infinity."""
LEAST = 0.1
"""Samples along each side of a proposal."""
CELLS = 7
"""RoIAlign's cells along each side of a box."""
XY = (1, 0, 3, 2)
"""Our order of corners to torchvision's, and back."""


class FasterRCNN(nn.Module):
    """See the contract of networks that detect in docs/architecture.md; it gives ``proposals`` candidates."""

    def __init__(
        self, backbone: Pyramid, n_out: int, sides: Sequence[Sequence[float]], ratios: Sequence[float], proposals: int, hidden: int, risk: bool,
    ) -> None:
        super().__init__()
        self.n_out, self.risk, self.proposals = n_out, risk, proposals
        self.sides, self.ratios = [list(each) for each in sides], list(ratios)
        self.backbone, self.multiple = backbone, 32
        detection = library("torchvision.models.detection")
        self.first = detection.rpn.RPNHead(backbone.width, len(self.sides[0]) * len(self.ratios))
        self.names = [str(i) for i in range(len(backbone.strides) - int(backbone.pooled))]
        self.align = library("torchvision.ops").MultiScaleRoIAlign(self.names, CELLS, 2)
        self.head = detection.faster_rcnn.TwoMLPHead(backbone.width * CELLS**2, hidden)
        self.classes, self.borders = nn.Linear(hidden, n_out - int(risk) + 1), nn.Linear(hidden, 4)
        self.danger = nn.Linear(hidden, 1) if risk else None
        for module in (self.classes, self.borders):  # as in Fast R-CNN: at first every class is as likely and no box moves
            nn.init.normal_(module.weight, std=0.01 if module is self.classes else 0.001)
            nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        size, maps = tuple(int(n) for n in x.shape[2:]), self.backbone(x)
        found, shifts = self.first(maps)
        there, deltas = flat(found, 1)[..., 0].float(), flat(shifts, 4).float()
        anchors = anchors_of([each.shape[2:] for each in maps], self.backbone.strides, self.sides, self.ratios, x.device)
        counts = [each.shape[1] * each.shape[2:].numel() for each in found]
        boxes = decoded(deltas.detach(), anchors)
        proposed, valid = proposals(there.detach(), boxes, counts, size, self.proposals if truth is None else LEARNT)
        if truth is None:
            return self._candidates(maps, proposed, valid, size)
        cases = [parted(each, 2) for each in truth]
        first = [first_loss(each, delta, anchors, *case) for each, delta, case in zip(there, deltas, cases, strict=True)]
        return torch.stack(first) + self._second_loss(maps, proposed, valid, size, cases)

    def _look(self, maps: list[torch.Tensor], boxes: list[torch.Tensor], size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Of all boxes of all cases: logits of background and classes ``[N, K + 1]``, changes ``[N, 4]``, logit of the risk ``[N]``."""
        ours = [each[:, XY] for each in boxes]
        if isinstance(maps[0], FakeTensor):  # only shapes are followed (`cost`): which map a box is read from is not known then
            cells = library("torchvision.ops").roi_align(maps[0], ours, CELLS, 1 / self.backbone.strides[0], 2)
        else:
            cells = self.align(OrderedDict(zip(self.names, maps, strict=False)), ours, [size] * len(boxes))
        seen = self.head(cells)
        return self.classes(seen).float(), self.borders(seen).float(), self.danger(seen)[:, 0].float() if self.danger is not None else None

    def _candidates(self, maps: list[torch.Tensor], proposed: torch.Tensor, valid: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        raw, deltas, danger = self._look(maps, list(proposed), size)
        values = [one_against_rest(raw)] + ([danger[:, None]] if danger is not None else [])
        shown = torch.cat(values, 1).unflatten(0, valid.shape)
        shown = torch.where(valid[..., None], shown, torch.full_like(shown, PADDED))
        return torch.cat([decoded(deltas.unflatten(0, valid.shape), proposed, TO_BOX), shown], -1)

    def _second_loss(
        self, maps: list[torch.Tensor], proposed: torch.Tensor, valid: torch.Tensor, size: tuple[int, ...], cases: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        chosen = [second_samples(boxes[each], *case) for boxes, each, case in zip(proposed, valid, cases, strict=True)]
        raw, deltas, danger = self._look(maps, [boxes for boxes, _ in chosen], size)
        losses, start = [], 0
        for (boxes, mine), (judged, _) in zip(chosen, cases, strict=True):
            part = slice(start, start + len(boxes))
            losses.append(second_loss(raw[part], deltas[part], danger[part] if danger is not None else None, boxes, mine, judged))
            start += len(boxes)
        return torch.stack(losses)


def proposals(there: torch.Tensor, boxes: torch.Tensor, counts: Sequence[int], size: tuple[int, ...], n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest ``n`` boxes of each case that do not overlap much within a level: ``[B, n, 4]``, and whether there is one ``[B, n]``.

    there: logits ``[B, A]``. boxes: ``[B, A, 4]``. Fewer than ``n`` where there are not so many anchors.
    """
    starts = [sum(counts[:i]) for i in range(len(counts))]
    place = torch.cat([each.topk(min(BEFORE, m), 1).indices + at for each, m, at in zip(there.split(list(counts), 1), counts, starts, strict=True)], 1)
    level = torch.cat([torch.full((min(BEFORE, m),), i, device=there.device) for i, m in enumerate(counts)])
    score, kept = there.gather(1, place).sigmoid(), boxes.gather(1, place[..., None].expand(-1, -1, 4))
    most = torch.tensor([*size, *size], dtype=kept.dtype, device=kept.device)
    kept = torch.minimum(kept.clamp(min=0), most)
    there_is = (kept[..., 2:] - kept[..., :2] >= LEAST).all(-1)
    score = torch.stack([alone(*case, level, max(size)) for case in zip(kept, torch.where(there_is, score, -score), strict=True)])
    best = score.topk(min(n, score.shape[1]), 1)
    return kept.gather(1, best.indices[..., None].expand(-1, -1, 4)), best.values > 0


def alone(boxes: torch.Tensor, score: torch.Tensor, level: torch.Tensor, side: int) -> torch.Tensor:
    """The scores ``[A]`` of one case, -1 where a likelier box of the same level overlaps by more than `SAME`."""
    if isinstance(boxes, FakeTensor):  # only shapes are followed: how many are kept depends on numbers
        return score
    kept = library("torchvision.ops").nms(boxes + (level * (2.0 * side))[:, None], score, SAME)
    return torch.where(torch.zeros_like(score).scatter(0, kept, torch.ones_like(score[kept])) > 0, score, torch.full_like(score, -1.0))


def one_against_rest(raw: torch.Tensor) -> torch.Tensor:
    """Logits of soft-max ``[N, K + 1]``, the background first, to a logit for each class alone ``[N, K]`` with the same probability."""
    k = raw.shape[1] - 1
    numbers = torch.arange(k + 1, device=raw.device)
    own = numbers[1:, None] == numbers
    rest = raw[:, None].expand(-1, k, -1).masked_fill(own, NEVER)
    most = rest.amax(-1, keepdim=True)
    return raw[:, 1:] - most[..., 0] - (rest - most).exp().sum(-1).log()


def matched(boxes: torch.Tensor, judged: torch.Tensor, ignored: torch.Tensor, stage: tuple[int, float, float, float], best: bool) -> torch.Tensor:
    """What each of ``[A, 4]`` boxes holds: index of a true box, -1 background, -2 not to be learnt from.

    best: the boxes that meet a true box most hold it, however little that is.
    """
    matcher = library("torchvision.models.detection._utils").Matcher(stage[2], stage[3], allow_low_quality_matches=best)
    if len(judged):
        mine: torch.Tensor = matcher(overlaps(judged[:, None, :4], boxes[None]))
    else:
        mine = torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    return torch.where((mine == -1) & unjudged(boxes, ignored), torch.full_like(mine, -2), mine)


def sampled(mine: torch.Tensor, stage: tuple[int, float, float, float]) -> torch.Tensor:
    """Places of the boxes that are learnt from, drawn at random from torch's own generator."""
    # its numbers: 1 holds something, 0 background, -1 neither
    sampler = library("torchvision.models.detection._utils").BalancedPositiveNegativeSampler(stage[0], stage[1])
    positive, negative = sampler([(mine + 1).clamp(max=1)])
    return torch.where((positive[0] + negative[0]) > 0)[0]


def first_loss(there: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, judged: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """Loss of the proposals of one case: is there something, and where."""
    mine = matched(anchors, judged, ignored, FIRST, True)
    place = sampled(mine, FIRST)
    hit = place[mine[place] >= 0]
    loss = F.binary_cross_entropy_with_logits(there[place], (mine[place] >= 0).float(), reduction="sum")
    target = encoded(judged[mine[hit], :4], anchors[hit])
    return (loss + F.smooth_l1_loss(deltas[hit], target, beta=1 / 9, reduction="sum")) / max(len(place), 1)


def second_samples(boxes: torch.Tensor, judged: torch.Tensor, ignored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Proposals (and true boxes) of one case that are learnt from ``[S, 4]``, and the true box that each holds ``[S]``, -1: none."""
    boxes = torch.cat([boxes, judged[:, :4].to(boxes.dtype)])
    mine = matched(boxes, judged, ignored, SECOND, False)
    place = sampled(mine, SECOND)
    return boxes[place], mine[place]


def second_loss(
    raw: torch.Tensor, deltas: torch.Tensor, danger: torch.Tensor | None, boxes: torch.Tensor, mine: torch.Tensor, judged: torch.Tensor,
) -> torch.Tensor:
    """Loss of the second stage of one case: what is it, where exactly, and its risk."""
    hit = mine >= 0
    own, target = judged[mine[hit]], torch.zeros_like(mine)
    target[hit] = own[:, 4].long() + 1
    loss = F.cross_entropy(raw, target, reduction="sum")
    loss = loss + F.smooth_l1_loss(deltas[hit], encoded(own[:, :4], boxes[hit], TO_BOX), beta=1 / 9, reduction="sum")
    if danger is not None:
        loss = loss + risk_loss(danger[hit], own[:, 6]).sum()
    return loss / max(len(mine), 1)


def faster_rcnn(
    channels: int, n_out: int, size: tuple[int, ...], backbone: str = "mobilenet_v3_large", anchors: Sequence[float] | None = None,
    ratios: Sequence[float] = RATIOS, finest: int = 8, width: int = 128, hidden: int = 512, n_proposals: int = 300, risk: bool = False,
) -> nn.Module:
    """Faster R-CNN.

    Parameters
    ----------
    backbone: see `_pyramid.pyramid`, e.g. ``resnet50``, ``squeezenet``, ``efficientnet-lite0``.
    anchors: sides in samples, shared out over the levels of the pyramid as `_anchors.shared_out` says; by default from ``size``.
    ratios: of an anchor's height to its width. finest: stride of the finest map. width: channels of the pyramid, a multiple of 8.
    hidden: width of the second stage. n_proposals: boxes that the second stage looks at. risk: the last of ``n_out`` is the risk of a box.

    Raises
    ------
    OptionError: an unknown backbone, anchors or ratios that are none, no proposal, or a pyramid that cannot be.
    """
    made = pyramid(backbone, 2, channels, finest, width)
    levels = len(made.strides)
    sides = shared_out(default_sides(size, SCALES * levels) if anchors is None else anchors, levels)
    if not ratios or min(ratios) <= 0 or min(hidden, n_proposals) < 1:
        given = f"ratios {list(ratios)}, hidden {hidden}, n_proposals {n_proposals}"
        raise OptionError("impossible 'faster-rcnn'", expected="ratios greater than 0, hidden and n_proposals of at least 1", got=given)
    return FasterRCNN(made, n_out, sides, ratios, n_proposals, hidden, risk)


PAPER = "Ren et al., Faster R-CNN, NeurIPS 2015"
enter(NetworkInfo("faster-rcnn", PAPER, 2015, (2,), 32, licence="BSD-3-Clause", library="torchvision", detects=True), faster_rcnn)
