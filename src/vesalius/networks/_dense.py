"""What networks for each sample share: convolution blocks, the ladder of levels, and the U that joins them.

A ladder has one width, stride and kernel a level, the finest first. The stride of a level is the step by which it is
coarser than the level before; that of the first is 1.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._layers import layer
from vesalius.networks._layers import norm as mixing_norm

LEAST_MAP = 4
"""Samples along an axis of the coarsest map."""
SLOPE = 0.01
"""Of the leaky rectifier, as in nnU-Net."""
MAX_WIDTH = {2: 512, 3: 320}
Each = int | Sequence[int]


@dataclass(frozen=True)
class Style:
    """How the convolutions of a network are made: ``norm`` (instance, batch or group), ``bias``, ``slope`` of the rectifier."""

    ndim: int
    norm: str = "instance"
    bias: bool = False
    slope: float = SLOPE


@dataclass(frozen=True)
class Ladder:
    """Width, stride and kernel of each level, the finest first."""

    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.widths)


def norm(style: Style, channels: int) -> nn.Module:
    """Instance norm (Ulyanov et al., 2016: each image and channel alone, fit for batches of two), batch or group norm.

    Raises
    ------
    OptionError: another kind.
    """
    if style.norm == "instance":
        return (nn.InstanceNorm2d, nn.InstanceNorm3d)[style.ndim - 2](channels, affine=True)
    if style.norm not in ("batch", "group"):
        raise OptionError(f"unknown norm '{style.norm}'", expected="instance, batch or group")
    return mixing_norm(style.norm, style.ndim, channels)


class ConvNorm(nn.Module):
    """Convolution, norm and (unless ``active`` is False) rectifier; ``[B, before, ...] -> [B, after, ceil(.../stride)]``."""

    def __init__(self, before: int, after: int, kernel: Sequence[int], stride: Sequence[int], style: Style, active: bool = True) -> None:
        super().__init__()
        padding = tuple((k - 1) // 2 for k in kernel)
        self.conv = layer("conv", style.ndim, before, after, tuple(kernel), tuple(stride), padding, bias=style.bias)
        self.norm = norm(style, after)
        self.act = rectifier(style) if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(self.norm(self.conv(x)))
        return out


def rectifier(style: Style) -> nn.Module:
    return nn.LeakyReLU(style.slope, inplace=True) if style.slope else nn.ReLU(inplace=True)


def stack(before: int, after: int, kernel: Sequence[int], stride: Sequence[int], n: int, style: Style) -> nn.Sequential:
    """``n`` convolutions, the first with the stride."""
    ones = (1,) * style.ndim
    return nn.Sequential(*[ConvNorm(before if i == 0 else after, after, kernel, stride if i == 0 else ones, style) for i in range(n)])


class UNet(nn.Module):
    """An encoder's maps brought back to full size, each joined with the encoder's map of its own level.

    ``encoder[i]`` makes the map of level i, ``up[i]`` and ``decoder[i]`` come back from level i + 1 to level i, ``heads[i]``
    gives raw values at level i. With a ``stem`` the image's samples go to channels first (2 x 2 becomes 4 channels) and the finest
    head's channels go back to samples, so that nothing is computed at full size and nothing of the image is lost.

    ``[B, C, *size] -> [B, n_out, *size]`` for any size; in training with several heads a list, the finest first, each coarser one at
    its own size.
    """

    def __init__(self, encoder: Sequence[nn.Module], ladder: Ladder, n_out: int, convs: Sequence[int], style: Style, heads: int, stem: tuple[int, ...]) -> None:
        super().__init__()
        ones, widths = (1,) * style.ndim, ladder.widths
        self.stem, self.encoder = stem, nn.ModuleList(encoder)
        self.up, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (width, below) in enumerate(itertools.pairwise(widths)):
            self.up.append(layer("transposed", style.ndim, below, width, ladder.strides[i + 1], ladder.strides[i + 1], bias=style.bias))
            self.decoder.append(stack(2 * width, width, ladder.kernels[i], ones, convs[i], style))
        for i in range(heads):
            self.heads.append(layer("conv", style.ndim, widths[i], n_out * (math.prod(stem) if i == 0 else 1), 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        size, maps = x.shape[2:], []
        x = to_channels(x, self.stem)
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        outs: list[torch.Tensor] = []
        for i in reversed(range(len(self.up))):
            x = torch.cat((cut(self.up[i](x), maps[i].shape[2:]), maps[i]), 1)
            x = self.decoder[i](x)
            if i == 0 or (self.training and i < len(self.heads)):
                outs.insert(0, self.heads[i](x))
        outs[0] = cut(to_samples(outs[0], self.stem), size)
        return outs if self.training and len(self.heads) > 1 else outs[0]


def cut(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Leave out what transposed convolutions and padding put behind the end of an odd axis."""
    return x if tuple(x.shape[2:]) == tuple(size) else x[(slice(None), slice(None), *(slice(n) for n in size))]


def to_channels(x: torch.Tensor, by: Sequence[int]) -> torch.Tensor:
    """Blocks of samples to channels (Shi et al., *Real-time single image super-resolution*, CVPR 2016), the end padded with zeros.

    ``[B, C, *size] -> [B, C * prod(by), *ceil(size / by)]``.
    """
    if max(by) == 1:
        return x
    missing = [-n % step for n, step in zip(x.shape[2:], by, strict=True)]
    x = F.pad(x, [amount for end in reversed(missing) for amount in (0, end)])
    split = [part for n, step in zip(x.shape[2:], by, strict=True) for part in (n // step, step)]
    axes = range(len(by))
    x = x.reshape(*x.shape[:2], *split).permute(0, 1, *(3 + 2 * i for i in axes), *(2 + 2 * i for i in axes))
    return x.flatten(1, 1 + len(by))


def to_samples(x: torch.Tensor, by: Sequence[int]) -> torch.Tensor:
    """The inverse of `to_channels`: ``[B, C * prod(by), *size] -> [B, C, *(size * by)]``."""
    if max(by) == 1:
        return x
    n = len(by)
    x = x.unflatten(1, (-1, *by)).permute(0, 1, *(axis for i in range(n) for axis in (2 + n + i, 2 + i)))
    return x.reshape(*x.shape[:2], *(x.shape[2 + 2 * i] * x.shape[3 + 2 * i] for i in range(n)))


def start(network: nn.Module, slope: float) -> nn.Module:
    """He-normal convolutions for that rectifier, zero biases; in place."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def fitting_strides(size: Sequence[int], depth: int | None = None, least: int = LEAST_MAP) -> tuple[tuple[int, ...], ...]:
    """Strides of the levels of a tile: each axis is halved as long as it keeps ``least`` samples; ``depth`` bounds the levels.

    >>> fitting_strides((16, 32))
    ((1, 1), (2, 2), (2, 2), (1, 2))
    """
    now, strides = list(size), [(1,) * len(size)]
    while depth is None or len(strides) < depth:
        step = tuple(2 if -(-n // 2) >= least else 1 for n in now)
        if max(step) == 1:
            break
        strides.append(step)
        now = [-(-n // each) for n, each in zip(now, step, strict=True)]
    return tuple(strides)


def ladder_of(
    size: Sequence[int], width: Each, depth: int | None, strides: Sequence[Each] | None, kernels: Sequence[Each] | None, max_width: int | None,
    least_levels: int = 2,
) -> Ladder:
    """The ladder that the options of a builder describe; what is None is found from the size.

    Raises
    ------
    OptionError: fewer than ``least_levels`` levels, lists of different lengths, a width, stride or kernel that is none.
    """
    ndim = len(size)
    depth = len(width) if depth is None and strides is None and not isinstance(width, int) else depth
    steps = fitting_strides(size, depth) if strides is None else tuple(axes(step, ndim) for step in strides)
    steps = steps[:depth] if depth is not None else steps
    shapes = [axes(each, ndim) for each in kernels] if kernels is not None else [(3,) * ndim] * len(steps)
    most = max_width or MAX_WIDTH[ndim]
    widths = [min(width * 2**i, most) for i in range(len(steps))] if isinstance(width, int) else [int(w) for w in width]
    found = Ladder(tuple(widths[: len(steps)]), steps, tuple(shapes[: len(steps)]))
    _check(found, size, least_levels)
    return found


def _check(ladder: Ladder, size: Sequence[int], least: int) -> None:
    lengths = {len(ladder.widths), len(ladder.strides), len(ladder.kernels)}
    given = f"widths {ladder.widths}, strides {ladder.strides}, kernels {ladder.kernels} for size {tuple(size)}"
    if len(lengths) > 1 or len(ladder) < least:
        expected = f"at least {least} levels, each with a width, a stride and a kernel"
        raise OptionError("impossible levels of a U-Net", expected=expected, got=given, do="choose a larger tile or other options")
    odd = all(k % 2 == 1 and k > 0 for kernel in ladder.kernels for k in kernel)
    if min(ladder.widths) < 1 or min(map(min, ladder.strides)) < 1 or max(ladder.strides[0]) > 1 or not odd:
        raise OptionError("impossible levels of a U-Net", expected="widths >= 1, strides >= 1 (the first 1), odd kernels", got=given)


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Product of all strides along each axis."""
    return tuple(math.prod(steps) for steps in zip(*strides, strict=True))


def axes(value: Each, ndim: int) -> tuple[int, ...]:
    """A number for every axis, or one for each; `OptionError` when they are not as many as the axes."""
    found = (value,) * ndim if isinstance(value, int) else tuple(int(v) for v in value)
    if len(found) != ndim:
        raise OptionError("not a number for each axis", expected=f"{ndim} numbers", got=found)
    return found


def counts(value: Each, n: int, what: str) -> tuple[int, ...]:
    """A number for each of ``n`` levels; a shorter list's last one holds for the rest.

    Raises
    ------
    OptionError: an empty list or a number below 1.
    """
    given = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if not given or min(given) < 1:
        raise OptionError(f"impossible {what}", expected="at least 1 at each level", got=given)
    return (given + given[-1:] * n)[:n]


def n_heads(levels: int, deep_supervision: bool) -> int:
    """Heads of a U-Net: all levels of the decoder but the coarsest, whose map says little."""
    return max(levels - 2, 1) if deep_supervision else 1


def need_multiple(name: str, size: Sequence[int], by: Sequence[int]) -> None:
    """Refuse a tile that the network's strides do not divide, and say the nearest that they do.

    Raises
    ------
    OptionError: the size is no multiple.
    """
    if any(n % step for n, step in zip(size, by, strict=True)):
        fit = tuple(max(round(n / step), 1) * step for n, step in zip(size, by, strict=True))
        each = " x ".join(map(str, by))
        raise OptionError(f"'{name}' reads tiles of multiples of {each}", expected=f"e.g. {fit}", got=f"size {tuple(size)}", do="choose such a tile or 'unet'")


def need_einops(name: str) -> None:
    """MONAI's attention uses einops, which it does not install.

    Raises
    ------
    OptionError: it is not there.
    """
    if not importlib.util.find_spec("einops"):
        raise OptionError(f"'{name}' needs the package einops, which MONAI uses for it", do="pip install einops, or choose another network")
