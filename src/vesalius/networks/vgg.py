"""VGG: Simonyan and Zisserman, *Very deep convolutional networks for large-scale image recognition*, ICLR 2015.

It gives plain stacks of small convolutions, well understood and easy to explain. For images of at most 80
samples a side the last pools are left out and the dense layers (124 million weights) become a mean over
the map and one layer, as is usual for small images.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library

LETTER = {11: "A", 13: "B", 16: "D", 19: "E"}
LARGEST_POOLED = 80
HEADS = ("auto", "dense", "pool")


def vgg(depth: int, normed: bool, channels: int, n_out: int, size: tuple[int, ...], head: str = "auto", dropout: float = 0.5) -> nn.Module:
    """VGG of that depth.

    Parameters
    ----------
    normed: batch normalisation after each convolution.
    head: ``"dense"`` (the paper's three dense layers), ``"pool"`` (mean over the map and one layer), or ``"auto"``.

    Raises
    ------
    OptionError: another head.
    """
    if head not in HEADS:
        raise OptionError(f"unknown head '{head}'", expected=" or ".join(HEADS))
    models = library("torchvision.models").vgg
    features = _fewer_pools(models.make_layers(models.cfgs[LETTER[depth]], batch_norm=normed), min(size))
    features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    small = max(size) <= LARGEST_POOLED if head == "auto" else head == "pool"
    parts = [("features", features), ("avgpool", nn.AdaptiveAvgPool2d(1 if small else 7)), ("flatten", nn.Flatten())]
    made = nn.Sequential(OrderedDict([*parts, ("classifier", _short(n_out, dropout) if small else _dense(n_out, dropout))]))
    for module in made.modules():
        _start(module)
    return made


def _fewer_pools(features: nn.Sequential, least: int) -> nn.Sequential:
    """Pools become identities once the map would be shorter than 2 samples; names of the other layers stay."""
    for i, module in enumerate(features):
        if isinstance(module, nn.MaxPool2d):
            least //= 2
            if least < 2:
                features[i] = nn.Identity()
    return features


def _dense(n_out: int, dropout: float) -> nn.Sequential:
    hidden = [nn.Linear(512 * 49, 4096), nn.ReLU(True), nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(dropout)]
    return nn.Sequential(*hidden, nn.Linear(4096, n_out))


def _short(n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(512, n_out))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


for _depth in LETTER:
    for _normed in (False, True):
        _info = NetworkInfo(
            f"vgg{_depth}{'-bn' if _normed else ''}", "Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015", 2015, (2,), 8,
            licence="BSD-3-Clause", library="torchvision",
        )
        enter(_info, partial(vgg, _depth, _normed))
