"""Swin UNETR: Hatamizadeh et al., *Swin UNETR: swin transformers for semantic segmentation of brain tumors*, BrainLes 2022; MONAI's layers.

It gives attention within shifted windows at four scales; strong with pretraining or many studies, slow on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import need_einops, need_multiple

STRIDE = 32
"""Of the coarsest map."""
FACTOR = 12
"""The width is a multiple of this, so that the heads divide it at every scale."""


def swin_unetr(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 24, depths: Sequence[int] = (2, 2, 2, 2), heads: Sequence[int] = (3, 6, 12, 24),
    window: int = 7, second: bool = False, dropout: float = 0.0,
) -> nn.Module:
    """A Swin UNETR.

    Parameters
    ----------
    width: channels of the first scale, a multiple of 12.
    depths, heads: blocks and attention heads of the four scales.
    window: patches along each axis within which attention looks.
    second: with a residual convolution before each scale (SwinUNETR-V2, He Y. et al., MICCAI 2023).
    dropout: share of paths left out in training.

    Raises
    ------
    OptionError: a tile that is no multiple of 32, a width that is no multiple of 12, or einops is not installed.
    """
    if width < 1 or width % FACTOR or len(depths) != 4 or len(heads) != 4:
        given = f"width {width}, depths {tuple(depths)}, heads {tuple(heads)}"
        raise OptionError("impossible 'swin-unetr'", expected=f"a width that is a multiple of {FACTOR}, four scales", got=given)
    need_einops("swin-unetr")
    need_multiple("swin-unetr", size, (STRIDE,) * len(size))
    made: nn.Module = library("monai.networks.nets").SwinUNETR(
        channels, n_out, depths=tuple(depths), num_heads=tuple(heads), window_size=window, feature_size=width, dropout_path_rate=dropout,
        spatial_dims=len(size), use_v2=second,
    )
    return made


PAPER = "Hatamizadeh et al., Swin UNETR, BrainLes 2022"
enter(NetworkInfo("swin-unetr", PAPER, 2022, (2, 3), 64, "transformer", library="MONAI", dense=True), swin_unetr)
