"""CT series with spheres of known mm3, marked by SEG and RTSTRUCT objects beside them.

Everything is planted in patient space (LPS mm), so that the truth does not depend on how the slices lie. The objects are made
by hand from the standard, independently of what the package writes, with their frames in no order.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage, generate_uid

from vesalius.errors import OptionError
from vesalius.phantoms.sheet import Item, truth_of, write_items
from vesalius.phantoms.truth import Truth
from vesalius.seed import generator

TILT_DEG = 12.0
TURN_DEG = (20.0, 12.0)
"""Of an oblique series: about the long axis of the patient, then about the left-right axis."""
STRUCTURES = ("liver", "kidney", "nodule")
HU = {"body": -80, "liver": 70, "kidney": 160, "cyst": 5, "nodule": 240}
KINDS = ("both", "seg", "rtstruct")
POINTS = 96
"""Vertices of a circle's contour; its area is then .07 % too small."""


@dataclass(frozen=True)
class Ball:
    """A sphere in patient space, or a shell when something is hollowed out; lengths in mm."""

    name: str
    centre_mm: np.ndarray
    radius_mm: float
    hollow_mm: float = 0.0

    @property
    def volume_mm3(self) -> float:
        return float(4 / 3 * np.pi * (self.radius_mm**3 - self.hollow_mm**3))

    def holds(self, world_mm: np.ndarray) -> np.ndarray:
        """Whether points ``[..., 3]`` lie in it."""
        away = np.linalg.norm(world_mm - self.centre_mm, axis=-1)
        return np.asarray((away <= self.radius_mm) & (away > self.hollow_mm if self.hollow_mm else True))


@dataclass(frozen=True)
class Scan:
    """How the slices of one patient lie: centre of the first sample, steps (mm) to the next column, row and slice."""

    patient: str
    origin_mm: np.ndarray
    right_mm: np.ndarray
    down_mm: np.ndarray
    step_mm: np.ndarray
    shape: tuple[int, int, int]

    def points(self, number: int) -> np.ndarray:
        """Centres of all samples of a slice, ``[Y, X, 3]`` LPS mm."""
        y, x = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[2]), indexing="ij")
        return self.corner(number) + y[..., None] * self.down_mm + x[..., None] * self.right_mm

    def corner(self, number: int) -> np.ndarray:
        return self.origin_mm + number * self.step_mm

    @property
    def reach_mm(self) -> float:
        """Half of the shortest side of the volume."""
        return min(float(np.linalg.norm(step)) * n for step, n in zip((self.right_mm, self.down_mm, self.step_mm), self.shape[::-1], strict=True)) / 2

    @property
    def plane(self) -> dict[str, Any]:
        """Orientation and spacing as PS3.3 C.7.6.2 states them."""
        row, column = (v / np.linalg.norm(v) for v in (self.right_mm, self.down_mm))
        return {"ImageOrientationPatient": _ds([*row, *column]), "PixelSpacing": _ds([np.linalg.norm(self.down_mm), np.linalg.norm(self.right_mm)])}


def _ds(values: Any) -> list[str]:
    return [f"{float(v):.9f}"[:16] for v in values]


def _scan(patient: str, size: int, slices: int, *, tilt: bool, oblique: bool, decreasing: bool, anisotropic: bool) -> Scan:
    spacing = (3.0, 1.25, 0.9) if anisotropic else (1.5, 1.5, 1.5)
    right, down, up = np.eye(3)
    if decreasing:
        down, up = -down, -up
    if tilt:
        lean = np.radians(TILT_DEG)
        down = np.cos(lean) * down + np.sin(lean) * up
    if oblique:
        turn = _turn(2, TURN_DEG[0]) @ _turn(0, TURN_DEG[1])
        right, down, up = right @ turn.T, down @ turn.T, up @ turn.T
    steps = right * spacing[2], down * spacing[1], up * spacing[0]
    shape = (slices, size, size)
    middle = sum(step * (n - 1) / 2 for step, n in zip(steps, shape[::-1], strict=True))
    return Scan(patient, np.array([4.0, -30.0, 120.0]) - middle, *steps, shape)


def _turn(axis: int, degrees: float) -> np.ndarray:
    a, b = [i for i in range(3) if i != axis]
    matrix, angle = np.eye(3), np.radians(degrees)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def _balls(rng: np.random.Generator, number: int, reach: float) -> list[Ball]:
    """Spheres around the middle that do not touch; every third patient has no nodule. ``reach`` mm are free on each side."""
    middle, unit = np.array([4.0, -30.0, 120.0]), reach / 20
    jitter = rng.uniform(-0.6, 0.6, (3, 3)) * unit
    balls = [Ball("liver", middle + unit * np.array([-7.0, -3, 0]) + jitter[0], float(rng.uniform(7.5, 9)) * unit),
             Ball("kidney", middle + unit * np.array([9.0, 6, 1]) + jitter[1], float(rng.uniform(6, 7)) * unit, float(rng.uniform(2.6, 3.2)) * unit),
             Ball("nodule", middle + unit * np.array([7.5, -9, -2]) + jitter[2], float(rng.uniform(2.4, 3.4)) * unit)]
    return balls if number % 3 else balls[:2]


def _uid(*names: object) -> UID:
    return generate_uid(entropy_srcs=["vesalius-phantom-marks", *map(str, names)])


def _base(patient: str, storage: UID, series: str, instance: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = storage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = _uid(patient, series, instance)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = _uid(patient, "study"), _uid(patient, series), _uid(patient, "frame")
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = patient, f"Phantom^{patient}", "19600101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "20260101", "120000", "", "1", ""
    ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer, ds.PositionReferenceIndicator = 1, 1, "Vesalius phantom", ""
    return ds


def _bytes(ds: Dataset) -> bytes:
    store = io.BytesIO()
    ds.save_as(store, enforce_file_format=True)
    return store.getvalue()


def _slice(scan: Scan, number: int, balls: list[Ball], rng: np.random.Generator) -> bytes:
    ds = _base(scan.patient, CTImageStorage, "ct", number)
    ds.Modality, ds.InstanceNumber, ds.ImageType, ds.KVP, ds.SliceThickness = "CT", number + 1, ["ORIGINAL", "PRIMARY", "AXIAL"], "120", "3"
    ds.ImagePositionPatient = _ds(scan.corner(number))
    for keyword, value in scan.plane.items():
        setattr(ds, keyword, value)
    points = scan.points(number)
    image = np.full(points.shape[:2], float(HU["body"]))
    for ball in balls:
        if ball.hollow_mm:
            image[Ball("cyst", ball.centre_mm, ball.hollow_mm).holds(points)] = HU["cyst"]
        image[ball.holds(points)] = HU[ball.name]
    stored = (image + rng.normal(0, 12, image.shape) + 1024).round().clip(0, 4095)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType, ds.WindowCenter, ds.WindowWidth = 1, -1024, "HU", 40, 400
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *stored.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = stored.astype("<u2").tobytes()
    return _bytes(ds)


def _item(**facts: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in facts.items():
        setattr(ds, keyword, value)
    return ds


def _code(value: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)]


def _spelled(name: str, number: int) -> str:
    """People spell one structure in several ways."""
    return name.upper() if number % 4 == 3 else name


def _segmentation(scan: Scan, number: int, balls: list[Ball], there: list[int], rng: np.random.Generator) -> tuple[bytes, dict[str, int]]:
    """A binary SEG of one bit a sample (PS3.3 C.8.20.2), its frames shuffled, and how many samples each structure has."""
    ds = _base(scan.patient, SegmentationStorage, "seg", 0)
    ds.Modality, ds.ImageType, ds.SegmentationType, ds.SegmentsOverlap = "SEG", ["DERIVED", "PRIMARY"], "BINARY", "NO"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "SEGMENTATION", "", ""
    ds.InstanceCreationDate, ds.InstanceCreationTime, ds.ContentDate, ds.ContentTime = "20260103", "080000", "20260103", "080000"
    ds.SegmentSequence = [_item(SegmentNumber=n, SegmentLabel=_spelled(ball.name, number), SegmentAlgorithmType="MANUAL",
                                SegmentedPropertyCategoryCodeSequence=_code("91723000", "Anatomical Structure"),
                                SegmentedPropertyTypeCodeSequence=_code("85756007", "Tissue")) for n, ball in enumerate(balls, 1)]
    instances = [_item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=_uid(scan.patient, "ct", k)) for k in there]
    ds.ReferencedSeriesSequence = [_item(SeriesInstanceUID=_uid(scan.patient, "ct"), ReferencedInstanceSequence=instances)]
    measures = _item(PixelSpacing=scan.plane["PixelSpacing"], SliceThickness="3")
    turned = _item(ImageOrientationPatient=scan.plane["ImageOrientationPatient"])
    ds.SharedFunctionalGroupsSequence = [_item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turned])]
    frames = [(n, k, ball.holds(scan.points(k))) for n, ball in enumerate(balls, 1) for k in there]
    frames = [frames[i] for i in rng.permutation(len(frames)) if frames[i][2].any()]
    ds.PerFrameFunctionalGroupsSequence = [_item(PlanePositionSequence=[_item(ImagePositionPatient=_ds(scan.corner(k)))],
                                                 SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=n)]) for n, k, _ in frames]
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(frames), *scan.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.LossyImageCompression = 1, "MONOCHROME2", "00"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    packed = np.packbits(np.stack([marked for _, _, marked in frames]).ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    return _bytes(ds), {ball.name: sum(int(marked.sum()) for n, _, marked in frames if balls[n - 1] is ball) for ball in balls}


def _circle(scan: Scan, number: int, centre: np.ndarray, radius: float) -> np.ndarray | None:
    """Where a sphere meets a slice: ``[POINTS, 3]`` LPS mm, or nothing."""
    row, column = (v / np.linalg.norm(v) for v in (scan.right_mm, scan.down_mm))
    normal = np.cross(row, column)
    away = float((scan.corner(number) - centre) @ normal)
    if abs(away) >= radius:
        return None
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)[:, None]
    return np.asarray(centre + away * normal + np.sqrt(radius**2 - away**2) * (np.cos(angle) * row + np.sin(angle) * column))


def _contours(scan: Scan, ball: Ball, there: list[int]) -> list[Dataset]:
    radii = [ball.radius_mm, *([ball.hollow_mm] if ball.hollow_mm else [])]
    kind, found = "CLOSEDPLANAR_XOR" if ball.hollow_mm else "CLOSED_PLANAR", []
    for number in there:
        for radius in radii:
            circle = _circle(scan, number, ball.centre_mm, radius)
            if circle is not None:
                image = _item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=_uid(scan.patient, "ct", number))
                found.append(_item(ContourGeometricType=kind, NumberOfContourPoints=POINTS, ContourData=_ds(circle.ravel()), ContourImageSequence=[image]))
    return found


def _structure_set(scan: Scan, number: int, balls: list[Ball], there: list[int]) -> bytes:
    """Circles as contours; the hollow of a shell is a contour of its own (PS3.3 C.8.8.6, CLOSEDPLANAR_XOR)."""
    ds = _base(scan.patient, RTStructureSetStorage, "rt", 0)
    ds.Modality, ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime, ds.ApprovalStatus = "RTSTRUCT", "phantom", "20260102", "080000", "UNAPPROVED"
    series = _item(SeriesInstanceUID=_uid(scan.patient, "ct"), ContourImageSequence=[
        _item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=_uid(scan.patient, "ct", k)) for k in there])
    study = _item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=ds.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    ds.ReferencedFrameOfReferenceSequence = [_item(FrameOfReferenceUID=ds.FrameOfReferenceUID, RTReferencedStudySequence=[study])]
    ds.StructureSetROISequence = [_item(ROINumber=n, ROIName=_spelled(ball.name, number), ReferencedFrameOfReferenceUID=ds.FrameOfReferenceUID,
                                        ROIGenerationAlgorithm="MANUAL") for n, ball in enumerate(balls, 1)]
    ds.ROIContourSequence = [_item(ReferencedROINumber=n, ROIDisplayColor=[255, 0, 0], ContourSequence=_contours(scan, ball, there))
                             for n, ball in enumerate(balls, 1)]
    ds.RTROIObservationsSequence = [_item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
                                    for n in range(1, len(balls) + 1)]
    return _bytes(ds)


def make_dicom_masks(out: Path, seed: int, n: int, *, size: int = 48, slices: int = 20, objects: str = "both", gap: bool = False, tilt: bool = False,
                     oblique: bool = False, decreasing: bool = False, anisotropic: bool = True) -> Truth:
    """``P0000/ct/IM0000 …`` with ``P0000/seg`` and ``P0000/rtstruct`` beside it; a series a patient.

    Parameters
    ----------
    n: patients. size, slices: rows and columns of a slice, and slices of a series.
    objects: ``"seg"``, ``"rtstruct"`` or ``"both"`` (the SEG is a day newer).
    gap: a slice in the middle is missing. tilt: the gantry leans by 12 degrees. oblique: the slices are turned about two axes.
    decreasing: the normal of the slices points downwards, from the head to the feet.
    anisotropic: 3 x 1.25 x .9 mm (slice, row, column); else 1.5 mm.

    Raises
    ------
    OptionError: ``objects`` is none of these.
    """
    if objects not in KINDS:
        raise OptionError("unknown objects", expected=f"one of {', '.join(KINDS)}", got=objects)
    heads: list[Item] = []
    items: list[Item] = []
    planted: dict[str, Any] = {"volumes_mm3": {}, "voxels": {}, "masks": {}, "gap": gap, "tilt_deg": TILT_DEG if tilt else 0.0}
    for number in range(n):
        rng = generator(seed, "dicom-masks", number)
        scan = _scan(f"P{number:04d}", size, slices, tilt=tilt, oblique=oblique, decreasing=decreasing, anisotropic=anisotropic)
        balls = _balls(rng, number, scan.reach_mm)
        there = [k for k in range(slices) if not (gap and k == slices // 2)]
        head = Item(b"", "", scan.patient, _label(balls), _label(balls), id=f"{scan.patient}/ct")
        items += [Item(_slice(scan, k, balls, rng), "", scan.patient, None, None, id=f"{head.id}/IM{place:04d}")
                  for place, k in zip(rng.permutation(len(there)), there, strict=True)]
        segmentation, planted["voxels"][head.id] = _segmentation(scan, number, balls, there, rng)
        made = {"seg": segmentation, "rtstruct": _structure_set(scan, number, balls, there)}
        held = [Item(content, "", scan.patient, None, None, id=f"{scan.patient}/{kind}") for kind, content in made.items() if objects in (kind, "both")]
        heads, items = [*heads, head], [*items, *held]
        planted["volumes_mm3"][head.id] = {ball.name: ball.volume_mm3 for ball in balls}
        planted["masks"][head.id] = [item.id for item in held]
    write_items(out, items)
    options = {"size": size, "slices": slices, "objects": objects, "gap": gap, "tilt": tilt, "oblique": oblique, "decreasing": decreasing,
               "anisotropic": anisotropic}
    facts = {"kind": "dicom-masks", "seed": seed, "n": n, "options": options, "target": "structure", "target_kind": "mask", "classes": STRUCTURES}
    return truth_of(out, heads, facts, planted)


def _label(balls: list[Ball]) -> str:
    return "|".join(sorted(ball.name for ball in balls))
