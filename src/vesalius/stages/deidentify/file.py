"""De-identification of one file: an object of DICOM, or a picture."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.errors import FormatError, VesaliusError
from vesalius.formats.dicom import Dicom, parsed
from vesalius.formats.opening import open_study
from vesalius.formats.raster import Raster
from vesalius.guards.canary import found_in_header
from vesalius.guards.deidentify import Key, Options, deidentified
from vesalius.guards.deidentify.burned import Box, blank, text_boxes
from vesalius.guards.deidentify.pictures import PNG, stripped
from vesalius.guards.deidentify.pixels import clean_overlays, clean_pixels
from vesalius.guards.deidentify.values import DUMMIES

DICOMDIR = "1.2.840.10008.1.3.10"
OURS = ("PatientID", "PatientName", "DeidentificationMethod", "DeidentificationMethodCodeSequence")
"""What was written in the place of what was there; its words (patient, content) may be somebody's name."""
GZIP = b"\x1f\x8b"
logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its messages quote values of the file


@dataclass(frozen=True)
class Written:
    """A file to write: its name below the output, its bytes, and what was done."""

    name: str
    data: bytes
    kind: str
    patient: str
    actions: dict[str, int]
    burned: list[list[int]]


def cleaned_file(path: Path, digest: str, options: Options, key: Key) -> Written:
    """The de-identified form of a file. ``digest``: sha256 of its bytes, after which a picture is called.

    Raises
    ------
    FormatError: it is damaged, or of no kind that can be de-identified.
    """
    if Dicom.sniff(path):
        return _reading(path, lambda: _object(path, digest, options, key))
    return _reading(path, lambda: _picture(path, digest, options, key))


def _reading(path: Path, work: Any) -> Written:
    try:
        return work()
    except VesaliusError:
        raise
    except Exception as error:  # parsers and decoders raise anything on broken values; what cannot be read whole is not given away
        raise FormatError("the file cannot be de-identified", where=path, expected="values that can be read", got=type(error).__name__,
                          do="leave it out") from error


def _object(path: Path, digest: str, options: Options, key: Key) -> Written:
    """An object; two of one UID that differ get names of their own."""
    item = parsed(str(path))
    sop_class = str(item.get("SOPClassUID") or item.get("file_meta", Dataset()).get("MediaStorageSOPClassUID") or "")
    if sop_class == DICOMDIR:
        raise FormatError("the DICOM file is a DICOMDIR, which is an index of other files", where=path, expected="an object", do="make it anew from the output")
    if not sop_class or not item.get("SOPInstanceUID"):
        raise FormatError("the DICOM object does not say what it is", where=path, expected="SOPClassUID and SOPInstanceUID (0008,0016/0018)", got="none",
                          do="leave it out")
    syntax = item.file_meta.get("TransferSyntaxUID") if hasattr(item, "file_meta") else None
    implicit, little = item.original_encoding
    ids = tuple(str(item.get(name) or "") for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
    done = deidentified(item, options, key)
    if syntax is None:
        item.file_meta.TransferSyntaxUID = _syntax(bool(implicit), bool(little))
    burned = clean_pixels(item) if "pixels" in options.clean else None
    if "graphics" in options.clean:
        done.actions["overlay_lines"] += clean_overlays(item)
    data = _bytes(item)
    _nothing_left(data, done.words, path)
    study, series, instance = key.name("study", ids[0]), key.name("series", ids[1]), key.name("instance", f"{ids[2]}/{digest}")
    boxes = [list(box) for box in burned.boxes] if burned is not None else []
    actions = {**done.actions, **({"outside_regions": 1} if burned is not None and burned.outside else {})}
    return Written(f"{done.patient}/{study}/{series}/{instance}.dcm", data, "dicom", done.patient, actions, boxes)


def _syntax(implicit: bool, little: bool) -> pydicom.uid.UID:
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _bytes(item: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, item, enforce_file_format=True)
    return buffer.getvalue()


def _nothing_left(data: bytes, words: tuple[str, ...], path: Path) -> None:
    """The written object is read again: none of the words that identify may be in its text."""
    item = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    for keyword in OURS:
        del item[keyword]
    place = found_in_header(item, [word for word in words if word.upper() not in DUMMIES.values()])
    if place:
        raise FormatError("a name or number of the patient is still in the cleaned object", where=path, expected="none of them", got=f"one in {place}",
                          do="leave it out, and report it")


def _picture(path: Path, digest: str, options: Options, key: Key) -> Written:
    raw = path.read_bytes()
    data = stripped(raw, str(path))
    kind = _kind(data)
    boxes: list[Box] = []
    if "pixels" in options.clean and Raster.sniff(path):
        image = np.moveaxis(open_study(Source("raster", str(path))).image, 0, -1)
        boxes = text_boxes(image) if image.ndim == 3 and image.dtype.kind in "iu" else []
        if boxes:
            image = np.array(image, order="C")
            blank(image, boxes, (0,) * image.shape[-1])
            data, kind = bytes(imagecodecs.png_encode(image[..., 0] if image.shape[-1] == 1 else image)), "png"
    return Written(f"pictures/{key.name('picture', digest)}.{kind}", data, kind.split(".")[0], "", {}, [list(box) for box in boxes])


def _kind(data: bytes) -> str:
    """The ending of a picture's name, by its first bytes."""
    starts = ((PNG, "png"), (b"\xff\xd8", "jpg"), (GZIP, "nii.gz"), (b"II*", "tif"), (b"MM\0*", "tif"), (b"II+", "tif"), (b"MM\0+", "tif"))
    return next((ending for start, ending in starts if data.startswith(start)), "nii")
