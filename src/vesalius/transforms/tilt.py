"""Gantry tilt: a sheared stack of slices onto an upright grid, and its masks back.

The planes of a tilted stack are parallel and evenly apart, but each is shifted within its plane against the one before. They
stay where they are; every slice is shifted back within its plane, so that nothing is interpolated between slices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import DataError

SHEARED = 1e-3
"""A shift from slice to slice of more than this part of a sample is a tilt."""
ROUNDED = 6
"""Decimals of a shift: a sample at the edge must not fall outside by rounding."""


def shear_of(grid: Grid) -> np.ndarray:
    """Shift from a slice to the next within the plane, ``(y, x)`` in samples; zeros for an upright or a 2-D grid."""
    if grid.ndim == 2:
        return np.zeros(2)
    down, right, step = grid.affine_lps[:3, 1], grid.affine_lps[:3, 0], grid.affine_lps[:3, 2]
    shift = step @ np.linalg.pinv(np.stack([down, right]))
    return np.where(np.abs(shift) > SHEARED, shift, 0.0)


def upright(grid: Grid) -> Grid:
    """The grid with slices one above the other that holds every sample of a tilted one: the same planes, more rows or columns.

    A grid that is not tilted is returned as it is.
    """
    shift = shear_of(grid)
    if not shift.any():
        return grid
    whole = np.round(shift * (grid.shape[0] - 1), ROUNDED)
    low, high = np.floor(np.minimum(0, whole)), np.ceil(np.maximum(0, whole))
    extra = (high - low).astype(int)
    affine = grid.affine_lps.copy()
    affine[:3, 2] = affine[:3, 2] - shift @ np.stack([affine[:3, 1], affine[:3, 0]])
    affine[:3, 3] = affine[:3, 3] + low @ np.stack([affine[:3, 1], affine[:3, 0]])
    return Grid((grid.shape[0], grid.shape[1] + int(extra[0]), grid.shape[2] + int(extra[1])), grid.spacing_mm, affine, grid.spacing_known)


def untilted(study: Study) -> Study:
    """The study on an upright grid, linearly interpolated within its slices; beyond them the lowest value of the channel.

    A study that is not tilted is returned as it is. Integers stay integers (rounded). ``meta`` loses ``gantry_tilt_deg`` and
    gains ``untilted_deg``. Masks made on the new grid go back with `retilted`.
    """
    grid = upright(study.grid)
    if grid is study.grid:
        return study
    image = np.stack([_shifted(channel, study.grid, grid, 1, channel.min()) for channel in study.image])
    meta = {key: value for key, value in study.meta.items() if key not in ("gantry_tilt_deg", "plane_positions_mm")}
    return replace(study, image=image, grid=grid, meta={**meta, "untilted_deg": study.meta.get("gantry_tilt_deg", 0.0)})


def retilted(labels: np.ndarray, tilted: Grid) -> np.ndarray:
    """Labels ``[(P,) Z, Y, X]`` on `upright` of a grid back on that grid (nearest samples), of the same type.

    Raises
    ------
    DataError: they do not lie on the upright grid of it.
    """
    grid = upright(tilted)
    if labels.shape[-3:] != grid.shape:
        raise DataError("the labels do not lie on the upright grid", expected=grid.shape, got=labels.shape[-3:])
    if grid is tilted:
        return labels
    planes = labels.reshape(-1, *grid.shape)
    return np.stack([_shifted(each, grid, tilted, 0, 0) for each in planes]).reshape(*labels.shape[:-3], *tilted.shape)


def uprighted(labels: np.ndarray, tilted: Grid, beyond: int) -> np.ndarray:
    """Labels ``[(P,) Z, Y, X]`` of a tilted grid on `upright` of it (nearest samples); ``beyond`` where the stack has no sample."""
    grid = upright(tilted)
    if grid is tilted:
        return labels
    planes = labels.reshape(-1, *tilted.shape)
    return np.stack([_shifted(each, tilted, grid, 0, beyond) for each in planes]).reshape(*labels.shape[:-3], *grid.shape)


def moved_boxes(boxes: np.ndarray, tilted: Grid, back: bool = False) -> np.ndarray:
    """Boxes ``[N, 6]`` of a tilted grid on `upright` of it, or ``back``: each keeps its size and moves as its middle slice does."""
    if not shear_of(tilted).any():
        return boxes
    made = np.array(boxes, np.float64).reshape(-1, 2, 3)
    middle = made[:, :, 0].mean(1) - 0.5
    first = upright(tilted).index(tilted.world(np.zeros(3)))[1:]
    made[:, :, 1:] += ((-1 if back else 1) * (first + middle[:, None] * shear_of(tilted)))[:, None]
    return made.reshape(-1, 6)


def _shifted(volume: np.ndarray, own: Grid, wanted: Grid, order: int, beyond: float) -> np.ndarray:
    """Samples of a volume on another grid of the same planes: each slice moves within its plane."""
    done = np.empty(wanted.shape, volume.dtype)
    for k in range(wanted.shape[0]):
        start = np.round(own.index(wanted.world(np.array([k, 0, 0])))[1:], ROUNDED)
        flat = volume[k] if order == 0 else volume[k].astype(np.float32)
        moved = ndimage.affine_transform(flat, np.ones(2), start, wanted.shape[1:], order=order, mode="constant", cval=float(beyond))
        done[k] = np.rint(moved) if volume.dtype.kind in "iu" else moved
    return done
