"""NRRD and MetaImage through SimpleITK (ITK's own coordinates are LPS already). An optional part: it needs ``SimpleITK``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format, bits_of, bounded, head_of, lean

BITS = {"8-bit": 8, "16-bit": 16, "32-bit": 32, "64-bit": 64}


@FORMATS.register("itk")
class Itk(Format):
    """``.nrrd``, ``.nhdr``, ``.mha`` and ``.mhd`` with two or three axes."""

    name = "itk"
    suffixes = (".nrrd", ".nhdr", ".mha", ".mhd")

    @classmethod
    def sniff(cls, path: Path) -> bool:
        head = head_of(path)
        return head.startswith(b"NRRD0") or b"ObjectType" in head[:200] or b"NDims" in head[:200]

    @classmethod
    def read(cls, source: Source) -> Study:
        reader = _reader(source)
        image = reader.Execute()
        array = _library().GetArrayFromImage(image)
        flat = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
        return Study(np.ascontiguousarray(lean(flat)), _grid(reader), bits=bits_of(array.dtype), source=str(source))

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        reader = _reader(source)
        told = _library().GetPixelIDValueAsString(reader.GetPixelID())
        bits = next((n for word, n in BITS.items() if word in told), 8)
        return {"shape": _grid(reader).shape, "channels": reader.GetNumberOfComponents(), "bits": bits, "modality": None}


def _library() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise FormatError("NRRD and MetaImage need another package", expected="SimpleITK", got="it is not installed", do="pip install SimpleITK") from error
    return SimpleITK


def _reader(source: Source) -> Any:
    """The file's header, read and found to be one image of a size that can be decoded."""
    reader = _library().ImageFileReader()
    reader.SetFileName(source.path)
    reader.ReadImageInformation()
    bounded(tuple(reader.GetSize()), source.path)
    if len(_axes(reader)) not in (2, 3) or reader.GetNumberOfComponents() not in (1, 3):
        raise FormatError("the file holds no single image", where=source.path, expected="2 or 3 axes, and 1 or 3 components",
                          got=f"size {tuple(reader.GetSize())}, {reader.GetNumberOfComponents()} components", do="store one volume a file")
    return reader


def _axes(reader: Any) -> tuple[int, ...]:
    return tuple(reader.GetSize())


def _grid(reader: Any) -> Grid:
    n = len(_axes(reader))
    affine = np.eye(4)
    affine[:n, :n] = np.array(reader.GetDirection()).reshape(n, n) * np.array(reader.GetSpacing())
    affine[:n, 3] = reader.GetOrigin()
    return Grid(_axes(reader)[::-1], tuple(reader.GetSpacing())[::-1], affine)
