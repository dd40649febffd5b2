"""Masks: which samples belong to which structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, softmax
from torch import nn

from vesalius.core.finding import Finding, Mask, Score
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import IGNORED
from vesalius.kernels.measure import measure
from vesalius.outputs import _masklosses as losses
from vesalius.outputs.base import OUTPUTS, Batch, Output

LOSSES = ("dice+ce", "focal-tversky+ce", "dice+ce+boundary")
BOUNDARY_WEIGHT = 0.5


@OUTPUTS.register("segment")
class Segment(Output):
    """Soft-max over background and structures, or a sigmoid for each structure where they overlap.

    ``facts`` hold ``loss`` (one of `LOSSES`), ``together`` (Dice over the whole batch) and ``bias`` (added to the raw value
    of each class before it is decided; chosen on validation). With deep supervision (Lee et al. 2015) the loss of each
    coarser map counts half of the one before.
    """

    kinds: ClassVar[tuple[str, ...]] = ("mask",)
    reading: ClassVar[Literal["whole", "tiles"]] = "tiles"

    @property
    def planes(self) -> int:
        """Planes of a truth or decided mask: 1, or one a class where classes overlap."""
        return 1 if self.target.exclusive else len(self.target.classes)

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        made = network(batch.x)
        maps = list(made) if isinstance(made, (list, tuple)) else [made]
        weights = [0.5**i for i in range(len(maps))]
        each = [w * self.loss_of(raw.float(), _at_size(batch.truth, raw.shape[2:])) for w, raw in zip(weights, maps, strict=True)]
        return torch.stack(each).sum(0) / sum(weights)

    def loss_of(self, raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Loss per case ``[B]`` of raw values ``[B, n_out, …]`` against truth ``[B, L, …]``."""
        kind, exclusive = self.facts.get("loss", LOSSES[0]), self.target.exclusive
        held, judged = losses.marks(truth, len(self.target.classes), exclusive)
        p = losses.shares(raw, exclusive)
        total = losses.cross_entropy(raw, truth, exclusive)
        if kind.startswith("focal-tversky"):
            total = total + losses.focal_tversky_loss(p, held, judged)
        else:
            total = total + losses.dice_loss(p, held, judged, bool(self.facts.get("together", False)))
        return total + BOUNDARY_WEIGHT * losses.boundary_loss(p, held, judged) if kind.endswith("boundary") else total

    def predict(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Raw values ``[B, n_out, (Z,) Y, X]`` float32."""
        made = network(x)
        return (made[0] if isinstance(made, (list, tuple)) else made).float()

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Raw ``[N, n_out, …]`` to probabilities of the classes ``[N, K, …]``, without the background."""
        raw = self._biased(raw.astype(np.float64), 1)
        return softmax(raw, axis=1)[:, 1:] if self.target.exclusive else expit(raw)

    def decide(self, raw: torch.Tensor) -> torch.Tensor:
        """Raw ``[n_out, …]`` to the mask ``[planes, …]`` uint8: the likeliest class, or every class above one half."""
        bias = self.facts.get("bias")
        if bias:
            raw = raw + torch.tensor(bias, dtype=raw.dtype, device=raw.device).view(-1, *(1,) * (raw.ndim - 1))
        return raw.argmax(0, keepdim=True).to(torch.uint8) if self.target.exclusive else (raw > 0).to(torch.uint8)

    def _biased(self, raw: np.ndarray, axis: int) -> np.ndarray:
        bias = self.facts.get("bias")
        return raw + np.reshape(bias, [-1 if a == axis else 1 for a in range(raw.ndim)]) if bias else raw

    def decode(self, raw: np.ndarray, study: Study) -> Finding:
        """The finding of raw values ``[n_out, (Z,) Y, X]`` on the study's own grid."""
        return self.finding(self.decide(torch.from_numpy(raw)).numpy(), study)

    def finding(self, labels: np.ndarray, study: Study) -> Finding:
        """The finding of a decided mask ``[planes, (Z,) Y, X]`` on the study's own grid, measured."""
        masks = [labels[0] == k + 1 if self.target.exclusive else labels[k] == 1 for k in range(len(self.target.classes))]
        items = [item for name, mask in zip(self.target.classes, masks, strict=True) for item in _measured(name, mask, study)]
        found = [name for name, mask in zip(self.target.classes, masks, strict=True) if mask.any()]
        return Finding(study.source, "|".join(found), None, study.grid, (*_masks(labels, self.target.classes, self.target.exclusive, study.grid), *items))

    def figure(self, truth: np.ndarray, raw: np.ndarray) -> dict[str, float]:
        return self.judge([(raw, truth)])

    def judge(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Mean loss of the tiles, and the mean over classes of the Dice of all tiles pooled (nnU-Net's pseudo Dice)."""
        total, n, counts = 0.0, 0, np.zeros((3, len(self.target.classes)))
        for raw, truth in pairs:
            raw_, truth_ = torch.from_numpy(raw), torch.from_numpy(truth)
            total, n = total + float(self.loss_of(raw_, truth_).sum()), n + len(raw)
            counts += self.counts(raw_, truth_)
        seen = counts[2] > 0
        dice = 2 * counts[0] / np.maximum(counts[1] + counts[2], 1)
        return {"loss": total / max(n, 1), "score": float(dice[seen].mean()) if seen.any() else float("nan")}

    def counts(self, raw: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
        """Hits, predicted and true samples of each class, ``[3, K]``, over what was judged."""
        decided = torch.stack([self.decide(each) for each in raw])
        predicted, _ = losses.marks(decided, len(self.target.classes), self.target.exclusive)
        held, judged = losses.marks(truth, len(self.target.classes), self.target.exclusive)
        sums = losses.overlaps(predicted, held, judged)
        return np.stack([part.sum(0).double().numpy() for part in sums])

    def explained(self, raw: torch.Tensor, index: int | None = None) -> torch.Tensor:
        """The mean raw value ``[B]`` of class ``index`` over the samples that it is decided for (all, when there are none)."""
        channel = (index or 0) + int(self.target.exclusive)
        chosen = (raw.argmax(1) == channel if self.target.exclusive else raw[:, channel] > 0).flatten(1).float()
        chosen = torch.where(chosen.sum(1, keepdim=True) > 0, chosen, torch.ones_like(chosen))
        return (raw[:, channel].flatten(1) * chosen).sum(1) / chosen.sum(1)


def _at_size(truth: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Truth at a coarser map's size, nearest sample."""
    if tuple(truth.shape[2:]) == tuple(size):
        return truth
    return F.interpolate(truth.float(), tuple(size), mode="nearest-exact").to(truth.dtype)


def _measured(name: str, mask: np.ndarray, study: Study) -> list[Score]:
    """What `kernels.measure` gives, as scores called ``class.measurement``; places and intensities number by number."""
    facts = measure(mask, study.grid, study.image)
    unit = str(facts["unit"])
    plain = {key: value for key, value in facts.items() if isinstance(value, (int, float))}
    plain |= {f"centroid_{axis}_{unit}": value for axis, value in zip("LPS", facts.get(f"centroid_{unit}", ()), strict=False)}
    plain |= {f"intensity_{key}": value for key, value in (facts.get("intensity") or [{}])[0].items()}
    return [Score(f"{name}.{key}", float(value), unit=_unit(key, unit)) for key, value in plain.items()]


def _unit(key: str, unit: str) -> str:
    power = next((each for each in (f"{unit}3", f"{unit}2", unit) if key.endswith(f"_{each}")), None)
    return power or ("count" if key.startswith("n_") else "number")


def _masks(labels: np.ndarray, classes: tuple[str, ...], exclusive: bool, grid: Grid) -> tuple[Mask, ...]:
    if exclusive:
        return (Mask(labels[0], grid, classes),)
    return tuple(Mask(plane, grid, (name,)) for name, plane in zip(classes, labels, strict=True))


def judged_only(truth: np.ndarray, view: np.ndarray | None) -> np.ndarray:
    """Truth ``[L, …]`` with everything outside the field of view marked as not judged."""
    return truth if view is None else np.where(view[None], truth, np.uint8(IGNORED))
