"""What was set aside has a bound: the oldest goes first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import delete, select

from vesalius.stages.serve.store.base import Base
from vesalius.stages.serve.store.tables import refused
from vesalius.storage import telling

AT_ONCE = 500


class Refusals(Base):
    """The part of the store that lets go of what was refused."""

    def bound_refused(self, most_bytes: int, most_files: int) -> tuple[int, int]:
        """Keep the newest of ``refused/`` up to so many bytes and files, and remove the rest, rows and files; how many files and bytes went.

        A file that is gone already takes its row with it. A crash in the middle leaves rows without files, which go the next time.

        Raises
        ------
        RunError: a file cannot be removed, or the database cannot be written.
        """
        with self.read() as connection:
            rows = connection.execute(select(refused.c.id, refused.c.path).order_by(refused.c.id.desc())).all()
        kept, held, gone, freed = 0, 0, [], 0
        for row in rows:
            path = self.at(row.path)
            size = _size(path)
            if size is not None and kept < most_files and held + size <= most_bytes and not freed:
                kept, held = kept + 1, held + size
                continue
            with telling(path):
                path.unlink(missing_ok=True)
            gone.append((row.id, size is not None))
            freed += size or 0
        with self.write() as connection:
            for start in range(0, len(gone), AT_ONCE):
                connection.execute(delete(refused).where(refused.c.id.in_([number for number, _ in gone[start : start + AT_ONCE]])))
        return sum(was_there for _, was_there in gone), freed


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
