"""SegResNet: Myronenko, *3D MRI brain tumor segmentation using autoencoder regularization*, BrainLes 2018; MONAI's layers.

It gives a residual encoder-decoder whose skips are added, not joined: less memory than a U-Net of the same width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import need_multiple

GROUP = 8
"""Channels of the finest level come in groups of so many."""


def segresnet(
    channels: int, n_out: int, size: tuple[int, ...], width: int = 16, blocks: Sequence[int] = (1, 2, 2, 4), blocks_up: Sequence[int] | None = None,
    dropout: float = 0.0, upsample: str = "nontrainable",
) -> nn.Module:
    """A SegResNet.

    Parameters
    ----------
    width: channels of the finest level, a multiple of 8; each further level has twice as many.
    blocks, blocks_up: residual blocks of each level of the encoder (the finest first) and of the decoder (the coarsest first; 1 each).
    dropout: share of features left out in training.
    upsample: MONAI's name of the way up: nontrainable, deconv or pixelshuffle.

    Raises
    ------
    OptionError: a tile that the strides do not divide, a width that the norm's groups do not divide.
    """
    if width < 1 or width % GROUP or len(blocks) < 2:
        given = f"width {width}, blocks {tuple(blocks)}"
        raise OptionError("impossible 'segresnet'", expected=f"a width that is a multiple of {GROUP}, two levels or more", got=given)
    need_multiple("segresnet", size, (2 ** (len(blocks) - 1),) * len(size))
    made: nn.Module = library("monai.networks.nets").SegResNet(
        len(size), width, channels, n_out, dropout or None, num_groups=GROUP, blocks_down=tuple(blocks),
        blocks_up=tuple(blocks_up or (1,) * (len(blocks) - 1)), upsample_mode=upsample,
    )
    return made


PAPER = "Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, BrainLes 2018"
enter(NetworkInfo("segresnet", PAPER, 2018, (2, 3), 16, library="MONAI", dense=True), segresnet)
