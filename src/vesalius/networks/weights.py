"""Pretrained weights into a network, with a report of what was and what was not loaded.

>>> from vesalius.networks import build
>>> report = fit_state({"0.weight": torch.ones(32, 3, 3, 3)}, build("small-cnn", channels=1, n_out=2, size=(28, 28)))
>>> report.adapted
[('0.weight', '3 input channels summed to 1')]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import library
from vesalius.networks._weight_files import State, read_state

COUNTER = "num_batches_tracked"
BACKBONES = ("backbone.body.", "backbone.")
"""Where a network that detects keeps the network that others have trained."""
SHOWN = 4


@dataclass(frozen=True)
class LoadReport:
    """What became of a file of weights.

    Parameters
    ----------
    loaded: names of the network that took their tensor as it is.
    adapted: names and how their tensor was changed to fit.
    missing: names of the network that the file does not have; they keep their fresh weights.
    unexpected: names of the file that the network does not have.
    mismatched: names in both whose shapes differ, with the shapes; they keep their fresh weights. A head
        for another number of classes is here.
    source: the file's name, or what was asked for.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    source: str = ""

    @property
    def en(self) -> str:
        """One sentence in English."""
        parts = [f"{len(self.loaded) + len(self.adapted)} tensors were loaded from {self.source or 'the file'}"]
        parts += [f"adapted: {_some([f'{name} ({how})' for name, how in self.adapted])}"] if self.adapted else []
        fresh = self.missing + self.mismatched
        parts += [f"trained from the start: {_some(fresh)}"] if fresh else []
        parts += [f"not used: {_some(self.unexpected)}"] if self.unexpected else []
        return "; ".join(parts) + "."

    @property
    def zh(self) -> str:
        """One sentence in Chinese."""
        parts = [f"从{self.source or '文件'}载入了 {len(self.loaded) + len(self.adapted)} 个张量"]
        parts += [f"经调整：{_some([name for name, _ in self.adapted])}"] if self.adapted else []
        fresh = self.missing + self.mismatched
        parts += [f"从头训练：{_some(fresh)}"] if fresh else []
        parts += [f"未使用：{_some(self.unexpected)}"] if self.unexpected else []
        return "；".join(parts) + "。"

    def sentence(self, lang: str = "en") -> str:
        """What was and was not loaded, in ``"en"`` or ``"zh"``."""
        return self.zh if lang == "zh" else self.en


def _some(names: list[str]) -> str:
    more = f" + {len(names) - SHOWN}" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def load_weights(network: nn.Module, spec: str, *, channels: int) -> LoadReport:
    """Load pretrained weights into a built network; in place.

    Parameters
    ----------
    network: from `vesalius.networks.build`, or any other.
    spec: a file (``.safetensors``; ``.pt``/``.pth`` with tensors only; ``.npz``), ``hub:NAME`` (timm's name,
        ``OWNER/REPOSITORY``, or ``torchvision:NAME``; downloaded), or ``efficientnet-lite0`` from its package.
    channels: of the network's input.

    A network that detects takes weights of its backbone alone, too: what they do not hold is trained from the start, and the report says it.
    A head for another number of outputs keeps its fresh weights. Colour input is summed to grey, so that a
    grey image gives what its three equal channels gave; grey is divided over colours. 2-D kernels are
    repeated along z and divided (Carreira and Zisserman, *Quo vadis, action recognition?*, CVPR 2017); the
    patches and positions of a vision transformer are resampled.

    Raises
    ------
    OptionError: nothing fits, the file cannot be read, or the network has other channels.
    OfflineError: the hub cannot be reached.
    """
    first = next((m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), None)
    if first is not None and first.in_channels != channels:
        raise OptionError("the network has other input channels", expected=channels, got=first.in_channels)
    spec = str(spec)
    return fit_state(read_state(spec), network, spec if spec.startswith("hub:") else Path(spec).name)


def fit_state(state: State, network: nn.Module, source: str = "") -> LoadReport:
    """Copy what fits of ``state`` into ``network``; see `load_weights`."""
    own = network.state_dict()
    state = at_home(state, own)
    report = LoadReport(source=source)
    taken: State = {}
    for name in (each for each in own if each in state):
        fitted, how = adapt(name, state[name], own[name], network)
        if fitted is None:
            report.mismatched.append(f"{name} {tuple(state[name].shape)} -> {tuple(own[name].shape)}")
            continue
        taken[name] = fitted.to(own[name].dtype)
        if how:
            report.adapted.append((name, how))
        else:
            report.loaded.append(name)
    report.unexpected.extend(name for name in state if name not in own)
    report.missing.extend(name for name in own if name not in state and not name.endswith(COUNTER))
    if not any(value.ndim > 1 for value in taken.values()):
        expected, got = f"names like {_some(list(own))}", f"names like {_some(list(state))}"
        do = "choose the network that the weights were made for"
        raise OptionError("no weight of the file fits the network", where=source or None, expected=expected, got=got, do=do)
    network.load_state_dict(taken, strict=False)
    return report


def at_home(state: State, own: State) -> State:
    """The names of ``state`` as the network has them: a backbone's weights stand by themselves in a file, or lost their prefix with a wrapper's.

    >>> list(at_home({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, {"backbone.body.conv1.weight": torch.zeros(1)}))
    ['backbone.body.conv1.weight', 'fc.bias']
    """
    return {next((f"{prefix}{name}" for prefix in ("", *BACKBONES) if f"{prefix}{name}" in own), name): value for name, value in state.items()}


def adapt(name: str, value: torch.Tensor, like: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor | None, str]:
    """A tensor in the shape of ``like`` and how it got there (empty when unchanged), or None when it cannot."""
    if value.shape == like.shape:
        return value, ""
    steps: list[str] = []
    if name.endswith("pos_embed") and value.ndim == like.ndim == 3:
        return _positions(value, like, network)
    if like.ndim < 4 or value.ndim not in (like.ndim, like.ndim - 1):
        return None, ""
    if value.ndim == 4 and like.ndim == 5:
        depth = like.shape[2]
        value = value.unsqueeze(2).expand(-1, -1, depth, -1, -1) / depth
        steps.append(f"repeated {depth} times along z")
    if value.shape[1] != like.shape[1] and value.shape[1] in (1, 3) and like.shape[0] == value.shape[0]:
        before, after = value.shape[1], like.shape[1]
        value = value.sum(1, keepdim=True).expand(-1, after, *value.shape[2:]) / after
        steps.append(f"{before} input channels summed to {after}" if after == 1 else f"{before} input channels spread over {after}")
    if name.endswith("patch_embed.proj.weight") and value.ndim == 4 and value.shape[:2] == like.shape[:2] and value.shape != like.shape:
        value = library("timm.layers").resample_patch_embed(value, list(like.shape[2:]))
        steps.append(f"patch resampled to {tuple(like.shape[2:])}")
    return (value.contiguous(), ", ".join(steps)) if value.shape == like.shape else (None, "")


def _positions(value: torch.Tensor, like: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor | None, str]:
    """Position codes of a square grid resampled to the network's grid; a class token's code is kept."""
    grid = tuple(getattr(getattr(network, "patch_embed", None), "grid_size", ()))
    prefix = like.shape[1] - math.prod(grid) if grid else -1
    side = math.isqrt(max(value.shape[1] - prefix, 0))
    if len(grid) != 2 or prefix < 0 or side * side != value.shape[1] - prefix or value.shape[2] != like.shape[2]:
        return None, ""
    fitted = library("timm.layers").resample_abs_pos_embed(value, list(grid), [side, side], num_prefix_tokens=prefix)
    return fitted, f"positions resampled from {side}x{side} to {grid[0]}x{grid[1]}"
