"""Several findings in one image, each present or absent."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import nn

from vesalius.core.finding import Finding, Score
from vesalius.core.study import Study
from vesalius.core.target import SEPARATOR
from vesalius.outputs.base import OUTPUTS, Batch, Output
from vesalius.outputs.classify import mean_auc


@OUTPUTS.register("multilabel")
class Multilabel(Output):
    """A sigmoid per class; ``weights`` are the weights of the positives. A truth of NaN is left out of the loss."""

    kinds: ClassVar[tuple[str, ...]] = ("multilabel",)

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        raw = network(batch.x).float()
        known = ~batch.truth.isnan()
        truth = batch.truth.nan_to_num(0.5)
        soft = truth * (1 - self.smoothing) + self.smoothing / 2
        weight = torch.tensor(self.weights, device=raw.device) if self.weights else None
        loss = F.binary_cross_entropy_with_logits(raw, soft, pos_weight=weight, reduction="none")
        if self.focal:
            sure = torch.where(truth > 0.5, raw.sigmoid(), 1 - raw.sigmoid())
            loss = loss * (1 - sure).pow(self.focal)
        return (loss * known).sum(1) / known.sum(1).clamp(min=1)

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        return self.calibrator(raw) if self.calibrator else expit(raw.astype(np.float64))

    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        p = self.probabilities(raw[None])[0]
        present = [name for name, value in zip(self.target.classes, p, strict=True) if value >= 0.5]
        scores = tuple(Score(name, float(value)) for name, value in zip(self.target.classes, p, strict=True))
        return Finding(study.source, SEPARATOR.join(present), float(p.max()), study.grid, scores)

    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        known = ~np.isnan(truth).any(1)
        truth, x = truth[known], raw[known].astype(np.float64)
        loss = np.maximum(x, 0) - x * truth + np.log1p(np.exp(-np.abs(x)))
        both = [np.stack([1 - truth[:, k], truth[:, k]], 1) for k in range(self.n_out)]
        areas = [mean_auc(marks, np.stack([-x[:, k], x[:, k]], 1)) for k, marks in enumerate(both)]
        defined = [a for a in areas if not np.isnan(a)]
        return {"loss": float(loss.mean()), "score": float(np.mean(defined)) if defined else float("nan")}
