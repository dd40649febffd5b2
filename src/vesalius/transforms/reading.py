"""From a study to the array that a network reads, and back to the study's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.transforms.tilt import retilted, untilted

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. ITU-R BT.601 weights of red, green and blue."""
PERCENTILE_SAMPLES = 200_000
"""Percentiles are taken of at most this many samples, evenly spaced: exact enough and fast on large volumes."""


@dataclass(frozen=True)
class Trace:
    """What was done to a study, so that a map can be brought back.

    ``order`` and ``flips`` bring the array to canonical axes (3-D: S, P, L ascending); ``shape`` is the size
    after scaling and ``offset`` its place inside the letterbox. ``tilted``: the study's own grid where ``grid`` is the upright one
    that was read instead.
    """

    grid: Grid
    order: tuple[int, ...]
    flips: tuple[int, ...]
    shape: tuple[int, ...]
    offset: tuple[int, ...]
    tilted: Grid | None = None


def canonical(grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axis order and flips (of the reordered array) that bring a volume to Superior, Posterior, Left ascending.

    A 2-D image is left as it is: a picture has no third direction to sort by.

    >>> canonical(Grid.plain((2, 3, 4)))
    ((0, 1, 2), ())
    """
    if grid.ndim == 2:
        return (0, 1), ()
    directions = grid.affine_lps[:3, :3] / np.linalg.norm(grid.affine_lps[:3, :3], axis=0)
    strength = np.abs(directions)
    order, flips = [0, 0, 0], []
    free = {0, 1, 2}
    for index_axis in np.argsort(-strength.max(axis=0)):
        world = max(free, key=lambda w: strength[w, index_axis])
        free.remove(world)
        order[2 - world] = 2 - int(index_axis)
        if directions[world, index_axis] < 0:
            flips.append(2 - world)
    return tuple(order), tuple(sorted(flips))


def fit_inside(shape: tuple[int, ...], spacing_mm: tuple[float, ...], size: tuple[int, ...], letterbox: bool) -> tuple[int, ...]:
    """The size after scaling: the proportions in mm are kept when ``letterbox``, else ``size`` itself.

    >>> fit_inside((10, 40), (1.0, 1.0), (20, 20), True)
    (5, 20)
    """
    if not letterbox:
        return tuple(size)
    extent = [n * s for n, s in zip(shape, spacing_mm, strict=True)]
    scale = min(n / e for n, e in zip(size, extent, strict=True))
    return tuple(min(n, max(1, round(e * scale))) for e, n in zip(extent, size, strict=True))


def resize(image: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Linear resampling with anti-aliasing of ``[C, (Z,) Y, X]`` float32 to ``shape``."""
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    if image.ndim == 3:
        return F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]
    planes = F.interpolate(image, shape[1:], mode="bilinear", antialias=True)
    flat = planes.flatten(2)[None]
    return F.interpolate(flat, (shape[0], flat.shape[-1]), mode="bilinear", antialias=True)[0].reshape(image.shape[0], *shape)


def limits(image: np.ndarray, study: Study, reads: Reads) -> tuple[float, float]:
    """The numbers that become 0 and 1; see `Reads.window`."""
    if reads.window == "full":
        return 0.0, float(2**study.bits - 1)
    if reads.window == "fixed":
        return reads.low, reads.high
    if reads.window == "voi" and study.window is not None:
        return study.window
    values = image.reshape(-1)[:: max(1, image.size // PERCENTILE_SAMPLES)]
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size:
        raise DataError("the image has no finite number", where=study.source, do="export it again or leave it out")
    low, high = np.percentile(values, [reads.low, reads.high]) if reads.window == "percentile" else np.percentile(values, [0.5, 99.5])
    return float(low), float(high)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """``[C, …]`` to one (luminance) or three (repeated) channels.

    >>> to_channels(np.zeros((3, 2, 2), np.float32), 1).shape
    (1, 2, 2)
    """
    if image.shape[0] == channels:
        return image
    if channels == 1 and image.shape[0] == 3:
        return np.tensordot(LUMINANCE, image.astype(np.float32), axes=1)[None]
    if channels == 3 and image.shape[0] == 1:
        return np.repeat(image, 3, axis=0)
    raise DataError("this number of channels cannot be read", expected="1 or 3", got=image.shape[0])


def prepare(study: Study, reads: Reads) -> tuple[np.ndarray, Trace]:
    """Bring a study to the size and numbers of ``reads``; a tilted stack (gantry tilt) is read on its upright grid.

    Returns
    -------
    array: ``reads.shape``, uint8 or uint16 in 0 .. ``reads.levels``; the letterbox is 0.
    trace: for `undo`.

    Raises
    ------
    DataError: 2-D given where 3-D is read or the reverse.
    """
    if study.ndim != reads.ndim:
        raise DataError("wrong number of axes", where=study.source, expected=f"{reads.ndim}-D", got=f"{study.ndim}-D")
    own, study = study.grid, untilted(study)
    order, flips = canonical(study.grid)
    image = to_channels(study.image, reads.channels).transpose(0, *(1 + axis for axis in order))
    image = np.flip(image, tuple(1 + axis for axis in flips)) if flips else image
    spacing = tuple(study.grid.spacing_mm[axis] for axis in order)
    shape = fit_inside(image.shape[1:], spacing, reads.size, reads.letterbox)
    offset = tuple((n - s) // 2 for n, s in zip(reads.size, shape, strict=True))
    trace = Trace(study.grid, order, flips, shape, offset, None if study.grid is own else own)
    return _place(_levels(image, study, reads, shape), reads, trace), trace


def _levels(image: np.ndarray, study: Study, reads: Reads, shape: tuple[int, ...]) -> np.ndarray:
    kind = np.dtype(np.uint8 if reads.levels == 255 else np.uint16)
    plain = reads.window == "full" and study.bits == 8 and reads.levels == 255
    if plain and image.dtype == np.uint8 and image.shape[1:] == shape:
        return image
    low, high = limits(image, study, reads)
    values = torch.from_numpy(np.ascontiguousarray(image, np.float32))
    scaled = resize(torch.nan_to_num(values, nan=low), shape)
    unit = ((scaled - low) / max(high - low, 1e-12)).clamp_(0, 1)
    return (unit * reads.levels).round_().numpy().astype(kind)


def _place(image: np.ndarray, reads: Reads, trace: Trace) -> np.ndarray:
    if trace.shape == tuple(reads.size):
        return np.ascontiguousarray(image)
    canvas = np.zeros(reads.shape, image.dtype)
    where = tuple(slice(o, o + s) for o, s in zip(trace.offset, trace.shape, strict=True))
    canvas[(slice(None), *where)] = image
    return canvas


def unit(array: np.ndarray, reads: Reads) -> torch.Tensor:
    """Prepared arrays (any leading axes) to float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(array, np.float32, copy=True)).div_(reads.levels)


def standardise(x: torch.Tensor, reads: Reads) -> torch.Tensor:
    """``(x - mean) / std`` per channel of ``[B, C, …]``."""
    shape = (1, -1) + (1,) * reads.ndim
    mean = torch.tensor(reads.mean, device=x.device, dtype=x.dtype).view(shape)
    std = torch.tensor(reads.std, device=x.device, dtype=x.dtype).view(shape)
    return (x - mean) / std


def undo(array: np.ndarray, trace: Trace) -> np.ndarray:
    """A map at the network's resolution ``[(Z,) Y, X]`` back on the study's own grid (float32)."""
    where = tuple(slice(o, o + s) for o, s in zip(trace.offset, trace.shape, strict=True))
    inner = torch.from_numpy(np.ascontiguousarray(array[where], np.float32))[None]
    original = tuple(trace.grid.shape[axis] for axis in trace.order)
    mode = "bilinear" if inner.ndim == 3 else "trilinear"
    full = F.interpolate(inner[None], original, mode=mode, align_corners=False)[0, 0].numpy()
    full = np.flip(full, trace.flips) if trace.flips else full
    made = np.ascontiguousarray(full.transpose(np.argsort(trace.order)))
    return made if trace.tilted is None else retilted(made, trace.tilted)
