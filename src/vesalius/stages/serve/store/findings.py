"""Findings and what doctors decided about them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from vesalius.errors import OptionError
from vesalius.stages.serve.store.base import Base, to_text
from vesalius.stages.serve.store.outgoing import enter
from vesalius.stages.serve.store.rows import ACCEPTED, ACTIONS, CORRECTED, Decision, Missing
from vesalius.stages.serve.store.tables import decisions, findings, outgoing


class Findings(Base):
    """The part of the store that holds what models found and doctors decided."""

    def findings(self, state: str | None = None, text: str = "", limit: int = 200, offset: int = 0, *, patient_id: str | None = None,
                 study_uid: str | None = None, superseded: bool = False) -> list[dict[str, Any]]:
        """Findings, the most urgent first and among equals the oldest.

        Parameters
        ----------
        text: words that must all occur in patient, label, description, accession, modality, body part or model. superseded: also those whose series
            has been read again since with further instances.

        Each is the finding's document with ``state``, ``created``, ``superseded_by`` and ``folder``.
        """
        wanted = [findings.c.words.contains(word, autoescape=True) for word in text.casefold().split()]
        pairs = ((findings.c.state, state), (findings.c.patient_id, patient_id), (findings.c.study_uid, study_uid))
        wanted += [column == value for column, value in pairs if value is not None]
        wanted += [] if superseded else [findings.c.superseded_by.is_(None)]
        with self.read() as connection:
            rows = connection.execute(select(findings).where(*wanted).order_by(findings.c.urgency.desc(), findings.c.created, findings.c.id)
                                      .limit(limit).offset(offset)).all()
        return [self._told(row) for row in rows]

    def finding(self, finding_id: str) -> dict[str, Any]:
        """One finding as in `findings`, with ``decisions`` (the oldest first) and ``outgoing`` (peer, state, tries, sop_uid); `Missing` when there is none."""
        with self.read() as connection:
            row = _finding_row(connection, finding_id)
            decided = connection.execute(select(decisions).where(decisions.c.finding_id == finding_id).order_by(decisions.c.id)).all()
            sent = connection.execute(select(outgoing).where(outgoing.c.finding_id == finding_id).order_by(outgoing.c.id)).all()
        return self._told(row) | {
            "decisions": [_decision(each).__dict__ for each in decided],
            "outgoing": [{"peer": each.peer, "state": each.state, "tries": each.tries, "sop_uid": each.sop_uid} for each in sent],
        }

    def folder_of(self, finding_id: str) -> Path:
        """Where the finding's files lie; `Missing` when there is none of that id."""
        with self.read() as connection:
            return self.at(_finding_row(connection, finding_id).folder)

    def _told(self, row: Any) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(row.document)
        return document | {"id": row.id, "state": row.state, "created": row.created, "superseded_by": row.superseded_by, "folder": row.folder}

    def decide(self, finding_id: str, user: str, action: str, comment: str = "", correction: dict[str, Any] | None = None) -> Decision:
        """Record what a doctor decided; a later decision replaces the state, and every one is kept.

        Raises
        ------
        OptionError: another action than accept, correct or reject, or a correction without what is right. Missing: there is no such finding.
        """
        if action not in ACTIONS:
            raise OptionError(f"unknown action '{action}'", expected=f"one of {', '.join(ACTIONS)}")
        if (action == "correct") != (correction is not None):
            raise OptionError("a correction says what is right, and nothing else does", expected="a correction exactly with correct",
                              got=f"the action {action}")
        now = time.time()
        with self.write() as connection:
            _finding_row(connection, finding_id)
            values = {"finding_id": finding_id, "user": user, "action": action, "comment": comment, "at": now}
            made = connection.execute(decisions.insert().values(**values, correction=None if correction is None else to_text(correction)))
            connection.execute(update(findings).where(findings.c.id == finding_id).values(state=ACTIONS[action], released=0))
        return Decision(id=int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0, correction=correction, **values)  # type: ignore[arg-type]

    def decisions(self, finding_id: str) -> list[Decision]:
        """What was decided about a finding, the oldest first."""
        with self.read() as connection:
            return [_decision(row) for row in connection.execute(select(decisions).where(decisions.c.finding_id == finding_id).order_by(decisions.c.id))]

    def unreleased(self) -> list[str]:
        """Findings that a doctor accepted or corrected and whose objects are not yet on their way (a stop came in between)."""
        with self.read() as connection:
            return list(connection.execute(select(findings.c.id).where(findings.c.state.in_((ACCEPTED, CORRECTED)), findings.c.released == 0)).scalars())

    def release(self, finding_id: str, items: Sequence[tuple[str, Path, str, str]]) -> None:
        """Put a finding's objects on their way, and note that this was done, in one transaction; none is entered twice for a peer.

        items: name of the peer, file, SOPInstanceUID, SOPClassUID.
        """
        with self.write() as connection:
            _finding_row(connection, finding_id)
            enter(connection, finding_id, [(peer, self.place(path), sop, kind) for peer, path, sop, kind in items], time.time())
            connection.execute(update(findings).where(findings.c.id == finding_id).values(released=1))


def _finding_row(connection: Connection, finding_id: str) -> Any:
    row = connection.execute(select(findings).where(findings.c.id == finding_id)).first()
    if row is None:
        raise Missing("there is no finding of that id", got=finding_id[:64])
    return row


def _decision(row: Any) -> Decision:
    kept = {name: getattr(row, name) for name in Decision.__dataclass_fields__ if name != "correction"}
    return Decision(**kept, correction=None if row.correction is None else json.loads(row.correction))
