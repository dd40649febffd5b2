"""Names of files below a folder: fast (no file is opened, no `stat` per file), safe against loops of links."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vesalius.errors import DataError
from vesalius.formats.base import suffix_format

SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "__pycache__", "$recycle.bin", "system volume information"})
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx")



@dataclass(frozen=True)
class Tree:
    """Files below ``root`` as relative posix paths, sorted; hidden and system files are left out."""

    root: str
    files: tuple[str, ...]

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """For each file the format that its name stands for; ``"?"`` when its name says nothing, ``""`` when it is no image."""
        return tuple(_by_name(name) for name in self.files)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files whose names stand for an image, or say nothing (DICOM files are often stored without a suffix)."""
        return tuple(name for name, kind in zip(self.files, self.formats, strict=True) if kind)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """CSV, TSV, Parquet and XLSX files directly in the root."""
        return tuple(name for name in self.files if "/" not in name and name.lower().endswith(TABLE_SUFFIXES))

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)


def _by_name(name: str) -> str:
    known = suffix_format(name)
    if known:
        return known
    suffix = os.path.splitext(name)[1].lower()
    if suffix and not suffix[1:].isdigit():
        return ""
    return "?"


def walk(root: Path) -> Tree:
    """All files below ``root``.

    Raises
    ------
    DataError: the folder cannot be listed.
    """
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    todo = [("", str(root))]
    while todo:
        prefix, folder = todo.pop()
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        todo.extend(_list(folder, prefix, found))
    return Tree(str(root), tuple(sorted(found)))


def _list(folder: str, prefix: str, found: list[str]) -> list[tuple[str, str]]:
    """Enter the files of one folder and return its folders."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in SYSTEM_NAMES:
                    continue
                if entry.is_dir():
                    below.append((f"{prefix}{entry.name}/", entry.path))
                elif not entry.is_symlink() or os.path.exists(entry.path):
                    found.append(prefix + entry.name)
    except PermissionError as error:
        raise DataError("the folder may not be read", where=folder, got=error.strerror, do="give yourself the right to read it") from error
    return below
