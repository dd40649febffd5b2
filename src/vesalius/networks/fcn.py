"""Fully convolutional network: Long, Shelhamer, Darrell, *Fully convolutional networks for semantic segmentation*, CVPR 2015.

It gives the reference that a U-Net must beat: a classifier's body (residual networks of torchvision and MONAI), scores at strides 8, 16 and 32
brought to the finest of them and added (FCN-8s), then interpolated. No skip carries what is finer than 8 samples. The
layers have torchvision's names, so that weights of a classifier fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._layers import layer
from vesalius.networks.resnet import body

STRIDES = {"layer2": 8, "layer3": 16, "layer4": 32}
DEPTHS = (10, 18, 34, 50, 101)


class FCN(nn.Module):
    """``[B, C, *size] -> [B, n_out, *size]``; any size."""

    def __init__(self, backbone: nn.Module, size: tuple[int, ...], n_out: int) -> None:
        super().__init__()
        stem = ("conv1", "bn1", "maxpool", "layer1")
        self.conv1, self.bn1, self.maxpool, self.layer1 = (backbone.get_submodule(name) for name in stem)
        self.act = nn.ReLU(inplace=True)
        scored = [name for name, stride in STRIDES.items() if stride == 8 or -(-min(size) // stride) > 1]
        for name in scored:
            setattr(self, name, getattr(backbone, name))
        self.scores = nn.ModuleDict({name: layer("conv", len(size), _width(backbone, name), n_out, 1) for name in scored})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = self.layer1(self.maxpool(self.act(self.bn1(self.conv1(x)))))
        scores = []
        for name, score in self.scores.items():
            x = getattr(self, name)(x)
            scores.append(score(x))
        total = scores.pop()
        for finer in reversed(scores):
            total = _resized(total, finer.shape[2:]) + finer
        return _resized(total, size)


def _width(backbone: nn.Module, name: str) -> int:
    """Channels that a stage gives: a half, a quarter or all of those that the classifier's dense layer reads."""
    return int(backbone.fc.in_features) * STRIDES[name] // STRIDES["layer4"]  # type: ignore[union-attr, arg-type, operator]


def _resized(x: torch.Tensor, size: tuple[int, ...] | torch.Size) -> torch.Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)


def fcn(channels: int, n_out: int, size: tuple[int, ...], depth: int = 18) -> nn.Module:
    """FCN-8s on a residual network of ``depth`` layers (10, 18, 34, 50 or 101). Scales whose map would be a single sample are left out.

    Raises
    ------
    OptionError: another depth.
    """
    if depth not in DEPTHS:
        raise OptionError("unknown depth of 'fcn'", expected=f"one of {', '.join(map(str, DEPTHS))}", got=depth)
    return FCN(body(depth, channels, len(size)), size, n_out)


PAPER = "Long et al., Fully convolutional networks for semantic segmentation, CVPR 2015"
enter(NetworkInfo("fcn", PAPER, 2015, (2, 3), 16, licence="BSD-3-Clause / Apache-2.0", library="torchvision / MONAI", dense=True), fcn)
