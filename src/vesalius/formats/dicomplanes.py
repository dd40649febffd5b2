"""The planes of a study one by one, in patient space: where a segmentation's frame or a contour belongs.

What marks a study is placed by its position (LPS mm) and by nothing else: not by the order of frames, not by file names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesalius.core.study import Study

SMALLEST = 1e-9


@dataclass(frozen=True)
class Planes:
    """Parallel planes of one size.

    Parameters
    ----------
    origins_mm: centre of the first sample of each plane, ``[Z, 3]`` LPS; their steps may differ and may be oblique (tilt).
    right_mm, down_mm: ``[3]``, the way to the next column and to the next row.
    step_mm: usual distance of neighbours along the normal.
    shape: ``(Y, X)``.
    """

    origins_mm: np.ndarray
    right_mm: np.ndarray
    down_mm: np.ndarray
    step_mm: float
    shape: tuple[int, int]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector ``[3]``: that of the rows times that of the columns (PS3.3 C.7.6.2.1.1)."""
        normal = np.cross(self.right_mm, self.down_mm)
        return normal / np.linalg.norm(normal)

    def nearest(self, world_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For points ``[N, 3]`` the nearest plane ``[N]`` and the distance from it along the normal ``[N]`` in mm (signed)."""
        off = (np.asarray(world_mm, float) @ self.normal)[:, None] - self.origins_mm @ self.normal
        found = np.abs(off).argmin(1)
        return found, off[np.arange(len(off)), found]

    def index(self, world_mm: np.ndarray, plane: int) -> np.ndarray:
        """Points ``[N, 3]`` seen along the normal: fractional ``(y, x)`` ``[N, 2]`` within a plane; a sample's centre is whole."""
        way = np.asarray(world_mm, float) - self.origins_mm[plane]
        return way @ np.linalg.pinv(np.stack([self.down_mm, self.right_mm]))

    def world(self, yx: np.ndarray, plane: int) -> np.ndarray:
        """The inverse of `index`: ``[N, 2]`` to ``[N, 3]`` LPS mm."""
        return np.asarray(yx, float) @ np.stack([self.down_mm, self.right_mm]) + self.origins_mm[plane]


def planes_of(study: Study) -> Planes:
    """The planes of a study; a 2-D one has a single plane.

    Slices whose distances vary have their own positions (``meta["plane_positions_mm"]``), others those of the grid.
    """
    grid = study.grid
    affine = grid.affine_lps
    count = grid.shape[0] if grid.ndim == 3 else 1
    held = study.meta.get("plane_positions_mm")
    origins = affine[:3, 3] + np.arange(count)[:, None] * affine[:3, 2] if held is None else np.array(held, float)
    planes = Planes(origins, affine[:3, 0], affine[:3, 1], 1.0, (grid.shape[-2], grid.shape[-1]))
    depths = origins @ planes.normal
    step = float(np.median(np.abs(np.diff(depths)))) if count > 1 else abs(float(affine[:3, 2] @ planes.normal))
    return Planes(origins, affine[:3, 0], affine[:3, 1], max(step, SMALLEST), planes.shape)
