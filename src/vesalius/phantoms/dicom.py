"""CT series as a hospital sends them: shuffled names, several transfer syntaxes, a gap, a tilted gantry, an inverted film."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from vesalius.errors import OptionError
from vesalius.phantoms.anatomy import Findings, draw_person
from vesalius.phantoms.films import plain_film
from vesalius.phantoms.sheet import Item, shuffle_labels, truth_of, write_items
from vesalius.phantoms.truth import Truth
from vesalius.phantoms.volumes import CLASSES, add_nodule, lung_patch
from vesalius.seed import generator

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian)
SMALLEST = 32
"""Side below which JPEG 2000 has no room for its five resolutions."""
TILT_DEG = 15.0
GAP, TILTED, STEEP = 2, 3, 4
"""Which patients have a missing slice, a tilted gantry, and a rescale slope of 2."""


@dataclass(frozen=True)
class Series:
    """One CT series before it is written: HU ``[Z, Y, X]``, spacing in array order, and how it is odd."""

    patient: str
    volume: np.ndarray
    spacing_mm: tuple[float, float, float]
    syntax: UID
    slope: float = 1.0
    tilt_deg: float = 0.0
    missing: int | None = None


def _uid(*names: object) -> UID:
    return generate_uid(entropy_srcs=["vesalius-phantom", *map(str, names)])


def _base(patient: str, storage: UID, *names: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = storage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = _uid(*names, "instance")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(patient, "study"), _uid(patient, "series")
    ds.FrameOfReferenceUID = _uid(patient, "frame")
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = patient, f"Phantom^{patient}", "19600101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "20260101", "120000", "", "1", ""
    ds.SeriesNumber, ds.Manufacturer = 1, "Vesalius phantom"
    return ds


def _pixels(ds: Dataset, stored: np.ndarray, photometric: str, bits: int) -> None:
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, bits, bits - 1, 0
    ds.PixelData = stored.astype("<u2").tobytes()


def _bytes(ds: Dataset, syntax: UID) -> bytes:
    """The file in that transfer syntax (PS3.10 with preamble)."""
    if syntax in (RLELossless, JPEG2000Lossless):
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    store = io.BytesIO()
    ds.save_as(store, enforce_file_format=True)
    return store.getvalue()


def _slice(series: Series, number: int) -> bytes:
    """One slice; with a tilt the rows lean while the table still moves straight up (PS3.3 C.7.6.2.1.1, C.8.2.1)."""
    ds = _base(series.patient, CTImageStorage, series.patient, number)
    ds.Modality, ds.InstanceNumber, ds.ImageType = "CT", number + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    lean = np.deg2rad(series.tilt_deg)
    ds.ImageOrientationPatient = [1, 0, 0, 0, round(float(np.cos(lean)), 6), round(float(np.sin(lean)), 6)]
    ds.ImagePositionPatient = [-20.0, -20.0, round(number * series.spacing_mm[0], 4)]
    ds.PixelSpacing, ds.SliceThickness = list(series.spacing_mm[1:]), series.spacing_mm[0]
    ds.GantryDetectorTilt = series.tilt_deg
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = series.slope, -1024, "HU"
    ds.WindowCenter, ds.WindowWidth = -600, 1500
    stored = ((series.volume[number] + 1024) / series.slope).round().clip(0, 4095)
    _pixels(ds, stored, "MONOCHROME2", 12)
    return _bytes(ds, series.syntax)


def _film(patient: str, seed: int, size: int) -> bytes:
    """A chest film whose numbers rise with darkness (MONOCHROME1)."""
    rng = generator(seed, "dicom", "film", patient)
    ds = _base(patient, DigitalXRayImageStorageForPresentation, patient, "film")
    ds.Modality, ds.InstanceNumber, ds.ViewPosition, ds.PresentationIntentType = "DX", 1, "PA", "FOR PRESENTATION"
    ds.ImagerPixelSpacing, ds.PixelIntensityRelationshipSign = [3.0, 3.0], 1
    film = plain_film(rng, draw_person(rng), Findings(), size).astype(np.uint16) * 16
    _pixels(ds, 4095 - film, "MONOCHROME1", 12)
    return _bytes(ds, ExplicitVRLittleEndian)


def _series(seed: int, number: int, size: int, slices: int, odd: bool) -> tuple[Series, str]:
    rng = generator(seed, "dicom", number)
    spacing, label = (2.0, 1.0, 1.0), CLASSES[number % 2]
    volume = lung_patch(rng, (slices, size, size), spacing)
    if label == "nodule":
        add_nodule(volume, spacing, rng.uniform(-6, 6, 3), float(rng.uniform(4, 7)))
    volume += rng.normal(0, 25, volume.shape)
    oddity: dict[str, Any] = {}
    if odd:
        known: dict[int, dict[str, Any]] = {GAP: {"missing": slices // 2}, TILTED: {"tilt_deg": TILT_DEG}, STEEP: {"slope": 2.0}}
        oddity = known.get(number, {})
    return Series(f"D{number:04d}", volume, spacing, SYNTAXES[number % len(SYNTAXES)], **oddity), label


def _files(series: Series, rng: np.random.Generator) -> list[bytes]:
    numbers = [number for number in range(len(series.volume)) if number != series.missing]
    return [_slice(series, numbers[i]) for i in rng.permutation(len(numbers))]


def make_dicom(out: Path, seed: int, n: int, *, size: int = 40, slices: int = 16, odd: bool = True, shuffle: bool = False) -> Truth:
    """CT series in ``normal/D0000/`` and ``nodule/D0001/``: a folder per patient, slices under names that tell nothing.

    Parameters
    ----------
    n: series; one a patient.
    size, slices: rows and columns of a slice, and slices of a series (2 mm apart).
    odd: plants a missing slice (third patient), a gantry tilt of 15 degrees (fourth), a rescale slope of 2 (fifth)
        and one MONOCHROME1 film among the CT.
    shuffle: deals the labels out anew.

    Raises
    ------
    OptionError: slices of less than 32 samples a side.
    """
    if size < SMALLEST:
        raise OptionError("the slices are too small for JPEG 2000", expected=f"size of {SMALLEST} or more", got=size)
    made = [_series(seed, number, size, slices, odd) for number in range(n)]
    heads = [Item(b"", "", series.patient, label, label) for series, label in made]
    if shuffle:
        shuffle_labels(heads, generator(seed, "shuffle"))
    items = []
    for (series, _), head in zip(made, heads, strict=True):
        head.id = f"{head.given}/{series.patient}"
        for place, content in enumerate(_files(series, generator(seed, "dicom", "names", series.patient))):
            items.append(Item(content, "", series.patient, head.true, head.given, id=f"{head.id}/IM{place:04d}"))
    planted: dict[str, Any] = {"syntax": {head.id: str(series.syntax) for (series, _), head in zip(made, heads, strict=True)}}
    if odd:
        film = Item(_film(f"D{n:04d}", seed, 2 * size), "", f"D{n:04d}", "normal", "normal", id=f"normal/D{n:04d}/IM0000")
        items.append(film)
        planted |= _oddities(made, heads) | {"monochrome1": [film.id]}
    write_items(out, items)
    facts = {"kind": "dicom", "seed": seed, "n": n, "options": {"size": size, "slices": slices, "odd": odd, "shuffle": shuffle}}
    return truth_of(out, heads, facts | {"target": "folder", "target_kind": "binary", "classes": CLASSES}, planted)


def _oddities(made: list[tuple[Series, str]], heads: list[Item]) -> dict[str, Any]:
    place = {series.patient: head.id for (series, _), head in zip(made, heads, strict=True)}
    series = [one for one, _ in made]
    return {
        "gap": {place[s.patient]: s.missing for s in series if s.missing is not None},
        "tilt_deg": {place[s.patient]: s.tilt_deg for s in series if s.tilt_deg},
        "slope": {place[s.patient]: s.slope for s in series if s.slope != 1},
    }
