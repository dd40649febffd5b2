"""What every output owns. The stages know this interface and no task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.core.target import KINDS, TargetSpec
from vesalius.kernels.calibrate import Calibrator
from vesalius.registry import Registry, unknown


@dataclass
class Batch:
    """Images ``[B, C, (Z,) Y, X]`` as the network reads them and their encoded truth (see `TargetSpec.encode`)."""

    x: torch.Tensor
    truth: torch.Tensor


@dataclass
class Output(ABC):
    """A head, its loss and its reading.

    Parameters
    ----------
    target: kind and classes.
    weights: one weight per class for the loss, or empty; chosen from the data by the plan.
    focal: exponent of the focal loss (Lin 2017); 0 is plain cross-entropy.
    smoothing: label smoothing in [0, 1).
    calibrator: from raw values to probabilities; fitted on validation.
    threshold: operating point of a binary target, else None.
    facts: what else a task must remember (e.g. centre and scale of a regression).
    """

    target: TargetSpec
    weights: tuple[float, ...] = ()
    focal: float = 0.0
    smoothing: float = 0.0
    calibrator: Calibrator | None = None
    threshold: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[tuple[str, ...]] = ()
    reading: ClassVar[Literal["whole", "tiles", "boxes"]] = "whole"

    @property
    def n_out(self) -> int:
        """Numbers that the network's head gives."""
        return self.target.n_out

    def settle(self, truth: np.ndarray) -> None:  # noqa: B027 - optional hook
        """Learn what the task needs of the training truth (nothing by default)."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss per case ``[B]``, unreduced."""

    def predict(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Raw values ``[B, n_out]`` float32."""
        return network(x).float()

    @abstractmethod
    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Raw ``[N, n_out]`` to calibrated probabilities ``[N, K]`` (or values ``[N, 1]``)."""

    @abstractmethod
    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        """One raw row to a finding on the study's own grid."""

    @abstractmethod
    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        """Quick figures for the training log: ``loss`` (lower is better) and the task's ``score`` (higher is better)."""

    def judge(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """`figure` of batches of (raw, truth) as they come; a task whose raw values are large sums up as it goes."""
        raws, truths = zip(*pairs, strict=True)
        return self.figure(np.concatenate(truths), np.concatenate(raws))

    def explained(self, raw: torch.Tensor, index: int | None = None) -> torch.Tensor:
        """The number ``[B]`` that an explanation explains: of class ``index``, else of the winner."""
        chosen = raw.argmax(1) if index is None else torch.full((raw.shape[0],), index, device=raw.device)
        return raw.gather(1, chosen[:, None])[:, 0]

    def to_dict(self) -> dict[str, Any]:
        calibrator = self.calibrator.to_dict() if self.calibrator else None
        return {
            "target": self.target.to_dict(), "weights": list(self.weights), "focal": self.focal, "smoothing": self.smoothing,
            "calibrator": calibrator, "threshold": self.threshold, "facts": self.facts,
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Output:
        made = output_for(TargetSpec.from_dict(facts["target"]))
        made.weights, made.focal, made.smoothing = tuple(facts["weights"]), facts["focal"], facts["smoothing"]
        made.calibrator = Calibrator.from_dict(facts["calibrator"]) if facts.get("calibrator") else None
        made.threshold, made.facts = facts.get("threshold"), dict(facts.get("facts", {}))
        return made


OUTPUTS: Registry[type[Output]] = Registry("output", "vesalius.outputs")


def output_for(target: TargetSpec) -> Output:
    """The output that handles this kind of target."""
    for name in OUTPUTS:
        if target.kind in OUTPUTS.get(name).kinds:
            return OUTPUTS.get(name)(target)
    raise unknown("target", target.kind, list(KINDS))
