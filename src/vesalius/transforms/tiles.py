"""From a study to the array that is read in tiles, and masks there and back: canonical axes, spacing, numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import IGNORED
from vesalius.errors import DataError
from vesalius.kernels.resample import resampled_image, resampled_mask
from vesalius.transforms.foreign import prepare_foreign
from vesalius.transforms.reading import canonical, to_channels
from vesalius.transforms.tilt import retilted, untilted, uprighted

LEAST_STD = 1e-6
LEAST_SHARE = 1e-5
"""A deviation below this share of the mean is rounding: a constant picture that was made smaller must not become noise."""
COARSE = 3.0
"""An axis whose spacing is so many times the finest is resampled apart and by the nearest sample (nnU-Net, Isensee 2021)."""


@dataclass(frozen=True)
class TileTrace:
    """The way back from a prepared array: canonical ``order`` and ``flips``, the ``stored`` shape in that order, the prepared ``shape``.

    ``coarse``: the first axis is much coarser than the others. ``box``: the part of the turned study (of shape ``whole``) that was
    read and that ``stored`` is the shape of; None for all of it. ``steps``: see
    `kernels.resample.decided`. ``tilted``: the study's own grid where ``grid`` is the upright one that was read instead.
    """

    grid: Grid
    order: tuple[int, ...]
    flips: tuple[int, ...]
    stored: tuple[int, ...]
    shape: tuple[int, ...]
    coarse: bool = False
    box: tuple[slice, ...] | None = None
    whole: tuple[int, ...] = ()
    steps: tuple[float, ...] | None = None
    tilted: Grid | None = None


def trace_of(grid: Grid, reads: TileReads) -> TileTrace:
    """How a study on ``grid`` is brought to the spacing of ``reads``."""
    order, flips = canonical(grid)
    stored = tuple(grid.shape[axis] for axis in order)
    spacing = tuple(grid.spacing_mm[axis] for axis in order)
    if reads.spacing_mm is None:
        factor = reads.longest / max(stored) if reads.longest else 1.0
        return TileTrace(grid, order, flips, stored, tuple(max(1, round(n * factor)) for n in stored))
    shape = tuple(max(1, round(n * step / wanted)) for n, step, wanted in zip(stored, spacing, reads.spacing_mm, strict=True))
    coarse = len(stored) == 3 and max(spacing[0] / min(spacing), reads.spacing_mm[0] / min(reads.spacing_mm)) > COARSE
    return TileTrace(grid, order, flips, stored, shape, coarse)


def prepare_tiles(study: Study, reads: TileReads) -> tuple[np.ndarray, TileTrace]:
    """A study as it is read in tiles: float32 ``[C, (Z,) Y, X]`` at the spacing of ``reads``, numbers near 0 and 1.

    A tilted stack (gantry tilt) is read on its upright grid; models that others trained read it as they always did.

    Raises
    ------
    DataError: another number of axes or channels than is read.
    """
    if study.ndim != reads.ndim:
        raise DataError("wrong number of axes", where=study.source, expected=f"{reads.ndim}-D", got=f"{study.ndim}-D")
    if reads.foreign:
        image, made = prepare_foreign(study, reads)
        facts = (made.order, made.flips, made.shape_out, image.shape[1:], made.thick, made.box, made.shape, made.steps)
        return image, TileTrace(study.grid, *facts)
    own, study = study.grid, untilted(study)
    trace = trace_of(study.grid, reads)
    if study.grid is not own:
        trace = replace(trace, tilted=own)
    image = _turned(_channels(study, reads.channels), trace)
    if reads.longest and reads.spacing_mm is None:
        # Made smaller first: there are fewer numbers to standardise, and both are linear.
        small = _scaled(np.ascontiguousarray(image, np.float32), trace.shape)
        return np.stack([_standardised(channel, study, reads, c) for c, channel in enumerate(small)]), trace
    numbers = np.stack([_standardised(channel, study, reads, c) for c, channel in enumerate(image)])
    return resampled_image(numbers, trace.shape, anisotropic=trace.coarse), trace


def _scaled(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear; where a picture shrinks each sample is a mean, so that nothing small falls between two."""
    if image.shape[1:] == shape:
        return image
    x, planar = torch.from_numpy(image)[None], len(shape) == 2
    shrinks = any(after < before for before, after in zip(image.shape[1:], shape, strict=True))
    if shrinks and not planar:
        return F.interpolate(x, shape, mode="area")[0].numpy()
    return F.interpolate(x, shape, mode="bilinear" if planar else "trilinear", align_corners=False, antialias=shrinks and planar)[0].numpy()


def _channels(study: Study, channels: int) -> np.ndarray:
    if study.channels == channels:
        return study.image
    if {study.channels, channels} == {1, 3}:
        return to_channels(study.image, channels)
    raise DataError("another number of channels than the model reads", where=study.source, expected=channels, got=study.channels, do="give all channels")


def _turned(image: np.ndarray, trace: TileTrace) -> np.ndarray:
    image = image.transpose(0, *(1 + axis for axis in trace.order))
    return np.flip(image, tuple(1 + axis for axis in trace.flips)) if trace.flips else image


def _standardised(channel: np.ndarray, study: Study, reads: TileReads, c: int) -> np.ndarray:
    """See `TileReads.schemes`. A number that is not finite becomes the lowest of the channel."""
    values = np.ascontiguousarray(channel, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        if not finite.any():
            raise DataError("the image has no finite number", where=study.source, do="export it again or leave it out")
        values = np.where(finite, values, values[finite].min())
    scheme = reads.schemes[c]
    if scheme == "zscore":
        mean = float(values.mean(dtype=np.float64))
        return (values - np.float32(mean)) / max(float(values.std(dtype=np.float64)), LEAST_STD, LEAST_SHARE * abs(mean))
    values = values.clip(reads.low[c], reads.high[c]) if scheme == "ct" else values / float(2**study.bits - 1)
    return (values - np.float32(reads.mean[c])) / np.float32(max(reads.std[c], LEAST_STD))


def prepare_mask(mask: np.ndarray, trace: TileTrace) -> np.ndarray:
    """A mask ``[L, (Z,) Y, X]`` uint8 on the study's own grid, as the prepared image has it."""
    if trace.tilted is not None:
        mask = uprighted(mask, trace.tilted, IGNORED)
    turned = _turned(mask, trace)
    return resampled_mask(np.ascontiguousarray(turned[(slice(None), *trace.box)] if trace.box else turned), trace.shape)


def undo_mask(mask: np.ndarray, trace: TileTrace) -> np.ndarray:
    """An array ``[L, …]`` of ``trace.stored`` shape (canonical axes, the study's own samples) back in the study's own order of axes; 0 outside
    of the box that was read."""
    if trace.box:
        inside, mask = mask, np.zeros((len(mask), *trace.whole), mask.dtype)
        mask[(slice(None), *trace.box)] = inside
    mask = np.flip(mask, tuple(1 + axis for axis in trace.flips)) if trace.flips else mask
    back = np.argsort(trace.order)
    made = np.ascontiguousarray(mask.transpose(0, *(1 + axis for axis in back)))
    return made if trace.tilted is None else retilted(made, trace.tilted)
