"""What a mask measures: size, diameters, place and the numbers of the image inside it.

Lengths are taken between the points where the contour at half level crosses the grid lines, half a sample outside
of the outermost samples (the vertices of marching cubes): a single sample is one sample long. Directions and
distances come from the grid's affine, so that oblique, flipped and permuted grids measure the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from vesalius.core.geometry import Grid
from vesalius.errors import DataError
from vesalius.kernels.lesions import components

PERCENTILES = (5, 25, 50, 75, 95)
ROWS = 2048
"""Corners of a hull that are compared with all others at once."""


@dataclass(frozen=True)
class Diameters:
    """In mm: the longest straight line and, at right angles to it in the same plane, the longest across.

    ``ends`` and ``across_ends`` are ``[2, 3]`` LPS mm; ``slice`` is the number along ``axis`` of the array (None in 2-D).
    """

    longest: float
    perpendicular: float
    ends: np.ndarray
    across_ends: np.ndarray
    axis: int | None
    slice: int | None


def measure(mask: np.ndarray, grid: Grid, image: np.ndarray | None = None) -> dict[str, Any]:
    """The measurements of one structure, as plain values.

    Parameters
    ----------
    mask: bool ``[(Z,) Y, X]`` on the grid. image: ``[C, (Z,) Y, X]`` in its own numbers, for ``intensity``.

    Returns (U is ``mm``, or ``pixel`` where the file states no spacing; everything but the first three is absent for an
    empty mask)

    - ``unit`` U; ``n_samples``; ``size`` (volume in 3-D, area in 2-D) and the same under ``volume_U3`` or ``area_U2``;
    - ``n_components`` (touching by a corner is one) and ``largest_size``, of the largest component;
    - of the largest component: ``longest_diameter_U`` and ``perpendicular_diameter_U``, in the axial slice where the
      longest is largest, as RECIST 1.1 measures on CT (Eisenhauer et al. 2009), with ``slice`` and their end points;
      ``longest_diameter_3d_U`` in any direction (3-D only);
    - ``centroid_U`` (LPS), ``extent_U`` ``[[low], [high]]`` along L, P and S, ``box`` ``[[first], [last + 1]]`` in array order;
    - ``intensity``: for each channel ``mean sd min max p5 p25 p50 p75 p95``.

    The axial slices are those of the array axis that lies nearest to the patient's S. The perpendicular diameter
    is that of the convex hull, so that a notch does not shorten it.

    Raises
    ------
    DataError: the mask or the image does not lie on the grid.
    """
    _check(mask, grid, image)
    found = ndimage.find_objects(np.asarray(mask, bool).view(np.uint8), 1)
    box = found[0] or (slice(0, 0),) * grid.ndim
    return _measured(np.asarray(mask[box], bool), box, grid, image)


def measure_each(mask: np.ndarray, grid: Grid, image: np.ndarray | None = None, *, most: int = 50) -> list[dict[str, Any]]:
    """`measure` of each connected component (lesion), the largest first, at most ``most`` of them."""
    _check(mask, grid, image)
    labels, n = components(np.asarray(mask, bool))
    sizes, boxes = np.bincount(labels.ravel(), minlength=n + 1)[1:], ndimage.find_objects(labels)
    largest = np.argsort(-sizes, kind="stable")[:most]
    return [_measured(labels[boxes[k]] == k + 1, boxes[k], grid, image) for k in largest]


def _measured(inside: np.ndarray, box: tuple[slice, ...], grid: Grid, image: np.ndarray | None) -> dict[str, Any]:
    """The measurements of a mask that is given within its box."""
    unit = "mm" if grid.spacing_known else "pixel"
    n = int(np.count_nonzero(inside))
    size = n * grid.voxel_mm3
    made: dict[str, Any] = {"unit": unit, "n_samples": n, "size": size, f"volume_{unit}3" if grid.ndim == 3 else f"area_{unit}2": size}
    if not n:
        return made
    start = np.array([side.start for side in box])
    around = grid.world(contour_points(inside) + start)
    centre = np.array([_mean_index(inside, axis) for axis in range(grid.ndim)]) + start
    made |= _lengths(inside, start, grid, unit, around)
    made |= {f"centroid_{unit}": grid.world(centre).tolist(), f"extent_{unit}": [around.min(0).tolist(), around.max(0).tolist()]}
    made["box"] = [start.tolist(), [side.stop for side in box]]
    return made | ({} if image is None else {"intensity": [_intensity(channel[box][inside]) for channel in image]})


def _check(mask: np.ndarray, grid: Grid, image: np.ndarray | None) -> None:
    for what, shape in (("mask", mask.shape), ("image", grid.shape if image is None else image.shape[1:])):
        if tuple(shape) != tuple(grid.shape):
            raise DataError(f"the {what} does not lie on the grid", expected=f"shape {grid.shape}", got=tuple(shape))


def _lengths(inside: np.ndarray, start: np.ndarray, grid: Grid, unit: str, around: np.ndarray) -> dict[str, Any]:
    """Components, and the diameters of the largest; ``around`` are the contour points of the whole, in LPS mm."""
    labels, n = components(inside)
    sizes = np.bincount(labels.ravel())[1:]
    if n > 1:
        inside = labels == int(np.argmax(sizes)) + 1
        around = grid.world(contour_points(inside) + start)
    across = diameters(inside, grid, start)
    made = {
        "n_components": n, "largest_size": float(sizes.max()) * grid.voxel_mm3,
        f"longest_diameter_{unit}": across.longest, f"perpendicular_diameter_{unit}": across.perpendicular,
        "longest_ends": across.ends.tolist(), "perpendicular_ends": across.across_ends.tolist(),
    }
    if grid.ndim == 2:
        return made
    return made | {"slice": across.slice, "slice_axis": across.axis, f"longest_diameter_3d_{unit}": longest_of(around)[0]}


def _mean_index(inside: np.ndarray, axis: int) -> float:
    counts = np.count_nonzero(inside, axis=tuple(other for other in range(inside.ndim) if other != axis))
    return float(counts @ np.arange(len(counts)) / counts.sum())


def _intensity(values: np.ndarray) -> dict[str, float]:
    mean = values.mean(dtype=np.float64)
    facts = {"mean": mean, "sd": values.std(dtype=np.float64, mean=mean), "min": values.min(), "max": values.max()}
    facts |= {f"p{q}": value for q, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return {name: float(value) for name, value in facts.items()}


def contour_points(mask: np.ndarray) -> np.ndarray:
    """The outermost crossings ``[N, ndim]`` (index units, array order) of the contour with the grid lines.

    Of every line of samples only its first and last crossing is given: enough for the convex hull.

    >>> contour_points(np.array([[True]])).tolist()
    [[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]]
    """
    found = []
    for axis in range(mask.ndim):
        lines = np.nonzero(mask.any(axis))
        for flipped, sign in ((mask, -0.5), (np.flip(mask, axis), 0.5)):
            first = flipped.argmax(axis)[lines].astype(float)
            place = first + sign if sign < 0 else mask.shape[axis] - 1 - first + sign
            others = [line.astype(float) for line in lines]
            found.append(np.stack([*others[:axis], place, *others[axis:]], 1))
    return np.concatenate(found)


def axial_axis(grid: Grid) -> int:
    """The array axis that lies nearest to the patient's foot-to-head direction.

    >>> axial_axis(Grid.plain((4, 5, 6)))
    0
    """
    columns = grid.affine_lps[2, : grid.ndim] / np.linalg.norm(grid.affine_lps[:3, : grid.ndim], axis=0)
    return grid.ndim - 1 - int(np.argmax(np.abs(columns)))


def diameters(mask: np.ndarray, grid: Grid, start: np.ndarray | None = None) -> Diameters:
    """The longest diameter in one axial slice (2-D: in the picture) and the longest at right angles to it there.

    Parameters
    ----------
    mask: bool ``[(Z,) Y, X]``, not empty, of which ``start`` is the index of the first sample on the grid (default 0).

    Raises
    ------
    DataError: the mask is empty.
    """
    if not mask.any():
        raise DataError("an empty mask has no diameter", expected="a sample that is marked", got="none")
    start = np.zeros(grid.ndim) if start is None else start
    if grid.ndim == 2:
        return _across(_flat(mask, start, grid, None, 0), None, None)
    axis = axial_axis(grid)
    best: Diameters | None = None
    for k, part in enumerate(np.moveaxis(mask, axis, 0)):
        if part.any():
            best = _longer(best, _flat(part, start, grid, axis, k), axis, k + int(start[axis]))
    return best  # type: ignore[return-value]  # a mask that is not empty has a slice that is not


def _longer(best: Diameters | None, points: np.ndarray, axis: int, k: int) -> Diameters:
    """The longer of the two; a slice whose corners lie too near is not looked at."""
    if best is not None and np.linalg.norm(np.ptp(points, axis=0)) <= best.longest:
        return best
    made = _across(points, axis, k)
    return made if best is None or made.longest > best.longest else best


def _flat(part: np.ndarray, start: np.ndarray, grid: Grid, axis: int | None, k: int) -> np.ndarray:
    """Contour points ``[N, 3]`` (LPS mm) of a slice."""
    points = contour_points(part)
    if axis is not None:
        points = np.insert(points, axis, k, axis=1)
    return grid.world(points + start)


def _across(points: np.ndarray, axis: int | None, k: int | None) -> Diameters:
    centre = points.mean(0)
    plane = np.linalg.svd(points - centre, full_matrices=False)[2][:2]
    flat = (points - centre) @ plane.T
    flat = flat[ConvexHull(flat).vertices]
    longest, i, j = _farthest(flat)
    along = (flat[j] - flat[i]) / longest
    perpendicular, low, high = _chord(flat, along)
    back = np.stack([flat[i], flat[j], low, high]) @ plane + centre
    return Diameters(longest, perpendicular, back[:2], back[2:], axis, k)


def _farthest(points: np.ndarray) -> tuple[float, int, int]:
    """The greatest distance between two points, and which they are."""
    radius = np.linalg.norm(points - points.mean(0), axis=1)
    least = np.linalg.norm(points - points[radius.argmax()], axis=1).max()
    kept = np.flatnonzero(radius + radius.max() >= least * (1 - 1e-9))  # no other pair can be as far apart
    best = (-1.0, 0, 0)
    for first in range(0, len(kept), ROWS):
        apart = cdist(points[kept[first : first + ROWS]], points[kept])
        i, j = np.unravel_index(int(apart.argmax()), apart.shape)
        best = max(best, (float(apart[i, j]), int(kept[first + i]), int(kept[j])))
    return best


def _chord(hull: np.ndarray, along: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The longest chord of a convex polygon (corners in order) at right angles to ``along``, with its ends.

    Its length is a concave function of the place along the line, straight between the corners: it is longest at one.
    """
    normal = np.array([-along[1], along[0]])
    u, v = hull @ along, hull @ normal
    turn = np.roll(np.arange(len(hull)), -int(np.argmin(u)))
    turn, last = np.append(turn, turn[0]), int(np.argmax(u[turn]))
    sides = [turn[: last + 1], turn[last:][::-1]]
    a, b = (np.interp(u, u[side], v[side]) for side in sides)
    at = int(np.argmax(np.abs(a - b)))
    ends = [along * u[at] + normal * side[at] for side in (a, b)]
    return float(abs(a[at] - b[at])), ends[0], ends[1]


def longest_of(points: np.ndarray) -> tuple[float, np.ndarray]:
    """The greatest distance between two of the points ``[N, 3]`` that do not lie in one plane, and the two."""
    points = points[ConvexHull(points).vertices]
    longest, i, j = _farthest(points)
    return longest, points[[i, j]]
