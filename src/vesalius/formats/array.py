"""NumPy arrays: one image in a ``.npy``, many in a ``.npz`` of the MedMNIST kind.

A member of a ``.npz`` is ``"train:17"``: row 17 of ``train_images`` (or ``x_train``). Arrays of truth values are
stored as 0/1; pickled objects are never loaded.
"""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format, bits_of, bounded, head_of, lean

IN_MEMORY_BYTES = 256 * 2**20
"""Larger members of an npz are read row by row: forwards fast, backwards by starting again."""
BROKEN = (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error)
IMAGE_KEYS = ("{}_images", "x_{}", "X_{}", "{}_x", "{}_X", "{}_imgs", "{}_data", "{}")


@FORMATS.register("npy")
class Npy(Format):
    """One image: ``[Y, X]``, ``[Y, X, 3]``, ``[3, Y, X]`` or a volume ``[Z, Y, X]``."""

    name = "npy"
    suffixes = (".npy",)

    @classmethod
    def sniff(cls, path: Path) -> bool:
        return head_of(path).startswith(b"\x93NUMPY")

    @classmethod
    def read(cls, source: Source) -> Study:
        array = np.load(source.path, allow_pickle=False, mmap_mode="r")
        bounded(array.shape, source.path)
        return study_of(np.array(array), source)

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        array = np.load(source.path, allow_pickle=False, mmap_mode="r")
        return _facts(array.shape, array.dtype, source)


@FORMATS.register("npz")
class Npz(Format):
    """A row of an image array in a ``.npz``; an npz with one array of one image needs no member."""

    name = "npz"
    suffixes = (".npz",)

    @classmethod
    def sniff(cls, path: Path) -> bool:
        return head_of(path).startswith(b"PK\x03\x04") and zipfile.is_zipfile(path) and bool(_names(path))

    @classmethod
    def read(cls, source: Source) -> Study:
        return study_of(row_of(source), source)

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        rows, _ = _located(source)
        return _facts(rows.shape[1:], rows.dtype, source)


def row_of(source: Source) -> np.ndarray:
    """The array of one member, as it is stored."""
    rows, index = _located(source)
    if not 0 <= index < rows.shape[0]:
        raise FormatError("the npz has no such image", where=str(source), expected=f"0 to {rows.shape[0] - 1}", got=index, do="name a row that is there")
    return rows.row(index)


def shapes_in(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Arrays of an npz by name, with shape and type, from their headers alone."""
    try:
        return {name: (rows.shape, rows.dtype) for name in _names(path) if (rows := _rows(str(path), name, _stamp(path)))}
    except BROKEN as error:
        raise _broken(path, error) from error


def array_in(path: Path, name: str) -> np.ndarray:
    """A whole array of an npz, e.g. its labels."""
    try:
        with np.load(path, allow_pickle=False) as opened:
            return np.asarray(opened[name])
    except BROKEN as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> FormatError:
    return FormatError("the npz is truncated or damaged", where=path, expected="a whole npz of numbers", got=type(error).__name__, do="fetch it again")


def image_key(names: list[str], part: str) -> str | None:
    """The array that holds the images of a part, e.g. ``train_images`` for ``train``."""
    return next((key.format(part) for key in IMAGE_KEYS if key.format(part) in names), None)


def layout_of(shape: tuple[int, ...]) -> str:
    """What the axes of one image are: ``"YX"``, ``"YXC"``, ``"CYX"``, ``"ZYX"``, ``"ZYXC"`` or ``"CZYX"``; ``""`` when unclear.

    Colour is three (or one, or four with alpha) samples at the end or, failing that, at the start.

    >>> layout_of((28, 28, 3)), layout_of((28, 28, 28))
    ('YXC', 'ZYX')
    """
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3:
        return "YXC" if shape[-1] in (1, 3, 4) else "CYX" if shape[0] in (1, 3) else "ZYX"
    if len(shape) == 4 and shape[-1] in (1, 3, 4):
        return "ZYXC"
    return "CZYX" if len(shape) == 4 and shape[0] in (1, 3) else ""


def study_of(array: np.ndarray, source: Source) -> Study:
    """One array as a study; see `layout_of` for its axes."""
    axes = _axes(array.shape, source)
    if array.dtype.kind not in "biuf":
        raise FormatError("the array holds no numbers", where=str(source), expected="integers or floats", got=array.dtype, do="store the image as numbers")
    if axes.endswith("C"):
        array = np.moveaxis(array, -1, 0)[:3]
    elif not axes.startswith("C"):
        array = array[None]
    image = np.ascontiguousarray(lean(array))
    return Study(image, Grid.plain(image.shape[1:]), bits=bits_of(image.dtype), source=str(source))


def _axes(shape: tuple[int, ...], source: Source) -> str:
    axes = layout_of(shape)
    if not axes or 0 in shape:
        raise FormatError("the array is not one image", where=str(source), expected="2 or 3 spatial axes, and at most one of 1 or 3 channels",
                          got=f"shape {shape}",
                          do="store one image a file, or many in an npz with train_images")
    return axes


def _facts(shape: tuple[int, ...], kind: np.dtype[Any], source: Source) -> dict[str, Any]:
    axes = _axes(shape, source)
    spatial = tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "C")
    channels = 3 if "C" in axes and shape[axes.index("C")] >= 3 else 1
    return {"shape": spatial, "channels": channels, "bits": bits_of(kind), "modality": None}


@dataclass
class Rows:
    """The rows of one array in an npz, read singly; whole in memory when it is small."""

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    fortran: bool
    _stream: Any = None
    _whole: np.ndarray | None = None
    _lock: Any = field(default_factory=threading.Lock)

    def row(self, index: int) -> np.ndarray:
        bounded(self.shape[1:], self.path)
        with self._lock:
            if self._whole is None and (self.fortran or self._bytes * self.shape[0] <= IN_MEMORY_BYTES):
                self._whole = array_in(Path(self.path), self.name)
            return self._whole[index] if self._whole is not None else self._streamed(index)

    @property
    def _bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def _streamed(self, index: int) -> np.ndarray:
        if self._stream is None:
            self._stream = zipfile.ZipFile(self.path).open(self.name + ".npy")
        self._stream.seek(self.start + index * self._bytes)
        data = self._stream.read(self._bytes)
        if len(data) < self._bytes:
            raise FormatError("the npz is truncated", where=self.path, expected=f"{self._bytes} bytes for row {index}", got=len(data),
                              do="fetch the file again")
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])


def _names(path: Path) -> list[str]:
    return _names_at(str(path), _stamp(path))


@lru_cache(maxsize=16)
def _names_at(path: str, stamp: tuple[int, int]) -> list[str]:
    with zipfile.ZipFile(path) as opened:
        return [name[:-4] for name in opened.namelist() if name.endswith(".npy")]


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=16)
def _rows(path: str, name: str, stamp: tuple[int, int]) -> Rows:
    with zipfile.ZipFile(path) as archive, archive.open(name + ".npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(member)
        if kind.hasobject:
            raise FormatError("the npz holds pickled objects, which are never loaded", where=f"{path}#{name}", expected="an array of numbers", got=kind,
                              do="save the images as one array of numbers")
        return Rows(path, name, shape, kind, member.tell(), fortran)


def _located(source: Source) -> tuple[Rows, int]:
    path = Path(source.path)
    names = _names(path)
    part, _, index = (source.member or "").partition(":")
    key = image_key(names, part) if part else (names[0] if len(names) == 1 else None)
    if key is None or (part and not index.isdigit()):
        raise FormatError("the npz has no such image", where=str(source), expected="a member such as train:17 of train_images", got=", ".join(names[:8]),
                          do="name a row that is there")
    rows = _rows(source.path, key, _stamp(path))
    if part:
        return rows, int(index)
    whole = Rows(rows.path, rows.name, (1, *rows.shape), rows.dtype, rows.start, rows.fortran, _whole=array_in(path, key)[None])
    return whole, 0
