"""Matching of PS3.4 C.2.2.2 as SQL: which attributes can be asked at which level, and what is answered."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, func, or_, select

from vesalius.errors import OptionError
from vesalius.stages.serve.store.tables import objects, series, studies

LEVELS = ("study", "series", "instance")
STUDY: dict[str, Column[Any]] = {
    "StudyInstanceUID": studies.c.study_uid, "PatientID": studies.c.patient_id, "PatientName": studies.c.patient_name,
    "PatientBirthDate": studies.c.birth_date, "PatientSex": studies.c.sex, "StudyDate": studies.c.study_date, "StudyTime": studies.c.study_time,
    "AccessionNumber": studies.c.accession, "StudyDescription": studies.c.study_description, "StudyID": studies.c.study_id,
    "ReferringPhysicianName": studies.c.referring,
}
SERIES: dict[str, Column[Any]] = {
    "SeriesInstanceUID": series.c.series_uid, "Modality": series.c.modality, "BodyPartExamined": series.c.body_part,
    "SeriesDescription": series.c.description, "SeriesNumber": series.c.number,
}
INSTANCE: dict[str, Column[Any]] = {"SOPInstanceUID": objects.c.sop_uid, "SOPClassUID": objects.c.class_uid, "InstanceNumber": objects.c.number}
ATTRIBUTES = {"study": STUDY, "series": STUDY | SERIES, "instance": STUDY | SERIES | INSTANCE}
RANGES = {"StudyDate", "StudyTime", "PatientBirthDate"}
FROM_HEADER = ("Rows", "Columns", "BitsAllocated", "NumberOfFrames")


def statement(level: str, query: dict[str, Any]) -> Select[Any]:
    """The rows of a level that match, ordered by time of arrival."""
    known = ATTRIBUTES[level]
    wanted = [_modalities(value) if name == "ModalitiesInStudy" else _condition(level, name, value) for name, value in query.items() if not _universal(value)]
    asked = select(*(column.label(name) for name, column in known.items()))
    if level == "study":
        return asked.where(*wanted).order_by(studies.c.first, studies.c.study_uid)
    joined = studies.join(series, series.c.study_uid == studies.c.study_uid)
    if level == "series":
        return asked.add_columns(series.c.instances.label("n")).select_from(joined).where(*wanted).order_by(series.c.first, series.c.series_uid)
    joined = joined.join(objects, objects.c.series_uid == series.c.series_uid)
    return asked.add_columns(objects.c.header, objects.c.syntax).select_from(joined).where(*wanted).order_by(objects.c.arrival)


def _universal(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == "*"


def _condition(level: str, name: str, value: Any) -> ColumnElement[bool]:
    column = ATTRIBUTES[level].get(name)
    if column is None:
        raise OptionError(f"'{name}' is not matched on at the level {level}", expected=", ".join(ATTRIBUTES[level]), do="leave it out")
    if name.endswith("UID"):
        return column.in_(value if isinstance(value, (list, tuple)) else str(value).replace("\\", ",").split(","))
    text = str(value)
    if name in RANGES and "-" in text:
        return _within(column, text)
    if "*" in text or "?" in text or name == "PatientName":
        return func.lower(column).like(_like(text.lower()), escape="!")
    return column == text


def _within(column: Column[Any], text: str) -> ColumnElement[bool]:
    """``A-B``, ``A-`` or ``-B``; texts of equal form order as their dates do, and an empty date is in no range."""
    low, _, high = text.partition("-")
    return and_(column != "", *([column >= low] if low else []), *([column <= f"{high}~"] if high else []))


def _like(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return text.replace("*", "%").replace("?", "_")


def _modalities(value: Any) -> ColumnElement[bool]:
    names = [str(part) for part in value] if isinstance(value, (list, tuple)) else str(value).replace("\\", ",").split(",")
    return studies.c.study_uid.in_(select(series.c.study_uid).where(or_(*(series.c.modality == name for name in names))))


def answer(connection: Connection, level: str, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Rows as attributes by keyword, with the counts of their level."""
    made = [{name: getattr(row, name) for name in ATTRIBUTES[level]} for row in rows]
    if level == "study":
        _count(connection, made)
    for item, row in zip(made, rows, strict=True):
        if level == "series":
            item["NumberOfSeriesRelatedInstances"] = row.n
        if level == "instance":
            header = json.loads(row.header)
            item |= {name: header[name] for name in FROM_HEADER if name in header} | {"AvailableTransferSyntaxUID": row.syntax}
    return made


def _count(connection: Connection, made: list[dict[str, Any]]) -> None:
    names = [item["StudyInstanceUID"] for item in made]
    found = connection.execute(select(series.c.study_uid, series.c.modality, series.c.instances).where(series.c.study_uid.in_(names)))
    of: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for uid, modality, n in found:
        of[uid].append((modality, n))
    for item in made:
        rows = of[item["StudyInstanceUID"]]
        item |= {"ModalitiesInStudy": sorted({modality for modality, _ in rows if modality}), "NumberOfStudyRelatedSeries": len(rows),
                 "NumberOfStudyRelatedInstances": sum(n for _, n in rows)}
