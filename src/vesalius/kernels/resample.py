"""Resampling of images, of masks, and of a network's raw values with the decision, plane by plane.

Samples are areas whose centres lie half a sample inside the border (``torch`` interpolate with align_corners=False,
``skimage.transform.resize``); beyond the border the outermost sample goes on.

What a network says of every class must be resampled before it is decided, and that array is the largest of the whole
prediction. But linear interpolation only takes means of the corners of a cell. Where a decision holds at every corner
of a cell, it holds between them, as long as the raw values that lead to a decision form a convex set: so it is for the
largest of several, and for a threshold on each. Only cells that a border between classes crosses are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.errors import DataError

Decide = Callable[[Tensor], Tensor]
"""Raw values ``[n_out, ...] -> uint8 [planes, ...]``, sample by sample."""


def largest(raw: Tensor) -> Tensor:
    """The number of the class with the largest raw value, the first of several: uint8 ``[1, ...]`` of ``[n_out, ...]``.

    >>> largest(torch.tensor([[0., 3.], [1., 2.]])).tolist()
    [[1, 0]]
    """
    return raw.max(dim=0, keepdim=True).indices.to(torch.uint8)  # max is three times as fast as argmax along a first axis


@dataclass(frozen=True)
class Axis:
    """Between which input samples each output sample lies, and how far from ``low`` to ``high`` (0 .. 1)."""

    n_in: int
    low: np.ndarray
    high: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, n_in: int, n_out: int, *, nearest: bool = False) -> Axis:
        """Linear, or the nearest sample (of two equally near the higher)."""
        place = np.clip((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
        place = np.floor(place + 0.5) if nearest else place
        low = np.floor(place).astype(np.int64)
        part = place - low
        return cls(n_in, low, np.where(part > 0, low + 1, low), part)

    @property
    def same(self) -> bool:
        return len(self.low) == self.n_in and bool((self.low == self.high).all())


class _Plane:
    """One plane of raw values ``[n_out, *rest]`` with what is decided at its samples ``[planes, *rest]``."""

    def __init__(self, raw: Tensor, labels: Tensor, grid: _Grid) -> None:
        self.raw, self.labels, self.grid = raw, labels, grid

    @cached_property
    def table(self) -> Tensor:
        """A row of raw values for each sample: what `F.embedding_bag` sums."""
        return self.raw.flatten(1).T.contiguous()

    @cached_property
    def even(self) -> Tensor:
        """bool ``[*rest]``: whether the cell that begins at a sample is decided alike at all its corners."""
        alike = torch.ones_like(self.labels[0], dtype=torch.bool)
        for step in self.grid.steps[1:]:
            near = self.labels[(slice(None), *(slice(s, None) for s in step))]
            here = self.labels[(slice(None), *(slice(0, n) for n in near.shape[1:]))]
            alike[tuple(slice(0, n) for n in near.shape[1:])] &= (near == here).all(0)
        return alike


class _Grid:
    """The axes within a plane: where output samples lie between the corners of a cell."""

    def __init__(self, shape_in: Sequence[int], shape_out: Sequence[int], device: torch.device) -> None:
        self.axes = [Axis.of(i, o) for i, o in zip(shape_in, shape_out, strict=True)]
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
        """For M output samples: corners of their cells (rows of a `_Plane.table`) and their weights, ``[M, 2 ** axes]``."""
        rows, weights = [], []
        for step in self.steps:
            sides = [self.high[i][at[i]] if s else self.low[i][at[i]] for i, s in enumerate(step)]
            shares = [self.part[i][at[i]] if s else 1 - self.part[i][at[i]] for i, s in enumerate(step)]
            rows.append(sum(side * stride for side, stride in zip(sides, self.strides, strict=True)))
            weights.append(torch.stack(shares).prod(0))
        return torch.stack([torch.as_tensor(row) for row in rows], 1), torch.stack(weights, 1)


def decided(
    slabs: Iterable[tuple[slice, Tensor]],
    shape_in: Sequence[int],
    shape_out: Sequence[int],
    decide: Decide,
    planes: int = 1,
    *,
    anisotropic: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resample raw values linearly and decide, holding the planes between which the next one lies.

    Parameters
    ----------
    slabs: ``(slice of the first axis, raw [n_out, n, ...])`` in order and without gap, as `tiling.stream` gives them.
    shape_in, shape_out: of the image, ``[(Z,) Y, X]``.
    decide: see `Decide`; the raw values of one decision must form a convex set (the largest, a threshold on each), see above.
    anisotropic: along the first axis the nearest plane counts (thick slices, as nnU-Net does).
    out: where to write, ``[planes, *shape_out]`` uint8, e.g. a memmap; None for a new array.

    Returns
    -------
    ``out``.

    Raises
    ------
    DataError: the slabs leave a gap, do not lie on ``shape_in`` or end early; or ``out`` does not fit.
    """
    out = np.empty((planes, *shape_out), np.uint8) if out is None else out
    if out.shape != (planes, *shape_out) or out.dtype != np.uint8:
        raise DataError("the labels do not fit where they are to be written", expected=f"uint8 {(planes, *shape_out)}", got=f"{out.dtype} {out.shape}")
    writer = _Writer(Axis.of(shape_in[0], shape_out[0], nearest=anisotropic), tuple(shape_in), tuple(shape_out), decide, out)
    for where, raw in slabs:
        writer.add(where, raw)
    if writer.read != shape_in[0]:
        raise DataError("the slabs end before the image does", expected=f"{shape_in[0]} planes", got=writer.read)
    return out


class _Writer:
    """Writes each output plane as soon as the input planes beside it are there."""

    def __init__(self, first: Axis, shape_in: tuple[int, ...], shape_out: tuple[int, ...], decide: Decide, out: np.ndarray) -> None:
        self.first, self.shape_in, self.shape_out, self.decide, self.out = first, shape_in, shape_out, decide, out
        self.read = self.written = 0
        self.held: dict[int, _Plane] = {}
        self.grid: _Grid | None = None

    def add(self, where: slice, raw: Tensor) -> None:
        if where.start != self.read or tuple(raw.shape[1:]) != (where.stop - where.start, *self.shape_in[1:]):
            expected = f"planes from {self.read} of shape {self.shape_in[1:]}"
            raise DataError("the slabs do not follow one another on the image", expected=expected, got=f"{where.start}:{where.stop}, shape {tuple(raw.shape)}")
        self.read = where.stop
        labels = self.decide(raw)
        if self.shape_in == self.shape_out:
            self.out[:, where] = labels.cpu().numpy()
            return
        self.grid = self.grid or _Grid(self.shape_in[1:], self.shape_out[1:], raw.device)
        self.held |= {where.start + i: _Plane(raw[:, i], labels[:, i], self.grid) for i in range(raw.shape[1])}
        while self.written < self.shape_out[0] and self.first.high[self.written] < self.read:
            self.out[:, self.written] = self._plane(self.grid, self.written).cpu().numpy()
            self.written += 1
        needed = self.first.low[self.written] if self.written < self.shape_out[0] else self.read
        self.held = {z: plane for z, plane in self.held.items() if z >= needed}

    def _plane(self, grid: _Grid, z: int) -> Tensor:
        low, high, part = self.held[self.first.low[z]], self.held[self.first.high[z]], float(self.first.part[z])
        even = low.even if high is low else low.even & high.even & (low.labels == high.labels).all(0)
        labels = grid.spread(low.labels).clone()
        at = torch.nonzero(~grid.spread(even), as_tuple=True)
        if len(at[0]):
            chosen: tuple[slice | Tensor, ...] = (slice(None), *at)
            labels[chosen] = self.decide(self._between(grid.corners(at), low, high, part))
        return labels

    @staticmethod
    def _between(corners: tuple[Tensor, Tensor], low: _Plane, high: _Plane, part: float) -> Tensor:
        """Interpolated raw values of M samples, ``[n_out, M]``."""
        rows, weights = corners
        if high is low:
            return F.embedding_bag(rows, low.table, per_sample_weights=weights, mode="sum").T
        below = F.embedding_bag(rows, low.table, per_sample_weights=weights * (1 - part), mode="sum")
        return (below + F.embedding_bag(rows, high.table, per_sample_weights=weights * part, mode="sum")).T
