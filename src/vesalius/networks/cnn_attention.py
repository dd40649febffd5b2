"""Convolutions first, attention after: Dai et al., *CoAtNet: marrying convolution and attention for all data
sizes*, NeurIPS 2021, with the convolution as position code of Chu et al., *Conditional positional encodings
for vision transformers*, ICLR 2023.

It gives a transformer's view of the whole image with a convolution's sense of neighbourhood, so that it
learns from fewer images than a plain transformer, in 2-D and 3-D and for any size. The layers are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._layers import SqueezeExcite, layer

LARGEST_GRID = {2: 14, 3: 8}
"""Samples along an axis of the map that attention looks at."""


class InvertedBlock(nn.Module):
    """Widen, convolve each channel, gate, narrow (Sandler et al. 2018, Hu et al. 2018), with a shortcut."""

    def __init__(self, before: int, after: int, stride: Sequence[int], ndim: int, ratio: int = 4) -> None:
        super().__init__()
        wide = before * ratio
        self.widen = nn.Sequential(layer("conv", ndim, before, wide, 1, bias=False), layer("batch", ndim, wide), nn.SiLU(inplace=True))
        each = layer("conv", ndim, wide, wide, 3, tuple(stride), 1, groups=wide, bias=False)
        self.each = nn.Sequential(each, layer("batch", ndim, wide), nn.SiLU(inplace=True))
        self.gate = SqueezeExcite(wide, ndim)
        self.narrow = nn.Sequential(layer("conv", ndim, wide, after, 1, bias=False), layer("batch", ndim, after))
        self.keeps = max(stride) == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.narrow(self.gate(self.each(self.widen(x))))
        return x + out if self.keeps else out


class AttentionBlock(nn.Module):
    """Position from a convolution, then attention and a dense part, each after a norm; ``[B, C, ...]`` is kept."""

    def __init__(self, dim: int, heads: int, ndim: int, ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.place = layer("conv", ndim, dim, dim, 3, 1, 1, groups=dim)
        self.norm1, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dense = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.place(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self._look(self.norm1(tokens))
        tokens = tokens + self.dense(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)

    def _look(self, tokens: torch.Tensor) -> torch.Tensor:
        b, n, dim = tokens.shape
        q, k, v = self.qkv(tokens).reshape(b, n, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v)
        out: torch.Tensor = self.out(seen.transpose(1, 2).reshape(b, n, dim))
        return out


class CNNAttention(nn.Module):
    """Stem, strided convolutional blocks down to a small grid, attention blocks, mean over the grid, dense layer."""

    def __init__(self, channels: int, n_out: int, size: Sequence[int], width: int, dim: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        ndim = len(size)
        stride = 1 if max(size) <= 2 * LARGEST_GRID[ndim] else 2
        stem = layer("conv", ndim, channels, width, 3, stride, 1, bias=False)
        self.stem = nn.Sequential(stem, layer("batch", ndim, width), nn.SiLU(inplace=True))
        self.convs = nn.Sequential(*_blocks([-(-n // stride) for n in size], width, dim))
        self.attention = nn.Sequential(*[AttentionBlock(dim, heads, ndim) for _ in range(depth)])
        self.norm, self.dropout, self.head = nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.attention(self.convs(self.stem(x)))
        out: torch.Tensor = self.head(self.dropout(self.norm(maps.flatten(2).mean(2))))
        return out


def _blocks(size: list[int], width: int, dim: int) -> list[nn.Module]:
    """Two inverted blocks a stage, halving every axis that is still too long; the last ones have ``dim`` channels."""
    ndim, most = len(size), LARGEST_GRID[len(size)]
    strides: list[tuple[int, ...]] = []
    while max(size) > most or not strides:
        strides.append(tuple(2 if n > most else 1 for n in size))
        size = [-(-n // step) for n, step in zip(size, strides[-1], strict=True)]
    blocks: list[nn.Module] = []
    before = width
    for i, stride in enumerate(strides):
        after = dim if i == len(strides) - 1 else min(width * 2 ** (i + 1), dim)
        blocks += [InvertedBlock(before, after, stride, ndim), InvertedBlock(after, after, (1,) * ndim, ndim)]
        before = after
    return blocks


def cnn_attention(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 32, dim: int = 128, depth: int = 3, heads: int = 4, dropout: float = 0.1,
) -> nn.Module:
    """A hybrid of ``width`` stem channels, then ``depth`` attention blocks of ``dim`` channels and ``heads`` heads.

    Raises
    ------
    OptionError: the heads do not divide the dimension.
    """
    if dim % heads:
        raise OptionError("the heads do not divide the dimension", expected="dim a multiple of heads", got=f"dim {dim}, heads {heads}")
    return CNNAttention(channels, n_out, size, width, dim, depth, heads, dropout)


PAPER = "Dai et al., CoAtNet, NeurIPS 2021; Chu et al., Conditional positional encodings, ICLR 2023"
enter(NetworkInfo("cnn-attention", PAPER, 2021, (2, 3), 8, "transformer"), cnn_attention)
