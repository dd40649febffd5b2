"""Dynamic U-Net: Isensee et al., *nnU-Net*, Nature Methods 2021; MONAI's layers.

It gives the network of many published MONAI models; ours of the same paper is ``unet``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import Each, ladder_of, n_heads, need_multiple, total_stride


class Dyn(nn.Module):
    """MONAI's network without its second names for the same layers, and with each coarse answer at its own size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.skip_layers, self.output_block = network.get_submodule("skip_layers"), network.get_submodule("output_block")
        self.supervised = bool(network.deep_supervision)
        self.coarse = network.heads

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        out: torch.Tensor = self.output_block(self.skip_layers(x))
        return [out, *self.coarse] if self.training and self.supervised else out  # type: ignore[misc, return-value]


def dynunet(
    channels: int, n_out: int, size: tuple[int, ...], width: Each = 32, depth: int | None = None, strides: Sequence[Each] | None = None,
    kernels: Sequence[Each] | None = None, residual: bool = False, bias: bool = False, norm: str = "instance", deep_supervision: bool = False,
    max_width: int | None = None,
) -> nn.Module:
    """MONAI's dynamic U-Net.

    Parameters
    ----------
    residual: blocks with a shortcut.
    bias: of the transposed convolutions.
    norm: MONAI's name of a norm with weights.

    The others are those of ``unet``.

    Raises
    ------
    OptionError: a tile that the strides do not divide, impossible levels.
    """
    ladder = ladder_of(size, width, depth, strides, kernels, max_width, least_levels=3)
    need_multiple("dynunet", size, total_stride(ladder.strides))
    heads = n_heads(len(ladder), deep_supervision) - 1
    made = library("monai.networks.nets").DynUNet(
        len(size), channels, n_out, ladder.kernels, ladder.strides, ladder.strides[1:], filters=ladder.widths, norm_name=(norm, {"affine": True}),
        deep_supervision=heads > 0, deep_supr_num=max(heads, 1), res_block=residual, trans_bias=bias,
    )
    return Dyn(made)


PAPER = "Isensee et al., nnU-Net, Nature Methods 2021"
enter(NetworkInfo("dynunet", PAPER, 2021, (2, 3), 16, library="MONAI", dense=True), dynunet)
