"""A finding with boxes as DICOM structured report (PS3.16 TID 1500, Measurement Report) through highdicom.

A box in a picture is a closed polyline in pixels of the image (SCOORD, TID 1410); a box in a volume is bounded by two rectangles in LPS mm, its faces across
the slices (SCOORD3D, TID 1411), and its purpose says so ("Bounded by", CID 219).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from vesalius import __version__
from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.formats.dicomsr import CLASS, RISK, SCHEME, boxes_of, placed, report_of
from vesalius.stages.boxed.findings import UNNAMED, Lesion, counts_of
from vesalius.stages.writing._reference import Reference, finished, is_dicom_source, reference_to
from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found, Held
from vesalius.stages.writing.codes import codes_of

MAKER, MODEL = "Vesalius", "vesalius"
SERIES_NUMBER = 302
DESCRIPTION = "Vesalius boxes, research use, unverified"
IMAGING = Code("363679005", "SCT", "Imaging procedure")
STATED = "For research use; made by an algorithm; no person has verified it"
LONGEST_NAME = 64
"""Characters of a code's meaning (VR LO)."""
CODE_LENGTH = 16
"""Characters of a code's value (VR SH)."""
EXTENTS = (codes.SCT.Depth, codes.DCM.Height, codes.SCT.Width)
"""Of a box along slices, rows and columns."""
CANCER_WORDS = ("malignant", "malignancy", "cancer", "恶性")


@BOX_WRITERS.register("dicom-sr")
class SrWriter(BoxWriter):
    """A measurement group for each box: finding, the model's own class, tracking identifier and UID, region, certainty, risk, extents in mm; one of counts.

    The report is not verified and preliminary; its observer is a device. Comprehensive SR for pictures, Comprehensive 3D SR for volumes.
    """

    name = "dicom-sr"
    suffix = ".sr.dcm"

    @classmethod
    def check(cls, study: Study, source: Source, classes: Sequence[str]) -> None:
        is_dicom_source(source, "a DICOM SR", "json")
        if study.ndim == 3 and not _located(study):
            raise OptionError("a DICOM SR needs a volume with a place in the patient", expected="ImagePositionPatient and FrameOfReferenceUID",
                              got=f"frames without, {source}", do="write json instead")
        long = next((name for name in classes if len(name) > LONGEST_NAME), None)
        if long is not None:
            raise OptionError("the name of a class is too long for DICOM", expected=f"at most {LONGEST_NAME} characters", got=f"'{long}'",
                              do="write json instead")
        reference_to(source, "json")

    @classmethod
    def write(cls, found: Found, part: Path) -> None:
        reference = reference_to(found.source, "json")
        groups = groups_of(found, reference)
        report = sr.MeasurementReport(observation_context=_observer(found), procedure_reported=IMAGING, imaging_measurements=groups)
        kind = sr.Comprehensive3DSR if found.study.ndim == 3 else sr.ComprehensiveSR
        item: Any = kind(evidence=reference.items, content=report[0], series_instance_uid=found.uid("sr/series"), series_number=SERIES_NUMBER,
                         sop_instance_uid=found.uid("sr"), instance_number=1, manufacturer=MAKER, is_complete=True, is_final=False, is_verified=False,
                         series_description=DESCRIPTION, manufacturer_model_name=MODEL, software_versions=__version__)
        finished(item, reference).save_as(part, enforce_file_format=True)

    @classmethod
    def read(cls, found: Found, part: Path) -> list[Held]:
        boxes, _ = boxes_of(report_of(str(part)), placed(found.source))
        return [Held(box.name, np.array([*box.low, *box.high]), box.facts.get("score"), box.facts.get("risk")) for box in boxes]


def groups_of(found: Found, reference: Reference) -> list[Any]:
    """The measurement groups of all boxes (TID 1410, 1411), and one of the counts (TID 1501)."""
    return [*(_group(found, lesion, reference) for lesion in found.lesions), _counts(found)]


def _located(study: Study) -> bool:
    return bool(study.meta.get("frame_uid")) and study.grid.spacing_known and study.meta.get("frames") is None


def _observer(found: Found) -> sr.ObservationContext:
    return sr.ObservationContext(observer_device_context=device_of(found.model))


def device_of(model: str) -> sr.ObserverContext:
    """The device that observes; its UID is the same for every report of one model."""
    device = sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(entropy_srcs=[MAKER, __version__, model]), name=f"{MAKER} (research use)",
                                                    manufacturer_name=MAKER, model_name=MODEL, serial_number=model or "not stated")
    return sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def algorithm_of(model: str) -> sr.AlgorithmIdentification:
    """Name, version and model (PS3.16 TID 4019)."""
    return sr.AlgorithmIdentification(name=MAKER, version=__version__, parameters=[f"model {model or 'not stated'}", STATED])


def _group(found: Found, lesion: Lesion, reference: Reference) -> Any:
    algorithm = None if found.drawn else algorithm_of(found.model)
    _, kind = codes_of(lesion.name)
    facts: dict[str, Any] = {
        "tracking_identifier": _tracking(found, f"{lesion.name} {lesion.number}"), "algorithm_id": algorithm,
        "finding_type": own_code(lesion.name) if kind == codes.SCT.Tissue else kind, "geometric_purpose": codes.cid219.BoundedBy,
        "measurements": _measurements(found, lesion),
        "qualitative_evaluations": [sr.QualitativeEvaluation(Code(CLASS, SCHEME, "Class as the model calls it"), own_code(lesion.name))],
    }
    if found.study.ndim == 3:
        surface = sr.VolumeSurface("POLYGON", _faces(lesion), str(found.study.meta["frame_uid"]), source_series=sr.SourceSeriesForSegmentation(
            reference.first.SeriesInstanceUID))
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_volume_surface=surface, **facts)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=_region(lesion, reference), **facts)


def _counts(found: Found) -> sr.MeasurementsAndQualitativeEvaluations:
    """How many of each class there are in the whole image, also when there is none."""
    counts = counts_of([lesion.name for lesion in found.lesions], found.classes) or {UNNAMED: 0}
    held = [sr.Measurement(name=own_code(f"Number of {name}"[:LONGEST_NAME]), value=n, unit=codes.UCUM.NoUnits) for name, n in counts.items()]
    return sr.MeasurementsAndQualitativeEvaluations(tracking_identifier=_tracking(found, "counts"), measurements=held)


def _tracking(found: Found, identifier: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=found.uid(f"tracking/{identifier}"), identifier=identifier)


def own_code(name: str) -> Code:
    """A class of a model as a code: a value that fits, made of the name, and the name as its meaning.

    >>> own_code("WBC").value, len(own_code("a very long name of a class").value)
    ('WBC', 16)
    """
    fits = name if name.isascii() and len(name) <= CODE_LENGTH and "\\" not in name else sha256(name.encode()).hexdigest()[:CODE_LENGTH].upper()
    return Code(fits, SCHEME, name)


def _measurements(found: Found, lesion: Lesion) -> list[sr.Measurement]:
    held = [] if found.drawn else [(codes.DCM.CertaintyOfFinding, lesion.score * 100, codes.UCUM.Percent)]
    if lesion.risk is not None:
        cancer = any(word in found.risk.lower() for word in CANCER_WORDS)
        name = codes.DCM.ProbabilityOfCancer if cancer else Code(RISK, SCHEME, f"Probability of {found.risk or 'the second label'}"[:LONGEST_NAME])
        held.append((name, lesion.risk * 100, codes.UCUM.Percent))
    if lesion.unit == "mm":
        held += [(name, size, codes.UCUM.Millimeter) for name, size in zip(EXTENTS[-len(lesion.size) :], lesion.size, strict=True)]
    return [sr.Measurement(name=name, value=round(value, 4), unit=unit) for name, value, unit in held]


def _region(lesion: Lesion, reference: Reference) -> sr.ImageRegion:
    """Pixel coordinates have their origin at the outer corner of the first pixel (PS3.3 C.18.6.1.1), as the edges of `core.boxes`."""
    file, frame = reference.places[0]
    image = reference.items[file]
    frames = [frame + 1] if int(image.get("NumberOfFrames") or 1) > 1 else None
    (y0, x0), (y1, x1) = lesion.low, lesion.high
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
    return sr.ImageRegion("POLYLINE", corners, sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, frames))


def _faces(lesion: Lesion) -> list[np.ndarray]:
    """The rectangles at the low and the high end across the slices, closed, each ``[5, 3]`` LPS mm."""
    order = [0, 1, 3, 2, 0]
    return [lesion.corners_mm[:4][order], lesion.corners_mm[4:][order]]
