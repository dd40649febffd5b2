"""Attention U-Net: Oktay et al., *Attention U-Net: learning where to look for the pancreas*, MIDL 2018; MONAI's layers.

It gives skips that are weighted by what the coarser level knows, for small structures in a large image.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import Each, ladder_of, need_multiple, total_stride


def attention_unet(channels: int, n_out: int, size: tuple[int, ...], width: Each = 32, depth: int | None = 5, dropout: float = 0.0) -> nn.Module:
    """An attention U-Net with batch norm.

    Parameters
    ----------
    width: channels of the finest level (each further one has twice as many), or of every level.
    depth: most levels.
    dropout: share of features left out in training.

    Raises
    ------
    OptionError: a tile that the strides do not divide, impossible levels.
    """
    ladder = ladder_of(size, width, depth, None, None, None)
    need_multiple("attention-unet", size, total_stride(ladder.strides))
    made: nn.Module = library("monai.networks.nets").AttentionUnet(len(size), channels, n_out, ladder.widths, ladder.strides[1:], dropout=dropout)
    return made


PAPER = "Oktay et al., Attention U-Net, MIDL 2018"
enter(NetworkInfo("attention-unet", PAPER, 2018, (2, 3), 8, library="MONAI", dense=True), attention_unet)
