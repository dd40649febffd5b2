"""How two heat maps agree, whether one points at a place, and in which order its places are hidden. Pure functions of arrays ``[(Z,) Y, X]``."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

WINDOW = 7
"""Side of the window of `likeness`, in samples."""
STABLE = 0.01, 0.03
"""Wang's constants, for maps in 0 to 1."""
REACH = 1 / 16
"""A place counts as met when it lies so near, as a share of each side: the game's 15 pixels of 224 (Zhang et al., IJCV 2018)."""


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps; 0 where one of them is the same everywhere.

    >>> agreement(np.array([0.0, 1, 2]), np.array([0.0, 3, 9]))
    1.0
    """
    first, second = (rankdata(each.ravel()) - (each.size + 1) / 2 for each in (a, b))
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return round(float((first * second).sum() / spread), 12) if spread > 0 else 0.0


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two maps in 0 to 1, where either of them has something to show.

    The places are weighted by the larger of both local means: in large parts where both maps are 0 any two are alike. 0 where both are 0
    everywhere.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    blur = [ndimage.uniform_filter(each, WINDOW) for each in (x, y, x * x, y * y, x * y)]
    one, two = STABLE[0] ** 2, STABLE[1] ** 2
    both, spread = blur[0] * blur[1], (blur[2] - blur[0] ** 2).clip(0) + (blur[3] - blur[1] ** 2).clip(0)
    alike = (2 * both + one) * (2 * (blur[4] - both) + two) / ((blur[0] ** 2 + blur[1] ** 2 + one) * (spread + two))
    weight = np.maximum(blur[0], blur[1])
    return float((alike * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0


def near(region: np.ndarray, reach: float = REACH) -> np.ndarray:
    """A bool mask grown by ``reach`` of each side."""
    radii = np.maximum(1, np.round(reach * np.array(region.shape))).astype(int)
    grid = np.meshgrid(*(np.arange(-r, r + 1) / r for r in radii), indexing="ij")
    return np.asarray(ndimage.binary_dilation(region, sum(each**2 for each in grid) <= 1))


def points_at(heat: np.ndarray, region: np.ndarray) -> bool:
    """The pointing game: whether the hottest place (of several the middle of their mean) lies in the region or near it."""
    tops = np.argwhere(heat >= heat.max())
    top = tops[np.linalg.norm(tops - tops.mean(0), axis=1).argmin()]
    return bool(near(region)[tuple(top)])


def cells_of(shape: tuple[int, ...], cells: int) -> np.ndarray:
    """The number of the cell of each sample, int: a grid of at most ``cells`` a side.

    >>> cells_of((2, 4), 2).tolist()
    [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    place = np.zeros(shape, int)
    for axis, n in enumerate(shape):
        count = min(cells, n)
        along = (np.arange(n) * count) // n
        place = place * count + along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return place


def order_of(heat: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Numbers of the cells (see `cells_of`), the one with the hottest mean first; of equal ones the first."""
    counts = np.bincount(place.ravel())
    means = np.bincount(place.ravel(), heat.ravel().astype(np.float64)) / counts
    return np.argsort(-means, kind="stable")
