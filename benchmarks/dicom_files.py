"""What becomes of every DICOM file that pydicom ships, and of any folder of others: read, or refused for which reason?

    python benchmarks/dicom_files.py [FOLDER ...] [--write docs/clinic/dicom-files.md]

A table by file: what the guard for received objects says, what the reader says. Names of files only, no folders; a refusal without a reason, or any
error that is not the package's own, ends the program with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import open_study
from vesalius.formats.dicomguard import READING, guard

HEAD = """# What becomes of DICOM files

Made by `benchmarks/dicom_files.py`: every file that the pydicom {version} wheel ships, and other files (CT, MR, SEG, SR, RTSTRUCT, ultrasound).
*Guard* is what a node or the page says of the file as a received object (strict); *reader* is what `check`, `fit` and `predict` make of it as an image,
given as `channels x (frames x) rows x columns`. Segmentations, reports and structure sets are read as findings, by readers of their own.

{counts}

| file | transfer syntax | guard | reader |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One file: its name, transfer syntax, and what guard and reader say; ``kind`` of the outcome."""

    name: str
    syntax: str
    guarded: str
    read: str
    kind: str


def shipped() -> list[Path]:
    """The DICOM files of the pydicom wheel."""
    folder = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".dcm", "") and "__" not in path.name and path.name != "README")


def below(folders: list[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in (".dcm", ".ima", ""))


def judged(path: Path) -> Row:
    """What guard and reader say of one file; their reasons without its path."""
    syntax, guarded = "", "passes"
    try:
        syntax = guard(path, READING).syntax
        told = guard(path).preamble
        guarded = f"passes; its preamble is {told}, zeroed when kept" if told else "passes"
    except FormatError as error:
        guarded = _reason(error, path)
    try:
        study = open_study(Source("dicom", str(path)))
    except FormatError as error:
        return Row(path.name, _name(syntax), guarded, _reason(error, path), "refused")
    return Row(path.name, _name(syntax), guarded, f"{' x '.join(map(str, study.image.shape))} {study.image.dtype}", "read")


def _reason(error: FormatError, path: Path) -> str:
    if error.expected is None and error.got is None:
        raise SystemExit(f"{path.name} is refused without a reason: {error}")
    return f"refused: {str(error).replace(f' ({path})', '').split('; ')[0]}".replace("|", "/")


def _name(syntax: str) -> str:
    return (UID(syntax).name.split(" (")[0].split(":")[0] if syntax else "not stated").replace("|", "/")


def table(rows: list[Row], more: list[Row]) -> str:
    """The page: shipped files one by one, of the others those that say the same together."""
    every = [*rows, *more]
    counts, suffixed = Counter(row.kind for row in every), sum(row.name.endswith(".dcm") for row in rows)
    said = (f"{len(rows)} files of the wheel ({suffixed} of them `*.dcm`) and {len(more)} others: {counts['read']} read, {counts['refused']} refused with a "
            "reason, 0 otherwise.")
    lines = [f"| {row.name} | {row.syntax} | {row.guarded} | {row.read} |" for row in (*rows, *merged(more))]
    return HEAD.format(version=pydicom.__version__, counts=said) + "\n".join(lines) + "\n"


def merged(rows: list[Row]) -> Iterator[Row]:
    """Slices of one series differ in their names alone: many rows that say the same are one."""
    seen: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        seen.setdefault((row.syntax, row.guarded, row.read), []).append(row)
    for (syntax, guarded, read), held in seen.items():
        names = ", ".join(row.name for row in held) if len(held) <= 4 else f"{held[0].name} and {len(held) - 1} others"
        yield Row(names, syntax, guarded, read, held[0].kind)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    rows, more = [judged(path) for path in shipped()], [judged(path) for path in below(given.folders)]
    text = table(rows, more)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text, encoding="utf-8")
    counts = Counter(row.kind for row in rows), Counter(row.kind for row in more)
    print(f"shipped: {len(rows)} files {dict(counts[0])}; others: {len(more)} files {dict(counts[1])}")
    sys.exit(0 if len(rows) >= 100 else 1)


if __name__ == "__main__":
    main()
