"""What a file format is: one class a format, registered in `FORMATS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.registry import Registry

MAX_SAMPLES = 2**30
"""No image is decoded that states more samples: a small file may claim to hold terabytes."""


class Format(ABC):
    """A file format that images are stored in.

    Attributes
    ----------
    name: as in `Source.format`.
    suffixes: lower-case, with the dot; the longest that fits a file name decides (``.nii.gz``).
    by_samples: whether several images lie in one file, so that the samples and not the bytes of the file tell them apart (`content_hash`).
    """

    name: str = ""
    suffixes: tuple[str, ...] = ()
    by_samples: bool = False

    @classmethod
    @abstractmethod
    def sniff(cls, path: Path) -> bool:
        """Whether the first bytes of the file are those of this format."""

    @classmethod
    @abstractmethod
    def read(cls, source: Source) -> Study:
        """Decode the image; any exception is made a `FormatError` by `open_study`."""

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        """``shape`` (spatial), ``channels``, ``bits``, ``modality`` without decoding the samples, where the format allows."""
        study = cls.read(source)
        return {"shape": study.grid.shape, "channels": study.channels, "bits": study.bits, "modality": study.modality}


FORMATS: Registry[type[Format]] = Registry("format", "vesalius.formats")
HEAD_BYTES = 512


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as opened:
        return opened.read(HEAD_BYTES)


def bounded(shape: tuple[int, ...], where: str) -> None:
    """Refuse an image that states more samples than `MAX_SAMPLES`, before memory is taken for it."""
    samples = int(np.prod([int(n) for n in shape], dtype=object))
    if samples > MAX_SAMPLES:
        raise FormatError("the image is too large to decode", where=where, expected=f"at most {MAX_SAMPLES:,} samples", got=f"{samples:,} {tuple(shape)}",
                          do="cut it into parts or make it smaller")


def bits_of(kind: np.dtype[Any]) -> int:
    """Bits per sample of a stored number type; a truth value counts as 8."""
    return 8 if kind == np.bool_ else kind.itemsize * 8


def lean(image: np.ndarray) -> np.ndarray:
    """The same numbers in the types that the rest of the package handles: 8- and 16-bit stay, other integers int32, other floats float32."""
    if image.dtype == np.bool_:
        return image.astype(np.uint8)
    if image.dtype.kind in "iu" and image.dtype.itemsize > 2:
        return image.astype(np.int32) if np.abs(image, dtype=np.float64).max(initial=0) < 2**31 else image.astype(np.float32)
    if image.dtype.kind == "f":
        return image.astype(np.float32, copy=False)
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def suffix_format(name: str) -> str | None:
    """The format that a file name's ending stands for, or None."""
    lower = name.lower()
    table = suffix_table()
    for start in range(max(lower.rfind("/") + 1, len(lower) - 12), len(lower)):
        if lower[start] == "." and lower[start:] in table:
            return table[lower[start:]]
    return None


_TABLE: dict[str, str] = {}


def suffix_table() -> dict[str, str]:
    """Endings of file names to names of formats."""
    if not _TABLE:
        for name in FORMATS:
            _TABLE.update({suffix: FORMATS.get(name).name for suffix in FORMATS.get(name).suffixes})
    return _TABLE
