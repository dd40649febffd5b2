"""De-identification of a folder: every file is looked through, cleaned, written as a whole, and entered in a ledger, so that a killed run goes on.

Nothing of what comes in names what goes out: folders and files are called after pseudonyms. What cannot be cleaned is refused and not written.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius import __version__
from vesalius.errors import DataError, OptionError, VesaliusError
from vesalius.formats.walk import walk
from vesalius.guards.deidentify import Key, Options
from vesalius.stages.deidentify.file import Written, cleaned_file
from vesalius.storage import append_line, atomic_write, telling

Progress = Callable[[int, int, str], None]
LEDGER, TABLE = "manifest.jsonl", "manifest.csv"
COLUMNS = ("in", "out", "kind", "patient", "removed", "emptied", "replaced", "uids", "cleaned", "burned_in", "refused")
LETTERS = {"X": "removed", "Z": "emptied", "D": "replaced", "U": "uids", "C": "cleaned"}


@dataclass(frozen=True)
class Done:
    """How many files were written, refused and were there already; where the ledger and the key lie."""

    written: int
    refused: int
    skipped: int
    manifest: Path
    key: Path


def deidentify(source: str | Path, out: str | Path, *, key: str | Path | None = None, options: Options | None = None,
               progress: Progress | None = None) -> Done:
    """De-identify a file or all files below a folder into ``out``.

    ``key``: the file with the secret of the pseudonyms; the same key gives the same ones. None: ``OUT.key`` beside ``out``. It is made where it is absent.
    A run that was killed goes on where it was when called again with the same key and options.

    Raises
    ------
    DataError: there is nothing to read.
    OptionError: ``out`` lies within ``source`` or the other way round, the key within ``out``, or ``out`` was begun with another key or other options.
    RunError: ``out`` cannot be written.
    """
    origin, target, options = Path(source), Path(out), options or Options()
    secret = Path(key) if key is not None else target.with_name(f"{target.name}.key")
    _apart(origin, target, secret)
    files = _files(origin)
    if not secret.exists():
        Key.new().save(secret)
    held = Key.load(secret)
    done = _ledger(target / LEDGER, _head(options, held))
    rows, skipped = list(done.values()), 0
    for number, path in enumerate(files, 1):
        digest = _digest(path)
        if digest in done and (done[digest]["refused"] or (target / done[digest]["out"]).is_file()):
            skipped += 1
        else:
            row = _one(path, digest, target, options, held)
            append_line(target / LEDGER, json.dumps(row, sort_keys=True))
            rows = [each for each in rows if each["in"] != digest] + [row]
            done[digest] = row
        if progress is not None:
            progress(number, len(files), "files")
    atomic_write(target / TABLE, _table(rows).encode())
    refused = sum(1 for row in rows if row["refused"])
    return Done(len(rows) - refused, refused, skipped, target / TABLE, secret)


def _apart(origin: Path, target: Path, secret: Path) -> None:
    if not origin.exists():
        raise DataError("there is nothing of that name", where=origin, expected="a file or folder", do="check the path")
    here, there = origin.resolve(), target.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise OptionError("the output lies within the input", where=target, expected="a folder apart from what it is made of", do="give another folder")
    if there in secret.resolve().parents:
        raise OptionError("the key lies within the output", where=secret, expected="a place apart from what it protects", do="give another --key")


def _files(origin: Path) -> list[Path]:
    if origin.is_file():
        return [origin]
    tree = walk(origin)
    if not tree.files:
        raise DataError("the folder is empty", where=origin, expected="DICOM files or pictures", do="give the folder that holds them")
    return [Path(tree.path(name)) for name in tree.files]


def _head(options: Options, key: Key) -> dict[str, Any]:
    private = hashlib.sha256(repr(sorted((name, sorted(held)) for name, held in options.private.items())).encode()).hexdigest()[:16]
    return {"schema": 1, "software": f"vesalius {__version__}", "profile": "PS3.15 E.1-1", "options": list(options.active), "private": private,
            "key": key.print}


def _ledger(path: Path, head: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run by the hash of what came in; a last line that was cut off counts as not written."""
    if not path.exists():
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, json.dumps(head, sort_keys=True))
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("{") and line.endswith("}")]
    if not rows or any(rows[0].get(name) != head[name] for name in ("options", "private", "key")):
        raise OptionError("the output was begun with another key or other options", where=path.parent,
                          expected=", ".join(head["options"]) or "the Basic Profile", got=", ".join(rows[0].get("options", [])) if rows else "no record",
                          do="give the same ones, or an empty folder")
    return {row["in"]: row for row in rows[1:]}


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _one(path: Path, digest: str, target: Path, options: Options, key: Key) -> dict[str, Any]:
    """The row of one file; a refusal names its reason but not the file, whose name may be a person's."""
    try:
        written = cleaned_file(path, digest, options, key)
    except VesaliusError as error:
        reason = str(VesaliusError(error.what, expected=error.expected, got=error.got))
        return _row(digest, Written("", b"", "", "", {}, []), reason)
    atomic_write(target / written.name, written.data)
    return _row(digest, written, None)


def _row(digest: str, written: Written, refused: str | None) -> dict[str, Any]:
    return {"in": digest, "out": written.name, "out_hash": hashlib.sha256(written.data).hexdigest() if written.data else "", "kind": written.kind,
            "patient": written.patient, "actions": written.actions, "burned_in": written.burned, "refused": refused}


def _table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        counts = {name: row["actions"].get(letter, 0) for letter, name in LETTERS.items()}
        boxes = "; ".join(" ".join(map(str, box)) for box in row["burned_in"])
        table.writerow({**{name: row[name] for name in ("in", "out", "kind", "patient")}, **counts, "burned_in": boxes, "refused": row["refused"] or ""})
    return text.getvalue()
