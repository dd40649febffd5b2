"""Where output samples lie among input samples: axes, cells, and interpolation at chosen samples.

Samples are areas whose centres lie half a sample inside the border (``torch`` interpolate with align_corners=False,
``skimage.transform.resize``); beyond the border the outermost sample goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """Between which input samples each output sample lies, and how far from ``low`` to ``high`` (0 .. 1)."""

    n_in: int
    low: np.ndarray
    high: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, n_in: int, n_out: int, *, nearest: bool = False, step: float | None = None) -> Axis:
        """Linear, or the nearest sample (of two equally near the higher). With a ``step`` samples are points, the first ones lie on one
        another, and output samples are so many input samples apart."""
        place = np.arange(n_out) * step if step is not None else (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
        place = np.clip(place, 0, n_in - 1)
        place = np.floor(place + 0.5) if nearest else place
        low = np.floor(place).astype(np.int64)
        part = place - low
        return cls(n_in, low, np.where(part > 0, low + 1, low), part)

    @property
    def same(self) -> bool:
        return len(self.low) == self.n_in and bool((self.low == self.high).all()) and bool((self.low == np.arange(self.n_in)).all())


class Cells:
    """The axes within a plane: where output samples lie between the corners of a cell."""

    def __init__(self, shape_in: Sequence[int], shape_out: Sequence[int], device: torch.device, spaced: Sequence[float] | None = None) -> None:
        steps: Sequence[float | None] = [None] * len(shape_in) if spaced is None else spaced
        self.axes = [Axis.of(i, o, step=step) for i, o, step in zip(shape_in, shape_out, steps, strict=True)]
        self.steps = [tuple(c) for c in np.ndindex(*(1 if axis.same else 2 for axis in self.axes))]
        self.low, self.high = ([torch.from_numpy(each).to(device) for each in side] for side in ([a.low for a in self.axes], [a.high for a in self.axes]))
        self.part = [torch.from_numpy(axis.part).float().to(device) for axis in self.axes]
        self.strides = [int(np.prod(shape_in[i + 1 :])) for i in range(len(shape_in))]

    def spread(self, plane: Tensor) -> Tensor:
        """The value ``[..., *rest]`` at the first corner of each output sample's cell."""
        for i, (axis, low) in enumerate(zip(self.axes, self.low, strict=True), start=-len(self.axes)):
            plane = plane if axis.same else plane.index_select(plane.ndim + i, low)
        return plane

    def corners(self, at: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """For M output samples: corners of their cells (rows of a `Plane.table`) and their weights, ``[M, 2 ** axes]``."""
        rows, weights = [], []
        for step in self.steps:
            sides = [self.high[i][at[i]] if s else self.low[i][at[i]] for i, s in enumerate(step)]
            shares = [self.part[i][at[i]] if s else 1 - self.part[i][at[i]] for i, s in enumerate(step)]
            rows.append(sum(side * stride for side, stride in zip(sides, self.strides, strict=True)))
            weights.append(torch.stack(shares).prod(0))
        return torch.stack([torch.as_tensor(row) for row in rows], 1), torch.stack(weights, 1)


class Plane:
    """One plane of raw values ``[n_out, *rest]`` with what is decided at its samples ``[planes, *rest]``."""

    def __init__(self, raw: Tensor, labels: Tensor, cells: Cells) -> None:
        self.raw, self.labels, self.cells = raw, labels, cells

    @cached_property
    def table(self) -> Tensor:
        """A row of raw values for each sample: what `F.embedding_bag` sums."""
        return self.raw.flatten(1).T.contiguous()

    @cached_property
    def even(self) -> Tensor:
        """bool ``[*rest]``: whether the cell that begins at a sample is decided alike at all its corners."""
        alike = torch.ones_like(self.labels[0], dtype=torch.bool)
        for step in self.cells.steps[1:]:
            near = self.labels[(slice(None), *(slice(s, None) for s in step))]
            here = self.labels[(slice(None), *(slice(0, n) for n in near.shape[1:]))]
            alike[tuple(slice(0, n) for n in near.shape[1:])] &= (near == here).all(0)
        return alike


def between(corners: tuple[Tensor, Tensor], low: Plane, high: Plane, part: float) -> Tensor:
    """Interpolated raw values of M samples, ``[n_out, M]``; see `Cells.corners`. ``part``: the way from low to high."""
    rows, weights = corners
    if high is low:
        return F.embedding_bag(rows, low.table, per_sample_weights=weights, mode="sum").T
    below = F.embedding_bag(rows, low.table, per_sample_weights=weights * (1 - part), mode="sum")
    return (below + F.embedding_bag(rows, high.table, per_sample_weights=weights * part, mode="sum")).T
