"""Jobs: a series to be read by a model. A job's id follows from its content, so that the same work is never entered twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from vesalius.stages.serve.store.base import Base, to_text
from vesalius.stages.serve.store.outgoing import enter
from vesalius.stages.serve.store.rows import ASIDE, DONE, PENDING, QUEUED, REFUSED, RETRY, RUNNING, Job, Missing
from vesalius.stages.serve.store.tables import findings, jobs, objects, series, studies
from vesalius.stages.serve.store.tables import outgoing as outgoing_table

ID_LENGTH = 32


class Jobs(Base):
    """The part of the store that holds what is to be read."""

    def enqueue(self, series_uid: str, model: str, route: dict[str, Any] | None = None, *, now: float | None = None) -> str:
        """Enter a series, with the instances that are there, for a model; the id. The same content and model again give the same id and no second job.

        Raises
        ------
        Missing: there is no series of that UID.
        """
        now = time.time() if now is None else now
        with self.write() as connection:
            row = connection.execute(select(series.c.study_uid, series.c.upto).where(series.c.series_uid == series_uid)).first()
            if row is None:
                raise Missing("there is no series of that UID", expected="a SeriesInstanceUID of this site")
            job_id = self._id(connection, series_uid, model)
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is None:
                connection.execute(jobs.insert().values(
                    id=job_id, series_uid=series_uid, study_uid=row.study_uid, model=model, route=to_text(route or {}), upto=row.upto, state=QUEUED, tries=0,
                    at=now, created=now))
        return job_id

    def _id(self, connection: Connection, series_uid: str, model: str) -> str:
        uids = connection.execute(select(objects.c.sop_uid).where(objects.c.series_uid == series_uid).order_by(objects.c.sop_uid)).scalars()
        return hashlib.sha256("\n".join([model, series_uid, *uids]).encode()).hexdigest()[:ID_LENGTH]

    def claim(self, now: float | None = None, models: Sequence[str] | None = None) -> Job | None:
        """Take the job that has waited longest and make it running; None when none is due. Jobs of studies that are set aside wait."""
        now = time.time() if now is None else now
        due = or_(jobs.c.state == QUEUED, and_(jobs.c.state == RETRY, jobs.c.at <= now))
        wanted = [due, studies.c.aside.is_(None)] + ([jobs.c.model.in_(list(models))] if models is not None else [])
        with self.write() as connection:
            row = connection.execute(select(jobs).join(studies, studies.c.study_uid == jobs.c.study_uid).where(*wanted)
                                     .order_by(jobs.c.created, jobs.c.id).limit(1)).first()
            if row is None:
                return None
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(state=RUNNING, at=now))
        return _job(row, RUNNING)

    def finish(self, job_id: str, finding: dict[str, Any], folder: Path | str, outgoing: Sequence[tuple[str, Path, str, str]] = ()) -> None:
        """The job is done: its finding, and what is to be sent at once, become visible in one transaction; again for the same job it changes nothing.

        Parameters
        ----------
        finding: the document (docs: THE FINDING). folder: where its files lie. outgoing: name of the peer, file, SOPInstanceUID and SOPClassUID.
        """
        now = time.time()
        with self.write() as connection:
            job = self._job_row(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=DONE, error=None, at=now))
            if connection.execute(select(findings.c.id).where(findings.c.id == job_id)).first() is not None:
                return
            later = connection.execute(
                select(jobs.c.id).join(findings, findings.c.id == jobs.c.id)
                .where(jobs.c.series_uid == job.series_uid, jobs.c.model == job.model, jobs.c.upto > job.upto).order_by(jobs.c.upto.desc()).limit(1)).scalar()
            earlier = select(jobs.c.id).where(jobs.c.series_uid == job.series_uid, jobs.c.model == job.model, jobs.c.upto < job.upto)
            connection.execute(update(findings).where(findings.c.id.in_(earlier), findings.c.superseded_by.is_(None)).values(superseded_by=job_id))
            connection.execute(findings.insert().values(**_row(finding), id=job_id, study_uid=job.study_uid, series_uid=job.series_uid, model=job.model,
                                                        folder=self.place(Path(folder)), superseded_by=later, released=int(bool(outgoing)), created=now))
            enter(connection, job_id, [(peer, self.place(path), sop, kind) for peer, path, sop, kind in outgoing], now)

    def retry(self, job_id: str, error: str, at: float) -> int:
        """The job failed and is tried again at ``at`` (seconds since 1970); how often it has failed."""
        with self.write() as connection:
            tries = int(self._job_row(connection, job_id).tries) + 1
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=RETRY, tries=tries, error=error, at=at))
        return tries

    def postpone(self, job_id: str, at: float) -> None:
        """The job could not be begun (its model was busy): it is due again at ``at``, and this is not counted as a failure."""
        with self.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=RETRY, at=at))

    def set_aside(self, job_id: str, error: str) -> None:
        """The job is not tried again until a person enters it anew by `again`."""
        with self.write() as connection:
            self._job_row(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=ASIDE, error=error, at=time.time()))

    def again(self, job_id: str) -> None:
        """A person enters a job that was set aside anew."""
        with self.write() as connection:
            self._job_row(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state == ASIDE).values(state=QUEUED, tries=0, error=None, at=time.time()))

    def recover(self) -> int:
        """After a stop of any kind: jobs that were running are queued again; how many."""
        with self.write() as connection:
            return connection.execute(update(jobs).where(jobs.c.state == RUNNING).values(state=QUEUED)).rowcount

    def job(self, job_id: str) -> Job:
        """One job; `Missing` when there is none of that id."""
        with self.read() as connection:
            row = self._job_row(connection, job_id)
        return _job(row, row.state)

    def jobs(self, state: str | None = None, limit: int = 200, offset: int = 0) -> list[Job]:
        """Jobs, the oldest first."""
        wanted = [jobs.c.state == state] if state else []
        with self.read() as connection:
            rows = connection.execute(select(jobs).where(*wanted).order_by(jobs.c.created, jobs.c.id).limit(limit).offset(offset)).all()
        return [_job(row, row.state) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many jobs, findings and outgoing objects are in which state, for the metrics."""
        from_tables = {"jobs": jobs, "findings": findings, "outgoing": outgoing_table}
        with self.read() as connection:
            return {name: {str(row[0]): int(row[1]) for row in connection.execute(select(table.c.state, func.count()).group_by(table.c.state))}
                    for name, table in from_tables.items()}

    def _job_row(self, connection: Connection, job_id: str) -> Any:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        if row is None:
            raise Missing("there is no job of that id", got=job_id[:64])
        return row


def _job(row: Any, state: str) -> Job:
    names = [name for name in Job.__dataclass_fields__ if name not in ("route", "state")]
    return Job(**{name: getattr(row, name) for name in names}, route=json.loads(row.route), state=state)


def _row(finding: dict[str, Any]) -> dict[str, Any]:
    """The columns that are searched, out of the document."""
    patient = finding.get("patient") or {}
    words = [patient.get("name"), patient.get("id"), finding.get("label"), finding.get("description"), finding.get("accession"), finding.get("modality"),
             finding.get("body_part"), (finding.get("model") or {}).get("name")]
    return {"patient_id": str(patient.get("id") or ""), "state": REFUSED if finding.get("refused") and not finding.get("forced") else PENDING,
            "urgency": float(finding.get("urgency") or 0), "words": " ".join(str(word) for word in words if word).casefold(), "document": to_text(finding)}
