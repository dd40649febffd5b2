"""A picture that is to be kept becomes a DICOM object: Secondary Capture (PS3.3 A.8.1), so that one way leads from any upload to the worklist.

It states what is known: no patient, and UIDs that follow from its content, so that the same picture sent twice is one study.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats import format_of, open_study

SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "vesalius/capture")
LEVELS = (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series"), ("SOPInstanceUID", "instance"))


def captured(path: Path) -> bytes:
    """The picture in a file as the bytes of a DICOM file, 8 or 16 bits a sample, as it is.

    Raises
    ------
    FormatError: it cannot be read. DataError: it is no picture of whole numbers of 8 or 16 bits.
    """
    study = open_study(Source(format_of(path), str(path)))
    if study.ndim != 2 or study.image.dtype not in (np.uint8, np.uint16):
        raise DataError("only pictures are kept this way", expected="a picture of 8 or 16 bits", got=f"{study.ndim}-D, {study.image.dtype}",
                        do="send DICOM files, or leave wait=0 out")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    made = FileDataset("", _attributes(digest, study), file_meta=_meta(digest), preamble=bytes(128))
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def uid_of(digest: str, level: str) -> str:
    """A UID (PS3.5 B.2) that follows from the content."""
    return f"2.25.{uuid.uuid5(SPACE, f'{digest}/{level}').int}"


def _meta(digest: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid_of(digest, "instance"))
    return meta


def _attributes(digest: str, study: Study) -> Dataset:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.SOPClassUID = SecondaryCaptureImageStorage
    for name, level in LEVELS:
        setattr(item, name, uid_of(digest, level))
    item.PatientID = f"UPLOAD-{digest[:12].upper()}"
    item.PatientName = item.PatientBirthDate = item.PatientSex = item.StudyDate = item.StudyTime = item.AccessionNumber = item.ReferringPhysicianName = ""
    item.StudyID, item.SeriesNumber, item.InstanceNumber = "", 1, 1
    item.Modality, item.ConversionType, item.SeriesDescription = "OT", "WSD", "Uploaded picture"
    image, bits = study.image, study.image.dtype.itemsize * 8
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
