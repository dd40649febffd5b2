"""What lies beside YOLO's text files: names of classes, the official split, lists of images."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it ships no types

from vesalius.errors import FormatError, LabelError
from vesalius.formats.given import Given
from vesalius.formats.layouts._boxed import nearest
from vesalius.formats.layouts.class_folders import SPLITS, split_of
from vesalius.formats.matching import stem

CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "class_names.txt", "predefined_classes.txt", "labels.names")
NOT_LABELS = frozenset({"classes", "class_names", "predefined_classes", "readme", "license", "licence", "requirements", "notes", *SPLITS, "trainval"})
"""Text files that mark no image."""


@dataclass(frozen=True)
class Described:
    """What the files say; ``listed`` are images that a list of the split names, ``lost`` those of such lists that are not there."""

    names: tuple[str, ...] = ()
    splits: dict[str, str] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: str = ""


def described(given: Given) -> Described:
    """Read ``data.yaml`` (any YAML file with ``names``), else ``classes.txt`` or ``obj.names``, and lists such as ``train.txt``.

    Raises
    ------
    FormatError: the YAML file is damaged. LabelError: two files name the classes differently.
    """
    file, facts = _yaml(given)
    names, source = (_names(facts, file), file) if facts else _listed_names(given)
    wanted = {split: facts[key] for key in ("train", "val", "valid", "test") if facts.get(key) and (split := split_of(key))} if facts else {}
    if not facts:
        wanted = {str(split_of(stem(name))): name for name in given.tree.files if "/" not in name and name.endswith(".txt") and split_of(stem(name))}
    splits, listed, lost, notes = _splits(given, file.rpartition("/")[0], str((facts or {}).get("path") or ""), wanted)
    return Described(names, splits, listed, lost, notes, f"the classes are named in {source}" if names else "")


def _yaml(given: Given) -> tuple[str, dict[str, Any]]:
    """The YAML file that names classes, and what it says; nothing where there is none."""
    for name in given.tree.files:
        if name.lower().endswith((".yaml", ".yml")) and name.count("/") <= 1:
            try:
                facts = yaml.safe_load(Path(given.tree.path(name)).read_text("utf-8-sig"))
            except (yaml.YAMLError, ValueError) as error:
                raise FormatError("the YAML file cannot be read", where=given.tree.path(name), expected="names, train, val and test", got=type(error).__name__,
                                  do="repair it") from error
            if isinstance(facts, dict) and isinstance(facts.get("names"), (list, dict)):
                return name, facts
    return "", {}


def _names(facts: Mapping[str, Any], file: str) -> tuple[str, ...]:
    """``names`` as a list or as number to name; numbers that are left out get the name that they have."""
    names = facts["names"]
    if isinstance(names, list):
        return tuple(str(name).strip() for name in names)
    try:
        numbered = {int(number): str(name).strip() for number, name in names.items()}
    except (TypeError, ValueError) as error:
        raise FormatError("the names of the classes cannot be understood", where=file, expected="a list, or number: name", got=str(names)[:60],
                          do="correct it") from error
    return tuple(numbered.get(k, f"class {k}") for k in range(max(numbered, default=-1) + 1))


def _listed_names(given: Given) -> tuple[tuple[str, ...], str]:
    """A name a line; the file may lie beside the text files of every part of the split."""
    files = [name for name in given.tree.files if name.rsplit("/", 1)[-1].lower() in CLASS_FILES or name.lower().endswith(".names")]
    held = {name: tuple(line.strip() for line in Path(given.tree.path(name)).read_text("utf-8-sig").splitlines() if line.strip()) for name in files}
    if len(set(held.values())) > 1:
        raise LabelError("two files name the classes differently", where=given.data, expected="one list of classes",
                         got=" and ".join(f"{name}: {', '.join(names[:6])}" for name, names in list(held.items())[:2]), do="remove one of them")
    return next(((names, name) for name, names in held.items()), ((), ""))


def _splits(given: Given, folder: str, base: str, wanted: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Images by part of the split, those that a list names, those of a list that are not there, and notes."""
    parts: dict[str, set[str]] = defaultdict(set)
    listed: list[str] = []
    lost: list[str] = []
    for split, entries in wanted.items():
        for entry in entries if isinstance(entries, list) else [entries]:
            found, gone = _named(given, _places(folder, base, str(entry)))
            listed += found if str(entry).endswith(".txt") else []
            lost += gone
            for image in found:
                parts[image].add(split)
    if any(len(held) > 1 for held in parts.values()):
        return {}, tuple(listed), tuple(lost), ("the same images are named for several parts of the split, which is none",)
    return {image: next(iter(held)) for image, held in parts.items()}, tuple(listed), tuple(lost), ()


def _places(folder: str, base: str, entry: str) -> list[str]:
    """Where an entry of the YAML file may lie, relative to the root: as it says, below ``path``, or without the leading ``..``; of a path of
    another machine its last folders."""
    plain = entry.replace("\\", "/")
    bare = plain.lstrip("./")
    above = base.replace("\\", "/").strip("/")
    ends = bare.split("/")
    tails = ["/".join(ends[-k:]) for k in (3, 2, 1) if k > 1 or split_of(ends[-1])] if plain.startswith("/") or ":" in plain else []
    tried = [posixpath.join(folder, above, plain), posixpath.join(folder, plain), posixpath.join(folder, bare), bare, posixpath.join(above, bare), *tails]
    return list(dict.fromkeys(posixpath.normpath(each) for each in tried))


def _named(given: Given, places: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images of a folder, or of a list of images; the first place that is there counts."""
    files = set(given.tree.files)
    for place in places:
        if place in files:
            return _of_list(given, place)
        start = "" if place == "." else f"{place}/"
        found = [name for name, _ in given.found.items if name.startswith(start)]
        if found:
            return found, []
    return [], []


def _of_list(given: Given, file: str) -> tuple[list[str], list[str]]:
    found, lost = [], []
    for line in Path(given.tree.path(file)).read_text("utf-8-sig").splitlines():
        cell = line.strip()
        if cell:
            image = nearest(given.index.find(cell), cell)
            found += [image] if image else []
            lost += [] if image else [f"{file}: {cell}"]
    return found, lost
