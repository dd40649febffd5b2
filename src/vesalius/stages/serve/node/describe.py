"""What the store keeps of an object's header, and how an object in the inbox becomes a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from pydicom.multival import MultiValue

from vesalius.errors import FormatError
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


def describe(path: Path, digest: str) -> Received:
    """Read the header of a file that has passed the guard and lies in the inbox.

    Raises
    ------
    FormatError: the header cannot be parsed, or a UID that places the object is missing.
    """
    try:
        item = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
        header = {name: _plain(item.get(name)) for name in KEYWORDS if item.get(name) not in (None, "")}
        meta = item.file_meta
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


def _plain(value: Any) -> Any:
    """Text without control characters, or a list of it; whole numbers as they are. Databases refuse a NUL in a text."""
    if isinstance(value, (list, tuple, MultiValue)):
        return [_plain(part) for part in list(value)[:16]]
    if isinstance(value, int):
        return int(value)
    return "".join(letter for letter in str(value)[:LONGEST] if letter.isprintable()).strip()
