"""Networks of timm and torchvision that are not in our registry, by their own names."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import Family, Network, NetworkInfo, library
from vesalius.networks._layers import recolour, soften, wanted_reduction
from vesalius.registry import nearest

LICENCES = {"timm": "Apache-2.0", "torchvision": "BSD-3-Clause"}
SMALLEST = 8
"""Whether an image is large enough for a foreign network is found out by trying; below this it is not tried."""
ATTENTION = ("vit", "swin", "deit", "beit", "eva", "xcit", "cait", "maxvit", "coat", "mvit", "pvt", "former")
_NOT_CLASSIFIERS = ("rcnn", "ssd", "fcos", "retinanet", "deeplab", "fcn_", "lraspp", "raft", "quantized", "r3d", "mc3", "r2plus1d", "s3d", "swin3d", "mvit_v")


def known(owner: str) -> list[str]:
    """Names of the 2-D classifiers that a library builds."""
    if owner == "timm":
        return list(library("timm").list_models())
    every = library("torchvision.models").list_models()
    return [name for name in every if not name.startswith(_NOT_CLASSIFIERS) and "rcnn" not in name]


def owners(name: str) -> list[str]:
    """The libraries that know a bare name."""
    return [owner for owner in LICENCES if name in known(owner)]


def nearest_names(name: str) -> list[str]:
    """The nearest names of both libraries, each with its library."""
    return [f"{owner}:{each}" for owner in LICENCES for each in nearest(name, known(owner), 2)]


def network(owner: str, name: str) -> Network:
    """The network that a library knows by that name.

    Raises
    ------
    OptionError: another library than timm or torchvision, or a name it does not know.
    """
    if owner not in LICENCES:
        raise OptionError(f"unknown library '{owner}'", expected="timm:NAME or torchvision:NAME", got=f"{owner}:{name}")
    if name not in known(owner):
        near = nearest(name, known(owner)) or known(owner)[:6]
        raise OptionError(f"{owner} has no network '{name}'", expected=f"one of {', '.join(near)}")
    info = NetworkInfo(f"{owner}:{name}", f"see {owner}'s documentation of {name}", 0, (2,), SMALLEST, _family(name), LICENCES[owner], owner)
    return Network(info, partial(_build, owner, name))


def _family(name: str) -> Family:
    if "convnext" in name:
        return "convnext"
    return "transformer" if any(part in name for part in ATTENTION) else "cnn"


def _build(owner: str, name: str, channels: int, n_out: int, size: tuple[int, ...], **options: Any) -> nn.Module:
    """Strides are taken back for small images as far as the network allows: some have parallel strided branches."""
    wanted = wanted_reduction(size) if _family(name) != "transformer" else (1,) * len(size)
    for most in (4, 2, 1):
        made = soften(_made(owner, name, channels, n_out, size, options), tuple(min(each, most) for each in wanted))
        failure = _try(made, channels, size)
        if failure is None:
            return made
    raise OptionError(f"'{owner}:{name}' cannot read images of this size", got=f"size {size}: {failure}", do="choose another --size or 'small-resnet'")


def _made(owner: str, name: str, channels: int, n_out: int, size: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    make = _from_timm if owner == "timm" else _from_torchvision
    try:
        return make(name, channels, n_out, size, options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        given = f"options {options}" if options else f"size {size}"
        raise OptionError(f"{owner} cannot build '{name}'", got=f"{given}: {_reason(error)}", do="choose other options, another --size or network") from error


def _from_timm(name: str, channels: int, n_out: int, size: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    timm = library("timm")
    given = {"in_chans": channels, "num_classes": n_out, **options}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        given["img_size"] = size
    made: nn.Module = timm.create_model(name, **given)
    return made


def _from_torchvision(name: str, channels: int, n_out: int, size: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    given = dict(options)
    if name.startswith("vit_"):
        if len(set(size)) > 1:
            raise OptionError(f"'torchvision:{name}' reads square images", got=f"size {size}", do="choose a square --size or 'timm:' networks")
        given["image_size"] = size[0]
    if name in ("googlenet", "inception_v3"):
        given |= {"aux_logits": False, "init_weights": False}
    made: nn.Module = library("torchvision.models").get_model(name, weights=None, num_classes=n_out, **given)
    return recolour(made, channels)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _try(made: nn.Module, channels: int, size: tuple[int, ...]) -> str | None:
    """Why one image does not go through the network, or None when it does."""
    training = made.training
    try:
        with torch.no_grad():
            made.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        return _reason(error)
    made.train(training)
    return None
