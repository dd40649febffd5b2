"""Objects of a patient whose name, number and dates can be looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from vesalius.guards.canary import scan
from vesalius.stages.deidentify import Done

FAMILY, GIVEN, NUMBER, BORN, DAY, HOUSE = "Zwickelbart", "Adelgunde", "QX7731942", "19470823", "20240229", "Spital Wunderlich"
CANARIES = (FAMILY, GIVEN, NUMBER, BORN, DAY, HOUSE, "Hohlweg", "23.08.1947", "1.2.826.0.1.3680043.77")


def text_on(image: np.ndarray, text: str, at: tuple[int, int] = (8, 8), size: int = 18) -> np.ndarray:
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(at, text, fill=255 if image.ndim == 2 else (255, 255, 0), font=ImageFont.load_default(size))
    return np.asarray(picture)


def body(shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    blob = 140 * np.exp(-((((rows / shape[0]) - 0.5) / 0.3) ** 2 + (((columns / shape[1]) - 0.5) / 0.3) ** 2) ** 3)
    return (blob + np.random.default_rng(0).normal(12, 2, shape).clip(0, 30)).astype(np.uint8)


def instance(pixels: np.ndarray, number: int = 1, sop_class: str = CTImageStorage, patient: str = NUMBER, **more: Any) -> Dataset:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.SourceApplicationEntityTitle = NUMBER
    item.SOPClassUID, item.SOPInstanceUID = sop_class, f"1.2.826.0.1.3680043.77.{number}"
    item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = (f"1.2.826.0.1.3680043.77.9{k}" for k in range(3))
    item.PatientName, item.PatientID, item.PatientBirthDate, item.PatientSex, item.PatientAge = f"{FAMILY}^{GIVEN}", patient, BORN, "F", "095Y"
    item.StudyDate = item.SeriesDate = item.ContentDate = DAY
    item.StudyTime, item.AccessionNumber, item.StudyID = "101500", NUMBER, NUMBER
    item.ReferringPhysicianName, item.InstitutionName, item.Manufacturer, item.Modality = "Hohlweg^Kunz", HOUSE, "ACME", "CT"
    item.StudyDescription, item.ImageComments = f"Thorax of {GIVEN} {FAMILY}", f"{FAMILY} came on 29.02.2024, tel. +41 44 123 45 67"
    item.ProtocolName, item.AcquisitionDeviceProcessingDescription = "Thorax", f"for {FAMILY}, {GIVEN}"
    item.ImagePositionPatient, item.ImageOrientationPatient, item.PixelSpacing, item.SliceThickness = [0, 0, number], [1, 0, 0, 0, 1, 0], [1, 1], 1
    item.InstanceNumber, item.KVP, item.SeriesNumber, item.PatientPosition, item.ImageType = number, 120, 1, "HFS", ["ORIGINAL", "PRIMARY"]
    item.PositionReferenceIndicator, item.Laterality = "", ""
    item.add_new(0x00090010, "LO", "ACME 1.1")
    item.add_new(0x00091001, "LO", f"{FAMILY} {NUMBER}")
    item.set_pixel_data(pixels, "RGB" if pixels.shape[-1] == 3 else "MONOCHROME2", 8 * pixels.itemsize, generate_instance_uid=False)
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def put(item: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    item.file_meta.MediaStorageSOPInstanceUID, item.file_meta.MediaStorageSOPClassUID = item.SOPInstanceUID, item.SOPClassUID
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    with path.open("r+b") as opened:
        opened.write(FAMILY.encode())
    return path


def read(done: Done) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(done.manifest.parent.rglob("*.dcm"))]


def left(done: Done) -> list[Any]:
    return scan([done.manifest.parent], CANARIES)
