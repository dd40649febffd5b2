"""A MONAI bundle (https://docs.monai.io, *MONAI Bundle Specification*; Cardoso et al., *MONAI*, arXiv:2211.02701, 2022) as a mapping of ours.

A bundle holds ``configs/inference.json``, ``configs/metadata.json`` and ``models/model.pt``. Its configuration is a program: what is plain
data in it is read, references (``@name``) are followed, expressions (``$...``) are never evaluated. Where an expression matters it is
named and refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesalius.core.target import TargetSpec
from vesalius.errors import FormatError
from vesalius.networks import build
from vesalius.networks.monai_net import KINDS
from vesalius.plan import Plan
from vesalius.stages.importing._bundle_reading import Reading
from vesalius.stages.importing._files import read_checkpoint, read_json
from vesalius.stages.importing._imported import Imported, saved

WHAT = "the MONAI bundle"
CONFIGS = ("inference.json", "evaluate.json")
OWN = frozenset({"_target_", "spatial_dims", "dimensions", "in_channels", "out_channels", "_mode_", "_requires_", "_disabled_"})
AGAIN = ("input_block.", "downsamples.", "bottleneck.", "upsamples.", "deep_supervision_heads.")
"""Second names that MONAI's DynUNet has for its layers, and its heads of deep supervision."""
UNUSED = ("cross_attn", "super_head")
DO = "only bundles of plain segmentation networks can be imported; use MONAI for this one"


def import_monai_bundle(folder: Path | str, out: Path | str) -> Path:
    """Write a MONAI bundle as a model of ours into ``out/model``; returns ``out``. See `read_monai_bundle`.

    Raises
    ------
    FormatError: see `read_monai_bundle`. RunError: ``out`` cannot be written.
    """
    return saved(read_monai_bundle(folder), Path(out), f"Imported from the MONAI bundle {Path(folder).name}.")


def read_monai_bundle(folder: Path | str) -> Imported:
    """Read a bundle's folder.

    Raises
    ------
    FormatError: a file is missing or damaged, or asks for a network, transform or expression that cannot be imported; it is named.
    """
    folder = Path(folder)
    path = next((folder / "configs" / name for name in CONFIGS if (folder / "configs" / name).is_file()), folder / "configs" / CONFIGS[0])
    _check_yaml(path)
    config = Config(read_json(path, WHAT), path)
    kind, arguments, ndim, channels, n_out = _network_of(config)
    exclusive = _exclusive(config)
    reading = Reading(ndim, channels, str(path))
    for each in _transforms(config, "preprocessing"):
        reading.take(each)
    reads = reading.reads(config.follow(config.find("inferer")))
    target = TargetSpec("mask", _classes(folder, n_out, exclusive), "mask", "outputs of the MONAI bundle", exclusive=exclusive)
    options: dict[str, Any] = {"kind": kind, "arguments": arguments}
    network = build("monai-net", channels=channels, n_out=n_out, size=reads.size, dense=True, **options)
    weights = folder / "models" / "model.pt"
    network.load_state_dict(fitted(read_checkpoint(weights), network, str(weights)))
    reason = f"imported from the MONAI bundle {folder.name}"
    plan = Plan().decide("network.name", "monai-net", reason).decide("network.options", options, f"network_def of {path.name}")
    return Imported(reads, (network.eval(),), target, plan)


def _check_yaml(path: Path) -> None:
    others = sorted(each.name for each in path.parent.glob("inference.y*ml")) if not path.is_file() else []
    if others:
        raise FormatError(f"{WHAT} states its inference in YAML", where=path.parent, expected=path.name, got=others[0], do="convert it to JSON")


class Config:
    """A bundle's configuration: plain values, with references followed."""

    def __init__(self, values: dict[str, Any], where: Path) -> None:
        self.values, self.where = values, where

    def find(self, name: str) -> Any:
        """The value of a name; parts are divided by ``#`` or ``::``.

        Raises
        ------
        FormatError: there is no such name.
        """
        found: Any = self.values
        for part in name.replace("::", "#").split("#"):
            parts = dict(enumerate(found)) if isinstance(found, list) else found if isinstance(found, dict) else {}
            key = int(part) if isinstance(found, list) and part.isdigit() else part
            if key not in parts:
                raise FormatError(f"the configuration has no '{name}'", where=self.where, got=", ".join(list(self.values)[:8]), do=DO)
            found = parts[key]
        return found

    def follow(self, value: Any, depth: int = 0) -> Any:
        """The value with every reference in it replaced by what it names; expressions stay as they are."""
        if isinstance(value, str) and value.startswith("@") and depth < 20:
            return self.follow(self.find(value[1:]), depth + 1)
        if isinstance(value, dict):
            return {name: self.follow(each, depth + 1) for name, each in value.items()}
        return [self.follow(each, depth + 1) for each in value] if isinstance(value, list) else value


def plain(value: Any, name: str, where: str) -> Any:
    """The value, if there is no expression in it.

    Raises
    ------
    FormatError: an expression, which is code, is named.
    """
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(each, (dict, list)):
            plain(each, name, where)
        elif isinstance(each, str) and each.startswith(("$", "@")):
            raise FormatError(f"'{name}' is an expression, which is not evaluated", where=where, got=each, do="write its value into the configuration")
    return value


def _network_of(config: Config) -> tuple[str, dict[str, Any], int, int, int]:
    """Class, arguments, axes, channels and outputs."""
    name = "network_def" if "network_def" in config.values else "network"
    stated = config.follow(config.find(name))
    if not isinstance(stated, dict) or "_target_" not in stated:
        raise FormatError("the configuration states no network", where=config.where, expected="'network_def' with a '_target_'", got=stated, do=DO)
    plain(stated, name, str(config.where))
    kind = str(stated["_target_"]).rpartition(".")[2]
    if kind not in KINDS:
        raise FormatError("the network is not one of those that can be imported", where=config.where, expected=f"one of {', '.join(KINDS)}", got=kind, do=DO)
    ndim, channels, n_out = (stated.get(key, otherwise) for key, otherwise in (("spatial_dims", 3), ("in_channels", 1), ("out_channels", 2)))
    return kind, {key: value for key, value in stated.items() if key not in OWN and value is not None}, int(ndim), int(channels), int(n_out)


def _transforms(config: Config, name: str) -> list[dict[str, Any]]:
    """The transforms of a chain, in order, without those that are turned off."""
    stated = config.follow(config.find(name))
    chain = stated.get("transforms", [stated]) if isinstance(stated, dict) else stated
    if not isinstance(chain, list) or not all(isinstance(each, dict) and "_target_" in each for each in chain):
        raise FormatError(f"'{name}' is no chain of transforms", where=config.where, expected="a Compose of transforms with '_target_'", got=stated, do=DO)
    return [each for each in chain if not each.get("_disabled_")]


def _exclusive(config: Config) -> bool:
    """Whether the largest of all outputs counts (soft-max), or each for itself (sigmoid)."""
    chain = _transforms(config, "postprocessing")
    said = {str(key) for each in chain for key, value in each.items() if value is True or (key == "threshold" and value is not None)}
    if "argmax" in said:
        return True
    if "sigmoid" in said:
        return False
    raise FormatError("'postprocessing' does not say what the outputs are", where=config.where, expected="argmax, or sigmoid", got=sorted(said), do=DO)


def _classes(folder: Path, n_out: int, exclusive: bool) -> tuple[str, ...]:
    """Names of the structures from ``metadata.json``, else numbered."""
    path = folder / "configs" / "metadata.json"
    named: dict[str, Any] = {}
    if path.is_file():
        stated = read_json(path, WHAT).get("network_data_format", {}).get("outputs", {})
        outputs = list(stated.values()) if isinstance(stated, dict) else []
        named = outputs[0].get("channel_def", {}) if outputs else {}
    names = [str(named.get(str(i), f"structure {i}")) for i in range(int(exclusive), n_out)]
    return tuple(name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, int(exclusive)))


def fitted(opened: dict[str, Any], network: nn.Module, where: str) -> dict[str, torch.Tensor]:
    """The checkpoint's weights as the network wants them: every one used but second names and layers that nothing reads.

    Raises
    ------
    FormatError: weights are missing, left over, or of another shape.
    """
    for key in ("model", "state_dict", "network"):
        opened = opened[key] if isinstance(opened.get(key), dict) else opened
    state, own = {name.removeprefix("module."): value for name, value in opened.items() if isinstance(value, torch.Tensor)}, network.state_dict()
    missing = [name for name in own if name not in state and not any(part in name for part in UNUSED)]
    left = [name for name in state if name not in own and not name.startswith(AGAIN) and not any(part in name for part in UNUSED)]
    wrong = [f"{name} {tuple(state[name].shape)}" for name in own if name in state and state[name].shape != own[name].shape]
    for what, names in (("missing from the file", missing), ("not of the stated network", left), ("of another shape than stated", wrong)):
        if names:
            raise FormatError(f"weights are {what}", where=where, got=", ".join(names[:4]), do="check that the configuration belongs to the weights")
    return {name: state.get(name, own[name]) for name in own}
