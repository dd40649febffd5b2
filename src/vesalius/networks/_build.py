"""From a name to a network: `build`, `describe`, `names`, `candidates`."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from vesalius.errors import OptionError
from vesalius.networks import _foreign
from vesalius.networks._base import NETWORKS, Network, NetworkInfo
from vesalius.registry import nearest

FEW_DENSE = 50
"""Training studies with masks: below this a plain U-Net is as good as any."""
FEW, MANY = 500, 5000
"""Training images: below FEW only small networks are worth their time, from MANY on attention may pay."""


def resolve(name: str) -> Network:
    """The network of that name: ours, ``timm:NAME``, ``torchvision:NAME``, or a bare name that one library knows.

    Raises
    ------
    OptionError: nobody knows the name (the nearest known ones are told), or two libraries do.
    """
    plain = name.lower().replace("_", "-")
    for each in (name, name.lower(), plain, plain.replace("-", "")):
        if each in NETWORKS:
            return NETWORKS.get(each)
    if ":" in name:
        return _foreign.network(*name.split(":", 1))
    owners = _foreign.owners(name)
    if len(owners) == 1:
        return _foreign.network(owners[0], name)
    if owners:
        raise OptionError(f"two libraries know the network '{name}'", expected=" or ".join(f"{owner}:{name}" for owner in owners), do="say which")
    near = nearest(plain, NETWORKS.names()) + _foreign.nearest_names(name)
    listed = ", ".join(near[:6] or NETWORKS.names())
    raise OptionError(f"unknown network '{name}'", expected=f"one of {listed}", do="'timm:NAME' and 'torchvision:NAME' also work")


def describe(name: str) -> NetworkInfo:
    """What is known of a network; `OptionError` for an unknown name."""
    return resolve(name).info


def names(ndim: int | None = None, dense: bool | None = None, detects: bool | None = None) -> list[str]:
    """Names of the registry, sorted; with ``ndim`` only those for so many spatial axes, with ``dense`` only those that give
    numbers for each sample (True) or for the whole image (False), with ``detects`` only those that give boxes (True) or do not (False)."""
    infos = {name: NETWORKS.get(name).info for name in NETWORKS.names()}
    return [name for name, info in infos.items() if (ndim is None or ndim in info.ndims) and _is(info, dense, detects)]


def _is(info: NetworkInfo, dense: bool | None, detects: bool | None) -> bool:
    """Whether it is of the kind that is asked for; boxes are neither numbers for each sample nor for the whole image."""
    return detects in (None, info.detects) and (dense is None or (dense == info.dense and not info.detects))


def build(
    name: str, *, channels: int, n_out: int, size: tuple[int, ...], dense: bool | None = None, detects: bool | None = None, **options: Any,
) -> nn.Module:
    """A network with fresh weights.

    Parameters
    ----------
    name: see `resolve`.
    channels: of the input, 1 or 3 (any positive number works where no weights are loaded).
    n_out: numbers per image, per sample for a dense network, or per box; raw, without softmax.
    size: ``(Y, X)`` or ``(Z, Y, X)`` in samples. Strides and pools are taken back on axes too short for them.
    dense, detects: what the task needs, as in `names`; a network of another kind is refused. None takes any.
    options: of the architecture.

    Returns
    -------
    A module ``[B, C, (Z,) Y, X] -> [B, n_out]``, or ``[B, n_out, (Z,) Y, X]`` for a dense network (in training with deep
    supervision a list of such, the finest first, each coarser one at its own size). Networks that detect: "Boxes" in docs/architecture.md.

    Raises
    ------
    OptionError: unknown name or option, no such network for 2-D or 3-D, an image too small, no output, a network of the other kind.
    """
    network = resolve(name)
    size = tuple(int(n) for n in size)
    if not _is(network.info, dense, detects):
        raise _other_kind(network.info, len(size), dense, detects)
    _check(network.info, channels, n_out, size)
    _check_options(network, options)
    return network.builder(channels, n_out, size, **options)


def _other_kind(info: NetworkInfo, ndim: int, dense: bool | None, detects: bool | None) -> OptionError:
    what = {None: "no boxes", False: "numbers for the whole image", True: "numbers for each sample"}
    given, needed = ("boxes" if each else what[numbers] for each, numbers in ((info.detects, info.dense), (detects, dense)))
    fitting = ", ".join(names(ndim, dense, detects))
    return OptionError(f"'{info.name}' gives {given}, the task needs {needed}", expected=f"one of {fitting}", do="choose another network")


def _check(info: NetworkInfo, channels: int, n_out: int, size: tuple[int, ...]) -> None:
    if len(size) not in info.ndims:
        listed = ", ".join(names(len(size), None if info.detects else info.dense, info.detects)) or "a network for 2-D or 3-D"
        raise OptionError(f"'{info.name}' does not exist in {len(size)}-D", got=f"size {size}", expected=listed, do="choose another network")
    if min(n for n in size if n > 1 or not info.dense or max(size) == 1) < info.min_size:  # a tile of one plane is read plane by plane
        other = "yolo-like" if info.detects else "unet" if info.dense else "small-resnet"
        least = f"at least {info.min_size} samples along each axis"
        raise OptionError(f"images are too small for '{info.name}'", expected=least, got=f"size {size}", do=f"choose a larger --size or '{other}'")
    if channels < 1 or n_out < 1:
        given = f"channels {channels}, n_out {n_out}"
        raise OptionError("a network has inputs and outputs", expected="channels and n_out of at least 1", got=given)


def _check_options(network: Network, options: dict[str, Any]) -> None:
    parameters = list(inspect.signature(network.builder).parameters.values())[3:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters]
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise OptionError(f"'{network.info.name}' has no option '{wrong[0]}'", expected=f"one of {', '.join(known)}" if known else "no options")


def candidates(ndim: int, size: tuple[int, ...], n_images: int, dense: bool = False) -> list[str]:
    """Networks worth ranking for ``--network all``: a sensible subset, the safest first.

    With few images only small networks are listed; attention and the heavier ones come with more.
    """
    listed = _dense_candidates(n_images) if dense else _plain_candidates(ndim, n_images)
    infos = [(name, NETWORKS.get(name).info) for name in listed]
    return [name for name, info in infos if ndim in info.ndims and min(size) >= info.min_size]


def _plain_candidates(ndim: int, n_images: int) -> list[str]:
    listed = ["small-resnet", "small-cnn", "resnet18"]
    if n_images >= FEW:
        listed += ["densenet121", "mobilenetv2", "efficientnet-b0", "convnext-atto"] if ndim == 2 else ["densenet121", "resnet10"]
    return listed + (["cnn-attention", "vit-tiny"] if n_images >= MANY else [])


def _dense_candidates(n_volumes: int) -> list[str]:
    listed = ["small-unet", "unet"]
    if n_volumes >= FEW_DENSE:
        listed += ["residual-unet", "segresnet", "attention-unet"]
    return listed + (["swin-unetr"] if n_volumes >= FEW else [])
