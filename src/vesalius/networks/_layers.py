"""Layers that exist in two and three dimensions, and strides taken back for small images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from vesalius.errors import OptionError

SMALL_MEDIUM = {2: (40, 80), 3: (20, 48)}
"""An axis of at most so many samples loses a factor 4, or 2, of a network's total stride of 32; in 3-D maps cost more."""

GROUP_CHANNELS = 8
"""Channels of a group in GroupNorm, where they divide evenly."""

_BY_NDIM: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv": (nn.Conv2d, nn.Conv3d),
    "transposed": (nn.ConvTranspose2d, nn.ConvTranspose3d),
    "batch": (nn.BatchNorm2d, nn.BatchNorm3d),
    "max": (nn.MaxPool2d, nn.MaxPool3d),
    "mean": (nn.AvgPool2d, nn.AvgPool3d),
    "to_mean": (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    "to_max": (nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
}


def layer(kind: str, ndim: int, *args: Any, **options: Any) -> nn.Module:
    """A layer of that kind for 2 or 3 spatial axes: conv, transposed, batch, max, mean, to_mean, to_max."""
    return _BY_NDIM[kind][ndim - 2](*args, **options)


def norm(kind: str, ndim: int, channels: int) -> nn.Module:
    """Batch or group normalisation (Wu and He, *Group normalization*, 2018, does not mix the images of a batch).

    Raises
    ------
    OptionError: another kind.
    """
    if kind == "batch":
        return layer("batch", ndim, channels)
    if kind == "group":
        groups = channels // GROUP_CHANNELS if channels % GROUP_CHANNELS == 0 else 1
        return nn.GroupNorm(groups, channels)
    raise OptionError(f"unknown norm '{kind}'", expected="batch or group")


def wanted_reduction(size: Sequence[int]) -> tuple[int, ...]:
    """By how much each axis's total stride of 32 is divided so that a small image keeps a map to look at.

    >>> wanted_reduction((28, 224)), wanted_reduction((16, 48, 64))
    ((4, 1), (4, 2, 1))
    """
    small, medium = SMALL_MEDIUM[len(size)]
    return tuple(4 if n <= small else 2 if n <= medium else 1 for n in size)


def soften(network: nn.Module, by: Sequence[int]) -> nn.Module:
    """Divide the total stride of a network along each axis, from its first strided layers on; in place.

    Only strides change, never the shape of a weight, so that pretrained weights still fit. A pool that
    loses its stride along an axis no longer pools along it.
    """
    left = list(by)
    for name, module in list(network.named_modules()):
        if max(left) == 1:
            break
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and max(module.stride) > 1:
            module.stride = _take(module.stride, left)  # type: ignore[assignment]
        elif isinstance(module, (nn.MaxPool2d, nn.MaxPool3d)):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _thinner(module, left))
    return network


def _take(stride: Sequence[int], left: list[int]) -> tuple[int, ...]:
    """The stride after as much as possible of ``left`` was taken from it; ``left`` is what remains."""
    taken = [min(step, most) for step, most in zip(stride, left, strict=True)]
    left[:] = [most // each for most, each in zip(left, taken, strict=True)]
    return tuple(step // each for step, each in zip(stride, taken, strict=True))


def _thinner(pool: nn.MaxPool2d | nn.MaxPool3d, left: list[int]) -> nn.Module:
    ndim = len(left)
    kernel, step, padding = (_each(value, ndim) for value in (pool.kernel_size, pool.stride, pool.padding))
    new = _take(step, left)
    if all(n == 1 for n in new):
        return nn.Identity()
    kept = [n > 1 for n in new]
    kernel = tuple(k if keep else 1 for k, keep in zip(kernel, kept, strict=True))
    padding = tuple(p if keep else 0 for p, keep in zip(padding, kept, strict=True))
    return type(pool)(kernel, new, padding, ceil_mode=pool.ceil_mode)


def _each(value: Any, ndim: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * ndim


def recolour(made: nn.Module, channels: int) -> nn.Module:
    """Replace the first convolution of a network for RGB by one for ``channels``, freshly initialised; in place."""
    if channels == 3:
        return made
    name, first = next((n, m) for n, m in made.named_modules() if isinstance(m, nn.Conv2d))
    parent, _, child = name.rpartition(".")
    fresh = nn.Conv2d(
        channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation, bias=first.bias is not None,  # type: ignore[arg-type]
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    if fresh.bias is not None:
        nn.init.zeros_(fresh.bias)
    setattr(made.get_submodule(parent), child, fresh)
    return made


class SqueezeExcite(nn.Module):
    """Channel attention: Hu, Shen, Sun, *Squeeze-and-excitation networks*, 2018. Keeps the shape ``[B, C, ...]``."""

    def __init__(self, channels: int, ndim: int, ratio: int = 8) -> None:
        super().__init__()
        hidden = max(channels // ratio, 4)
        self.pool = layer("to_mean", ndim, 1)
        self.reduce, self.expand = layer("conv", ndim, channels, hidden, 1), layer("conv", ndim, hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate: torch.Tensor = torch.sigmoid(self.expand(torch.relu(self.reduce(self.pool(x)))))
        return x * gate
