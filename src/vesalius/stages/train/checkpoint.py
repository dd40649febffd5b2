"""One checkpoint, one file, written whole or not at all: tensors and, as JSON, all that is not a tensor."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from vesalius.errors import RunError
from vesalius.storage import atomic_write

FILE = "last.safetensors"


@dataclass
class State:
    """Where a training is.

    ``history`` has a row per finished epoch; ``running`` the sum and number of the losses of the epoch under way.
    """

    mark: str
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_score: float = float("nan")
    best_epoch: int = -1
    running: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: list[dict[str, float]] = field(default_factory=list)
    why_stopped: str = ""


@dataclass
class Parts:
    """What is trained: the network, its moving average, the best average so far, the optimiser."""

    network: nn.Module
    average: nn.Module
    best: dict[str, torch.Tensor]
    optimizer: torch.optim.Optimizer


def save(folder: Path, parts: Parts, state: State) -> None:
    """Write the checkpoint. RunError when the disk is full or read-only; the one before stays."""
    tensors = {f"network.{k}": v for k, v in parts.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in parts.average.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in parts.best.items()}
    for number, memory in parts.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": torch.as_tensor(v) for k, v in memory.items()}
    plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / FILE, tensors_to_bytes(plain, {"state": json.dumps(asdict(state))}))


def restore(folder: Path, parts: Parts, mark: str) -> State:
    """Put the checkpoint's tensors into the parts; a fresh state when there is no checkpoint.

    Raises
    ------
    RunError: the checkpoint is damaged, or of another plan or other data.
    """
    if not (folder / FILE).is_file():
        return State(mark)
    tensors, state = read(folder)
    if state.mark != mark:
        raise RunError("the checkpoint belongs to another plan or other data", where=folder, expected=mark, got=state.mark, do="choose another --out")
    parts.network.load_state_dict(_under("network.", tensors))
    parts.average.load_state_dict(_under("average.", tensors))
    parts.best.update(_under("best.", tensors))
    _restore_optimizer(parts.optimizer, _under("optimizer.", tensors))
    return state


def read(folder: Path) -> tuple[dict[str, torch.Tensor], State]:
    """Tensors and state of a checkpoint."""
    path = folder / FILE
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = json.loads((opened.metadata() or {})["state"])
        return load_file(path), State(**facts)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError("the checkpoint is damaged", where=path, got=str(error), do="delete it to train this network again from its start") from error


def best_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The best weights in a checkpoint."""
    return _under("best.", tensors)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Moments get the parameter's own memory layout back, so that sums run in the same order as before."""
    every = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = every[int(number)]
        kept = value if value.ndim == 0 else torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][name] = kept
