"""A finding as DICOM structured report (PS3.16 TID 1500, Imaging Measurement Report): preliminary by the model, or verified by a doctor.

What a model says alone is partial, preliminary and unverified. A doctor's report is complete, final and verified, names the doctor as observer and
verifying observer, and the report that it replaces as its predecessor (PS3.3 C.17.2). A verified report is a new object: none is ever changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes

from vesalius import __version__
from vesalius.errors import RunError
from vesalius.stages.serve.objects.groups import ANSWER, PROBABILITY, Reported, comment, found_from, groups_for, named
from vesalius.stages.writing._reference import finished
from vesalius.stages.writing.boxes._proof import prove
from vesalius.stages.writing.boxes.dicomsr import IMAGING, SrWriter, device_of
from vesalius.storage import atomic_file

SERIES_NUMBER, VERIFIED_SERIES = 302, 312
DESCRIPTION, VERIFIED = "Vesalius report, research use, unverified", "Vesalius report, verified"
NEAR = 1e-3
"""Percent; a number of the report is stored with 16 characters."""


@dataclass(frozen=True)
class Signed:
    """Who stands for a report. organization: of the verifying observer (type 1 of the standard). words: the doctor's comment. predecessor: what it replaces."""

    name: str
    organization: str
    words: str = ""
    predecessor: Dataset | None = None

    @property
    def person(self) -> str:
        """As a person name (PS3.5 6.2.1); a name without components is a family name."""
        return self.name if "^" in self.name else f"{self.name}^"


def write_report(path: Path, given: Reported, signed: Signed | None = None) -> None:
    """Write the report of a finding and read it back.

    Raises
    ------
    RunError: the file cannot be written, or says something else than the finding when it is read back (it is removed).
    """

    def whole(part: Path) -> None:
        finished(_built(given, signed), given.reference).save_as(part, enforce_file_format=True)
        _prove(part, path, given, signed)

    atomic_file(path, whole)


def _built(given: Reported, signed: Signed | None) -> Any:
    groups = groups_for(given)
    if signed is not None and signed.words:
        groups[-1][0].ContentSequence.append(comment(signed.words))
    report = sr.MeasurementReport(observation_context=_observers(given, signed), procedure_reported=IMAGING, imaging_measurements=groups)
    kind = sr.Comprehensive3DSR if given.placed.grid.ndim == 3 else sr.ComprehensiveSR
    _tidy(report[0], {str(each.SOPInstanceUID) for each in given.reference.items if int(each.get("NumberOfFrames") or 1) == 1})
    evidence: Sequence[Dataset] = [*given.reference.items, *([] if given.seg is None else [given.seg])]
    return kind(evidence=evidence, content=report[0], series_instance_uid=given.ids.uid("sr/series"), sop_instance_uid=given.ids.uid("sr"), instance_number=1,
                series_number=SERIES_NUMBER if signed is None else VERIFIED_SERIES, manufacturer="Vesalius", manufacturer_model_name="vesalius",
                software_versions=__version__, record_evidence=True, **_flags(signed))


def _tidy(item: Dataset, single: set[str]) -> None:
    """References as PS3.3 C.18.4 has them: a frame of a segmentation says which segment it is; only images of several frames have frame numbers."""
    for each in item.get("ReferencedSOPSequence") or []:
        if "ReferencedSegmentNumber" in each and "ReferencedFrameNumber" in each:
            del each.ReferencedSegmentNumber
        elif "ReferencedFrameNumber" in each and each.ReferencedSOPInstanceUID in single:
            del each.ReferencedFrameNumber
    for child in item.get("ContentSequence") or []:
        _tidy(child, single)


def _flags(signed: Signed | None) -> dict[str, Any]:
    if signed is None:
        return {"is_complete": False, "is_final": False, "is_verified": False, "series_description": DESCRIPTION}
    return {"is_complete": True, "is_final": True, "is_verified": True, "series_description": VERIFIED, "verifying_observer_name": signed.person,
            "verifying_organization": signed.organization, "previous_versions": [signed.predecessor] if signed.predecessor is not None else None}


def _observers(given: Reported, signed: Signed | None) -> sr.ObservationContext:
    device = device_of(given.model)
    if signed is None:
        return sr.ObservationContext(observer_device_context=device)
    person = sr.PersonObserverIdentifyingAttributes(name=signed.person, organization_name=signed.organization)
    observer = sr.ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=person)
    return sr.ObservationContext(observer_person_context=observer, observer_device_context=device)


def _prove(part: Path, path: Path, given: Reported, signed: Signed | None) -> None:
    """The file says what the finding says, of the same patient, and whether a person stands for it."""
    held = pydicom.dcmread(part)
    flags = ("VERIFIED", "COMPLETE", "FINAL") if signed else ("UNVERIFIED", "PARTIAL", "PRELIMINARY")
    if (held.VerificationFlag, held.CompletionFlag, held.PreliminaryFlag) != flags:
        raise _differs(path, " ".join(flags), f"{held.VerificationFlag} {held.CompletionFlag} {held.PreliminaryFlag}")
    if any(str(held.get(keyword) or "") != str(value or "") for keyword, value in given.reference.identity.items()):
        raise _differs(path, "the patient of the images", "another one")
    if given.kind == "boxes":
        prove(SrWriter, found_from(given), part, path)
        return
    content: Any = sr.srread(part).content
    groups = [*content.get_image_measurement_groups(), *content.get_volumetric_roi_measurement_groups(), *content.get_planar_roi_measurement_groups()]
    if given.kind == "mask":
        _same(path, sorted(given.finding["model"]["classes"]), sorted(group.tracking_identifier for group in groups))
    else:
        _same_answer(path, given, groups)


def _same_answer(path: Path, given: Reported, groups: Sequence[Any]) -> None:
    (group,) = groups
    answers = [each.value for each in group.get_qualitative_evaluations(name=ANSWER)]
    _same(path, [named(str(given.finding["label"]))], answers)
    for name, value in given.finding["scores"].items():
        wanted = named(name if given.kind == "regression" else f"{PROBABILITY}{name}")
        factor = 1 if given.kind == "regression" else 100
        (held,) = [float(each.value) for each in group.get_measurements(name=wanted)]
        if abs(held - value * factor) > NEAR * max(1.0, abs(value)):
            raise _differs(path, f"{value * factor:.7g} for '{name}'", f"{held:.7g}")


def _same(path: Path, wanted: Sequence[Any], held: Sequence[Any]) -> None:
    if list(wanted) != list(held):
        raise _differs(path, ", ".join(map(str, wanted)), ", ".join(map(str, held)))


def _differs(path: Path, wanted: str, got: str) -> RunError:
    return RunError("the report does not say what was found", where=path.name, expected=wanted, got=got, do="the file was removed; report this")
