"""MobileNetV2: Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, CVPR 2018.

It gives a network of 2 million weights for phones and scanners' consoles.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import recolour, soften, wanted_reduction


def mobilenetv2(channels: int, n_out: int, size: tuple[int, ...], width: float = 1.0, dropout: float = 0.2) -> nn.Module:
    """MobileNetV2; ``width`` multiplies the channels of every layer."""
    made = library("torchvision.models").mobilenet_v2(weights=None, num_classes=n_out, width_mult=width, dropout=dropout)
    return soften(recolour(made, channels), wanted_reduction(size))


PAPER = "Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018"
enter(NetworkInfo("mobilenetv2", PAPER, 2018, (2,), 16, licence="BSD-3-Clause", library="torchvision"), mobilenetv2)
