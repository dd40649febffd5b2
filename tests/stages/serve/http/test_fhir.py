"""FHIR R4: what a finding says in every state, in the shape that the standard asks for."""

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
