"""A number: bone age, ejection fraction, volume."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vesalius.core.finding import Finding, Score
from vesalius.core.study import Study
from vesalius.outputs.base import OUTPUTS, Batch, Output


@OUTPUTS.register("regress")
class Regress(Output):
    """Smooth L1 on the standardised value; ``facts`` hold centre and scale of the training truth."""

    kinds: ClassVar[tuple[str, ...]] = ("regression",)

    def settle(self, truth: np.ndarray) -> None:
        self.facts = {"centre": float(np.mean(truth)), "scale": float(np.std(truth) or 1.0)}

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        raw = network(batch.x).float()[:, 0]
        return F.smooth_l1_loss(raw, (batch.truth.float() - self.facts["centre"]) / self.facts["scale"], reduction="none")

    def predict(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return network(x).float() * self.facts["scale"] + self.facts["centre"]

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        return raw.astype(np.float64)

    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        value = float(raw[0])
        return Finding(study.source, f"{value:.4g}", None, study.grid, (Score(self.target.name, value, unit="value"),))

    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        error = (raw[:, 0] - truth) / self.facts["scale"]
        spread = float(np.var(truth / self.facts["scale"]) or 1.0)
        return {"loss": float(np.square(error).mean()), "score": 1 - float(np.square(error).mean()) / spread}
