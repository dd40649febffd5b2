"""The audit trail: append-only, each row sealed with the hash of the one before, so that a change of any row shows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from sqlalchemy import select

from vesalius.stages.serve.store.base import Base, to_text
from vesalius.stages.serve.store.rows import AuditRow
from vesalius.stages.serve.store.tables import audit

FIRST = "0" * 64


class Audit(Base):
    """The part of the store that holds who did what."""

    def audit(self, user: str, action: str, subject: str, detail: str = "") -> None:
        """Append a row; it is on the disk when this returns."""
        self.audit_all([(user, action, subject, detail)])

    def audit_all(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Append rows of user, action, subject and detail in one transaction."""
        with self.write() as connection:
            last = connection.execute(select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
            n, before, made = (last.n if last else 0), (last.hash if last else FIRST), []
            for user, action, subject, detail in rows:
                n += 1
                row = AuditRow(n, time.time(), user, action, subject, detail, "")
                before = seal(before, row)
                made.append({**row.__dict__, "hash": before})
            if made:
                connection.execute(audit.insert(), made)

    def audit_rows(self, after: int = 0, limit: int = 1000) -> list[AuditRow]:
        """Rows after number ``after``, the oldest first."""
        with self.read() as connection:
            rows = connection.execute(select(audit).where(audit.c.n > after).order_by(audit.c.n).limit(limit)).all()
        return [AuditRow(**row._mapping) for row in rows]

    def audit_verify(self) -> list[int]:
        """Numbers of the rows whose hash does not fit (changed, or their predecessor is) or that are missing from the count; empty when all is well.

        Rows cut off at the end leave no gap; keep the last hash elsewhere (`audit_head`) to see that too.
        """
        broken, expected, before = [], 1, FIRST
        while rows := self.audit_rows(expected - 1):
            for row in rows:
                broken += list(range(expected, row.n))
                if row.hash != seal(before, row):
                    broken.append(row.n)
                expected, before = row.n + 1, row.hash
        return broken

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the last row; 0 and zeros when there is none."""
        with self.read() as connection:
            row = connection.execute(select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
        return (int(row.n), str(row.hash)) if row else (0, FIRST)


def seal(before: str, row: AuditRow) -> str:
    """SHA-256 over the previous hash and the row's values."""
    return hashlib.sha256((before + to_text([row.n, repr(row.at), row.user, row.action, row.subject, row.detail])).encode()).hexdigest()
