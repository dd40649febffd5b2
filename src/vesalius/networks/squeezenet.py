"""SqueezeNet 1.0: Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters*, arXiv:1602.07360, 2016.

It gives 0.7 million weights without a dense layer, and an early proof of how far weights can be compressed
(Han et al., *Deep compression*, ICLR 2016). The paper rectifies its class maps; that is kept for ImageNet's
1000 classes only, since a raw value that cannot be negative learns badly.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import recolour, soften, wanted_reduction

IMAGENET_CLASSES = 1000


def squeezenet(channels: int, n_out: int, size: tuple[int, ...], dropout: float = 0.5) -> nn.Module:
    """SqueezeNet 1.0; ``dropout`` before its last convolution."""
    made = library("torchvision.models").squeezenet1_0(weights=None, num_classes=n_out, dropout=dropout)
    if n_out != IMAGENET_CLASSES:
        made.classifier[2] = nn.Identity()
    return soften(recolour(made, channels), wanted_reduction(size))


PAPER = "Iandola et al., SqueezeNet, arXiv:1602.07360, 2016"
enter(NetworkInfo("squeezenet", PAPER, 2016, (2,), 20, licence="BSD-3-Clause", library="torchvision"), squeezenet)
