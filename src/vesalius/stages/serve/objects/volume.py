"""Images and heat maps as NIfTI-1 for the page: on the study's own grid, LPS turned to RAS."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesalius.core.geometry import Grid
from vesalius.stages.writing.nifti import LPS_TO_RAS, SCANNER
from vesalius.storage import atomic_file

STORED = ("uint8", "int8", "uint16", "int16", "int32", "float32")
"""Sample types that every reader of NIfTI knows; others become float32."""
COLOUR = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def write_volume(path: Path, image: np.ndarray, grid: Grid) -> None:
    """Write ``[C, (Z,) Y, X]`` or ``[(Z,) Y, X]`` as ``[X, Y, Z]`` (Z = 1 for a picture).

    Three channels of 8 bits are colour (RGB24); of other studies with several channels the first is written.

    Raises
    ------
    RunError: the file cannot be written.
    """
    stored = _stored(image if image.ndim > grid.ndim else image[None], grid.ndim)
    volume: Any = nib.Nifti1Image(stored, LPS_TO_RAS @ grid.affine_lps)
    volume.set_sform(volume.affine, SCANNER)
    volume.set_qform(None, 0)
    volume.header.set_xyzt_units("mm" if grid.spacing_known else "unknown")
    atomic_file(path, lambda part: part.write_bytes(_packed(volume)))


def _stored(image: np.ndarray, ndim: int) -> np.ndarray:
    if len(image) == 3 and image.dtype == np.uint8:
        flat = np.ascontiguousarray(np.moveaxis(image, 0, -1)).view(COLOUR)[..., 0]
    else:
        flat = image[0] if image.dtype.name in STORED else image[0].astype(np.float32)
    return np.ascontiguousarray(flat.T if ndim == 3 else flat.T[..., None])


def _packed(volume: Any) -> bytes:
    """Compressed lightly and without a time, so that the same samples are the same bytes."""
    return gzip.compress(volume.to_bytes(), compresslevel=1, mtime=0)
