"""One slice of a volume as a picture of its own: ``Source.member`` is ``"z:17"``, its place along the volume's first axis, from 0.

A slice of a DICOM series needs none of this: it is a file of its own, and reports refer to it by its own SOPInstanceUID.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format
from vesalius.formats.dicom import facts_of
from vesalius.formats.dicomgeometry import plane_of
from vesalius.formats.opening import format_of, header, open_study

KEPT_BYTES = 2**28
"""The last volume stays in memory up to this size: the slices of one are asked for one after the other."""
VOLUMES = ("nifti", "itk", "dicom", "dicom-filled", "npy", "tiff")
"""Formats of one file whose third axis is one of the patient."""
_last: dict[tuple[str, int, int], Study] = {}


@FORMATS.register("slice")
class Slice(Format):
    """One plane of a NIfTI, NRRD, MetaImage, TIFF or NumPy volume or of a multi-frame DICOM file, with its place in the patient."""

    name = "slice"
    by_samples = True

    @classmethod
    def sniff(cls, path: Path) -> bool:
        return False  # no file is one: it is a part of a file

    @classmethod
    def read(cls, source: Source) -> Study:
        volume = _volume(source.path)
        place = _place(source, volume.grid.shape)
        meta = {key: value for key, value in volume.meta.items() if key not in ("filled_slices", "plane_positions_mm", "nan")}
        return Study(np.ascontiguousarray(volume.image[:, place]), plane(volume.grid, place), volume.modality, volume.bits, volume.window, str(source), meta)

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        facts = header(whole_of(source))
        _place(source, facts["shape"])
        return facts | {"shape": tuple(facts["shape"])[1:]}


def slice_of(volume: Source, place: int) -> Source:
    """The source of one plane of a volume that one file holds."""
    return Source(Slice.name, volume.path, f"z:{place}")


def singly(source: Source) -> list[Source]:
    """What a model of pictures reads of a source: the slices of a DICOM series (its files, along the patient) or of a volume; anything else as it is.

    Stacks of pictures (GIF, video, npz) are left to those who read them as such. A file that cannot be read stays itself, so that opening it says why.
    """
    if source.files:
        return [Source("dicom", path) for path in _along(source.files)]
    if source.format not in VOLUMES or source.member is not None:
        return [source]
    try:
        shape = header(source)["shape"]
    except FormatError:
        return [source]
    return [slice_of(source, place) for place in range(int(shape[0]))] if len(shape) == 3 else [source]


def _along(files: tuple[str, ...]) -> list[str]:
    """By position along the normal of the first; as they came where one states none."""
    planes = [plane_of(facts_of(path)) for path in files]
    if not all(plane.located for plane in planes):
        return list(files)
    depth = {path: float(np.dot(np.array(plane.position_mm), planes[0].normal)) for path, plane in zip(files, planes, strict=True)}
    return sorted(files, key=lambda path: depth[path])


def whole_of(source: Source) -> Source:
    """The volume that a slice lies in."""
    return Source(format_of(Path(source.path)), source.path)


def plane(grid: Grid, place: int) -> Grid:
    """The grid ``(Y, X)`` of one plane of a grid ``(Z, Y, X)``, at its place in the patient."""
    affine = grid.affine_lps.copy()
    affine[:3, 3] = grid.world(np.array([place, 0, 0]))
    return Grid(grid.shape[1:], grid.spacing_mm[1:], affine, grid.spacing_known)


def _place(source: Source, shape: tuple[int, ...]) -> int:
    word, _, number = (source.member or "").partition(":")
    if len(shape) != 3:
        raise FormatError("the image has no slices", where=str(source), expected="a volume of three axes", got=f"shape {tuple(shape)}",
                          do="leave the number of the slice out")
    if word != "z" or not number.isdigit() or int(number) >= shape[0]:
        raise FormatError("the volume has no such slice", where=str(source), expected=f"z:0 to z:{shape[0] - 1}", got=source.member,
                          do="correct the number of the slice; slices count from 0")
    return int(number)


def _volume(path: str) -> Study:
    stat = os.stat(path)
    key = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns)
    held = _last.get(key)
    if held is None:
        held = open_study(Source(format_of(Path(path)), path))
        _last.clear()
        if held.image.nbytes <= KEPT_BYTES:
            _last[key] = held
    return held
