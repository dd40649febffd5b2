"""DenseNet: Huang, Liu, van der Maaten, Weinberger, *Densely connected convolutional networks*, CVPR 2017.

It gives strong features with few weights (7 million) and is the usual network of chest X-ray studies
(Rajpurkar et al., *CheXNet*, 2017). 2-D from torchvision, 3-D from MONAI.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import recolour, soften, wanted_reduction


def densenet(depth: int, channels: int, n_out: int, size: tuple[int, ...]) -> nn.Module:
    """DenseNet of that depth."""
    if len(size) == 2:
        made = recolour(getattr(library("torchvision.models"), f"densenet{depth}")(weights=None, num_classes=n_out), channels)
    else:
        made = getattr(library("monai.networks.nets"), f"DenseNet{depth}")(spatial_dims=3, in_channels=channels, out_channels=n_out)
    return soften(made, wanted_reduction(size))


for _depth in (121, 169):
    _info = NetworkInfo(
        f"densenet{_depth}", "Huang et al., Densely connected convolutional networks, CVPR 2017", 2017, (2, 3), 16,
        licence="BSD-3-Clause / Apache-2.0", library="torchvision / MONAI",
    )
    enter(_info, partial(densenet, _depth))
