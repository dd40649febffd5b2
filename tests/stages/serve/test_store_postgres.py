"""The same promises on PostgreSQL: the tests of the store that need no SQLite, on a server that this module starts."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from stages.serve import test_serve_store as shared
from vesalius.stages.serve.store import Store

pytest.importorskip("pg8000", reason="the PostgreSQL driver pg8000 is not installed")
NUMBERS = itertools.count()
ONLY_SQLITE = {"test_sqlite_is_flushed_fully_and_opened_again_as_it_was", "test_a_database_that_is_none_is_told", "test_the_audit_trail_shows_every_change"}
globals().update({name: test for name, test in vars(shared).items() if name.startswith("test_") and name not in ONLY_SQLITE})


def programs() -> Path:
    """The folder of initdb and postgres."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    if not places and found is None:
        pytest.skip("PostgreSQL is not installed")
    return places[-1] if places else Path(str(found)).parent


def plain_user() -> tuple[dict[str, Any], str]:
    """How to start a program that root may not start, and under which name."""
    if os.getuid() != 0:
        return {}, pwd.getpwuid(os.getuid()).pw_name
    try:
        return {"user": pwd.getpwnam("postgres").pw_uid, "group": pwd.getpwnam("postgres").pw_gid}, "postgres"
    except KeyError:
        pytest.skip("PostgreSQL does not start as root, and there is no user 'postgres'")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server in a folder of its own, without the name of a database."""
    here, (as_user, name) = programs(), plain_user()
    folder = Path(tempfile.mkdtemp(prefix="vesalius-pg-"))
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    words = [str(here / "initdb"), "-D", str(folder / "data"), "-U", name, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(words, check=True, capture_output=True, cwd=folder, **as_user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    control = [str(here / "pg_ctl"), "-D", str(folder / "data"), "-w", "-t", "60"]
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
    yield f"postgresql+pg8000://{name}@127.0.0.1:{port}"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
    shutil.rmtree(folder)


@pytest.fixture
def store(server: str, tmp_path: Path) -> Iterator[Store]:
    """A store in a database of its own."""
    from sqlalchemy import create_engine

    name = f"site{next(NUMBERS)}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    made = Store(f"{server}/{name}", tmp_path)
    yield made
    made.close()


def test_the_audit_trail_is_append_only_here_too(store: Store, tmp_path: Path) -> None:
    for n in range(3):
        store.audit("dr", "view", f"finding {n}")
    for statement in ("UPDATE audit SET subject = 'x' WHERE n = 2", "DELETE FROM audit WHERE n = 2", "TRUNCATE audit"):
        with pytest.raises(DatabaseError, match="append-only"), store.write() as connection:
            connection.execute(text(statement))
    again = Store(store.engine.url.render_as_string(hide_password=False), tmp_path)
    again.audit("dr", "view", "finding 3")
    again.close()
    assert store.audit_verify() == [] and [row.subject for row in store.audit_rows()] == [f"finding {n}" for n in range(4)]
    with store.write() as connection:
        connection.execute(text("DROP TRIGGER audit_append_only ON audit"))
        connection.execute(text("UPDATE audit SET subject = 'x' WHERE n = 2"))
    assert store.audit_verify() == [2]
