"""FHIR R4: what a finding says in every state, in the shape that the standard asks for."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from vesalius.stages.serve.http.fhir import bundle, day

FINDING = {
    "id": "j1", "state": "pending", "created": 1706700000.0, "study_uid": "1.2.3", "series_uid": "1.2.3.1", "modality": "CR", "body_part": "CHEST",
    "description": "PA", "study_date": "20240131", "accession": "A7",
    "patient": {"id": "P1", "name": "Wang^Li=王^丽", "birth_date": "19700102", "sex": "F", "age": None},
    "model": {"name": "lung", "hash": "ab", "kind": "binary", "classes": ["no", "yes"]},
    "label": "yes", "probability": 0.83, "scores": {"no": 0.17, "yes": 0.83},
    "measurements": [{"name": "volume", "class": "lesion", "value": 12.5, "unit": "mm3"}],
    "boxes": [{"box": [1, 2, 3, 4], "label": "nodule", "score": 0.7, "risk": None, "size_mm": [4.0, 5.0]}], "refused": [], "forced": False,
    "software": {"vesalius": "0.1.0"}, "decisions": [],
}


def of(made: dict, kind: str) -> list[dict]:
    return [entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == kind]


def test_a_pending_finding_is_preliminary_and_says_so():
    made = bundle(FINDING, 2)
    (report,), (study,), (patient,), (device,) = (of(made, kind) for kind in ("DiagnosticReport", "ImagingStudy", "Patient", "Device"))
    assert report["status"] == "preliminary" and report["conclusion"] == "Computer-aided finding for research use: a doctor decides. yes (probability 0.830)."
    assert report["code"]["coding"][0]["code"] == "18748-4" and report["effectiveDateTime"] == "2024-01-31" and "resultsInterpreter" not in report
    assert study["status"] == "available" and study["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert study["series"][0]["uid"] == "1.2.3.1" and study["series"][0]["numberOfInstances"] == 2 and study["series"][0]["modality"]["code"] == "CR"
    assert patient["name"][0] == {"text": "Li Wang", "family": "Wang", "given": ["Li"]}
    assert patient["birthDate"] == "1970-01-02" and patient["gender"] == "female"
    assert device["identifier"] == [{"value": "ab"}]
    observed = {each["code"]["text"]: each for each in of(made, "Observation")}
    assert set(observed) == {"no", "yes", "lesion volume", "nodule"} and all(each["status"] == "preliminary" for each in observed.values())
    assert observed["yes"]["valueQuantity"] == {"value": 0.83, "unit": "probability", "system": "http://unitsofmeasure.org", "code": "1"}
    assert observed["lesion volume"]["valueQuantity"]["code"] == "mm3" and [c["valueQuantity"]["value"] for c in observed["nodule"]["component"]] == [4.0, 5.0]


def test_every_reference_leads_to_a_resource_of_the_bundle_and_ids_are_stable():
    made = bundle(FINDING, 1)
    here = {entry["fullUrl"] for entry in made["entry"]}

    def references(value):
        if isinstance(value, dict):
            yield from ([value["reference"]] if "reference" in value else [])
            for each in value.values():
                yield from references(each)
        if isinstance(value, list):
            for each in value:
                yield from references(each)

    assert set(references(made)) <= here and len(here) == len(made["entry"]) and bundle(FINDING, 1) == made


@pytest.mark.parametrize(("state", "action", "status", "said"), [
    ("accepted", "accept", "final", "Accepted: yes. I agree."), ("corrected", "correct", "final", "Corrected: no. I agree."),
    ("rejected", "reject", "cancelled", "Rejected by the doctor. I agree.")])
def test_what_a_doctor_decided_decides_the_status(state, action, status, said):
    decision = {"action": action, "comment": "I agree.", "user": "ada", "at": 1706800000.0, "correction": {"label": "no"} if action == "correct" else None}
    (report,) = of(bundle(FINDING | {"state": state, "decisions": [decision]}, 1), "DiagnosticReport")
    assert report["status"] == status and report["conclusion"] == said and report["resultsInterpreter"] == [{"display": "ada"}]
    assert report["issued"].startswith("2024-02-01T")


def test_a_refused_study_is_no_result():
    refused = FINDING | {"state": "refused", "label": "", "probability": None, "scores": {}, "measurements": [], "boxes": [],
                         "refused": [{"code": "empty", "en": "The image is empty.", "zh": "影像为空。"}]}
    (report,) = of(bundle(refused, 1), "DiagnosticReport")
    assert report["status"] == "cancelled" and "The model refused the study: The image is empty." in report["conclusion"] and "result" not in report


def test_what_is_unknown_is_left_out_and_nothing_is_empty():
    bare = FINDING | {"patient": dict.fromkeys(("id", "name", "birth_date", "sex", "age")), "study_date": None, "accession": None, "study_uid": "",
                      "series_uid": "", "modality": None, "description": None, "body_part": None}
    made = bundle(bare, 0)

    def empties(value):
        if isinstance(value, dict):
            return any(empties(each) for each in value.values()) or not value
        return any(map(empties, value)) or not value if isinstance(value, list) else value in ("", None)

    assert not empties(made) and set(of(made, "Patient")[0]) == {"resourceType", "id"}


def test_days():
    assert [day(each) for each in ("20240229", "20230229", "", None, "2024-02-01")] == ["2024-02-29", None, None, None, None]


DECIDED = {"comment": "", "user": "ada", "at": 1706800000.0, "correction": None}
STATES = {
    "pending": {}, "accepted": {"decisions": [DECIDED | {"action": "accept"}]}, "rejected": {"decisions": [DECIDED | {"action": "reject"}]},
    "corrected": {"decisions": [DECIDED | {"action": "correct"}]}, "refused": {"label": "", "probability": None, "scores": {}, "refused": [{"en": "Empty."}]},
}
ODD = {
    "patient": {"id": "  ", "name": " ^ ^", "birth_date": "1970", "sex": "x", "age": None}, "modality": "CT  PT ", "description": " ", "body_part": " ",
    "accession": " ", "scores": {"": math.nan}, "boxes": [{"box": [1, 2, 3, 4], "label": "", "score": 0.5, "risk": None, "size_mm": [math.inf, 2.0]}],
    "measurements": [{"name": "", "class": "", "value": None, "unit": ""}, {"name": "v", "class": " ", "value": 1e-9, "unit": "mm2"}],
}
NUMBER_OF = {  # R4: least and most of each element that we write and that has a bound, by the resource's own page
    "Bundle": {"type": (1, 1), "timestamp": (0, 1)}, "Patient": {"gender": (0, 1), "birthDate": (0, 1)}, "Device": {"type": (0, 1)},
    "DiagnosticReport": {"status": (1, 1), "code": (1, 1), "subject": (0, 1), "conclusion": (0, 1)},
    "ImagingStudy": {"status": (1, 1), "subject": (1, 1), "started": (0, 1), "numberOfSeries": (0, 1)},
    "ImagingStudy.series": {"uid": (1, 1), "modality": (1, 1), "bodySite": (0, 1), "description": (0, 1)},
    "Observation": {"status": (1, 1), "code": (1, 1), "subject": (0, 1), "device": (0, 1), "valueQuantity": (0, 1), "dataAbsentReason": (0, 1)},
    "Observation.component": {"code": (1, 1)},
}
SETS = {  # R4 value sets with binding "required"
    "Bundle.type": {"collection"}, "Patient.gender": {"male", "female", "other", "unknown"},
    "DiagnosticReport.status": {"registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled", "entered-in-error",
                                "unknown"},
    "ImagingStudy.status": {"registered", "available", "cancelled", "entered-in-error", "unknown"},
    "Observation.status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"},
    "Device.deviceName.type": {"udi-label-name", "user-friendly-name", "patient-reported-name", "manufacturer-name", "model-name", "other"},
}
CODE, ID, INSTANT = r"\S+( \S+)*", r"[A-Za-z0-9\-.]{1,64}", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"


def parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every element with its path, lists opened."""
    yield path, value
    if isinstance(value, dict):
        for name, each in value.items():
            for one in each if isinstance(each, list) else [each]:
                yield from parts(one, f"{path}.{name}" if "resourceType" not in (one if isinstance(one, dict) else {}) else one["resourceType"])


def wrong(made: dict) -> list[str]:
    """What breaks a rule of R4."""
    found = []
    for path, value in parts(made, "Bundle"):
        for name, (least, most) in NUMBER_OF.get(path, {}).items():
            n = len(value[name]) if isinstance(value.get(name), list) else int(name in value)
            found += [] if least <= n <= most else [f"{path}.{name}: {n}"]
        found += [f"{path}: {value}"] if value in ("", None) or value == {} or (isinstance(value, float) and not math.isfinite(value)) else []
        found += [f"{path}: blank"] if isinstance(value, str) and value != value.strip() else []
        found += [f"{path}: {value}"] if path in SETS and value not in SETS[path] else []
        rule = {"id": ID, "uid": ID, "issued": INSTANT, "timestamp": INSTANT, "birthDate": r"\d{4}-\d\d-\d\d", "code": CODE}.get(path.rpartition(".")[2])
        found += [f"{path}: {value}"] if rule and isinstance(value, str) and not re.fullmatch(rule, value) else []
        if path in ("Observation", "Observation.component"):
            found += [] if ("valueQuantity" in value) != ("dataAbsentReason" in value) else [f"{path}: obs-6"]
    return found


@pytest.mark.parametrize("odd", [{}, ODD], ids=["usual", "odd"])
@pytest.mark.parametrize("state", STATES)
def test_every_element_keeps_the_rules_of_r4(state: str, odd: dict) -> None:
    made = bundle(FINDING | {"state": state} | STATES[state] | odd, 2)
    assert wrong(made) == []
    kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in made["entry"]}
    pointed = [each for _, each in parts(made, "") if isinstance(each, dict) and "reference" in each]
    assert pointed and all(each["type"] == kinds[each["reference"]] for each in pointed)


def test_the_rules_see_what_breaks_them() -> None:
    def broken(change: Any) -> list[str]:
        made = bundle(FINDING, 2)
        change({entry["resource"]["resourceType"]: entry["resource"] for entry in made["entry"]})
        return wrong(made)

    assert broken(lambda by: by["ImagingStudy"].pop("subject")) == ["ImagingStudy.subject: 0"]
    assert broken(lambda by: by["ImagingStudy"]["series"][0].pop("modality")) == ["ImagingStudy.series.modality: 0"]
    assert broken(lambda by: by["DiagnosticReport"].update(status="done")) == ["DiagnosticReport.status: done"]
    assert broken(lambda by: by["Observation"]["valueQuantity"].update(value=math.nan)) == ["Observation.valueQuantity.value: nan"]
    assert broken(lambda by: by["Observation"].update(code={"text": " "})) == ["Observation.code.text: blank"]
    assert broken(lambda by: by["DiagnosticReport"].update(issued="2024-02-01")) == ["DiagnosticReport.issued: 2024-02-01"]


def test_the_models_of_fhir_resources_accept_them() -> None:
    models = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")
    for state in STATES:
        for odd in ({}, ODD):
            models.Bundle.model_validate(bundle(FINDING | {"state": state} | STATES[state] | odd, 2))


def test_what_has_no_number_says_why() -> None:
    made = of(bundle(FINDING | {"scores": {"yes": math.nan}, "measurements": [{"name": "v", "class": "", "value": None, "unit": "mm"}]}, 1), "Observation")
    assert [each["dataAbsentReason"]["coding"][0]["code"] for each in made[:2]] == ["not-a-number", "unknown"]
