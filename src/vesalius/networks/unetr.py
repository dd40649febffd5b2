"""UNETR: Hatamizadeh et al., *UNETR: transformers for 3D medical image segmentation*, WACV 2022; MONAI's layers.

It gives a vision transformer as encoder, which sees the whole tile at once; it wants many studies and a GPU.
"""

from __future__ import annotations

from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import need_einops, need_multiple

PATCH = 16
"""Samples along each axis of a patch, fixed by the decoder's four doublings."""


def unetr(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 16, hidden: int = 768, mlp: int = 3072, heads: int = 12, dropout: float = 0.0,
) -> nn.Module:
    """A UNETR for tiles of that size only: the positions of the patches are learnt.

    Parameters
    ----------
    width: channels of the decoder's finest level.
    hidden, mlp, heads: of the transformer, which has 12 blocks; the heads divide ``hidden``.
    dropout: share of features left out in training.

    Raises
    ------
    OptionError: a tile that is no multiple of 16, heads that do not divide, or einops is not installed.
    """
    if min(width, hidden, mlp, heads) < 1 or hidden % heads:
        raise OptionError("the heads do not divide the transformer's dimension", expected="hidden a multiple of heads", got=f"hidden {hidden}, heads {heads}")
    need_einops("unetr")
    need_multiple("unetr", size, (PATCH,) * len(size))
    made: nn.Module = library("monai.networks.nets").UNETR(
        channels, n_out, size, width, hidden, mlp, heads, dropout_rate=dropout, spatial_dims=len(size),
    )
    for block in made.vit.blocks:  # type: ignore[union-attr]
        block.norm_cross_attn = nn.Identity()  # type: ignore[union-attr]  # never used: weights that nothing would train
    return made


PAPER = "Hatamizadeh et al., UNETR, WACV 2022"
enter(NetworkInfo("unetr", PAPER, 2022, (2, 3), 32, "transformer", library="MONAI", dense=True), unetr)
