"""One class of several: binary, multi-class and ordinal targets."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score
from torch import nn

from vesalius.core.finding import Finding, Score
from vesalius.core.study import Study
from vesalius.outputs.base import OUTPUTS, Batch, Output


@OUTPUTS.register("classify")
class Classify(Output):
    """Soft-max over classes with weighted, smoothed or focal cross-entropy.

    An ordinal target adds the squared distance between the expected and the true grade, so that a
    mistake by two grades costs more than by one.
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary", "multiclass", "ordinal")
    ordinal_share: ClassVar[float] = 0.5

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        raw = network(batch.x).float()
        weight = torch.tensor(self.weights, device=raw.device) if self.weights else None
        loss = F.cross_entropy(raw, batch.truth, weight=weight, reduction="none", label_smoothing=self.smoothing)
        if self.focal:
            sure = raw.softmax(1).gather(1, batch.truth[:, None])[:, 0]
            loss = loss * (1 - sure).pow(self.focal)
        if self.target.kind == "ordinal":
            loss = loss + self.ordinal_share * self._distance(raw, batch.truth)
        return loss

    def _distance(self, raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        grades = torch.arange(self.n_out, device=raw.device, dtype=raw.dtype)
        expected = (raw.softmax(1) * grades).sum(1)
        return ((expected - truth) / max(self.n_out - 1, 1)).square() * self.n_out

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        return self.calibrator(raw) if self.calibrator else softmax(raw.astype(np.float64), axis=1)

    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        p = self.probabilities(raw[None])[0]
        best = int(p.argmax())
        if self.threshold is not None:
            best = int(p[1] >= self.threshold)
        scores = tuple(Score(name, float(value)) for name, value in zip(self.target.classes, p, strict=True))
        return Finding(study.source, self.target.classes[best], float(p[best]), study.grid, scores)

    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        log_p = log_softmax(raw.astype(np.float64), axis=1)
        loss = float(-log_p[np.arange(len(truth)), truth].mean())
        return {"loss": loss, "score": mean_auc(truth[:, None] == np.arange(self.n_out), np.exp(log_p))}


def mean_auc(marks: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve, mean over the classes that have both a positive and a negative; NaN when none has."""
    columns = [1] if marks.shape[1] == 2 else range(marks.shape[1])
    areas = [roc_auc_score(marks[:, k], p[:, k]) for k in columns if 0 < marks[:, k].sum() < len(marks)]
    return float(np.mean(areas)) if areas else float("nan")
