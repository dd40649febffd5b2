"""The outbox: objects on their way to peers. The row is written before the first attempt and changed after each, so that a stop loses none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from sqlalchemy import Connection, select, update

from vesalius.errors import FormatError
from vesalius.stages.serve.store.base import Base
from vesalius.stages.serve.store.rows import COMMITTED, FAILED, SENT, WAITING, Outgoing
from vesalius.stages.serve.store.tables import objects, outgoing


class Outbox(Base):
    """The part of the store that holds what is to be sent."""

    def post(self, finding_id: str, peer: str, paths: Iterable[Path | str]) -> list[int]:
        """Enter DICOM files for a peer; their ids. One that was entered before (same peer and SOPInstanceUID) is not entered again.

        Raises
        ------
        FormatError: a file is no DICOM object.
        """
        items = [(peer, self.place(Path(path)), *identity_of(Path(path))) for path in paths]
        with self.write() as connection:
            return enter(connection, finding_id, items, time.time())

    def due(self, now: float | None = None, limit: int = 64, peer: str | None = None) -> list[Outgoing]:
        """What is to be sent now, the oldest first."""
        wanted = [outgoing.c.state == WAITING, outgoing.c.at <= (time.time() if now is None else now)]
        wanted += [outgoing.c.peer == peer] if peer is not None else []
        return self._outgoing(*wanted, limit=limit)

    def sent(self, item_id: int) -> None:
        """The peer has taken it."""
        self._change(item_id, state=SENT, error=None, at=time.time())

    def failed(self, item_id: int, error: str, next_at: float | None) -> int:
        """The peer has not taken it; it is tried again at ``next_at``, or never when None. How often it has failed."""
        with self.write() as connection:
            tries = int(connection.execute(select(outgoing.c.tries).where(outgoing.c.id == item_id)).scalar() or 0) + 1
            state = FAILED if next_at is None else WAITING
            connection.execute(update(outgoing).where(outgoing.c.id == item_id).values(
                state=state, tries=tries, error=error, at=time.time() if next_at is None else next_at))
        return tries

    def _change(self, item_id: int, **values: object) -> None:
        with self.write() as connection:
            connection.execute(update(outgoing).where(outgoing.c.id == item_id).values(**values))

    def uncommitted(self, peer: str, before: float, limit: int = 512) -> list[Outgoing]:
        """What was sent to a peer before that time and has not been committed by it."""
        return self._outgoing(outgoing.c.state == SENT, outgoing.c.peer == peer, outgoing.c.at <= before, limit=limit)

    def committed(self, sop_uids: Iterable[str], peer: str | None = None) -> None:
        """The peer (any when None) has taken responsibility for these instances (PS3.4 annex J)."""
        wanted = [outgoing.c.sop_uid.in_(list(sop_uids)), outgoing.c.state == SENT] + ([outgoing.c.peer == peer] if peer is not None else [])
        with self.write() as connection:
            connection.execute(update(outgoing).where(*wanted).values(state=COMMITTED, at=time.time()))

    def resend(self, sop_uids: Iterable[str], peer: str) -> None:
        """The peer says that it does not have these, although it took them: they are sent again."""
        wanted = [outgoing.c.sop_uid.in_(list(sop_uids)), outgoing.c.peer == peer, outgoing.c.state.in_((SENT, COMMITTED))]
        with self.write() as connection:
            connection.execute(update(outgoing).where(*wanted).values(state=WAITING, at=time.time()))

    def ours(self, series_uid: str) -> bool:
        """Whether a series holds an object that this site has made and sent (a PACS may send it back): it is then not read."""
        with self.read() as connection:
            return connection.execute(select(outgoing.c.id).join(objects, objects.c.sop_uid == outgoing.c.sop_uid)
                                      .where(objects.c.series_uid == series_uid).limit(1)).first() is not None

    def outgoing(self, state: str | None = None, limit: int = 1000) -> list[Outgoing]:
        """Everything that was entered, the oldest first."""
        return self._outgoing(*([outgoing.c.state == state] if state else []), limit=limit)

    def _outgoing(self, *wanted: object, limit: int) -> list[Outgoing]:
        with self.read() as connection:
            rows = connection.execute(select(outgoing).where(*wanted).order_by(outgoing.c.id).limit(limit)).all()  # type: ignore[arg-type]
        return [Outgoing(**{**dict(row._mapping), "path": self.at(row.path)}) for row in rows]


def enter(connection: Connection, finding_id: str, items: Sequence[tuple[str, str, str, str]], now: float) -> list[int]:
    """Rows for peer, place, SOPInstanceUID and SOPClassUID that are not there yet; the ids of all."""
    ids = []
    for peer, place, sop_uid, class_uid in items:
        known = connection.execute(select(outgoing.c.id).where(outgoing.c.peer == peer, outgoing.c.sop_uid == sop_uid)).scalar()
        if known is None:
            made = connection.execute(outgoing.insert().values(finding_id=finding_id, peer=peer, path=place, sop_uid=sop_uid, class_uid=class_uid,
                                                               state=WAITING, tries=0, at=now))
            known = made.inserted_primary_key[0] if made.inserted_primary_key else 0
        ids.append(int(known))
    return ids


def identity_of(path: Path) -> tuple[str, str]:
    """SOPInstanceUID and SOPClassUID of a DICOM file; `FormatError` when it has none."""
    try:
        item = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SOPClassUID"])
        return str(item.SOPInstanceUID), str(item.SOPClassUID)
    except (OSError, InvalidDicomError, AttributeError) as error:
        raise FormatError("this is no DICOM object that can be sent", where=path.name, got=type(error).__name__) from error
