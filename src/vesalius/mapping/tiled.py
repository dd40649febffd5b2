"""A mapping that reads a study tile by tile and answers on every sample of the study's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.errors import RunError
from vesalius.formats import open_study
from vesalius.kernels.tiled_labels import labels_of
from vesalius.kernels.tiling import mirrored, places_by_step, profiles
from vesalius.mapping.whole import READINGS, Mapping, one_source
from vesalius.outputs.segment import Segment
from vesalius.transforms.tiles import TileTrace, prepare_tiles, undo_mask

Predict = Callable[[torch.Tensor], torch.Tensor]
Progress = Callable[[int, int, str], None]
MONAI_LEAST = 1e-3
"""Least weight of a sample of a tile in MONAI."""


AIR_SLACK, AIR_LEAST = 1e-5, 0.05
"""A study has air worth skipping when so many of its samples have the lowest number."""
NOT_THERE = -10.0
"""Raw value of a class in air."""


def quiet(done: int, total: int, what: str) -> None:
    """The progress of a caller that wants none."""


@dataclass(frozen=True)
class Segmented:
    """What a network marks in a study, on the study's own grid.

    Parameters
    ----------
    labels: ``[planes, (Z,) Y, X]`` uint8; see docs/architecture.md.
    doubt: 1 - the Dice that the probabilities themselves expect, mean over the classes found; 0 sure .. 1 (NaN: nothing found).
    uncertainty: entropy of the probabilities, 0 .. 1, ``[(Z,) Y, X]`` float32; None unless asked for.
    probability: of each class, ``[K, (Z,) Y, X]`` float32; None unless asked for.
    """

    labels: np.ndarray
    doubt: float
    uncertainty: np.ndarray | None = None
    probability: np.ndarray | None = None


@dataclass
class TiledMapping(Mapping):
    """A `Mapping` whose ``reads`` are `TileReads`: raw values are given for every sample, not for the study as a whole.

    ``mirror`` axes are averaged over all combinations. ``backend`` runs the networks where it is set (see
    `networks.backends`); it takes a tile batch ``[B, C, *size]`` and gives the members' mean raw values. ``labels`` reads a prepared
    study: `kernels.tiled_labels.labels_of`, or a function like it that heeds the memory (`stages.tiled.engine`).
    """

    reads: TileReads  # type: ignore[assignment]
    backend: Predict | None = field(default=None)
    batch: int = 1
    labels: Callable[..., np.ndarray] = labels_of

    reading: ClassVar[type[Reads] | type[TileReads]] = TileReads

    def encode(self, study: Study) -> tuple[np.ndarray, TileTrace]:  # type: ignore[override]
        """The whole study as it is read, float32 ``[C, (Z,) Y, X]``, and the way back."""
        return prepare_tiles(study, self.reads)

    @property
    def task(self) -> Segment:
        """The output, which marks samples."""
        if not isinstance(self.output, Segment):
            raise RunError("this model gives no masks", expected="a model with a mask target", got=self.output.target.kind)
        return self.output

    def mean_raw(self, x: torch.Tensor) -> torch.Tensor:
        """Mean raw values of the members for tiles ``[B, C, *size]``."""
        with torch.inference_mode():
            values = [self.output.predict(network, x.to(self.device)) for network in self.networks]
        return values[0] if len(values) == 1 else torch.stack(values).mean(0)

    def segment(self, study: Study, *, uncertainty: bool = False, probability: bool = False, progress: Progress = quiet) -> Segmented:
        """Mark the structures of a study.

        Raises
        ------
        DataError: the study has another number of axes or channels than the model reads.
        """
        x, trace = self.encode(study)
        watch = Watch(self.task, x.shape[1:], uncertainty, probability)
        labels = self.labels(
            mirrored(self.backend or self.mean_raw, self.mirror), x, size=self.reads.size, n_out=self.output.n_out, overlap=self.reads.overlap,
            batch=self.batch, shape_out=trace.stored, decide=self.task.decide, planes=self.task.planes, anisotropic=trace.coarse, observe=watch,
            weights=profiles(self.reads.size, self.reads.blend), steps=trace.steps, progress=progress, **self._manner(x.shape[1:]), **self._air(x),
        )
        doubts = [watch.entropy[None]] if watch.entropy is not None else []
        maps = [undo_mask(_enlarged(each, trace.stored), trace) for each in (doubts + ([watch.p] if watch.p is not None else []))]
        made = undo_mask(labels, trace)
        return Segmented(made, watch.doubt, maps[0][0] if uncertainty else None, maps[-1] if probability else None)

    def _air(self, x: np.ndarray) -> dict[str, Any]:
        """Tiles in which every channel has its lowest number everywhere are background and not computed; foreign models compute all."""
        if self.reads.orient is not None:
            return {}
        lowest = x.reshape(len(x), -1).min(1).reshape(-1, *(1,) * (x.ndim - 1))
        air = (x <= lowest + AIR_SLACK).all(0)
        inside = 0.0 if self.task.target.exclusive else NOT_THERE
        return {"skip": air, "background": [inside] + [NOT_THERE] * (self.output.n_out - 1)} if air.mean() > AIR_LEAST else {}

    def _manner(self, shape: Sequence[int]) -> dict[str, Any]:
        """How a foreign model's tiles lie and what of it is resampled; see `TileReads.manner`."""
        if self.reads.manner == "own":
            return {}
        activate = (lambda raw: raw.softmax(0)) if self.task.target.exclusive else (lambda raw: raw.sigmoid() - 0.5)
        return {"starts": places_by_step(shape, self.reads.size, self.reads.overlap), "activate": activate, "least": MONAI_LEAST}

    def __call__(self, study: Study | Source | str | Path) -> Finding:
        """The finding for a study, or for the one study that a file or folder holds."""
        opened = study if isinstance(study, Study) else open_study(one_source(study))
        return self.task.finding(self.segment(opened).labels, opened)


READINGS["tiles"] = TiledMapping


class Watch:
    """Looks at the raw values of each slab as they pass: doubt, entropy and probabilities, without holding them all."""

    def __init__(self, task: Segment, shape: Sequence[int], entropy: bool, probability: bool) -> None:
        self.task = task
        k = len(task.target.classes)
        self.entropy = np.zeros(tuple(shape), np.float32) if entropy else None
        self.p = np.zeros((k, *shape), np.float32) if probability else None
        self.sums = np.zeros((3, k))

    def __call__(self, where: slice, raw: torch.Tensor) -> None:
        bias = self.task.facts.get("bias")
        if bias:
            raw = raw + torch.tensor(bias, dtype=raw.dtype, device=raw.device).view(-1, *(1,) * (raw.ndim - 1))
        exclusive = self.task.target.exclusive
        p = raw.softmax(0) if exclusive else raw.sigmoid()
        mine = p[1:] if exclusive else p
        held = p.argmax(0)[None] == torch.arange(1, len(p), device=p.device).view(-1, *(1,) * (raw.ndim - 1)) if exclusive else raw > 0
        parts = ((mine * held), mine, held)
        self.sums += np.stack([part.flatten(1).sum(1, dtype=torch.float64).cpu().numpy() for part in parts])
        if self.entropy is not None:
            self.entropy[where] = entropy_of(p, exclusive).cpu().numpy()
        if self.p is not None:
            self.p[:, where] = mine.cpu().numpy()

    @property
    def doubt(self) -> float:
        """1 - mean expected Dice of the classes that were found (soft Dice of the probabilities with their own decision)."""
        found = self.sums[2] > 0
        expected = 2 * self.sums[0] / np.maximum(self.sums[1] + self.sums[2], 1e-9)
        return float(1 - expected[found].mean()) if found.any() else float("nan")


def entropy_of(p: torch.Tensor, exclusive: bool) -> torch.Tensor:
    """Entropy ``[…]`` of probabilities ``[K, …]``, 0 sure .. 1; the largest over the classes where they overlap."""
    if exclusive:
        return -(p * p.clamp(min=1e-9).log()).sum(0) / float(np.log(len(p)))
    q = 1 - p
    each = -(p * p.clamp(min=1e-9).log() + q * q.clamp(min=1e-9).log()) / float(np.log(2))
    return each.amax(0)


def _enlarged(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps ``[K, …]`` at another size, linear."""
    if maps.shape[1:] == tuple(shape):
        return maps
    mode = "bilinear" if maps.ndim == 3 else "trilinear"
    return F.interpolate(torch.from_numpy(maps)[None], shape, mode=mode, align_corners=False)[0].numpy()
