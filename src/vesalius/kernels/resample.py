"""Resampling of images, of masks, and of a network's raw values with the decision, plane by plane.

Samples are areas whose centres lie half a sample inside the border (``torch`` interpolate with align_corners=False,
``skimage.transform.resize``); beyond the border the outermost sample goes on.

What a network says of every class must be resampled before it is decided, and that array is the largest of the whole
prediction. But linear interpolation only takes means of the corners of a cell. Where a decision holds at every corner
of a cell, it holds between them, as long as the raw values that lead to a decision form a convex set: so it is for the
largest of several, and for a threshold on each. Only cells that a border between classes crosses are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor

from vesalius.errors import DataError, OptionError
from vesalius.kernels.cells import Axis, Cells, Plane, between

Decide = Callable[[Tensor], Tensor]
"""Raw values ``[n_out, ...] -> uint8 [planes, ...]``, sample by sample."""
NEGLIGIBLE = 1e-7
"""Weights of a spline this small are left out."""
ROWS = 32
"""Output samples along an axis that are computed together, from the input samples that they need."""
EQUAL_SHARE = 1e-6
"""Shares of a sample that differ by less are equal."""
SLAB = 16
"""Planes of a mask that are read together."""


def largest(raw: Tensor) -> Tensor:
    """The number of the class with the largest raw value, the first of several: uint8 ``[1, ...]`` of ``[n_out, ...]``.

    >>> largest(torch.tensor([[0., 3.], [1., 2.]])).tolist()
    [[1, 0]]
    """
    return raw.max(dim=0, keepdim=True).indices.to(torch.uint8)  # max is three times as fast as argmax along a first axis


def decided(
    slabs: Iterable[tuple[slice, Tensor]],
    shape_in: Sequence[int],
    shape_out: Sequence[int],
    decide: Decide,
    planes: int = 1,
    *,
    anisotropic: bool = False,
    steps: Sequence[float] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resample raw values linearly and decide, holding the planes between which the next one lies.

    Parameters
    ----------
    slabs: ``(slice of the first axis, raw [n_out, n, ...])`` in order and without gap, as `tiling.stream` gives them.
    shape_in, shape_out: of the image, ``[(Z,) Y, X]``.
    decide: see `Decide`; the raw values of one decision must form a convex set (the largest, a threshold on each), see above.
    anisotropic: along the first axis the nearest plane counts (thick slices, as nnU-Net does).
    steps: samples are points and not areas: how many input samples each output sample is from the next along each axis (MONAI); None
        for areas.
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
    first = Axis.of(shape_in[0], shape_out[0], nearest=anisotropic, step=None if steps is None else steps[0])
    writer = _Writer(first, tuple(shape_in), tuple(shape_out), decide, out, None if steps is None else tuple(steps[1:]))
    for where, raw in slabs:
        writer.add(where, raw)
    if writer.read != shape_in[0]:
        raise DataError("the slabs end before the image does", expected=f"{shape_in[0]} planes", got=writer.read)
    return out


class _Writer:
    """Writes each output plane as soon as the input planes beside it are there."""

    def __init__(
        self, first: Axis, shape_in: tuple[int, ...], shape_out: tuple[int, ...], decide: Decide, out: np.ndarray, spaced: tuple[float, ...] | None,
    ) -> None:
        self.first, self.shape_in, self.shape_out, self.decide, self.out = first, shape_in, shape_out, decide, out
        self.read, self.written, self.spaced = 0, 0, spaced
        self.held: dict[int, Plane] = {}
        self.cells: Cells | None = None

    def add(self, where: slice, raw: Tensor) -> None:
        if where.start != self.read or tuple(raw.shape[1:]) != (where.stop - where.start, *self.shape_in[1:]):
            expected = f"planes from {self.read} of shape {self.shape_in[1:]}"
            raise DataError("the slabs do not follow one another on the image", expected=expected, got=f"{where.start}:{where.stop}, shape {tuple(raw.shape)}")
        self.read = where.stop
        labels = self.decide(raw)
        if self.shape_in == self.shape_out and (self.spaced is None or self._still()):
            self.out[:, where] = labels.cpu().numpy()
            return
        self.cells = self.cells or Cells(self.shape_in[1:], self.shape_out[1:], raw.device, self.spaced)
        self.held |= {where.start + i: Plane(raw[:, i], labels[:, i], self.cells) for i in range(raw.shape[1])}
        while self.written < self.shape_out[0] and self.first.high[self.written] < self.read:
            self.out[:, self.written] = self._plane(self.cells, self.written).cpu().numpy()
            self.written += 1
        needed = self.first.low[self.written] if self.written < self.shape_out[0] else self.read
        self.held = {z: plane for z, plane in self.held.items() if z >= needed}

    def _still(self) -> bool:
        """Whether every sample stays where it is."""
        return self.first.same and all(Axis.of(n, n, step=step).same for n, step in zip(self.shape_in[1:], self.spaced or (), strict=True))

    def _plane(self, cells: Cells, z: int) -> Tensor:
        low, high, part = self.held[self.first.low[z]], self.held[self.first.high[z]], float(self.first.part[z])
        even = low.even if high is low else low.even & high.even & (low.labels == high.labels).all(0)
        labels = cells.spread(low.labels).clone()
        at = torch.nonzero(~cells.spread(even), as_tuple=True)
        if len(at[0]):
            chosen: tuple[slice | Tensor, ...] = (slice(None), *at)
            labels[chosen] = self.decide(between(cells.corners(at), low, high, part))
        return labels


def resampled_image(image: np.ndarray, shape_out: Sequence[int], order: int = 3, *, anisotropic: bool = False) -> np.ndarray:
    """An image brought to another number of samples by splines, without smoothing beforehand.

    The same as ``skimage.transform.resize(mode="edge", anti_aliasing=False)`` of each channel, as nnU-Net does, but an
    axis at a time by products with banded matrices.

    Parameters
    ----------
    image: ``[C, (Z,) Y, X]`` of any real type.
    shape_out: ``(Z,) Y, X``.
    order: of the spline: 0 nearest, 1 linear, 3 cubic (up to 5).
    anisotropic: the first axis has thick slices: the nearest slice counts along it.

    Returns
    -------
    float32 ``[C, *shape_out]``, within the range of the channel (of the slice, when anisotropic): splines overshoot at edges.

    Raises
    ------
    OptionError: another number of axes, a side below 1, or an unknown order.
    """
    if len(shape_out) != image.ndim - 1 or min(shape_out) < 1 or not 0 <= order <= 5:
        raise OptionError("an image is resampled to one side for each axis, by a spline", expected=f"{image.ndim - 1} sides >= 1, order 0 to 5",
                          got=f"{tuple(shape_out)}, order {order}")
    values = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    limits = tuple(range(2 if anisotropic else 1, values.ndim))
    low, high = values.amin(limits, keepdim=True), values.amax(limits, keepdim=True)
    if anisotropic:
        nearest = torch.from_numpy(Axis.of(image.shape[1], shape_out[0], nearest=True).low)
        values, low, high = (each.index_select(1, nearest) for each in (values, low, high))
    axes = [axis for axis in range(1, values.ndim) if values.shape[axis] != shape_out[axis - 1]]
    for axis in sorted(axes, key=lambda axis: shape_out[axis - 1] / values.shape[axis]):
        values = _along(values, axis, shape_out[axis - 1], order)
    return torch.clamp(values, low, high).numpy()


def _along(values: Tensor, axis: int, n_out: int, order: int) -> Tensor:
    n_in, shape = values.shape[axis], list(values.shape)
    flat = values.reshape(int(np.prod(shape[:axis])), n_in, -1)
    out = values.new_empty((flat.shape[0], n_out, flat.shape[2]))
    for first, low, block in _bands(n_in, n_out, order):
        read = flat[:, low : low + block.shape[1]]
        out[:, first : first + len(block)] = (read[..., 0] @ block.T)[..., None] if flat.shape[2] == 1 else block @ read
    return out.reshape([*shape[:axis], n_out, *shape[axis + 1 :]])


@lru_cache(maxsize=16)
def _bands(n_in: int, n_out: int, order: int) -> tuple[tuple[int, int, Tensor], ...]:
    """The matrix of a resampling along one axis in bands: first output sample, first input sample, weights ``[rows, columns]``.

    Each column is what a single bright sample becomes.
    """
    unit, columns = np.zeros(n_in), []
    for i in range(n_in):
        unit[i] = 1
        columns.append(zoom(unit, n_out / n_in, order=order, mode="nearest", grid_mode=True).astype(np.float32))
        unit[i] = 0
    matrix = np.stack(columns, 1)
    bands = []
    for first in range(0, n_out, ROWS):
        used = np.flatnonzero((np.abs(matrix[first : first + ROWS]) > NEGLIGIBLE).any(0))
        bands.append((first, int(used[0]), torch.from_numpy(matrix[first : first + ROWS, used[0] : used[-1] + 1].copy())))
    return tuple(bands)


def resampled_mask(mask: np.ndarray, shape_out: Sequence[int], *, anisotropic: bool = False) -> np.ndarray:
    """A truth mask brought to another number of samples: at each sample the label with the largest share by linear interpolation.

    Of labels with equal shares the larger number wins (`IGNORED` over a class, a class over the background).

    Parameters
    ----------
    mask: uint8 ``[L, (Z,) Y, X]``.
    anisotropic: along the first axis the nearest slice counts.

    Returns
    -------
    uint8 ``[L, *shape_out]``.

    Raises
    ------
    OptionError: another number of axes, or a side below 1.
    """
    if len(shape_out) != mask.ndim - 1 or min(shape_out) < 1:
        raise OptionError("a mask is resampled to one side for each axis", expected=f"{mask.ndim - 1} sides >= 1", got=tuple(shape_out))
    out = np.empty((len(mask), *shape_out), np.uint8)
    for plane, written in zip(mask, out, strict=True):
        labels = np.unique(plane)[::-1].copy()
        decided(_shares(plane, labels), plane.shape, shape_out, _numbered(torch.from_numpy(labels)), anisotropic=anisotropic, out=written[None])
    return out


def _numbered(numbers: Tensor) -> Decide:
    """The label with the largest share, as its number; the first of several that rounding alone tells apart."""
    later = EQUAL_SHARE * torch.arange(len(numbers))

    def decide(raw: Tensor) -> Tensor:
        return numbers[(raw - later.reshape(-1, *[1] * (raw.ndim - 1))).max(0, keepdim=True).indices]

    return decide


def _shares(plane: np.ndarray, labels: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """1 where a label is, else 0, slab by slab: ``[len(labels), n, ...]``."""
    for first in range(0, len(plane), SLAB):
        slab = plane[first : first + SLAB]
        yield slice(first, first + len(slab)), torch.from_numpy((slab == labels.reshape(-1, *[1] * slab.ndim)).astype(np.float32))
