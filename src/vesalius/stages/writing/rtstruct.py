"""A finding as RT Structure Set (PS3.3 A.19, C.8.8.5, C.8.8.6): contours along the edges of samples, in patient coordinates.

Contours run around samples, not through their centres, so that the area they enclose is that of the samples. A structure without
holes is made of ``CLOSED_PLANAR`` contours; one with holes of ``CLOSEDPLANAR_XOR`` contours, which the standard combines by
exclusive or: the hole is a contour of its own, without a keyhole channel.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from vesalius import __version__
from vesalius.core.cohort import Source
from vesalius.errors import DataError
from vesalius.formats.dicomplanes import Planes, planes_of
from vesalius.formats.rtstruct import roi_mask
from vesalius.stages.writing._reference import Reference, finished, is_dicom, reference_of
from vesalius.stages.writing.base import WRITERS, Marked, Writer
from vesalius.stages.writing.outline import loops_of

STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, which RT Referenced Study Sequence names as the class of a study."""
SERIES_NUMBER = 301
DECIMALS = 5
"""Of a coordinate in mm; 16 characters are allowed (VR DS)."""


@WRITERS.register("rtstruct")
class RtstructWriter(Writer):
    """One ROI for each structure. Implicit VR, as a contour of more than 64 kB of text has no place in an explicit one (PS3.5 7.1.2)."""

    name = "rtstruct"
    suffix = ".rtstruct.dcm"
    border = True

    @classmethod
    def check(cls, marked: Marked) -> None:
        is_dicom(marked, "an RTSTRUCT")

    @classmethod
    def write(cls, marked: Marked, part: Path) -> None:
        reference = reference_of(marked)
        if not reference.first.get("FrameOfReferenceUID"):
            raise DataError("an RTSTRUCT needs the image's frame of reference", where=str(marked.source), expected="FrameOfReferenceUID (0020,0052)",
                            got="a file without", do="write nifti instead")
        item = _head(reference, marked.uid)
        _refer(item, reference)
        _enter_regions(item, marked, reference)
        finished(item, reference).save_as(part, enforce_file_format=True)

    @classmethod
    def read(cls, marked: Marked, part: Path) -> list[np.ndarray]:
        return [roi_mask(Source("rtstruct", str(part), str(n)), marked.study) for n in range(1, len(marked.names) + 1)]


def _of(**facts: Any) -> Dataset:
    item = Dataset()
    for keyword, value in facts.items():
        setattr(item, keyword, value)
    return item


def _head(reference: Reference, uid: Callable[[str], str]) -> Dataset:
    """Patient, study, series, equipment and SOP common modules."""
    first, now = reference.first, datetime.now(UTC)
    item = _of(
        SOPClassUID=RTStructureSetStorage, SOPInstanceUID=uid("rtstruct"), StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=uid("rtstruct/series"),
        Modality="RTSTRUCT", SeriesNumber=SERIES_NUMBER, InstanceNumber=1, OperatorsName="", Manufacturer="Vesalius", ManufacturerModelName="vesalius",
        SoftwareVersions=__version__, SeriesDescription="Vesalius structures", FrameOfReferenceUID=first.FrameOfReferenceUID,
        PositionReferenceIndicator="", StructureSetLabel="VESALIUS", StructureSetDate=now.strftime("%Y%m%d"), StructureSetTime=now.strftime("%H%M%S"),
        ApprovalStatus="UNAPPROVED", InstanceCreationDate=now.strftime("%Y%m%d"), InstanceCreationTime=now.strftime("%H%M%S"))
    if "TimezoneOffsetFromUTC" in first:
        item.TimezoneOffsetFromUTC = first.TimezoneOffsetFromUTC
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    item.file_meta.MediaStorageSOPClassUID, item.file_meta.MediaStorageSOPInstanceUID = item.SOPClassUID, item.SOPInstanceUID
    return item


def _image(reference: Reference, plane: int) -> list[Dataset]:
    """The image that a plane shows; none for an interpolated slice."""
    file, frame = reference.places[plane]
    if file < 0:
        return []
    source = reference.items[file]
    image = _of(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    if int(source.get("NumberOfFrames") or 1) > 1:
        image.ReferencedFrameNumber = frame + 1
    return [image]


def _refer(item: Dataset, reference: Reference) -> None:
    first = reference.first
    images = [_of(ReferencedSOPClassUID=each.SOPClassUID, ReferencedSOPInstanceUID=each.SOPInstanceUID) for each in reference.items]
    series = _of(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _of(ReferencedSOPClassUID=STUDY_MANAGEMENT, ReferencedSOPInstanceUID=first.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    item.ReferencedFrameOfReferenceSequence = [_of(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])]


def _enter_regions(item: Dataset, marked: Marked, reference: Reference) -> None:
    """Structure set, ROI contour and RT ROI observations modules."""
    planes = planes_of(marked.study)
    item.StructureSetROISequence, item.ROIContourSequence, item.RTROIObservationsSequence = [], [], []
    for n, name in enumerate(marked.names, 1):
        item.StructureSetROISequence.append(_of(ROINumber=n, ReferencedFrameOfReferenceUID=item.FrameOfReferenceUID, ROIName=name[:64],
                                                ROIGenerationAlgorithm=marked.algorithm))
        region = _of(ROIDisplayColor=list(marked.colour(n - 1)), ReferencedROINumber=n)
        contours = _contours(marked.mask(n - 1), planes, reference)
        if contours:
            region.ContourSequence = contours
        item.ROIContourSequence.append(region)
        item.RTROIObservationsSequence.append(_of(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="", ROIInterpreter=""))


def _contours(mask: np.ndarray, planes: Planes, reference: Reference) -> list[Dataset]:
    volume = mask if mask.ndim == 3 else mask[None]
    drawn = [(int(k), loop) for k in np.flatnonzero(volume.any((1, 2))) for loop in loops_of(volume[k])]
    kind = "CLOSEDPLANAR_XOR" if any(_is_hole(loop) for _, loop in drawn) else "CLOSED_PLANAR"
    contours = []
    for n, (k, loop) in enumerate(drawn, 1):
        points = planes.world(loop, k)
        contour = _of(ContourNumber=n, ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=[_text(v) for v in points.ravel()])
        if image := _image(reference, k):
            contour.ContourImageSequence = image
        contours.append(contour)
    return contours


def _is_hole(loop: np.ndarray) -> bool:
    """Borders of holes run the other way round (see `loops_of`)."""
    y, x = loop.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) < 0


def _text(value: float) -> str:
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".") or "0"
