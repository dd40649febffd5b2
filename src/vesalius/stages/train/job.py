"""What a training process is given and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.core.reads import Reads, TileReads
from vesalius.outputs import Output
from vesalius.plan import Plan


@dataclass(frozen=True)
class Job:
    """One network to train; small and picklable, so that it can be sent to other processes.

    Parameters
    ----------
    cache: the prepared images, ``[N, C, (Z,) Y, X]``; for tiles the folder of a `TileStore`.
    train_rows, validation_rows: rows of the cache; ``*_truth`` their encoded truth (see `TargetSpec.encode`).
    output: the task as `Output.to_dict`.
    folder: where checkpoints go. ``log``: where history.csv and TensorBoard events go.
    seed: of this member; nothing else is random.
    weights: pretrained weights to start from (see `networks.weights`), or None.
    """

    cache: Path
    reads: Reads | TileReads
    plan: Plan
    output: dict[str, Any]
    train_rows: np.ndarray
    train_truth: np.ndarray
    validation_rows: np.ndarray
    validation_truth: np.ndarray
    folder: Path
    log: Path
    seed: int = 0
    weights: str | None = None

    @property
    def steps_per_epoch(self) -> int:
        return int(self.plan["train.steps_per_epoch"])

    @property
    def total_steps(self) -> int:
        return int(self.plan["train.epochs"]) * self.steps_per_epoch

    @property
    def mark(self) -> str:
        """What a checkpoint must agree with to be continued."""
        return f"{self.plan.hash}-{self.seed}-{len(self.train_rows)}-{self.cache.stem}"

    def task(self) -> Output:
        return Output.from_dict(self.output)


@dataclass(frozen=True)
class Trained:
    """The best weights on validation (of the moving average), and how it went."""

    state: dict[str, torch.Tensor]
    validation_loss: float
    validation_score: float
    epoch: int
    epochs_done: int
    seconds: float
    why_stopped: str
