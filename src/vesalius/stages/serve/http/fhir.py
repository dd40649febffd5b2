"""Findings as FHIR R4: a Bundle with a DiagnosticReport, its Observations and the ImagingStudy.

https://hl7.org/fhir/R4: a report is ``preliminary`` until a doctor has decided, ``final`` then, and ``cancelled`` when the doctor rejected it or the model
refused the study. What a doctor corrected is in the report's conclusion; the model's own answer stays an Observation.
"""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.serving import Serving

TYPE = "application/fhir+json"
DCM, UCUM, UID = "http://dicom.nema.org/resources/ontology/DCM", "http://unitsofmeasure.org", "urn:dicom:uid"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
STATUS = {"pending": "preliminary", "accepted": "final", "corrected": "final", "rejected": "cancelled", "refused": "cancelled"}
SEX = {"M": "male", "F": "female", "O": "other"}
UNITS = {"probability": ("probability", "1"), "mm": ("mm", "mm"), "mm2": ("mm²", "mm2"), "mm3": ("mm³", "mm3"), "ml": ("mL", "mL"),
         "pixel": ("pixel", "{pixel}"), "HU": ("HU", "[hnsf'U]")}
"""Our units to a name and the UCUM code; another unit is written without a code."""
IMAGING_REPORT = {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}], "text": "Diagnostic imaging study"}
NOTE = "Computer-aided finding for research use: a doctor decides."
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
KINDS = {"patient": "Patient", "study": "ImagingStudy", "device": "Device", "observation": "Observation"}
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "vesalius/fhir")
Facts = dict[str, Any]


def router(service: Serving) -> APIRouter:
    """``GET /v1/findings/{id}/fhir``."""
    made = APIRouter(prefix="/v1", tags=["findings"])

    @made.get("/findings/{id}/fhir", dependencies=[needs("reader", "node")], responses={404: {"description": "There is no such finding."}},
              summary="A finding as FHIR R4")
    def fhir(id: str) -> JSONResponse:
        """A Bundle of type collection."""
        finding = service.store.finding(id)
        instances = len(service.store.files_of(finding["series_uid"])) if finding["series_uid"] else 0
        return JSONResponse(bundle(finding, instances), media_type=TYPE)

    return made


def bundle(finding: Facts, instances: int) -> Facts:
    """The Bundle of a finding as the store gives it; ``instances``: of its series."""
    observations = [_with_id(finding, f"observation-{i}", each) for i, each in enumerate(_observations(finding))]
    patient, study = _with_id(finding, "patient", _patient(finding)), _with_id(finding, "study", _study(finding, instances))
    device, report = _with_id(finding, "device", _device(finding)), _with_id(finding, "report", _report(finding, len(observations)))
    resources = [report, patient, study, device, *observations]
    return {"resourceType": "Bundle", "id": finding["id"], "type": "collection", "timestamp": _moment(finding.get("created")),
            "entry": [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in resources]}


def _with_id(finding: Facts, name: str, resource: Facts) -> Facts:
    return {"resourceType": resource["resourceType"], "id": _id(finding, name), **resource}


def _id(finding: Facts, name: str) -> str:
    return str(uuid.uuid5(SPACE, f"{finding['id']}/{name}"))


def _reference(finding: Facts, name: str) -> Facts:
    return {"reference": f"urn:uuid:{_id(finding, name)}", "type": KINDS[name.partition("-")[0]]}


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds or 0.0, UTC).isoformat(timespec="seconds")


def day(dicom: str | None) -> str | None:
    """A DICOM date as FHIR writes it; None where it is none.

    >>> day("20240131"), day("2024"), day("20249999")
    ('2024-01-31', None, None)
    """
    try:
        return datetime.strptime(dicom or "", "%Y%m%d").date().isoformat()
    except ValueError:
        return None


def _filled(facts: Facts) -> Facts:
    """FHIR allows no empty values, and no text of spaces alone (R4 2.24, string); DICOM pads with them."""
    made = {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}
    return {name: value for name, value in made.items() if value not in (None, "", [], {})}


def _patient(finding: Facts) -> Facts:
    known = finding.get("patient") or {}
    family, _, given = str(known.get("name") or "").partition("=")[0].partition("^")
    whole = " ".join(part for part in (given.replace("^", " ").strip(), family) if part)
    name = _filled({"text": whole, "family": family, "given": given.split("^")[0].split()})
    number = _filled({"value": str(known.get("id") or "")})
    return _filled({"resourceType": "Patient", "identifier": [number] if number else None, "name": [name] if name else None,
                    "birthDate": day(known.get("birth_date")), "gender": SEX.get(str(known.get("sex") or "").upper())})


def _study(finding: Facts, instances: int) -> Facts:
    modality = {"system": DCM, "code": " ".join(str(finding.get("modality") or "").split()) or "OT"}
    site = _filled({"display": finding.get("body_part")})
    series = _filled({"uid": finding["series_uid"], "modality": modality, "numberOfInstances": instances, "description": finding.get("description"),
                      "bodySite": site})
    return _filled({"resourceType": "ImagingStudy", "identifier": _identifiers(finding), "status": "available", "subject": _reference(finding, "patient"),
                    "started": day(finding.get("study_date")), "numberOfSeries": 1 if series.get("uid") else 0, "numberOfInstances": instances,
                    "modality": [modality], "series": [series] if series.get("uid") else None})


def _identifiers(finding: Facts) -> list[Facts]:
    made = [{"system": UID, "value": f"urn:oid:{finding['study_uid']}"}] if finding.get("study_uid") else []
    number = _filled({"value": str(finding.get("accession") or "")})
    return [*made, {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}, **number}] if number else made


def _device(finding: Facts) -> Facts:
    model = finding["model"]
    return {"resourceType": "Device", "deviceName": [{"name": model["name"], "type": "model-name"}], "identifier": [{"value": model["hash"]}],
            "version": [{"value": str(finding["software"]["vesalius"])}], "type": {"text": "Vesalius, computer-aided detection, research use"}}


def _report(finding: Facts, n: int) -> Facts:
    decided = (finding.get("decisions") or [None])[-1]
    told = {"resourceType": "DiagnosticReport", "status": STATUS[finding["state"]], "code": IMAGING_REPORT, "subject": _reference(finding, "patient"),
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
            "effectiveDateTime": day(finding.get("study_date")), "issued": _moment(decided["at"] if decided else finding.get("created")),
            "imagingStudy": [_reference(finding, "study")], "result": [_reference(finding, f"observation-{i}") for i in range(n)],
            "conclusion": _conclusion(finding, decided)}
    return _filled(told | ({"resultsInterpreter": [{"display": decided["user"]}]} if decided else {}))


def _conclusion(finding: Facts, decided: Facts | None) -> str:
    if decided is not None:
        right = (decided.get("correction") or {}).get("label")
        said = {"accept": f"Accepted: {finding['label'] or 'nothing found'}.", "reject": "Rejected by the doctor.",
                "correct": f"Corrected: {right}." if right is not None else "Corrected by the doctor."}[decided["action"]]
        return f"{said} {decided['comment']}".strip()
    if finding.get("refused") and not finding.get("forced"):
        return f"{NOTE} The model refused the study: {' '.join(each['en'] for each in finding['refused'])}"
    probability = f" (probability {finding['probability']:.3f})" if finding.get("probability") is not None else ""
    return f"{NOTE} {finding['label'] or 'Nothing found'}{probability}."


def _observations(finding: Facts) -> list[Facts]:
    """One for each score, measurement and box."""
    regression = finding["model"]["kind"] == "regression"
    made = [_observation(finding, name, _valued(value, "" if regression else "probability")) for name, value in finding["scores"].items()]
    made += [_observation(finding, f"{each['class']} {each['name']}", _valued(each["value"], str(each["unit"]))) for each in finding["measurements"]]
    return made + [_observation(finding, each["label"] or "lesion", _valued(each["score"], "probability"), _sizes(each)) for each in finding["boxes"]]


def _observation(finding: Facts, name: str, value: Facts, components: list[Facts] | None = None) -> Facts:
    status = STATUS[finding["state"]]
    category = [{"coding": [{"system": CATEGORY, "code": "imaging"}]}]
    return _filled({"resourceType": "Observation", "status": status, "category": category, "code": {"text": name.strip() or "unnamed"},
                    "subject": _reference(finding, "patient"), "device": _reference(finding, "device"), "derivedFrom": [_reference(finding, "study")],
                    "component": components} | value)


def _valued(value: float | None, unit: str) -> Facts:
    """The quantity of an Observation or a component, or why there is none (R4 10.1, obs-6)."""
    if value is None or not math.isfinite(value):
        return {"dataAbsentReason": {"coding": [{"system": ABSENT, "code": "unknown" if value is None or math.isinf(value) else "not-a-number"}]}}
    name, code = UNITS.get(unit, (unit, ""))
    return {"valueQuantity": {"value": round(float(value), 6)} | _filled({"unit": name}) | ({"system": UCUM, "code": code} if code else {})}


def _sizes(box: Facts) -> list[Facts]:
    """Extents of a box in mm, where they are known, in the order of the image's axes."""
    return [{"code": {"text": f"size along axis {i}"}, **_valued(size, "mm")} for i, size in enumerate(box.get("size_mm") or [])]
