"""GoogLeNet: Szegedy et al., *Going deeper with convolutions*, CVPR 2015.

It gives several scales in one layer at 6 million weights. The auxiliary heads of the paper are left out:
with batch normalisation they add nothing.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import recolour, soften, wanted_reduction


def googlenet(channels: int, n_out: int, size: tuple[int, ...], dropout: float = 0.2) -> nn.Module:
    """GoogLeNet with batch normalisation; ``dropout`` before its last layer."""
    made = library("torchvision.models").GoogLeNet(n_out, aux_logits=False, transform_input=False, init_weights=False, dropout=dropout)
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return soften(recolour(made, channels), wanted_reduction(size))


PAPER = "Szegedy et al., Going deeper with convolutions, CVPR 2015"
enter(NetworkInfo("googlenet", PAPER, 2015, (2,), 16, licence="BSD-3-Clause", library="torchvision"), googlenet)
