"""A finding without an answer, for the worklist: what could not be read and why."""

from __future__ import annotations

from typing import Any

from vesalius import __version__
from vesalius.errors import DataError
from vesalius.stages.serve.store import Job, Store
from vesalius.stages.serve.words import sentence

URGENCY = 0.5
"""A doctor looks at it no later than at one of even chances."""


def refusal(store: Store, job: Job, error: DataError) -> dict[str, Any]:
    """The document of a series that could not be read; the place of the files is left out of the reason."""
    why = sentence(error)
    nothing: dict[str, Any] = dict.fromkeys(("probability", "low", "high", "calibration", "set"))
    files: dict[str, Any] = dict.fromkeys(("image", "mask", "heat", "picture"))
    return _whose(store, job) | nothing | {
        "schema": 1, "id": job.id, "model": {"name": job.model, "hash": "", "kind": "", "classes": []}, "label": "", "scores": {}, "abstain": True,
        "boxes": [], "measurements": [], "forced": False,
        "refused": [{"code": "unreadable", "reason": why.code, "en": why.en, "zh": f"无法读取该检查：{why.zh}"}],
        "notes": [], "instances": [], "urgency": URGENCY, "grid": {"shape": [], "spacing_mm": None}, "files": files | {"objects": []},
        "software": {"vesalius": __version__}, "seconds": {}, "research_use": "A doctor decides.",
    }


def _whose(store: Store, job: Job) -> dict[str, Any]:
    series = store.series_row(job.series_uid)
    known = next(iter(store.find("series", {"SeriesInstanceUID": job.series_uid}, limit=1)), {})
    names = {"id": "PatientID", "name": "PatientName", "birth_date": "PatientBirthDate", "sex": "PatientSex"}
    patient = {key: known.get(name, "") for key, name in names.items()} | {"age": ""}
    return {"study_uid": job.study_uid, "series_uid": job.series_uid, "patient": patient, "modality": series.modality, "body_part": series.body_part,
            "description": series.description, "study_date": known.get("StudyDate", ""), "accession": known.get("AccessionNumber", "")}
