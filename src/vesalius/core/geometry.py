"""One type for where an image lies: `Grid`.

World coordinates are millimetres in the patient system of DICOM (PS3.3 C.7.6.2.1.1):
x to the patient's Left, y to Posterior, z to Superior (LPS). NIfTI's RAS is
converted when a file is read and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesalius.errors import DataError

AXIS_CODES = (("L", "R"), ("P", "A"), ("S", "I"))


@dataclass(frozen=True)
class Grid:
    """The sampling grid of an image.

    Parameters
    ----------
    shape: number of samples in array order, ``(Y, X)`` or ``(Z, Y, X)``.
    spacing_mm: distance between samples in array order, same length as ``shape``.
    affine_lps: 4x4, from index ``(x, y, z, 1)`` to world mm (LPS). The index order is
        x first, as in ITK and DICOM; a 2-D grid has z = 0.
    spacing_known: False when the file states no spacing (PNG); distances are then pixels.

    Raises
    ------
    DataError: spacing is not positive and finite, or the lengths disagree.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    affine_lps: np.ndarray
    spacing_known: bool = True

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.spacing_mm) or len(self.shape) not in (2, 3):
            raise DataError("a grid has two or three axes", expected="one spacing per axis", got=f"shape {self.shape}, spacing {self.spacing_mm}")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise DataError("the spacing is not a positive length", expected="mm > 0", got=self.spacing_mm)

    @classmethod
    def plain(cls, shape: tuple[int, ...], spacing_mm: tuple[float, ...] | None = None) -> Grid:
        """A grid at the origin along the LPS axes; spacing 1 and ``spacing_known=False`` when none is given.

        >>> Grid.plain((4, 5)).ndim
        2
        """
        spacing = tuple(map(float, spacing_mm or (1.0,) * len(shape)))
        affine = np.eye(4)
        for axis, step in enumerate(reversed(spacing)):
            affine[axis, axis] = step
        return cls(tuple(shape), spacing, affine, spacing_mm is not None)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def axes(self) -> str:
        """Where each index axis (x, y, z) points, e.g. ``"LPS"``."""
        code = []
        for column in range(self.ndim):
            direction = self.affine_lps[:3, column]
            world = int(np.argmax(np.abs(direction)))
            code.append(AXIS_CODES[world][0 if direction[world] > 0 else 1])
        return "".join(code)

    @property
    def voxel_mm3(self) -> float:
        """Volume (3-D, mm3) or area (2-D, mm2) of one sample."""
        return float(np.prod(self.spacing_mm))

    def world(self, index: np.ndarray) -> np.ndarray:
        """Index in array order ``[..., (z,) y, x]`` to LPS mm ``[..., 3]``.

        >>> Grid.plain((3, 4, 5), (2.0, 1.0, 1.0)).world(np.array([1, 0, 3])).tolist()
        [3.0, 0.0, 2.0]
        """
        xyz = np.asarray(index, float)[..., ::-1]
        if self.ndim == 2:
            xyz = np.concatenate([xyz, np.zeros_like(xyz[..., :1])], -1)
        return xyz @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def index(self, world_mm: np.ndarray) -> np.ndarray:
        """LPS mm ``[..., 3]`` to (fractional) index in array order: the inverse of `world`."""
        inverse = np.linalg.inv(self.affine_lps)
        xyz = np.asarray(world_mm, float) @ inverse[:3, :3].T + inverse[:3, 3]
        return xyz[..., : self.ndim][..., ::-1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and np.allclose(self.affine_lps, other.affine_lps, atol=1e-4)

    def __hash__(self) -> int:
        return hash((self.shape, self.spacing_mm))
