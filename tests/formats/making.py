"""Small files of every format for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from vesalius.core.cohort import Source
from vesalius.formats.opening import format_of

CT = "1.2.840.10008.5.1.4.1.1.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def noise(*shape: int, seed: int = 0, high: int = 256, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(kind)


def png(path: Path, array: np.ndarray | None = None, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(6, 8, seed=seed) if array is None else array).save(path)
    return path


def source(path: Path) -> Source:
    return Source(format_of(path), str(path))


def dicom(path: Path, pixels: np.ndarray, **attributes: object) -> Path:
    """An Explicit VR Little Endian instance of unsigned (or, by dtype, signed) samples."""
    item = pydicom.Dataset()
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = CT, generate_uid(), "CT"
    item.Rows, item.Columns = pixels.shape[-2:] if pixels.shape[-1] != 3 else pixels.shape[-3:-1]
    item.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    if item.SamplesPerPixel == 3:
        item.PlanarConfiguration = 0
    item.PhotometricInterpretation = "RGB" if item.SamplesPerPixel == 3 else "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = pixels.dtype.itemsize * 8
    item.HighBit, item.PixelRepresentation = item.BitsStored - 1, int(pixels.dtype.kind == "i")
    item.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    item.HighBit = item.BitsStored - 1
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID, item.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, item.SOPClassUID
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, n: int = 5, *, step: tuple[float, float, float] = (0.0, 0.0, 2.5), uid: str | None = None, skip: tuple[int, ...] = (),
           **attributes: object) -> list[Path]:
    """An axial CT series whose slice k holds the constant 100 * k, under names that sort the wrong way round."""
    uid = uid or generate_uid()
    paths = []
    for k in range(n):
        if k in skip:
            continue
        facts: dict[str, object] = {
            "SeriesInstanceUID": uid, "StudyInstanceUID": "1.2.3", "PatientID": "P1", "PixelSpacing": [0.5, 0.7], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-10 + k * step[0], -20 + k * step[1], 30 + k * step[2]], "InstanceNumber": 1, "RescaleSlope": 1, "RescaleIntercept": -1000,
        }
        paths.append(dicom(folder / f"{n - k:03d}.dcm", np.full((4, 6), 100 * k, np.uint16), **(facts | attributes)))
    return paths
