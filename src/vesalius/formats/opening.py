"""Open one image, whatever its format; any failure is one `FormatError`."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError, OptionError, VesaliusError
from vesalius.formats.array import row_of
from vesalius.formats.base import FORMATS, Format, suffix_format
from vesalius.formats.dicom import filled
from vesalius.formats.dicomgeometry import Gaps

CHUNK = 2**20


def format_of(path: Path) -> str:
    """Name of the format of a file: its suffix, else its first bytes.

    Raises
    ------
    FormatError: neither says what it is.
    """
    named = suffix_format(path.name)
    if named:
        return named
    _exists(path)
    sniffed = next((FORMATS.get(name) for name in FORMATS if FORMATS.get(name).sniff(path)), None)
    if sniffed is None:
        raise FormatError("not an image that can be read", where=path, expected="PNG, JPEG, TIFF, NIfTI, DICOM, NRRD, MetaImage or NumPy", got=_what(path),
                          do="convert it, or leave it out")
    return sniffed.name


def open_study(source: Source, *, gaps: Gaps = "refuse") -> Study:
    """Decode one image.

    ``gaps="fill"`` interpolates the slices that are missing within a DICOM series, which is refused otherwise.
    Samples that are not numbers are let through and counted: ``meta["nan"]`` (NaN or infinite).

    Raises
    ------
    FormatError: the file is absent, empty, truncated, of another format than its name says, or not supported.
    """
    source = filled(source) if gaps == "fill" else source
    kind = _format(source)
    _ready(source)
    try:
        study = kind.read(source)
    except VesaliusError as error:
        raise _as_format_error(error, source) from error
    except Exception as error:  # decoders raise anything on broken files; all of it becomes the one error for the user
        raise _refusal(source, kind, error) from error
    return _counted(study)


def header(source: Source) -> dict[str, Any]:
    """``shape``, ``channels``, ``bits``, ``modality`` (and for DICOM ``patient_id``) without decoding all samples.

    Raises
    ------
    FormatError: as `open_study`.
    """
    kind = _format(source)
    _ready(source)
    try:
        return kind.header(source)
    except VesaliusError as error:
        raise _as_format_error(error, source) from error
    except Exception as error:  # see open_study
        raise _refusal(source, kind, error) from error


def content_hash(source: Source) -> str:
    """sha256 of what is stored: the bytes of a file; of an npz member or a slice its samples, shape and type; of a series its files' sorted hashes.

    Raises
    ------
    FormatError: a file is absent or cannot be read.
    """
    _ready(source)
    try:
        if source.format == "npz" and source.member:
            return _samples_hash(row_of(source))
        if _format(source).by_samples:
            return _samples_hash(open_study(source).image)
        if source.files:
            return hashlib.sha256("".join(sorted(_file_hash(name) for name in source.files)).encode()).hexdigest()
        return _file_hash(source.path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _refusal(source, _format(source), error) from error


def _samples_hash(samples: np.ndarray) -> str:
    held = np.ascontiguousarray(samples)
    return hashlib.sha256(f"{held.shape}{held.dtype.str}".encode() + held.tobytes()).hexdigest()


def _file_hash(name: str) -> str:
    digest = hashlib.sha256()
    with open(name, "rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _format(source: Source) -> type[Format]:
    try:
        return FORMATS.get(source.format)
    except OptionError as error:
        raise FormatError("no reader of that name", where=str(source), expected=f"one of {', '.join(FORMATS)}", got=source.format) from error


def _ready(source: Source) -> None:
    for name in source.files or (source.path,):
        _exists(Path(name))


def _exists(path: Path) -> None:
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing of that name"
        raise FormatError("there is no such file", where=path, expected="an image file", got=got, do="check the path")
    if path.stat().st_size == 0:
        raise FormatError("the file is empty", where=path, expected="an image", got="0 bytes", do="fetch it again, or leave it out")


def _what(path: Path) -> str:
    with path.open("rb") as opened:
        head = opened.read(64)
    if head.isascii() and b"\0" not in head:
        return "text"
    return f"unknown bytes and the suffix '{path.suffix}'" if path.suffix else "unknown bytes and no suffix"


def _as_format_error(error: VesaliusError, source: Source) -> FormatError:
    if isinstance(error, FormatError):
        return error
    return FormatError(error.what, where=str(source), expected=error.expected, got=error.got, do=error.do or "repair the file, or leave it out")


def _refusal(source: Source, kind: type[Format], error: Exception) -> FormatError:
    """Say whether it is another format, truncated, or broken otherwise. A reader's own words may quote the file, so only its kind is told for DICOM."""
    path = Path((source.files or (source.path,))[0])
    other = _other_format(path, kind)
    if other:
        return FormatError("the file is not what its name says", where=str(source), expected=f"{kind.name}, as '{path.suffix}' says", got=other,
                           do="give it the right suffix, or leave it out")
    told = type(error).__name__ if kind.name.startswith("dicom") else f"{type(error).__name__}: {str(error).replace(os.linesep, ' ')[:160]}"
    cut = isinstance(error, EOFError) or any(word in str(error).lower() for word in ("truncated", "end of file", "eof", "premature", "corrupt", "incomplete"))
    what = "the file is truncated or damaged" if cut else "the file cannot be read"
    return FormatError(what, where=str(source), expected=f"a whole {kind.name} image", got=told, do="fetch it again, or leave it out")


def _other_format(path: Path, kind: type[Format]) -> str | None:
    """What the file is, when its first bytes are not those of the format."""
    if not path.is_file() or kind.sniff(path):
        return None
    return next((name for name in FORMATS if FORMATS.get(name).sniff(path)), None) or _what(path)


def _counted(study: Study) -> Study:
    if study.image.dtype.kind != "f":
        return study
    wrong = int(study.image.size - np.isfinite(study.image).sum())
    if not wrong:
        return study
    return Study(study.image, study.grid, study.modality, study.bits, study.window, study.source, {**study.meta, "nan": wrong})
