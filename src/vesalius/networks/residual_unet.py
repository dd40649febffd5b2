"""Residual-encoder U-Net: Isensee et al., *nnU-Net revisited*, MICCAI 2024; blocks of He T. et al., *Bag of tricks*, CVPR 2019.

It gives a deeper encoder than the plain U-Net at the same memory: each level of the encoder is a chain of residual blocks, the
decoder has one convolution a level. Worth its time where there is much data and a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._dense import SLOPE, ConvNorm, Each, Style, UNet, counts, ladder_of, n_heads, rectifier, start
from vesalius.networks._layers import layer

BLOCKS = (1, 3, 4, 6)
"""Residual blocks of each level; the last number holds for all deeper ones."""


class Block(nn.Module):
    """Two convolutions and a shortcut, mean-pooled where there is a stride; ``[B, before, ...] -> [B, after, .../stride]``."""

    def __init__(self, before: int, after: int, kernel: Sequence[int], stride: Sequence[int], style: Style) -> None:
        super().__init__()
        ones = (1,) * style.ndim
        self.conv1 = ConvNorm(before, after, kernel, stride, style)
        self.conv2 = ConvNorm(after, after, kernel, ones, style, active=False)
        self.pool = layer("mean", style.ndim, tuple(stride), ceil_mode=True, count_include_pad=False) if max(stride) > 1 else nn.Identity()
        plain = Style(style.ndim, style.norm)
        self.shortcut = ConvNorm(before, after, ones, ones, plain, active=False) if before != after else nn.Identity()
        self.act = rectifier(style)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(self.conv2(self.conv1(x)) + self.shortcut(self.pool(x)))
        return out


def residual_unet(
    channels: int, n_out: int, size: tuple[int, ...], width: Each = 32, depth: int | None = None, strides: Sequence[Each] | None = None,
    kernels: Sequence[Each] | None = None, blocks: Each = BLOCKS, convs_up: Each = 1, stem_width: int | None = None, norm: str = "instance",
    bias: bool = False, slope: float = SLOPE, deep_supervision: bool = False, max_width: int | None = None,
) -> nn.Module:
    """A U-Net whose encoder is residual.

    Parameters
    ----------
    blocks: residual blocks of each level, the finest first; a shorter list's last number holds for the rest.
    convs_up: convolutions of each level of the decoder.
    stem_width: channels of the convolution before the first block; those of the finest level by default.

    The others are those of ``unet``.

    Raises
    ------
    OptionError: levels, widths, strides, kernels, numbers or a norm that cannot be.
    """
    ladder = ladder_of(size, width, depth, strides, kernels, max_width)
    style, n, ones = Style(len(size), norm, bias, slope), len(ladder), (1,) * len(size)
    before = stem_width or ladder.widths[0]
    stem = ConvNorm(channels, before, ladder.kernels[0], ones, style)
    stages: list[nn.Module] = []
    for i, count in enumerate(counts(blocks, n, "number of blocks")):
        after, kernel = ladder.widths[i], ladder.kernels[i]
        chain = [Block(before if j == 0 else after, after, kernel, ladder.strides[i] if j == 0 else ones, style) for j in range(count)]
        stages.append(nn.Sequential(*([stem] if i == 0 else []), *chain))
        before = after
    up = counts(convs_up, n - 1, "number of convolutions")
    return _quiet(start(UNet(stages, ladder, n_out, up, style, n_heads(n, deep_supervision), ones), slope))


def _quiet(network: nn.Module) -> nn.Module:
    """Each block starts as its shortcut; in place."""
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.zeros_(module.conv2.norm.weight)  # type: ignore[arg-type]
    return network


PAPER = "He T. et al., Bag of tricks, CVPR 2019; Isensee et al., nnU-Net revisited, MICCAI 2024"
enter(NetworkInfo("residual-unet", PAPER, 2024, (2, 3), 8, dense=True), residual_unet)
