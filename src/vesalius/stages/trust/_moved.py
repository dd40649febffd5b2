"""The same study taken otherwise, and where its structures and boxes then lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from vesalius.core.boxes import BoxTruth
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.kernels.boxes import clipped, volumes
from vesalius.stages.trust._changes import FINE, TONED, TURN_DEG, ZOOM, Change
from vesalius.transforms.spatial import Affine

SIZE = 0.1
"""How much larger or smaller another body is."""
ENDS = (0.1, 99.9)
"""Percentiles between which the grey values of a study without a scale of its own lie."""
SEEN = 0.5
"""A box of which less is left in the picture is not asked for."""
LINEAR = ("brighter", "darker", "harder", "flatter")
"""Changes that standardising each study by its own numbers takes back."""

Ends = list[tuple[float, float]]


@dataclass(frozen=True)
class Way:
    """How a study is shown: ``scale`` of each side is seen, turned in its last two axes, with other grey values."""

    scale: float = 1.0
    turn_deg: float = 0.0
    tone: Change | None = None

    def matrix(self, grid: Grid, sign: int) -> torch.Tensor:
        """Where to read from, ``[1, n, n + 1]`` in torch's normalised coordinates (x first); angles are true in mm."""
        n, angle = grid.ndim, math.radians(self.turn_deg) * sign
        matrix = torch.eye(n, n + 1) * self.scale
        tall, wide = (grid.shape[axis] * grid.spacing_mm[axis] for axis in (-2, -1))
        matrix[0, 0] = matrix[1, 1] = self.scale * math.cos(angle)
        matrix[0, 1], matrix[1, 0] = -self.scale * math.sin(angle) * tall / wide, self.scale * math.sin(angle) * wide / tall
        return matrix[None]

    @property
    def moves(self) -> bool:
        """Whether anything lies elsewhere."""
        return self.scale != 1.0 or self.turn_deg != 0.0


def ways_for(reads: TileReads, measured: bool, *, boxes: bool) -> dict[str, Way]:
    """By name. ``measured``: the grey values are quantities (CT). ``boxes``: nothing is turned, for an upright box about a turned object is not known."""
    placed = {"closer": Way(1 - ZOOM), "farther": Way(1 + ZOOM)} if reads.ndim == 2 else {"larger": Way(1 / (1 + SIZE)), "smaller": Way(1 / (1 - SIZE))}
    own = all("zscore" in scheme for scheme in reads.schemes)
    toned = {} if measured else {name: Way(tone=tone) for name, tone in TONED.items() if not (own and name in LINEAR)}
    return placed | ({} if boxes else {"turned": Way(turn_deg=TURN_DEG)}) | toned | {name: Way(tone=tone) for name, tone in FINE.items()}


def shown(study: Study, way: Way, ends: Ends, sign: int, source: torch.Generator) -> Study:
    """The study so taken, on the same grid (float32), its grey values cut to ``ends``."""
    low, width = (torch.tensor(each).view(-1, *(1,) * study.ndim) for each in ([a for a, _ in ends], [max(b - a, 1e-6) for a, b in ends]))
    # What is no number counts as the lowest one, as it does where the model reads it.
    x = ((torch.from_numpy(study.image.astype(np.float32)) - low) / width).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)[None]
    if way.moves:
        x = Affine().apply(x, way.matrix(study.grid, sign))
    if way.tone is not None:
        x = way.tone(x, sign, source).clamp(0, 1)
    return replace(study, image=(x[0] * width + low).numpy())


def ends_of(study: Study, reads: TileReads) -> Ends:
    """The least and largest grey value of each channel that count, as the model reads them."""
    return [_ends(channel, study, reads, c) for c, channel in enumerate(study.image)]


def _ends(channel: np.ndarray, study: Study, reads: TileReads, c: int) -> tuple[float, float]:
    scheme = reads.schemes[min(c, len(reads.schemes) - 1)]
    if scheme == "ct":
        return reads.low[c], reads.high[c]
    if scheme == "full":
        return 0.0, float(2**study.bits - 1)
    low, high = np.percentile(channel[np.isfinite(channel)], ENDS)
    return float(low), float(high)


def moved_mask(mask: np.ndarray, way: Way, grid: Grid, sign: int) -> np.ndarray:
    """A mask ``[planes, (Z,) Y, X]`` uint8, where the structures then lie (the nearest sample)."""
    if not way.moves:
        return mask
    x = Affine().apply(torch.from_numpy(mask.astype(np.float32))[None], way.matrix(grid, sign), mode="nearest")
    return x[0].round().to(torch.uint8).numpy()


def moved_truth(truth: BoxTruth, way: Way, grid: Grid) -> BoxTruth:
    """Boxes where they then lie, cut to the picture; those of which less than half is left in it are ignored, those outside are gone."""
    if not way.moves or not len(truth):
        return truth
    middle = np.tile(np.asarray(grid.shape, np.float64) / 2, 2)
    far = (truth.boxes.astype(np.float64) - middle) / way.scale + middle
    near = clipped(far, grid.shape)
    left = volumes(near) / np.maximum(volumes(far), 1e-9)
    made = BoxTruth(near.astype(np.float32), truth.labels, truth.ignored | (left < SEEN), truth.risk, truth.aside)
    inside = left > 0
    return replace(made, boxes=made.boxes[inside], labels=made.labels[inside], ignored=made.ignored[inside], risk=made.risk[inside])
