"""Masks that a doctor drew in the page: opened within bounds, checked against the study, kept beside the finding on the image's own grid."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesalius.errors import FormatError, LabelError
from vesalius.storage import atomic_write

HEADER = 4096
"""Bytes that a NIfTI header with a few extensions may take."""
WIDEST = 8
"""Bytes of the widest sample type of an integer mask."""
GZIP = 31


def allowance(document: dict[str, Any]) -> int:
    """Bytes that an edited mask of this study takes at most, unpacked and packed."""
    return HEADER + WIDEST * math.prod(document["grid"]["shape"])


def edited_path(folder: Path, name: str) -> Path:
    """Where the mask of that SHA-256 lies beside the finding."""
    return folder / f"edited-{name}.nii.gz"


def edited_name(path: Path) -> str:
    """The SHA-256 in a file's name.

    >>> edited_name(edited_path(Path("results"), "0a1b"))
    '0a1b'
    """
    return path.name.removeprefix("edited-").removesuffix(".nii.gz")


def keep_mask(document: dict[str, Any], data: bytes, folder: Path) -> Path:
    """Check a mask (NIfTI, gzipped or not) and write it as ``edited-<sha256>.nii.gz``: uint8 with the affine of the finding's image.

    It is ``[X, Y(, Z)]`` and holds 0 and 1 .. K. Only shape and labels count: a page may have turned the image for display.

    Raises
    ------
    FormatError: it is no NIfTI file, or larger than a mask of this study can be. LabelError: the model gives no masks, the shape is another, or there are
        values that stand for no class. RunError: it cannot be written.
    """
    if document["model"]["kind"] != "mask":
        raise LabelError("the model gives no masks", got=f"a mask for a model of {document['model']['kind']}", do="correct what it gives")
    labels = _labels(_opened(data, allowance(document)), document)
    reference: Any = nib.load(folder / str(document["files"]["image"]))
    image: Any = nib.Nifti1Image(labels, reference.affine)
    image.set_sform(reference.affine, 1)
    image.header.set_xyzt_units(*reference.header.get_xyzt_units())
    packed = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    path = edited_path(folder, hashlib.sha256(packed).hexdigest())
    atomic_write(path, packed)
    return path


def _opened(data: bytes, most: int) -> np.ndarray:
    """The stored array; unpacking stops at ``most`` bytes."""
    try:
        if data[:2] == b"\x1f\x8b":
            opener = zlib.decompressobj(GZIP)
            data = opener.decompress(data, most + 1)
        if len(data) > most:
            raise FormatError("the mask is larger than one of this study can be", expected=f"at most {most:,} bytes", do="draw it on the study's own grid")
        image: Any = nib.Nifti1Image.from_bytes(data)
        return np.asanyarray(image.dataobj)
    except (zlib.error, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError, OSError, ValueError, EOFError) as error:
        raise FormatError("the mask is no NIfTI file", expected="NIfTI-1, gzipped or not", got=str(error)[:120], do="send the mask as the page does") from error


def _labels(array: np.ndarray, document: dict[str, Any]) -> np.ndarray:
    """uint8 of the shape of the study, on NIfTI's axes."""
    n = len(document["model"]["classes"])
    shape = tuple(reversed(document["grid"]["shape"]))
    spatial = (*shape, 1)[:3]
    if tuple(array.shape) not in (spatial, shape):
        raise LabelError("the mask has another shape than the study", expected=spatial, got=tuple(array.shape), do="draw it on the image of the finding")
    if array.dtype.kind not in "iufb":
        raise LabelError("the mask holds no numbers", expected="labels", got=array.dtype)
    values = np.unique(array)
    if not np.isin(values, np.arange(n + 1)).all():
        raise LabelError("the mask holds values that stand for no class", expected=f"whole numbers from 0 to {n}", got=values[:8].tolist())
    return np.ascontiguousarray(array.reshape(spatial).astype(np.uint8))
