"""What a finding says, as measurement groups of a structured report (PS3.16 TID 1410, 1411, 1501), made from its document alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes
from vesalius.core.study import Study
from vesalius.formats.dicomsr import CLASS, SCHEME, Placed
from vesalius.stages.serve.objects.ids import Ids
from vesalius.stages.writing._reference import Reference
from vesalius.stages.writing.boxes import Found
from vesalius.stages.writing.boxes.dicomsr import LONGEST_NAME, algorithm_of, groups_of, own_code
from vesalius.stages.writing.codes import codes_of

Finding = Mapping[str, Any]
NOTHING = "nothing found"
ANSWER, DECIDES, PROBABILITY = Code("ANSWER", SCHEME, "Answer"), Code("DECIDES", SCHEME, "Whether the model decides"), "Probability of "
MEASURES: Mapping[str, tuple[Code, Code]] = {
    "volume_mm3": (codes.SCT.Volume, codes.UCUM.CubicMillimeter), "area_mm2": (codes.SCT.Area, codes.UCUM.SquareMillimeter),
    "longest_diameter_mm": (codes.SCT.LongAxis, codes.UCUM.Millimeter), "perpendicular_diameter_mm": (codes.SCT.ShortAxis, codes.UCUM.Millimeter),
    "longest_diameter_3d_mm": (codes.cid7469.Maximum3DDiameterOfAMesh, codes.UCUM.Millimeter),
    "n_components": (Code("COMPONENTS", SCHEME, "Number of parts"), codes.UCUM.NoUnits),
}
"""Measurements of a structure that have a code; the others are in the finding's document."""
ATTENUATION = "intensity_mean"
IMAGES_MOST = 512
"""Images that a group names one by one."""


@dataclass(frozen=True)
class Reported:
    """What a report is made from.

    Parameters
    ----------
    finding: the document of a finding (docs/clinic). source, reference, placed: its images, their headers, their grid.
    ids: names of this report's parts. seg: the segmentation of the same finding, without pixels. by_person: a doctor said it, no algorithm.
    """

    finding: Finding
    source: Source
    reference: Reference
    placed: Placed
    ids: Ids
    seg: Dataset | None = None
    by_person: bool = False

    @property
    def algorithm(self) -> sr.AlgorithmIdentification | None:
        return None if self.by_person else algorithm_of(self.model)

    @property
    def model(self) -> str:
        return f"{self.finding['model']['name']} {self.finding['model']['hash']}"

    @property
    def kind(self) -> str:
        return str(self.finding["model"]["kind"])


def groups_for(given: Reported) -> list[Any]:
    """The groups of a report: a structure each, a box each with the counts, or one for the image."""
    if given.kind == "boxes":
        return groups_of(found_from(given), given.reference)
    if given.kind == "mask":
        return [_structure(given, number, name) for number, name in enumerate(given.finding["model"]["classes"], 1)]
    return [_image(given)]


def found_from(given: Reported) -> Found:
    """The boxes of a finding's document on the grid of its images; no pixel is read."""
    grid, boxes = given.placed.grid, given.finding["boxes"]
    array = np.array([box["box"] for box in boxes], float).reshape(-1, 2 * grid.ndim)
    risk = tuple(float("nan") if box.get("risk") is None else float(box["risk"]) for box in boxes)
    held = Boxes(array, grid, tuple(box["label"] for box in boxes), tuple(_score(box) for box in boxes), risk if not np.isnan(risk).all() else ())
    blank = Study(np.broadcast_to(np.uint8(0), (1, *grid.shape)), grid, meta={"frame_uid": given.placed.frame_uid})
    names = tuple(dict.fromkeys((*given.finding["model"]["classes"], *held.labels)))
    risk_name = str(given.finding["model"].get("risk") or "")
    return Found(blank, given.source, held, names, risk=risk_name, model=given.model, uid=given.ids.uid, drawn=given.by_person)


def named(name: str) -> Code:
    """A class of a model, or a sentence, as a code of our own: its meaning holds 64 characters and no backslash (PS3.5 6.2, LO)."""
    return Code(own_code(name).value, SCHEME, name.replace("\\", "/")[:LONGEST_NAME] or NOTHING)


def comment(text: str) -> sr.TextContentItem:
    """A doctor's words (PS3.16 DCM 121106)."""
    return sr.TextContentItem(name=codes.DCM.Comment, value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS)


def _score(box: Mapping[str, Any]) -> float:
    """A box that a person has drawn has no score: it is there."""
    return 1.0 if box.get("score") is None else float(box["score"])


def _image(given: Reported) -> Any:
    """The answer for the whole image, and what the model gives each class."""
    finding = given.finding
    label, p = str(finding["label"]), finding.get("probability")
    held = [(codes.DCM.CertaintyOfFinding, p * 100, codes.UCUM.Percent)] if p is not None else []
    if given.kind == "regression":
        held += [(named(name), value, codes.UCUM.NoUnits) for name, value in finding["scores"].items()]
    else:
        held += [(named(f"{PROBABILITY}{name}"), value * 100, codes.UCUM.Percent) for name, value in finding["scores"].items()]
    decided = "a person decided" if given.by_person else "the model does not decide" if finding["abstain"] else "the model decides"
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(given, "image"), algorithm_id=given.algorithm, finding_type=_kind_of(label), measurements=_measurements(held) or None,
        qualitative_evaluations=[sr.QualitativeEvaluation(ANSWER, named(label)), sr.QualitativeEvaluation(DECIDES, named(decided))],
        source_images=_images(given.reference))


def _structure(given: Reported, number: int, name: str) -> Any:
    """One structure with its measurements; where the segmentation holds it, that is its region."""
    rows = {row["name"]: row["value"] for row in given.finding["measurements"] if row["class"] == name}
    held = [(*MEASURES[key], float(rows[key])) for key in MEASURES if rows.get(key) is not None]
    facts: dict[str, Any] = {
        "tracking_identifier": _tracking(given, name), "algorithm_id": given.algorithm, "finding_type": _kind_of(name),
        "measurements": _measurements([(code, value, unit) for code, unit, value in held]) + _attenuation(given, rows),
    }
    there = codes.SCT.Present if rows.get("n_samples") else codes.SCT.Absent
    marks = [sr.QualitativeEvaluation(Code(CLASS, SCHEME, "Class as the model calls it"), named(name)), sr.QualitativeEvaluation(ANSWER, there)]
    frames = _frames(given.seg, number)
    if given.seg is None or not frames:
        return sr.MeasurementsAndQualitativeEvaluations(**facts, qualitative_evaluations=marks, source_images=_images(given.reference))
    if given.placed.grid.ndim == 3:
        segment = sr.ReferencedSegment.from_segmentation(given.seg, segment_number=number)
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(**facts, qualitative_evaluations=marks, referenced_segment=segment)
    flat = sr.ReferencedSegmentationFrame.from_segmentation(given.seg, frame_number=frames[0], segment_number=number)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(**facts, qualitative_evaluations=marks, referenced_segment=flat)


def _frames(seg: Dataset | None, number: int) -> list[int]:
    """Frames (from 1) of a segment."""
    groups = [] if seg is None else seg.PerFrameFunctionalGroupsSequence
    return [i for i, group in enumerate(groups, 1) if int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) == number]


def _kind_of(name: str) -> Code:
    """A standard code where the name says what it is, else the model's own."""
    _, kind = codes_of(name)
    return named(name) if kind == codes.SCT.Tissue else kind


def _measurements(held: Sequence[tuple[Code, float, Code]]) -> list[sr.Measurement]:
    return [sr.Measurement(name=name, value=_decimal(value), unit=unit) for name, value, unit in held]


def _decimal(value: float) -> float:
    """Seven digits fit a decimal string (PS3.5 6.2, DS: 16 characters)."""
    return float(f"{value:.7g}")


def _attenuation(given: Reported, rows: Mapping[str, Any]) -> list[sr.Measurement]:
    """The mean number of CT in Hounsfield units."""
    if given.finding.get("modality") != "CT" or rows.get(ATTENUATION) is None:
        return []
    return [sr.Measurement(name=codes.DCM.AttenuationCoefficient, value=_decimal(rows[ATTENUATION]), unit=codes.UCUM.HounsfieldUnit, derivation=codes.SCT.Mean)]


def _tracking(given: Reported, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=given.ids.uid(f"tracking/{name}"), identifier=name)


def _images(reference: Reference) -> list[sr.SourceImageForMeasurementGroup]:
    return [sr.SourceImageForMeasurementGroup(item.SOPClassUID, item.SOPInstanceUID) for item in reference.items[:IMAGES_MOST]]
