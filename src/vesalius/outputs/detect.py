"""Boxes: what is where, of which class, how surely; with a second label (the risk) of each where the data has one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from vesalius.core.boxes import BoxTruth, Detected, sizes_mm
from vesalius.core.finding import Boxes, Finding, Score
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.kernels.boxes import suppressed
from vesalius.kernels.boxscores import Responses, average_precision, match
from vesalius.outputs.base import OUTPUTS, Batch, Output

FLOOR = 0.02
"""Boxes below this score, before calibration, are not looked at further unless fainter ones are asked for."""
FAINTEST = 0.002
"""No box is fainter than this."""
OVERLAP = 0.5
"""IoU above which the weaker of two boxes of a class is dropped."""
MOST = 300
"""Boxes of one study at most."""
MOST_CANDIDATES = 3000
EQUAL = 2e-6
"""An operating point is the score of some box of validation, kept with six digits and here as float32: it must not fall below itself."""


@OUTPUTS.register("detect")
class Detect(Output):
    """Networks that detect own their loss and their candidates (docs/architecture.md, "Boxes"); here candidates become boxes.

    ``facts`` hold ``thresholds`` (the operating point of each class, by name) and ``overlap`` (see `OVERLAP`). The calibrator is strictly
    monotone for each class and was fitted on the boxes of validation.
    """

    kinds: ClassVar[tuple[str, ...]] = ("boxes",)
    reading: ClassVar[Literal["whole", "tiles", "boxes"]] = "boxes"

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        made: torch.Tensor = network(batch.x, batch.truth)
        return made

    def predict(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Candidates ``[B, M, 2 * ndim + n_out]`` float32 in samples of the tile."""
        made: torch.Tensor = network(x)
        return made.float()

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Raw values ``[N, K]`` of the classes to calibrated probabilities ``[N, K]``."""
        return self.calibrator(raw.astype(np.float64)) if self.calibrator is not None else expit(raw.astype(np.float64))

    def candidates(self, raw: np.ndarray, ndim: int, floor: float = FLOOR) -> Detected:
        """One tile's candidates ``[M, 2 * ndim + n_out]`` whose score is at least ``floor``, a row a class, neither suppressed nor calibrated."""
        k = len(self.target.classes)
        scores = expit(raw[:, 2 * ndim : 2 * ndim + k].astype(np.float64))
        place, label = np.nonzero(scores >= floor)
        best = np.argsort(-scores[place, label], kind="stable")[:MOST_CANDIDATES]
        place, label = place[best], label[best]
        risk = expit(raw[place, 2 * ndim + k]) if self.target.risk else np.full(len(place), np.nan)
        boxes = raw[place, : 2 * ndim].astype(np.float32)
        return Detected(boxes, label.astype(np.int64), scores[place, label].astype(np.float32), risk.astype(np.float32))

    def floor_of(self, least: float) -> float:
        """The score before calibration from which on some class reaches ``least`` after it."""
        raw = np.linspace(logit(FAINTEST), 7.0, 500)
        p = self.probabilities(np.repeat(raw[:, None], len(self.target.classes), 1))
        reached = (p >= least).any(1)
        return float(expit(raw[int(reached.argmax())])) if reached.any() else 1.0

    @property
    def overlap(self) -> float:
        return float(self.facts.get("overlap", OVERLAP))

    def thinned(self, found: Detected) -> Detected:
        """The best boxes, each once, the likeliest first."""
        return suppressed(found.boxes, found.labels, found.scores, found.risk, threshold=self.overlap, most=MOST)

    def calibrated(self, found: Detected) -> Detected:
        """Scores as the share of right boxes that such a score has on validation; the order within a class stays."""
        if self.calibrator is None or not len(found):
            return found
        raw = np.zeros((len(found), len(self.target.classes)))
        own = (np.arange(len(found)), found.labels)
        raw[own] = logit(np.clip(found.scores.astype(np.float64), 1e-7, 1 - 1e-7))
        made = Detected(found.boxes, found.labels, self.calibrator(raw)[own].astype(np.float32), found.risk)
        return made.kept(np.argsort(-made.scores, kind="stable"))

    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        """The finding of candidates ``[M, 2 * ndim + n_out]`` that are in samples of the study."""
        return self.finding(self.calibrated(self.thinned(self.candidates(raw, study.ndim))), study)

    def thresholds(self) -> np.ndarray:
        """Operating point of each class; one half where none was chosen."""
        held = self.facts.get("thresholds") or {}
        return np.array([float(held.get(name, 0.5)) for name in self.target.classes])

    def above(self, found: Detected) -> Detected:
        """The boxes at or above the operating point of their class."""
        return found.kept(found.scores >= self.thresholds()[found.labels] - EQUAL) if len(found) else found

    def finding(self, found: Detected, study: Study) -> Finding:
        """The boxes at or above the operating point, counted and measured, on the study's own grid."""
        kept = self.above(found)
        names = tuple(self.target.classes[k] for k in kept.labels)
        risk = tuple(float(r) for r in kept.risk) if self.target.risk else ()
        boxes = Boxes(kept.boxes, study.grid, names, tuple(float(s) for s in kept.scores), risk)
        items = [score for k, name in enumerate(self.target.classes) for score in _counted(name, kept.kept(kept.labels == k), study)]
        label = "|".join(name for name in self.target.classes if name in names)
        surest = float(kept.scores.max()) if len(kept) else None
        return Finding(study.source, label, surest, study.grid, (boxes, *items))

    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        return self.judge([(raw, truth)])

    def judge(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """``score`` is the mean average precision at IoU .5 over the tiles, ``loss`` what is missing to 1: a sum over anchors would not
        say more and only training networks give it."""
        found, truths = [], []
        for raw, truth in pairs:
            ndim = (raw.shape[2] - self.n_out) // 2
            found += [self.thinned(self.candidates(each, ndim)) for each in raw]
            truths += [truth_of(each, ndim) for each in truth]
        score = _map50(found, truths, len(self.target.classes))
        return {"loss": 1.0 - (score if np.isfinite(score) else 0.0), "score": score}

    def explained(self, raw: torch.Tensor, index: int | None = None) -> torch.Tensor:
        """The largest raw value ``[B]`` of class ``index`` among the candidates (of any class)."""
        k, ndim = len(self.target.classes), (raw.shape[2] - self.n_out) // 2
        classes = raw[:, :, 2 * ndim : 2 * ndim + k]
        if index is not None and not 0 <= index < k:
            raise OptionError("there is no such class", expected=f"0 to {k - 1}", got=index)
        return (classes if index is None else classes[:, :, index : index + 1]).flatten(1).amax(1)


def _map50(found: list[Detected], truths: list[BoxTruth], k: int) -> float:
    """Mean over the classes that are there of the average precision at IoU .5; NaN without a true box."""
    if not found:
        return float("nan")
    matched = [match(each, truth, (0.5,)) for each, truth in zip(found, truths, strict=True)]
    each = np.array([average_precision(Responses.of(found, truths, matched, label))[0, 0] for label in range(k)])
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def truth_of(rows: np.ndarray, ndim: int) -> BoxTruth:
    """One case's rows of a batch's truth (docs/architecture.md) as `BoxTruth`."""
    kept = rows[rows[:, 2 * ndim] >= 0]
    return BoxTruth(kept[:, : 2 * ndim], kept[:, 2 * ndim].astype(np.int64), kept[:, 2 * ndim + 1] > 0.5, kept[:, 2 * ndim + 2])


def _counted(name: str, found: Detected, study: Study) -> list[Score]:
    """How many boxes of a class there are, the surest, and their median longest edge."""
    unit = "mm" if study.grid.spacing_known else "pixel"
    made = [Score(f"{name}.count", float(len(found)), unit="count")]
    if len(found):
        sizes = sizes_mm(found.boxes, study.grid).max(1)
        made += [Score(f"{name}.surest", float(found.scores.max())), Score(f"{name}.median_{unit}", float(np.median(sizes)), unit=unit)]
    return made
