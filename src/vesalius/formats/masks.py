"""One mask file as whole numbers on the grid of the image that it marks."""

from __future__ import annotations

from itertools import product

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats.opening import open_study
from vesalius.formats.raster import palette_indices

GRID_TOLERANCE_VOXELS = 0.05
"""Two grids are the same when no corner lies further apart: headers round to six digits, and labels do not move by a twentieth of a sample."""
MAX_NUMBER = 2**16
Turn = tuple[tuple[int, ...], tuple[int, ...]]


def numbers_of(source: Source) -> tuple[np.ndarray, Grid]:
    """The whole numbers of a mask ``[(Z,) Y, X]`` (uint8, uint16 or int32) and where they lie.

    Three equal channels are one; a coloured palette gives its indices.

    Raises
    ------
    FormatError: the file cannot be read. DataError: it is in colour, or its samples are no whole numbers from 0.
    """
    study = open_study(source)
    indices = palette_indices(source) if source.format == "raster" and study.ndim == 2 else None
    return (_whole(_one_channel(study, source), source) if indices is None else indices), study.grid


def _one_channel(study: Study, source: Source) -> np.ndarray:
    image = study.image
    if any(not np.array_equal(image[0], each) for each in image[1:]):
        raise DataError("the mask is in colour", where=str(source), expected="one number a sample", got=f"{len(image)} channels that differ",
                        do="store it as a label map (grey, or with a palette)")
    return np.asarray(image[0])


def _whole(numbers: np.ndarray, source: Source) -> np.ndarray:
    if numbers.dtype.kind == "f":
        rounded = np.rint(numbers)
        if not np.array_equal(rounded, numbers):
            raise DataError("the mask holds fractions", where=str(source), expected="whole numbers", got=f"{float(numbers[rounded != numbers][0]):g}",
                            do="store it as a label map; a mask must not be interpolated or scaled")
        numbers = rounded.astype(np.int32)
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if low < 0 or high >= MAX_NUMBER:
        raise DataError("the mask holds a number that is no label", where=str(source), expected=f"0 to {MAX_NUMBER - 1}", got=low if low < 0 else high,
                        do="store it as a label map; 0 is the background")
    return numbers.astype(np.uint8) if high < 256 else numbers


def found_numbers(numbers: np.ndarray) -> dict[int, int]:
    """Which whole numbers there are and how often, plane by plane so that no copy of a volume is made.

    >>> found_numbers(np.array([[0, 2], [2, 2]]))
    {0: 1, 2: 3}
    """
    total = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    for plane in numbers:
        total += np.bincount(plane.ravel(), minlength=len(total))
    return {int(number): int(total[number]) for number in np.flatnonzero(total)}


def laid_on(numbers: np.ndarray, grid: Grid, study: Study, source: Source) -> np.ndarray:
    """A mask in the order of its image's samples; axes that are stored in another order or direction are turned, nothing is interpolated.

    Where one of the two states no spacing, the shape alone is compared.

    Raises
    ------
    DataError: they do not share a grid; it names both files, shapes, spacings and origins.
    """
    if grid.spacing_known and study.grid.spacing_known and grid.ndim == study.ndim:
        turn = _turn(grid, study.grid)
        if turn is not None:
            axes, flipped = turn
            return np.flip(numbers.transpose(axes), flipped)
    elif grid.shape == study.grid.shape:
        return numbers
    raise DataError(
        "the mask does not lie on the grid of its image", where=str(source), expected=f"{described(study.grid)}, as {study.source}", got=described(grid),
        do="give the image that it was drawn on, or resample the mask onto its image (nearest neighbour)",
    )


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether samples of the same index lie at the same place; where one states no spacing, whether the shapes agree."""
    if not (a.spacing_known and b.spacing_known):
        return a.shape == b.shape
    return a.ndim == b.ndim and _turn(a, b) == (tuple(range(a.ndim)), ())


def described(grid: Grid) -> str:
    """Shape, spacing and origin in words, in array order (the origin in x, y, z)."""
    if not grid.spacing_known:
        return f"shape {grid.shape}"
    spacing, origin = (", ".join(f"{value:.4g}" for value in each) for each in (grid.spacing_mm, grid.affine_lps[:3, 3]))
    return f"shape {grid.shape}, spacing ({spacing}) mm, origin ({origin}) mm, axes {grid.axes}"


def _turn(grid: Grid, to: Grid) -> Turn | None:
    """Order of array axes and the axes to flip afterwards that bring ``grid`` onto ``to``; None when nothing does."""
    n = grid.ndim
    try:
        across = np.linalg.inv(to.affine_lps) @ grid.affine_lps
    except np.linalg.LinAlgError:
        return None
    steps = np.rint(across[:3, :3])
    if not (np.abs(steps).sum(0) == 1).all() or not (np.abs(steps).sum(1) == 1).all() or (n == 2 and steps[2, 2] == 0):
        return None
    size, wanted = ([*each.shape[::-1], 1][:3] for each in (grid, to))
    source = np.abs(steps).argmax(1)
    negative = steps.sum(1) < 0
    if [size[int(j)] for j in source] != wanted:
        return None
    offset = np.where(negative, np.array(wanted) - 1, 0)
    corners = np.array(list(product(*[(0, each - 1) for each in size])), float)
    apart = np.abs((corners @ across[:3, :3].T + across[:3, 3]) - (corners @ steps.T + offset))
    if apart.max() > GRID_TOLERANCE_VOXELS:
        return None
    axes = tuple(n - 1 - int(source[n - 1 - a]) for a in range(n))
    return axes, tuple(a for a in range(n) if negative[n - 1 - a])
