"""Small images with masks, of every kind that the tests of masks need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from making import noise, png, source

from vesalius.core.cohort import Case, MaskFile, Source
from vesalius.core.target import TargetSpec

ONE = TargetSpec("mask", ("mask",), values=((1, 255),))
TWO = TargetSpec("mask", ("front", "back"), values=((1,), (2,)))


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """``array`` as ``[x, y, z(, c)]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine), path)
    return path


def ball(shape: Sequence[int] = (8, 9, 7), value: int = 1, at: Sequence[float] | None = None, radius: float = 2.0) -> np.ndarray:
    """A ball of one number in zeros, uint8."""
    at = at or [n / 2 for n in shape]
    far = sum((axis - middle) ** 2 for axis, middle in zip(np.indices(shape), at, strict=True))
    return np.where(far <= radius**2, value, 0).astype(np.uint8)


def case(image: Path, *masks: Path, names: Sequence[str | None] | None = None, channels: Sequence[Path] = (), view: Path | None = None) -> Case:
    marks = tuple(MaskFile(source(path), name) for path, name in zip(masks, names or [None] * len(masks), strict=True))
    return Case(image.name, source(image), image.name, channels=tuple(map(source, channels)), masks=marks, view=source(view) if view else None)


def pictures(folder: Path, n: int, *, image: str = "images/{}.png", mask: str = "masks/{}.png", value: int = 255) -> Path:
    """Pairs of grey pictures and masks of a disc that moves."""
    for i in range(n):
        png(folder / image.format(f"{i:03d}"), noise(24, 20, seed=i))
        png(folder / mask.format(f"{i:03d}"), ball((24, 20), value, at=(8 + i % 8, 10), radius=3 + i % 3))
    return folder


def volumes(folder: Path, n: int, *, image: str = "imagesTr/{}.nii.gz", mask: str = "labelsTr/{}.nii.gz") -> Path:
    """Pairs of volumes and label maps with the numbers 1 and 2."""
    for i in range(n):
        nifti(folder / image.format(f"case_{i:02d}"), noise(8, 9, 7, seed=i))
        nifti(folder / mask.format(f"case_{i:02d}"), ball() + ball(value=2, at=(1, 1, 1), radius=1))
    return folder


__all__ = ["ONE", "TWO", "Source", "ball", "case", "nifti", "pictures", "volumes"]
