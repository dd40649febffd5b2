"""nnU-Net's networks as ours: options from its plans, weights key by key."""

from __future__ import annotations

import re
from typing import Any

import torch

from vesalius.errors import FormatError

PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
NAMES = {PLAIN: "unet", RESIDUAL: "residual-unet"}
EPS = 1e-5
SLOPE = 0.01
DO = "this architecture cannot be imported; use nnU-Net for it"


def network_options(configuration: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Name of our network and its options, from a configuration of ``plans.json`` (of before or since nnU-Net 2.4).

    Raises
    ------
    FormatError: another architecture, or a part of one that ours does not have.
    """
    kind, kwargs = architecture(configuration, where)
    _check(kwargs, where)
    slope = float((kwargs.get("nonlin_kwargs") or {}).get("negative_slope", SLOPE)) if str(kwargs["nonlin"]).endswith("LeakyReLU") else 0.0
    options = {
        "width": _each(kwargs["features_per_stage"], kwargs["n_stages"]), "strides": _each(kwargs["strides"], kwargs["n_stages"]),
        "kernels": _each(kwargs["kernel_sizes"], kwargs["n_stages"]), "convs_up": _each(kwargs["n_conv_per_stage_decoder"], kwargs["n_stages"] - 1)[::-1],
        "bias": bool(kwargs.get("conv_bias", False)), "norm": "batch" if "BatchNorm" in str(kwargs["norm_op"]) else "instance", "slope": slope,
    }
    if kind == PLAIN:
        return NAMES[kind], options | {"convs": _each(kwargs["n_conv_per_stage"], kwargs["n_stages"])}
    stem = {"stem_width": int(kwargs["stem_channels"])} if kwargs.get("stem_channels") else {}
    return NAMES[kind], options | {"blocks": _each(kwargs["n_blocks_per_stage"], kwargs["n_stages"])} | stem


def architecture(configuration: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of the network.

    Raises
    ------
    FormatError: neither of the two that nnU-Net plans, or no architecture at all.
    """
    if "architecture" in configuration:
        name, kwargs = configuration["architecture"]["network_class_name"].rpartition(".")[2], dict(configuration["architecture"]["arch_kwargs"])
    elif "UNet_class_name" in configuration:
        name, kwargs = configuration["UNet_class_name"], _old(configuration)
    else:
        raise FormatError("the configuration states no architecture", where=where, expected="'architecture' or 'UNet_class_name'")
    if name not in NAMES:
        raise FormatError("another architecture than nnU-Net's own", where=where, expected=" or ".join(NAMES), got=name, do=DO)
    return name, kwargs


def _old(configuration: dict[str, Any]) -> dict[str, Any]:
    """The arguments that plans of before nnU-Net 2.4 leave to the code."""
    n = len(configuration["n_conv_per_stage_encoder"])
    convs = "n_conv_per_stage" if configuration["UNet_class_name"] == PLAIN else "n_blocks_per_stage"
    most, base = configuration["unet_max_num_features"], configuration["UNet_base_num_features"]
    return {
        "n_stages": n, "features_per_stage": [min(base * 2**i, most) for i in range(n)], "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"], convs: configuration["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"], "conv_bias": True, "norm_op": "InstanceNorm", "nonlin": "LeakyReLU",
        "norm_op_kwargs": {"eps": EPS, "affine": True},
    }


def _check(kwargs: dict[str, Any], where: str) -> None:
    """Refuse what ours would compute otherwise."""
    norm = {"eps": EPS, "affine": True} | (kwargs.get("norm_op_kwargs") or {})
    unlike = {
        "nonlin_first": bool(kwargs.get("nonlin_first", False)),
        "block": not str(kwargs.get("block") or "BasicBlockD").endswith("BasicBlockD"),
        "bottleneck_channels": kwargs.get("bottleneck_channels") is not None,
        "pool": kwargs.get("pool", "conv") != "conv",
        "norm_op": not re.search("(InstanceNorm|BatchNorm)", str(kwargs.get("norm_op"))),
        "norm_op_kwargs": norm["eps"] != EPS or not norm["affine"],
        "nonlin": not str(kwargs.get("nonlin")).endswith(("LeakyReLU", ".ReLU")),
    }
    for name in (name for name, wrong in unlike.items() if wrong):
        raise FormatError(f"the network has a '{name}' that ours has not", where=where, got=kwargs.get(name), do=DO)


def _each(value: Any, n: int) -> list[Any]:
    return [value] * n if isinstance(value, int) else list(value)


def translated(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """nnU-Net's weights under our names; every one is used, but second names of the same layer and heads of deep supervision.

    Parameters
    ----------
    weights: ``network_weights`` of a checkpoint.
    own: ``state_dict`` of our network: what is wanted.

    Raises
    ------
    FormatError: a weight is missing, has another shape, or is left over.
    """
    levels = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("up.")) + 1
    names = {name: foreign_name(name, levels, set(weights)) for name in own}
    missing = [foreign for foreign in names.values() if foreign not in weights]
    if missing:
        raise FormatError("weights of the network are missing", where=where, expected=", ".join(missing[:4]), got=f"{len(weights)} weights")
    wrong = [f"{foreign} {tuple(weights[foreign].shape)}" for name, foreign in names.items() if weights[foreign].shape != own[name].shape]
    if wrong:
        raise FormatError("weights of another shape than planned", where=where, got=", ".join(wrong[:4]), do="check that plans.json belongs to the checkpoint")
    spare = re.compile(rf"\.all_modules\.|^decoder\.encoder\.|^decoder\.seg_layers\.(?!{levels - 2}\.)\d+\.")
    left = sorted(name for name in set(weights) - set(names.values()) if not spare.search(name))
    if left:
        raise FormatError("weights that the planned network does not have", where=where, got=", ".join(left[:4]), do=DO)
    return {name: weights[foreign] for name, foreign in names.items()}


def foreign_name(name: str, levels: int, known: set[str]) -> str:
    """nnU-Net's name of one of our weights.

    >>> foreign_name("decoder.0.1.conv.weight", 4, set())
    'decoder.stages.2.convs.1.conv.weight'
    """
    part, i, *rest = name.split(".")
    at = levels - 2 - int(i)
    if part == "up":
        return ".".join(("decoder.transpconvs", str(at), *rest))
    if part == "heads":
        return ".".join(("decoder.seg_layers", str(at), *rest))
    if part == "decoder":
        return ".".join(("decoder.stages", str(at), "convs", *rest))
    plain = ".".join(("encoder.stages", i, "0.convs", *rest))
    return _residual_name(int(i), rest, known) if "encoder.stem.convs.0.conv.weight" in known else plain


def _residual_name(i: int, rest: list[str], known: set[str]) -> str:
    """The first level begins with the stem; a shortcut is named by what comes before it."""
    block, inner, *last = rest
    if i == 0 and block == "0":
        return ".".join(("encoder.stem.convs.0", inner, *last))
    start = f"encoder.stages.{i}.blocks.{int(block) - (i == 0)}"
    if inner != "shortcut":
        return ".".join((start, inner, *last))
    return next((f"{start}.skip.{k}.{'.'.join(last)}" for k in (0, 1) if f"{start}.skip.{k}.{'.'.join(last)}" in known), f"{start}.skip.0.{'.'.join(last)}")
