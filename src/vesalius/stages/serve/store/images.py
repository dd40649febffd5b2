"""Studies, series and instances: how they come in, and how they are found."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from vesalius.errors import OptionError
from vesalius.stages.serve.store.base import Base, to_text
from vesalius.stages.serve.store.query import LEVELS, answer, statement
from vesalius.stages.serve.store.rows import Missing, ObjectRow, Received, SeriesRow
from vesalius.stages.serve.store.tables import objects, refused, series, studies
from vesalius.storage import telling

STUDY = {"patient_id": "PatientID", "patient_name": "PatientName", "birth_date": "PatientBirthDate", "sex": "PatientSex", "study_date": "StudyDate",
         "study_time": "StudyTime", "accession": "AccessionNumber", "study_description": "StudyDescription", "study_id": "StudyID",
         "referring": "ReferringPhysicianName"}
SERIES = {"modality": "Modality", "body_part": "BodyPartExamined", "description": "SeriesDescription", "number": "SeriesNumber"}
TWO_PATIENTS = "two patients under one StudyInstanceUID"
OTHER_CONTENT = "another object with the same SOPInstanceUID is there"


class Images(Base):
    """The part of the store that holds what was received."""

    def add_objects(self, received: Sequence[Received]) -> list[bool]:
        """Take objects into the store in one transaction; the files move from where they are to ``objects/``, or to ``refused/``.

        True for each that is new. False when the same object is there already (its file is removed), or when it is set aside with a reason: the same
        SOPInstanceUID with other content, or a study whose instances name another patient (the whole study is then not read until `readmit`).
        A crash at any moment leaves either the file where it was or the object in the store: the same call again ends the work.

        Raises
        ------
        RunError: the disk is full, or refuses.
        """
        added, folders = [], set()
        with self.write() as connection:
            for each in received:
                reason = self._conflict(connection, each)
                is_new = reason is None
                target = self._target(each, "objects" if reason in (None, "") else "refused")
                if _link(each.path, target):
                    folders.add(target.parent)
                if reason is None:
                    self._insert(connection, each, target)
                elif reason:
                    self._set_aside(connection, each, target, reason)
                added.append(is_new)
            for folder in folders:
                _flush(folder)
        for each in received:
            if not each.path.is_relative_to(self.folder / "objects"):
                each.path.unlink(missing_ok=True)
        return added

    def _target(self, each: Received, kind: str) -> Path:
        return self.folder / kind / (each.sha256[:2] if kind == "objects" else "") / f"{each.sha256}.dcm"

    def _conflict(self, connection: Connection, each: Received) -> str | None:
        """None: new; empty: the same is there; else why it is set aside."""
        known = connection.execute(select(objects.c.sha256).where(objects.c.sop_uid == each.sop_uid)).scalar()
        if known is not None:
            return "" if known == each.sha256 else OTHER_CONTENT
        row = connection.execute(select(studies.c.patient_id, studies.c.patient_name).where(studies.c.study_uid == each.study_uid)).first()
        if row is None or _same_patient((row.patient_id, row.patient_name), _patient(each)):
            return None
        connection.execute(update(studies).where(studies.c.study_uid == each.study_uid).values(aside=TWO_PATIENTS))
        return TWO_PATIENTS

    def _insert(self, connection: Connection, each: Received, target: Path) -> None:
        found = connection.execute(objects.insert().values(
            sop_uid=each.sop_uid, class_uid=each.class_uid, series_uid=each.series_uid, study_uid=each.study_uid, syntax=each.syntax,
            number=_text(each.header.get("InstanceNumber")), sha256=each.sha256, size=each.size, path=self.place(target), header=to_text(each.header),
            at=each.at,
        ))
        arrival = int(found.inserted_primary_key[0]) if found.inserted_primary_key else 0
        if connection.execute(select(studies.c.study_uid).where(studies.c.study_uid == each.study_uid)).first() is None:
            connection.execute(studies.insert().values(study_uid=each.study_uid, first=each.at, **_columns(STUDY, each)))
        changed = connection.execute(update(series).where(series.c.series_uid == each.series_uid).values(
            last=func.max(series.c.last, each.at) if self.sqlite else func.greatest(series.c.last, each.at), instances=series.c.instances + 1, upto=arrival))
        if not changed.rowcount:
            connection.execute(series.insert().values(
                series_uid=each.series_uid, study_uid=each.study_uid, first=each.at, last=each.at, instances=1, upto=arrival, called_ae=each.called_ae,
                calling_ae=each.calling_ae, **_columns(SERIES, each)))

    def _set_aside(self, connection: Connection, each: Received, target: Path, reason: str) -> None:
        self._note(connection, self.place(target), each.sha256, "conflict", reason, each.sop_uid, each.study_uid, each.calling_ae, each.at)

    def _note(self, connection: Connection, place: str, sha256: str, code: str, reason: str, sop_uid: str, study_uid: str, calling_ae: str, at: float) -> None:
        if connection.execute(select(refused.c.id).where(refused.c.sha256 == sha256)).first() is None:
            connection.execute(refused.insert().values(path=place, sha256=sha256, code=code, reason=reason, sop_uid=sop_uid, study_uid=study_uid,
                                                       calling_ae=calling_ae, at=at))

    def refuse(self, path: Path, sha256: str, code: str, reason: str, *, sop_uid: str = "", calling_ae: str = "", at: float | None = None) -> Path:
        """Set a file aside in ``refused/`` with its reason; the same content again is noted once. Returns where it lies."""
        target = self.folder / "refused" / f"{sha256}.dcm"
        with self.write() as connection:
            if _link(path, target):
                _flush(target.parent)
            self._note(connection, self.place(target), sha256, code, reason, sop_uid, "", calling_ae, time.time() if at is None else at)
        path.unlink(missing_ok=True)
        return target

    def refused(self, limit: int = 200, offset: int = 0) -> list[dict[str, Any]]:
        """What was set aside, the newest first: id, path, code, reason, sop_uid, study_uid, calling_ae, at."""
        with self.read() as connection:
            rows = connection.execute(select(refused).order_by(refused.c.id.desc()).limit(limit).offset(offset))
            return [dict(row._mapping) | {"path": self.at(row.path)} for row in rows]

    def readmit(self, study_uid: str) -> None:
        """A person has looked at a study that was set aside: its series are read again."""
        with self.write() as connection:
            connection.execute(update(studies).where(studies.c.study_uid == study_uid).values(aside=None))
            connection.execute(update(series).where(series.c.study_uid == study_uid).values(judged=0))

    def series_row(self, series_uid: str) -> SeriesRow:
        """One series; `Missing` when there is none of that UID."""
        rows = self._series(series.c.series_uid == series_uid)
        if not rows:
            raise Missing("there is no series of that UID", expected="a SeriesInstanceUID of this site")
        return rows[0]

    def list_series(self, *, study_uid: str | None = None, modality: str | None = None, unjudged: bool = False, limit: int = 10_000) -> list[SeriesRow]:
        """Series, the oldest first. unjudged: only those with instances that no route was asked about, of studies that are not set aside."""
        wanted = [series.c.study_uid == study_uid] if study_uid else []
        wanted += [series.c.modality == modality] if modality else []
        wanted += [series.c.upto > series.c.judged, studies.c.aside.is_(None)] if unjudged else []
        return self._series(*wanted, limit=limit)

    def _series(self, *wanted: Any, limit: int = 1) -> list[SeriesRow]:
        names = [name for name in SeriesRow.__dataclass_fields__ if name != "aside"]
        columns = [series.c[name] for name in names] + [studies.c.aside]
        with self.read() as connection:
            found = connection.execute(select(*columns).join(studies, studies.c.study_uid == series.c.study_uid).where(*wanted)
                                       .order_by(series.c.first, series.c.series_uid).limit(limit))
            return [SeriesRow(**row._mapping) for row in found]

    def judged(self, series_uid: str, upto: int) -> None:
        """The routes were asked about this series with its instances up to ``upto``."""
        with self.write() as connection:
            connection.execute(update(series).where(series.c.series_uid == series_uid).values(judged=upto))

    def files_of(self, series_uid: str, upto: int | None = None) -> list[Path]:
        """The files of a series in the order of arrival; ``upto``: only those that had arrived then."""
        wanted = [objects.c.series_uid == series_uid] + ([objects.c.arrival <= upto] if upto is not None else [])
        with self.read() as connection:
            return [self.at(place) for (place,) in connection.execute(select(objects.c.path).where(*wanted).order_by(objects.c.arrival))]

    def object_row(self, sop_uid: str) -> ObjectRow:
        """One instance; `Missing` when there is none of that UID."""
        with self.read() as connection:
            row = connection.execute(select(objects).where(objects.c.sop_uid == sop_uid)).first()
        if row is None:
            raise Missing("there is no instance of that UID", expected="a SOPInstanceUID of this site")
        kept = {name: getattr(row, name) for name in ObjectRow.__dataclass_fields__ if name not in ("path", "header")}
        return ObjectRow(**kept, path=self.at(row.path), header=json.loads(row.header))

    def have(self, sop_uids: Iterable[str]) -> set[str]:
        """Those of the given instances that are in the store."""
        asked, found = list(sop_uids), set()
        with self.read() as connection:
            for start in range(0, len(asked), 500):
                found |= set(connection.execute(select(objects.c.sop_uid).where(objects.c.sop_uid.in_(asked[start:start + 500]))).scalars())
        return found

    def find(self, level: str, query: dict[str, Any], limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """Studies, series or instances that match, for QIDO-RS and C-FIND (PS3.4 C.2.2.2: single value, list of UIDs, wildcards, range of dates, universal).

        Parameters
        ----------
        level: ``"study"``, ``"series"`` or ``"instance"``. query: attributes by keyword; a value may be text (``*`` and ``?`` in names and descriptions,
            ``A-B`` for dates) or a list of UIDs; an empty value matches everything. limit, offset: which part of the answers, ordered by time of arrival.

        Each answer has the attributes of its level and those above, by keyword, and the counts of PS3.18 10.6.

        Raises
        ------
        OptionError: an unknown level, or an attribute that is not matched on at this level.
        """
        if level not in LEVELS:
            raise OptionError(f"unknown level '{level}'", expected=f"one of {', '.join(LEVELS)}")
        with self.read() as connection:
            rows = connection.execute(statement(level, query).limit(limit).offset(offset)).all()
            return answer(connection, level, rows)


def _columns(names: dict[str, str], each: Received) -> dict[str, str]:
    return {column: _text(each.header.get(keyword)) for column, keyword in names.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return "\\".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value).strip()


def _patient(each: Received) -> tuple[str, str]:
    return _text(each.header.get("PatientID")), _text(each.header.get("PatientName"))


def _same_patient(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """By PatientID; where one of the two has none, by name. Spelling of a name may change between devices, an ID does not."""
    if one[0] and other[0]:
        return one[0] == other[0]
    return not (one[1] and other[1]) or one[1].casefold() == other[1].casefold()


def _link(path: Path, target: Path) -> bool:
    """The file gets a second name (it has its first until the row is written); False when the target is there. A crash can repeat this."""
    if target.exists():
        return False
    with telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise Missing("a received file is no longer there", where=path.name) from error
    return True


def _flush(folder: Path) -> None:
    """The entries of the folder, and its own entry above, are on the disk when this returns; file systems that cannot flush a folder (EINVAL) are let be."""
    for each in (folder, folder.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(handle)
