"""The connection: SQLite with a write-ahead log and full flushes, or any database that SQLAlchemy speaks, by URL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from vesalius.errors import RunError
from vesalius.stages.serve.store.tables import APPEND_ONLY, APPEND_ONLY_POSTGRES, HAS_TRIGGER, META, SCHEMA, about
from vesalius.storage import plain, telling

BUSY_MS = 30_000
ADVISORY_LOCK = 0x7665_7361
"""PostgreSQL: writers of several services on one database take turns, as those of SQLite do."""


def to_text(document: Any) -> str:
    """Compact JSON, non-ASCII kept."""
    return json.dumps(plain(document), ensure_ascii=False, separators=(",", ":"))


class Base:
    """An engine, a folder, and two kinds of transaction; safe to use from many threads.

    Raises
    ------
    RunError: the folder cannot be written, the database cannot be opened, or it is of another schema.
    """

    def __init__(self, url: str, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.sqlite = url.startswith("sqlite")
        self._lock = threading.RLock()
        for name in ("inbox", "objects", "refused", "results", "truth", "log"):
            with telling(self.folder / name):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._shown = url.split("@")[-1]
        self.engine = self._engine(url)
        try:
            self._make()
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise RunError("the database cannot be opened", where=self._shown, got=str(getattr(error, "orig", error))[:200],
                           do="look at the URL and the permissions") from error

    def _engine(self, url: str) -> Engine:
        engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000} if self.sqlite else {}, pool_size=16, max_overflow=16)
        if self.sqlite:
            event.listen(engine, "connect", _pragmas)
            event.listen(engine, "begin", _begin)
        return engine

    def _make(self) -> None:
        with self.write() as connection:
            META.create_all(connection)
            found = connection.execute(select(about.c.value).where(about.c.key == "schema")).scalar()
            if found is None:
                connection.execute(about.insert().values(key="schema", value=str(SCHEMA)))
            for statement in self._append_only(connection):
                connection.exec_driver_sql(statement)
        if found not in (None, str(SCHEMA)):
            self.engine.dispose()
            raise RunError("the database is of another schema", where=self._shown, expected=SCHEMA, got=found, do="use the version that made it")

    def _append_only(self, connection: Connection) -> tuple[str, ...]:
        """What makes the database refuse to change a row of the audit trail."""
        if self.sqlite:
            return APPEND_ONLY
        is_postgres = self.engine.dialect.name == "postgresql"
        return APPEND_ONLY_POSTGRES if is_postgres and not connection.exec_driver_sql(HAS_TRIGGER).first() else ()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block ends, or not there at all; writers take turns.

        Raises
        ------
        RunError: the disk is full, or the database is locked by another program for longer than half a minute.
        """
        with self._lock:
            try:
                with self.engine.connect().execution_options(vesalius_write=True) as connection, connection.begin():
                    if not self.sqlite and self.engine.dialect.name == "postgresql":
                        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
                    yield connection
            except OperationalError as error:
                raise RunError("the database could not be written", where=self._shown, got=str(error.orig)[:200],
                               do="look at the disk; nothing that was there is lost") from error

    def place(self, path: Path) -> str:
        """A path as it is kept: relative to the site's folder where it lies in it, so that a site can be moved."""
        try:
            return str(path.absolute().relative_to(self.folder.absolute()))
        except ValueError:
            return str(path.absolute())

    def at(self, place: str) -> Path:
        """The path of a kept place."""
        return self.folder / place

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def _pragmas(connection: Any, _record: Any) -> None:
    """The driver's own transactions are switched off, so that `_begin` decides."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: taking it in the middle could fail after half of the work."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("vesalius_write") else "BEGIN")
