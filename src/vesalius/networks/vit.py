"""Vision transformer: Dosovitskiy et al., *An image is worth 16x16 words*, ICLR 2021; timm's blocks.

It gives a network without built-in locality: strong with pretrained weights or much data, weak with a few
hundred images. The patch fits the image (about 14 patches a side, 8 in 3-D), an image that no patch
divides is padded, and the answer is the mean over the patches, so that every patch has its say. The
weights have timm's names; the same blocks read volumes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import layer

SIDE = {2: 14, 3: 8}
"""Patches along an axis that are aimed at."""
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
"""Dimension, blocks, heads."""


class PatchEmbed(nn.Module):
    """``[B, C, (Z,) Y, X] -> [B, patches, dim]``; the image is padded with zeros at the end of each axis.

    ``grid_size`` is the number of patches along each axis, in array order.
    """

    def __init__(
        self, img_size: Sequence[int], patch_size: Sequence[int], in_chans: int, embed_dim: int, bias: bool = True, **_: Any,
    ) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.grid_size = tuple(math.ceil(n / p) for n, p in zip(img_size, patch_size, strict=True))
        self.num_patches = math.prod(self.grid_size)
        self.proj = layer("conv", len(img_size), in_chans, embed_dim, self.patch_size, self.patch_size, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = [(g * p - n) for g, p, n in zip(self.grid_size, self.patch_size, x.shape[2:], strict=True)]
        padded = F.pad(x, [amount for end in reversed(ends) for amount in (0, end)])
        out: torch.Tensor = self.proj(padded)
        return out.flatten(2).transpose(1, 2)


def patch_for(size: Sequence[int]) -> tuple[int, ...]:
    """The power of two nearest to a patch that gives `SIDE` patches along each axis; at least 2.

    >>> patch_for((28, 28)), patch_for((224, 224)), patch_for((28, 28, 28))
    ((2, 2), (16, 16), (4, 4, 4))
    """
    side = SIDE[len(size)]
    return tuple(max(2, 2 ** round(math.log2(max(n / side, 1)))) for n in size)


def vit(kind: str, channels: int, n_out: int, size: tuple[int, ...], patch: int | None = None, drop_path: float = 0.0, dropout: float = 0.0) -> nn.Module:
    """A vision transformer; ``patch`` (samples a side) replaces the fitting one.

    Raises
    ------
    OptionError: a patch that is no length, or longer than the image.
    """
    if patch is not None and not 1 <= patch <= max(size):
        raise OptionError("impossible patch", expected=f"1 to {max(size)} samples", got=patch)
    dim, depth, heads = SIZES[kind]
    patch_size = patch_for(size) if patch is None else (int(patch),) * len(size)
    made: nn.Module = library("timm.models.vision_transformer").VisionTransformer(
        img_size=size, patch_size=patch_size, in_chans=channels, num_classes=n_out, embed_dim=dim, depth=depth, num_heads=heads,
        global_pool="avg", fc_norm=False, drop_path_rate=drop_path, drop_rate=dropout, embed_layer=PatchEmbed,
    )
    return made


PAPER = "Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021"
for _kind in SIZES:
    enter(NetworkInfo(f"vit-{_kind}", PAPER, 2021, (2, 3), 8, "transformer", library="timm"), partial(vit, _kind))
