"""One-stage detection in two and three dimensions: Redmon et al., *YOLO*, CVPR 2016, in the anchor-free form of Tian et al., *FCOS*, ICCV 2019,
with the task-aligned assignment of Feng et al., *TOOD*, ICCV 2021, and the two-way feature pyramid of Liu et al., *PANet*, CVPR 2018.

Our own code under our own licence. Plain residual stages of dense convolutions, which processors compute well; every step is exportable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._layers import layer, norm
from vesalius.networks._points import point_loss, points_of
from vesalius.networks._pyramid import body_of

RARE, EXPECTED = 0.01, 5.0
"""Probability of every class at the start (Lin et al., *Focal loss*, ICCV 2017), less where a map has so many cells that more than a few boxes would
be expected."""
FURTHEST = 64.0
"""A border lies at most so many cells from its point."""
COARSEST = 32
"""Stride of the coarsest map at most: sides of tiles are multiples of it."""


class Conv(nn.Sequential):
    """Convolution, norm, rectifier."""

    def __init__(self, ndim: int, before: int, after: int, kernel: int = 3, stride: int = 1, kind: str = "batch") -> None:
        super().__init__(layer("conv", ndim, before, after, kernel, stride, kernel // 2, bias=False), norm(kind, ndim, after), nn.SiLU(inplace=True))


class Block(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, ndim: int, width: int, kind: str) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(ndim, width, width, 3, 1, kind), Conv(ndim, width, width, 3, 1, kind))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.body(x)
        return out


class Backbone(nn.Module):
    """Maps at strides 2, 4, 8 ...; the last ``levels`` of them are given, the finest first."""

    def __init__(self, ndim: int, channels: int, widths: Sequence[int], depths: Sequence[int], levels: int, kind: str) -> None:
        super().__init__()
        before, stages = channels, []
        for width, depth in zip(widths, depths, strict=True):
            stages.append(nn.Sequential(Conv(ndim, before, width, 3, 2, kind), *(Block(ndim, width, kind) for _ in range(depth))))
            before = width
        self.stages, self.levels = nn.ModuleList(stages), levels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[-self.levels :]


class Neck(nn.Module):
    """What is coarse reaches what is fine, and back."""

    def __init__(self, ndim: int, widths: Sequence[int], width: int, kind: str) -> None:
        super().__init__()
        self.mode = "nearest"
        self.sides = nn.ModuleList(Conv(ndim, each, width, 1, 1, kind) for each in widths)
        self.fine = nn.ModuleList(Conv(ndim, 2 * width, width, 3, 1, kind) for _ in widths[1:])
        self.down = nn.ModuleList(Conv(ndim, width, width, 3, 2, kind) for _ in widths[1:])
        self.coarse = nn.ModuleList(Conv(ndim, 2 * width, width, 3, 1, kind) for _ in widths[1:])

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = [side(each) for side, each in zip(self.sides, maps, strict=True)]
        for i in range(len(maps) - 2, -1, -1):
            above = F.interpolate(maps[i + 1], scale_factor=2.0, mode=self.mode)
            maps[i] = self.fine[i](torch.cat([maps[i], above], 1))
        for i in range(1, len(maps)):
            maps[i] = self.coarse[i - 1](torch.cat([maps[i], self.down[i - 1](maps[i - 1])], 1))
        return maps


class Head(nn.Module):
    """Class logits (and the risk), and the distances to the borders in cells, each from its own convolutions; shared by all levels."""

    def __init__(self, ndim: int, width: int, n_out: int, kind: str) -> None:
        super().__init__()
        self.classes = nn.Sequential(Conv(ndim, width, width, 3, 1, kind), layer("conv", ndim, width, n_out, 1))
        self.borders = nn.Sequential(Conv(ndim, width, width, 3, 1, kind), layer("conv", ndim, width, 2 * ndim, 1))
        nn.init.constant_(self.borders[-1].bias, 1.0)  # type: ignore[arg-type]

    def expect(self, cells: int) -> None:
        """Start with few boxes among so many cells."""
        p = min(RARE, EXPECTED / cells)
        nn.init.constant_(self.classes[-1].bias, -math.log((1 - p) / p))  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.classes(x), self.borders(x)


class YoloLike(nn.Module):
    """See the contract of networks that detect in docs/architecture.md; ``multiple`` is the coarsest stride."""

    def __init__(
        self, channels: int, n_out: int, ndim: int, widths: Sequence[int], depths: Sequence[int], levels: int, width: int, risk: bool, kind: str,
        body: str | None = None,
    ) -> None:
        super().__init__()
        self.ndim, self.n_out, self.risk = ndim, n_out, risk
        self.strides = [2 ** (len(widths) - levels + 1 + i) for i in range(levels)]
        self.multiple = self.strides[-1]
        self.backbone: nn.Module
        if body is None:
            self.backbone, given = Backbone(ndim, channels, widths, depths, levels, kind), list(widths[-levels:])
        else:
            self.backbone, given = body_of(body, ndim, channels, self.strides)
        self.neck = Neck(ndim, given, width, kind)
        self.heads = nn.ModuleList(Head(ndim, width, n_out, kind) for _ in range(levels))

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        raw, boxes, points, strides = self._answers(x)
        if truth is None:
            return torch.cat([boxes, raw], -1)
        k = self.n_out - int(self.risk)
        return point_loss(raw[..., :k].float(), boxes.float(), raw[..., k].float() if self.risk else None, points, strides, truth)

    def _answers(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits ``[B, A, n_out]``, boxes ``[B, A, 2 * ndim]`` in samples, points ``[A, ndim]`` and strides ``[A]`` of all levels."""
        raws, boxes, points, strides = [], [], [], []
        for stride, head, each in zip(self.strides, self.heads, self.neck(self.backbone(x)), strict=True):
            raw, border = head(each)
            place = points_of(each.shape[2:], stride, each.device)
            reach = F.softplus(border.flatten(2).transpose(1, 2).float()).clamp(max=FURTHEST) * stride
            raws.append(raw.flatten(2).transpose(1, 2))
            boxes.append(torch.cat([place - reach[..., : self.ndim], place + reach[..., self.ndim :]], -1))
            points.append(place)
            strides.append(torch.full((len(place),), float(stride), device=each.device))
        return torch.cat(raws, 1).float(), torch.cat(boxes, 1), torch.cat(points), torch.cat(strides)


def yolo_like(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 16, depths: Sequence[int] | None = None, finest: int | None = None, levels: int = 3,
    neck: int | None = None, risk: bool = False, norm: str = "batch", backbone: str | None = None,
) -> nn.Module:
    """A one-stage detector.

    Parameters
    ----------
    width: channels at stride 2; each further stage has twice as many, at most sixteen times.
    depths: residual blocks of each stage; one or two by default.
    finest: stride of the finest map that answers, 8 by default in 2-D and 4 in 3-D; objects smaller than half of it are hard to find.
    levels: maps that answer, each twice as coarse as the one before.
    neck: channels of the pyramid, four times ``width`` by default. risk: the last of ``n_out`` is the risk of a box.
    norm: ``"batch"`` or ``"group"``.
    backbone: another backbone by name (`_pyramid.pyramid`), e.g. one that pretrained weights fit; None for our own. ``squeezenet`` has maps at
        strides 4, 8 and 16 only (``levels=2``).

    Raises
    ------
    OptionError: strides, levels or depths that cannot be; an unknown backbone, or one without maps at these strides.
    """
    ndim = len(size)
    finest = finest or (8 if ndim == 2 else 4)
    if finest not in (2, 4, 8, 16) or not 1 <= levels <= 4 or finest * 2 ** (levels - 1) > COARSEST or width < 1:
        given = f"finest {finest}, levels {levels}, width {width}"
        told = f"finest 2, 4, 8 or 16, 1 to 4 levels, none coarser than {COARSEST}, width >= 1"
        raise OptionError("impossible 'yolo-like'", expected=told, got=given)
    n = int(math.log2(finest)) + levels - 1
    widths = [width * min(2**i, 16) for i in range(n)]
    chosen = list(depths) if depths is not None else [min(i, 2) for i in range(n)]
    if len(chosen) != n or min(chosen) < 0:
        raise OptionError("impossible 'yolo-like'", expected=f"depths for {n} stages", got=chosen)
    network = YoloLike(channels, n_out, ndim, widths, chosen, levels, neck or 4 * width, risk, norm, backbone)
    for stride, head in zip(network.strides, network.heads, strict=True):
        head.expect(math.prod(-(-side // stride) for side in size))  # type: ignore[operator]
    return network


PAPER = "Redmon et al., YOLO, CVPR 2016; Tian et al., FCOS, ICCV 2019; Feng et al., TOOD, ICCV 2021"
enter(NetworkInfo("yolo-like", PAPER, 2021, (2, 3), 32, detects=True), yolo_like, "yolo")
