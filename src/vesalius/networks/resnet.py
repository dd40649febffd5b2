"""Residual networks: He, Zhang, Ren, Sun, *Deep residual learning for image recognition*, CVPR 2016.

They give the standard reference of the field, and pretrained weights everywhere. 2-D from torchvision,
3-D from MONAI (as in Hara et al., *Can spatiotemporal 3D CNNs retrace the history of 2D CNNs*, CVPR 2018).
``seresnet50`` adds channel attention (Hu et al., *Squeeze-and-excitation networks*, CVPR 2018; timm, MONAI).

For images of at most 80 samples a side the first strides are taken back; the weights keep their shapes.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import soften, wanted_reduction

PAPER = "He et al., Deep residual learning for image recognition, CVPR 2016"


def _resnet(depth: int, channels: int, n_out: int, size: tuple[int, ...]) -> nn.Module:
    network = _flat(depth, channels, n_out) if len(size) == 2 else _deep(depth, channels, n_out)
    return soften(network, wanted_reduction(size))


def _flat(depth: int, channels: int, n_out: int) -> nn.Module:
    models = library("torchvision.models")
    network: nn.Module = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1]) if depth == 10 else getattr(models, f"resnet{depth}")(weights=None)
    network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.fc = nn.Linear(int(network.fc.in_features), n_out)  # type: ignore[union-attr, arg-type]
    return network


def _deep(depth: int, channels: int, n_out: int) -> nn.Module:
    make = getattr(library("monai.networks.nets"), f"resnet{depth}")
    network: nn.Module = make(spatial_dims=3, n_input_channels=channels, num_classes=n_out, conv1_t_stride=2, bias_downsample=False)
    return network


def body(depth: int, channels: int, ndim: int) -> nn.Module:
    """A residual network with the paper's own strides, for a network that takes its stages."""
    return _flat(depth, channels, 1) if ndim == 2 else _deep(depth, channels, 1)


def _squeeze(channels: int, n_out: int, size: tuple[int, ...]) -> nn.Module:
    if len(size) == 2:
        network = library("timm").create_model("seresnet50", in_chans=channels, num_classes=n_out)
    else:
        network = library("monai.networks.nets").SEResNet50(spatial_dims=3, in_channels=channels, num_classes=n_out)
    return soften(network, wanted_reduction(size))


for _depth in (10, 18, 34, 50, 101):
    enter(NetworkInfo(f"resnet{_depth}", PAPER, 2016, (2, 3), 16, licence="BSD-3-Clause / Apache-2.0", library="torchvision / MONAI"), partial(_resnet, _depth))
enter(NetworkInfo("seresnet50", "Hu et al., Squeeze-and-excitation networks, CVPR 2018", 2018, (2, 3), 16, library="timm / MONAI"), _squeeze)
