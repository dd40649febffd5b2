"""An image that is to be kept becomes DICOM objects: Secondary Capture (PS3.3 A.8.1), so that one way leads from any upload to the worklist.

A picture is one object, a volume (NIfTI) one a slice, with its place in the patient (a Standard Extended SOP Class, PS3.4 B.4.1). They state what is known:
no patient, and UIDs that follow from the content, so that the same file sent twice is one study.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.errors import DataError
from vesalius.formats import format_of, open_study

SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "vesalius/capture")
LEVELS = (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series"))
STEPS = 65_535
"""Of 16 bits."""
SQUARE = 1e-4
"""Cosine of the angle of two axes that count as upright."""


def captured(path: Path) -> Iterator[bytes]:
    """The image in a file as the bytes of DICOM files, 8 or 16 bits a sample.

    Whole numbers that 16 bits can hold stay what they are; others are kept in 65,536 steps from the least to the greatest.

    Raises
    ------
    FormatError: it cannot be read. DataError: a volume of several channels, or one that is sheared or holds what is no number.
    """
    study = open_study(Source(format_of(path), str(path)))
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if study.ndim == 2 and study.image.dtype in (np.uint8, np.uint16) and len(study.image) in (1, 3):
        yield _file(_joined(_attributes(digest, "instance", "Uploaded picture"), _pixels(study.image)))
        return
    if len(study.image) != 1:
        raise DataError("an image of several channels is not kept this way", expected="one channel, or a picture of 8 or 16 bits",
                        got=f"{len(study.image)} channels", do="send DICOM files, or leave wait=0 out")
    values = _stored(study.image[0])
    for k, plane in enumerate(values.samples if study.ndim == 3 else values.samples[None]):
        named = f"instance/{k}" if study.ndim == 3 else "instance"
        item = _attributes(digest, named, "Uploaded volume" if study.ndim == 3 else "Uploaded picture", k + 1)
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = values.slope, values.intercept, "US"
        yield _file(_joined(item, _placed(study.grid, k, digest) if study.ndim == 3 else Dataset(), _pixels(plane[None])))


def uid_of(digest: str, level: str) -> str:
    """A UID (PS3.5 B.2) that follows from the content."""
    return f"2.25.{uuid.uuid5(SPACE, f'{digest}/{level}').int}"


@dataclass(frozen=True)
class _Values:
    """Samples of 16 bits and the decimal strings (PS3.5 6.2, DS) that make the values of them."""

    samples: np.ndarray
    slope: str = "1"
    intercept: str = "0"


def _stored(image: np.ndarray) -> _Values:
    if not np.isfinite(image).all():
        raise DataError("the image holds what is no number", expected="finite numbers", got="NaN or infinity", do="mend it where it was made")
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= STEPS and image.dtype.kind in "ui":
        return _Values(image.astype(np.uint16))
    if high - low <= STEPS and low == round(low) and (image.dtype.kind in "iub" or np.array_equal(image, np.rint(image))):
        return _Values((image.astype(np.float64) - low).astype(np.uint16), "1", _decimal(low))
    intercept, slope = _decimal(low), _decimal((high - low) / STEPS)
    steps = np.rint((image.astype(np.float64) - float(intercept)) / float(slope))
    return _Values(np.clip(steps, 0, STEPS).astype(np.uint16), slope, intercept)


def _decimal(value: float) -> str:
    """At most 16 characters.

    >>> _decimal(-1024.0), _decimal(1 / 3)
    ('-1024', '0.3333333333')
    """
    return f"{value:.10g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.9e}"


def _placed(grid: Grid, k: int, digest: str) -> Dataset:
    """Where slice ``k`` lies (PS3.3 C.7.6.2)."""
    axes = grid.affine_lps[:3, :3] / np.linalg.norm(grid.affine_lps[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > SQUARE:
        raise DataError("the axes of the volume are not upright on each other", expected="a grid without shear", do="resample it, or send DICOM files")
    item = Dataset()
    item.ImagePositionPatient = [_decimal(v) for v in (grid.affine_lps @ (0, 0, k, 1))[:3]]
    item.ImageOrientationPatient = [_decimal(v) for v in (*axes[:, 0], *axes[:, 1])]
    item.PixelSpacing = [_decimal(grid.spacing_mm[1]), _decimal(grid.spacing_mm[2])]
    item.SliceThickness = item.SpacingBetweenSlices = _decimal(grid.spacing_mm[0])
    item.FrameOfReferenceUID, item.PositionReferenceIndicator = uid_of(digest, "frame"), ""
    return item


def _joined(item: Dataset, *more: Dataset) -> Dataset:
    for each in more:
        item.update(each)
    return item


def _file(item: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(item.SOPInstanceUID)
    out = io.BytesIO()
    FileDataset("", item, file_meta=meta, preamble=bytes(128)).save_as(out, enforce_file_format=True)
    return out.getvalue()


def _attributes(digest: str, named: str, description: str, number: int = 1) -> Dataset:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.SOPClassUID, item.SOPInstanceUID = SecondaryCaptureImageStorage, uid_of(digest, named)
    for name, level in LEVELS:
        setattr(item, name, uid_of(digest, level))
    item.PatientID = f"UPLOAD-{digest[:12].upper()}"
    item.PatientName = item.PatientBirthDate = item.PatientSex = item.StudyDate = item.StudyTime = item.AccessionNumber = item.ReferringPhysicianName = ""
    item.StudyID, item.SeriesNumber, item.InstanceNumber = "", 1, number
    item.Modality, item.ConversionType, item.SeriesDescription = "OT", "WSD", description
    return item


def _pixels(image: np.ndarray) -> Dataset:
    """``[C, Y, X]`` of 8 or 16 bits."""
    item, bits = Dataset(), image.dtype.itemsize * 8
    item.Rows, item.Columns, item.SamplesPerPixel = image.shape[1], image.shape[2], image.shape[0]
    item.PhotometricInterpretation = "RGB" if image.shape[0] == 3 else "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = bits
    item.HighBit, item.PixelRepresentation = bits - 1, 0
    if image.shape[0] == 3:
        item.PlanarConfiguration = 0
    data = np.ascontiguousarray(np.moveaxis(image, 0, -1)).astype(image.dtype.newbyteorder("<"), copy=False).tobytes()
    item.PixelData = data + b"\0" * (len(data) % 2)
    item["PixelData"].VR = "OB" if bits == 8 else "OW"
    return item
