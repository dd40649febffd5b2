"""What a network of the registry is, and the registry itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from torch import nn

from vesalius.registry import Registry

Builder = Callable[..., nn.Module]
"""``builder(channels, n_out, size, **options)``; ``size`` is ``(Y, X)`` or ``(Z, Y, X)``."""

Family = Literal["cnn", "convnext", "transformer"]
"""How a network wants to be trained (learning rate, warm-up): plain convolutions, ConvNeXt-like, attention."""


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network.

    Parameters
    ----------
    name: its name in the registry, or ``library:name``.
    paper: where it was published.
    year: of the publication; 0 when unknown.
    ndims: numbers of spatial axes it exists for, e.g. ``(2, 3)``.
    min_size: least number of samples along each spatial axis.
    family: see `Family`.
    licence: of the code that builds it.
    library: where the layers come from.
    dense: it gives numbers for each sample, ``[B, C, *size] -> [B, n_out, *size]``, not for the whole image.
    detects: it gives boxes; see "Boxes" in docs/architecture.md.
    """

    name: str
    paper: str
    year: int
    ndims: tuple[int, ...] = (2,)
    min_size: int = 16
    family: Family = "cnn"
    licence: str = "Apache-2.0"
    library: str = "vesalius"
    dense: bool = False
    detects: bool = False


@dataclass(frozen=True)
class Network:
    """A part of the registry: facts and builder."""

    info: NetworkInfo
    builder: Builder


NETWORKS: Registry[Network] = Registry("network", "vesalius.networks")


def enter(info: NetworkInfo, builder: Builder, *aliases: str) -> None:
    """Register a network under its name; what a family's module calls."""
    NETWORKS.register(info.name, *aliases)(Network(info, builder))


def library(name: str) -> ModuleType:
    """Import torchvision, timm or MONAI when a network of theirs is built, not before.

    Each costs seconds (MONAI five on two cores), and a prediction with our own networks needs none of them.
    """
    return importlib.import_module(name)
