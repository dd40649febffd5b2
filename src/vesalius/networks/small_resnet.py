"""Our default: a small residual network made for ordinary CPUs.

He et al., *Deep residual learning for image recognition*, CVPR 2016 (basic blocks), with the average-pooled
shortcut and the zero start of each block's last norm of He T. et al., *Bag of tricks for image
classification with convolutional neural networks*, CVPR 2019.

It gives most of what a deep network gives on small medical images in minutes: 0.7 million weights at
width 32, a first map of at most 64 samples a side (24 in 3-D) whatever the image's size, and a norm after
each convolution, so that the two can be folded into one for export.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._layers import SqueezeExcite, layer, norm

LARGEST_MAP = {2: 64, 3: 24}
"""Samples along an axis of the first residual stage."""


class Block(nn.Module):
    """Two convolutions of 3 and a shortcut; ``[B, C, ...] -> [B, after, .../stride]``."""

    def __init__(self, before: int, after: int, stride: int, ndim: int, kind: str, squeeze: bool) -> None:
        super().__init__()
        self.conv1 = layer("conv", ndim, before, after, 3, stride, 1, bias=False)
        self.norm1 = norm(kind, ndim, after)
        self.conv2 = layer("conv", ndim, after, after, 3, 1, 1, bias=False)
        self.norm2 = norm(kind, ndim, after)
        self.squeeze = SqueezeExcite(after, ndim) if squeeze else nn.Identity()
        self.shortcut = nn.Identity() if stride == 1 and before == after else _shortcut(before, after, stride, ndim, kind)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        out: torch.Tensor = self.act(self.squeeze(y) + self.shortcut(x))
        return out


def _shortcut(before: int, after: int, stride: int, ndim: int, kind: str) -> nn.Module:
    pool = layer("mean", ndim, 2, ceil_mode=True, count_include_pad=False) if stride == 2 else nn.Identity()
    return nn.Sequential(pool, layer("conv", ndim, before, after, 1, bias=False), norm(kind, ndim, after))


class SmallResNet(nn.Module):
    """Stem, residual stages of doubling width, mean over the map, dense layer."""

    def __init__(
        self, channels: int, n_out: int, size: Sequence[int], width: int, depth: Sequence[int], kind: str, squeeze: bool, dropout: float,
    ) -> None:
        super().__init__()
        ndim = len(size)
        self.stem = _stem(channels, width, size, kind)
        stages, before = [], width
        for i, blocks in enumerate(depth):
            after = width * 2**i
            each = [Block(before if j == 0 else after, after, 2 if i and j == 0 else 1, ndim, kind, squeeze) for j in range(blocks)]
            stages.append(nn.Sequential(*each))
            before = after
        self.stages = nn.Sequential(*stages)
        self.pool = layer("to_mean", ndim, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, n_out)
        self._start()

    def _start(self) -> None:
        """He-normal convolutions; each block starts as its shortcut."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(module.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.stages(self.stem(x))
        out: torch.Tensor = self.head(self.dropout(self.pool(maps).flatten(1)))
        return out


def _stem(channels: int, width: int, size: Sequence[int], kind: str) -> nn.Module:
    """Convolutions of 3; as many with stride 2 (an axis at a time where lengths differ) as the first map needs."""
    ndim, now = len(size), list(size)
    layers: list[nn.Module] = []
    before = channels
    while not layers or max(now) > LARGEST_MAP[ndim]:
        stride = tuple(2 if n > LARGEST_MAP[ndim] else 1 for n in now)
        layers += [layer("conv", ndim, before, width, 3, stride, 1, bias=False), norm(kind, ndim, width), nn.ReLU(inplace=True)]
        now = [-(-n // step) for n, step in zip(now, stride, strict=True)]
        before = width
    return nn.Sequential(*layers)


def small_resnet(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 32, depth: Sequence[int] = (2, 2, 2),
    norm: str = "batch", squeeze_excite: bool = False, dropout: float = 0.1,
) -> nn.Module:
    """A small residual network.

    Parameters
    ----------
    width: channels of the first stage; each further stage has twice as many.
    depth: residual blocks in each stage.
    norm: ``"batch"``, or ``"group"`` for tiny batches and private training.
    squeeze_excite: channel attention in each block.
    dropout: share of the pooled features that is left out in training.

    Raises
    ------
    OptionError: no stage, a width or dropout out of range, an unknown norm.
    """
    if width < 1 or not depth or min(depth) < 1 or not 0 <= dropout < 1:
        given = f"width {width}, depth {tuple(depth)}, dropout {dropout}"
        raise OptionError("impossible 'small-resnet'", expected="width >= 1, depth of at least one block a stage, 0 <= dropout < 1", got=given)
    return SmallResNet(channels, n_out, size, width, depth, norm, squeeze_excite, dropout)


PAPER = "He et al., Deep residual learning for image recognition, CVPR 2016; He T. et al., Bag of tricks, CVPR 2019"
enter(NetworkInfo("small-resnet", PAPER, 2019, (2, 3), 8), small_resnet)
