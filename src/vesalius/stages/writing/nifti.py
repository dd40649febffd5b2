"""A finding as NIfTI-1: a label map on the image's own grid, RAS affine in the sform (nifti.nimh.nih.gov)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesalius.errors import FormatError
from vesalius.stages.writing.base import WRITERS, Marked, Writer

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1
OFF_GRID = 1e-3
"""Of a sample: how far the stored affine (32 bits) may lie from the grid."""


@WRITERS.register("nifti")
class NiftiWriter(Writer):
    """uint8 ``[X, Y(, Z)]``: 0 and 1 .. K. Structures that may overlap lie along a further axis, one 0/1 volume each: ``[X, Y, Z, K]``."""

    name = "nifti"
    suffix = ".nii.gz"

    @classmethod
    def write(cls, marked: Marked, part: Path) -> None:
        grid = marked.study.grid
        if marked.exclusive:
            stored = marked.labels().T
        else:
            planes = np.stack([marked.mask(i) for i in range(len(marked.names))]).astype(np.uint8)
            stored = np.moveaxis(planes if grid.ndim == 3 else planes[:, None], 0, -1).transpose(2, 1, 0, 3)
        image: Any = nib.Nifti1Image(stored, LPS_TO_RAS @ grid.affine_lps)
        image.set_sform(image.affine, SCANNER)
        image.header.set_xyzt_units("mm" if grid.spacing_known else 0)
        part.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))

    @classmethod
    def read(cls, marked: Marked, part: Path) -> list[np.ndarray]:
        image: Any = nib.Nifti1Image.from_bytes(gzip.decompress(part.read_bytes()))
        stored = np.asarray(image.dataobj)
        _same_place(image.affine, marked, part)
        if marked.exclusive:
            return [stored.T == i for i in range(1, len(marked.names) + 1)]
        volumes = stored.transpose(2, 1, 0, 3) != 0
        flat = marked.study.grid.ndim == 2
        return [volumes[0, ..., i] if flat else volumes[..., i] for i in range(len(marked.names))]


def _same_place(affine_ras: np.ndarray, marked: Marked, part: Path) -> None:
    """Every corner of the grid has the same patient coordinates through the file's affine as through the image's."""
    shape = marked.study.grid.shape
    far = np.array(np.meshgrid(*([0, n - 1] for n in shape), indexing="ij")).reshape(len(shape), -1).T
    world = marked.study.grid.world(far)
    xyz = np.concatenate([far[:, ::-1], np.zeros((len(far), 3 - len(shape)))], 1)
    stored = (xyz @ affine_ras[:3, :3].T + affine_ras[:3, 3]) * [-1, -1, 1]
    off = float(np.abs(stored - world).max())
    if off > OFF_GRID * min(marked.study.grid.spacing_mm):
        raise FormatError("the affine is not that of the image", where=part, expected="the same corners in patient coordinates", got=f"{off:.4f} mm apart")
