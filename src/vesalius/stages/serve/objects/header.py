"""What the header of the images says: whose they are and what was examined. Only a finding's document holds it, no log and no message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.formats.dicom import facts_of as file_facts
from vesalius.formats.dicom import parsed

PATIENT = {"id": "PatientID", "name": "PatientName", "birth_date": "PatientBirthDate", "sex": "PatientSex", "age": "PatientAge"}
FACTS = {"study_uid": ("StudyInstanceUID",), "series_uid": ("SeriesInstanceUID",), "modality": ("Modality",), "body_part": ("BodyPartExamined",),
         "description": ("SeriesDescription", "StudyDescription", "ProtocolName"), "study_date": ("StudyDate", "SeriesDate", "AcquisitionDate"),
         "accession": ("AccessionNumber",)}
"""Field of the finding to keywords; the first that says something counts."""
UIDS = ("study_uid", "series_uid")


def facts_of(source: Source) -> dict[str, Any]:
    """``study_uid series_uid modality body_part description study_date accession``, ``patient``, and ``instances``, the SOPInstanceUIDs that were read;
    None (UIDs: ``""``) where the file does not say.

    An image that is no DICOM says nothing.
    """
    item = first_header(source) if source.format.startswith("dicom") else Dataset()
    made: dict[str, Any] = {name: _text(item, keywords) for name, keywords in FACTS.items()}
    made |= {name: made[name] or "" for name in UIDS}
    made["instances"] = [str(facts["SOPInstanceUID"]) for facts in map(file_facts, source.files or (source.path,))] if item else []
    return made | {"patient": {name: _text(item, (keyword,)) for name, keyword in PATIENT.items()}}


def first_header(source: Source) -> Dataset:
    """The attributes of the first file, without its pixels."""
    return parsed((source.files or (source.path,))[0], stop_before_pixels=True)


def _text(item: Dataset, keywords: Sequence[str]) -> str | None:
    values = (str(item.get(keyword) or "").strip() for keyword in keywords)
    return next((value for value in values if value), None)
