"""AlexNet: Krizhevsky, Sutskever, Hinton, *ImageNet classification with deep convolutional neural networks*,
NeurIPS 2012 (torchvision's one-tower form, Krizhevsky 2014).

It gives the historical mark and little else: 57 million weights, most of them in the dense layers.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import recolour, soften, wanted_reduction


def alexnet(channels: int, n_out: int, size: tuple[int, ...], dropout: float = 0.5) -> nn.Module:
    """AlexNet; ``dropout`` is that of its dense layers."""
    made = library("torchvision.models").alexnet(weights=None, num_classes=n_out, dropout=dropout)
    return soften(recolour(made, channels), wanted_reduction(size))


PAPER = "Krizhevsky et al., ImageNet classification with deep convolutional neural networks, NeurIPS 2012"
enter(NetworkInfo("alexnet", PAPER, 2012, (2,), 24, licence="BSD-3-Clause", library="torchvision"), alexnet)
