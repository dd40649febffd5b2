"""NIfTI-1 and NIfTI-2 volumes (Cox et al. 2004; nifti.nimh.nih.gov) through nibabel.

The samples stay in the stored order; the affine is turned from RAS to LPS here and nowhere else. One slice is a 2-D image.
A file with four axes is one image only when the layout says that its last axis holds channels: `Source.member` is then
``channels`` (all of them) or ``channel:2`` (one of them, from 0).
"""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format, bits_of, bounded, head_of, lean

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what is wrong with a file is told once, by `open_study`
UNORIENTED = "the file states no orientation (sform and qform codes are 0); its axes are taken as they are stored"
HEADER_SIZES = ((348).to_bytes(4, "little"), (348).to_bytes(4, "big"), (540).to_bytes(4, "little"), (540).to_bytes(4, "big"))


@FORMATS.register("nifti")
class Nifti(Format):
    """``.nii`` and ``.nii.gz`` with two or three spatial axes; RGB24 is colour."""

    name = "nifti"
    suffixes = (".nii", ".nii.gz")

    @classmethod
    def sniff(cls, path: Path) -> bool:
        head = head_of(path)
        if head[:2] == b"\x1f\x8b":
            head = _inflated_head(path)
        return head[:4] in HEADER_SIZES

    @classmethod
    def read(cls, source: Source) -> Study:
        volume: Any = nib.load(source.path)
        shape, chosen = _shape(volume, source), _channels(volume, source)
        bounded((*shape, len(chosen or (0,))), source.path)
        image = np.ascontiguousarray(lean(_channels_first(_samples(volume, shape)) if chosen is None else _chosen(volume, shape, chosen)))
        grid, notes = _grid(volume, shape)
        return Study(image, grid, bits=_bits(volume), source=str(source), meta={"notes": notes} if notes else {})

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        volume: Any = nib.load(source.path)
        chosen = _channels(volume, source)
        channels = len(chosen) if chosen is not None else 3 if volume.get_data_dtype().names else 1
        return {"shape": _shape(volume, source)[::-1], "channels": channels, "bits": _bits(volume), "modality": None}


def _inflated_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as opened:
            return opened.read(4)
    except (OSError, EOFError, zlib.error):
        return b""


def _bits(volume: Any) -> int:
    """Of the numbers after scaling."""
    kind = volume.get_data_dtype()
    if not _unscaled(volume.dataobj):
        return 32
    return bits_of(kind[kind.names[0]] if kind.names else kind)


def _shape(volume: Any, source: Source) -> tuple[int, ...]:
    """``(x, y[, z])`` without axes of length one at the end, and without the axis of channels where there is one."""
    shape = tuple(int(n) for n in volume.shape)
    if _channels(volume, source) is not None:
        shape = shape[:3]
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise FormatError("the NIfTI file holds no single image", where=source.path, expected="2 or 3 axes",
                          got=f"{len(shape)} axes, shape {tuple(volume.shape)}",
                          do="store one volume a file (split time points, directions or echoes), or name its channels in a dataset.json")
    return shape


def _channels(volume: Any, source: Source) -> tuple[int, ...] | None:
    """Places on the fourth axis that ``source.member`` asks for; None when it asks for none, or there is one volume only.

    Raises
    ------
    FormatError: the member is no channel, or there is none of that number.
    """
    if source.member is None or len(volume.shape) < 4:
        return None
    n, (word, _, number) = int(volume.shape[3]), source.member.partition(":")
    if word == "channels" and not number and len(volume.shape) == 4:
        return tuple(range(n))
    if word == "channel" and number.isdigit() and int(number) < n and len(volume.shape) == 4:
        return (int(number),)
    raise FormatError("the NIfTI file has no such channel", where=str(source), expected=f"'channels', or 'channel:0' to 'channel:{n - 1}' of four axes",
                      got=f"'{source.member}', shape {tuple(volume.shape)}", do="correct the dataset.json")


def _chosen(volume: Any, shape: tuple[int, ...], chosen: tuple[int, ...]) -> np.ndarray:
    """``[C, (Z,) Y, X]`` of some volumes on the fourth axis; the others are not kept in memory."""
    stored = volume.dataobj
    planes = np.asanyarray(stored[..., chosen[0]])[..., None] if len(chosen) == 1 else np.asanyarray(stored)
    return np.moveaxis(planes, -1, 0).reshape(len(chosen), *shape).transpose(0, *range(len(shape), 0, -1))


def _samples(volume: Any, shape: tuple[int, ...]) -> np.ndarray:
    """In the stored type when there is no scaling, else float32 after ``scl_slope`` and ``scl_inter``."""
    stored = volume.dataobj
    array = np.asanyarray(stored.get_unscaled() if _unscaled(stored) else stored)
    return array.reshape(shape)


def _unscaled(stored: Any) -> bool:
    return (stored.slope, stored.inter) == (1.0, 0.0)


def _channels_first(samples: np.ndarray) -> np.ndarray:
    """``[x, y(, z)]`` to ``[C, (Z,) Y, X]``."""
    array = samples.T
    if array.dtype.names:
        return np.stack([array[name] for name in array.dtype.names[:3]])
    if array.dtype.kind == "c":
        raise FormatError("the NIfTI file holds complex numbers", expected="real samples", got=array.dtype, do="store the magnitude")
    return array[None]


def _grid(volume: Any, shape: tuple[int, ...]) -> tuple[Grid, tuple[str, ...]]:
    unit = MM_PER_UNIT.get(volume.header.get_xyzt_units()[0], 1.0)
    affine = RAS_TO_LPS @ volume.affine
    affine[:3] *= unit
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = tuple(float(length) for length in lengths[: len(shape)][::-1])
    stated = bool(volume.header["sform_code"] > 0 or volume.header["qform_code"] > 0)
    notes = () if stated else (UNORIENTED,)
    return Grid(shape[::-1], spacing, affine), notes
