"""What the store keeps of an object's header, and how an object in the inbox becomes a row."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from vesalius.errors import FormatError
from vesalius.stages.serve.node.inbox import READ_BYTES, data_set_start
from vesalius.stages.serve.store import Received

KEYWORDS = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "Modality", "ReferringPhysicianName",
    "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "BodyPartExamined",
    "StudyInstanceUID", "SeriesInstanceUID", "StudyID", "SeriesNumber", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "BurnedInAnnotation", "ImageType",
)
META = ("TransferSyntaxUID", "ReceivingApplicationEntityTitle", "SendingApplicationEntityTitle")
LONGEST = 1024
"""Characters of one value; PS3.5 allows 64 for most of these."""
PIXELS = Tag(0x7FE0, 0x0000)
INFLATED = (1 << 20, 1 << 26)
"""Bytes of a deflated data set that are inflated for its header: first so many, and more only where the pixels do not begin within them."""


def describe(path: Path, digest: str) -> Received:
    """Read the header of a file that has passed the guard and lies in the inbox.

    Raises
    ------
    FormatError: the header cannot be parsed, or a UID that places the object is missing.
    """
    try:
        item, meta = _opened(path)
        header = {name: _plain(item.get(name)) for name in KEYWORDS if item.get(name) not in (None, "")}
        syntax, called, calling = (str(meta.get(name, "")).strip() for name in META)
    except Exception as error:
        raise FormatError("the header cannot be read", got=type(error).__name__, do="send it again from its source") from error
    missing = [name for name in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID") if not header.get(name)]
    if missing:
        raise FormatError("the object does not say where it belongs", expected="SOP class and instance, study and series UID", got=f"no {missing[0]}",
                          do="correct it at its source")
    sop, kind, study, series = (str(header[name]) for name in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"))
    facts = path.stat()
    return Received(path, sop, kind, series, study, syntax, digest, facts.st_size, header, called, calling, facts.st_mtime)


def _opened(path: Path) -> tuple[Dataset, FileMetaDataset]:
    """Attributes and meta information. (Of a deflated data set the library would inflate all, its pixels too.)"""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return _inflated(path), meta
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS)), meta


def _inflated(path: Path) -> Dataset:
    for most in INFLATED:
        data = _beginning(path, most)
        reached = len(data) < most

        def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
            nonlocal reached
            reached = reached or tag >= PIXELS
            return tag >= PIXELS

        try:
            item = read_dataset(io.BytesIO(data), False, True, stop_when=at_pixels, specific_tags=[Tag(name) for name in KEYWORDS])
        except EOFError:
            continue
        if reached:
            return item
    raise EOFError("no pixels, and no end, within what is inflated")


def _beginning(path: Path, most: int) -> bytes:
    """The first ``most`` bytes of the inflated data set."""
    inflater, made = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    with open(path, "rb") as file:
        file.seek(data_set_start(path))
        while made.tell() < most and not inflater.eof and (block := inflater.unconsumed_tail or file.read(READ_BYTES)):
            made.write(inflater.decompress(block, most - made.tell()))
    return made.getvalue()


def _plain(value: Any) -> Any:
    """Text without control characters, or a list of it; whole numbers as they are. Databases refuse a NUL in a text."""
    if isinstance(value, (list, tuple, MultiValue)):
        return [_plain(part) for part in list(value)[:16]]
    if isinstance(value, int):
        return int(value)
    return "".join(letter for letter in str(value)[:LONGEST] if letter.isprintable()).strip()
