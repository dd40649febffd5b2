"""Which images a file or folder holds: the files of a DICOM series are one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesalius.core.cohort import Source
from vesalius.errors import DataError, FormatError
from vesalius.formats.array import image_key, layout_of, shapes_in
from vesalius.formats.base import FORMATS
from vesalius.formats.dicomseries import Group, Instance, group_series
from vesalius.formats.opening import format_of, header
from vesalius.formats.walk import Tree, walk

PARTS = ("train", "val", "test")
SAMPLED = 48
"""How many files of a format are looked into to learn whether they hold pictures or volumes."""


@dataclass(frozen=True)
class Found:
    """Images with their ids (relative posix paths), what was left out by suffix, and DICOM facts by id.

    ``instances``: the slices of each DICOM series, by its id. ``whole``: where the images are slices, for each the id of the image that it is part of.
    """

    items: tuple[tuple[str, Source], ...]
    skipped: tuple[tuple[str, int], ...]
    dicom: dict[str, dict[str, Any]]
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)

    def skipped_note(self) -> str | None:
        """A sentence on files that are no images, or None."""
        if not self.skipped:
            return None
        return f"{sum(n for _, n in self.skipped)} files are no images and were left out ({', '.join(f'{n} {kind}' for kind, n in self.skipped[:6])})"


def find(tree: Tree) -> Found:
    """All images of a listed folder, sorted by id."""
    items: dict[str, Source] = {}
    dicom: list[str] = []
    skipped: Counter[str] = Counter()
    for name, kind in zip(tree.files, tree.formats, strict=True):
        if kind == "?":
            kind = "dicom" if FORMATS.get("dicom").sniff(Path(tree.path(name))) else ""
        if kind == "dicom":
            dicom.append(name)
        elif kind == "npz":
            items.update(_members(tree, name))
        elif kind:
            items[name] = Source(kind, tree.path(name))
        else:
            skipped[Path(name).suffix.lower() or "without suffix"] += 1
    groups = _enter_series(tree, dicom, items, skipped)
    return Found(tuple(sorted(items.items())), tuple(skipped.most_common()), {group.id: group.facts for group in groups},
                 {group.id: group.instances for group in groups if group.instances})


def _members(tree: Tree, name: str) -> dict[str, Source]:
    path = Path(tree.path(name))
    whole = {name: Source("npz", str(path))}
    try:
        return whole if len(shapes_in(path)) == 1 else {f"{name}#{source.member}": source for source in npz_members(path)}
    except DataError:  # it stays in the list, so that opening it tells what is wrong
        return whole


def _enter_series(tree: Tree, names: list[str], items: dict[str, Source], skipped: Counter[str]) -> list[Group]:
    groups, no_images = group_series(tree, names)
    if no_images:
        skipped["DICOM without image"] += no_images
    for group in groups:
        items[group.id] = group.source
    return groups


def npz_members(path: Path) -> list[Source]:
    """Every image of an npz, in the order train, val, test and of their rows.

    Raises
    ------
    DataError: it has no array of images.
    """
    shapes = shapes_in(path)
    parts = [part for part in (*PARTS, "images", "x", "X", "data") if (key := image_key(list(shapes), part)) and layout_of(shapes[key][0][1:])]
    if not parts:
        held = ", ".join(f"{name} {shape}" for name, (shape, _) in list(shapes.items())[:8]) or "no array"
        raise DataError("the npz has no images", where=path, expected="arrays such as train_images, val_images, test_images", got=held, do="rename its arrays")
    counts = {part: shapes[str(image_key(list(shapes), part))][0][0] for part in parts}
    return [Source("npz", str(path), f"{part}:{row}") for part in parts for row in range(counts[part])]


def find_sources(path: str | Path) -> list[Source]:
    """The images to predict: of a file, of a folder and all below it (a DICOM series is one), or of an npz.

    Raises
    ------
    DataError: there is nothing of that name, or no image in it.
    FormatError: one file was given and it is no image.
    """
    where = Path(path)
    if not where.exists():
        raise DataError("there is nothing of that name", where=where, expected="an image, a folder or an npz", do="check the path")
    if where.is_file():
        return _of_file(where)
    found = find(walk(where))
    if not found.items:
        raise DataError("the folder has no images", where=where, expected="PNG, JPEG, TIFF, NIfTI, DICOM, NRRD or NumPy files",
                        got=_kinds(found), do="give the folder that holds the images")
    return [source for _, source in found.items]


def _of_file(path: Path) -> list[Source]:
    kind = format_of(path)
    if kind == "npz" and len(shapes_in(path)) > 1:
        return npz_members(path)
    return [Source(kind, str(path))]


def _kinds(found: Found) -> str:
    return ", ".join(f"{n} files {kind}" for kind, n in found.skipped[:4]) or "an empty folder"


def ndims(items: tuple[tuple[str, Source], ...]) -> dict[str, int]:
    """Number of spatial axes by id. Files of one suffix are sampled and taken to be alike unless the sample is mixed; unreadable ones are left out."""
    known: dict[str, int] = {}
    by_kind: dict[str, list[tuple[str, Source]]] = {}
    for name, source in items:
        if source.files:
            known[name] = 3
        elif source.format == "raster" and not name.lower().endswith(".gif"):
            known[name] = 2
        else:
            by_kind.setdefault("npz" + source.path if source.format == "npz" else source.format, []).append((name, source))
    for group in by_kind.values():
        known.update(_sampled(group))
    return known


def _sampled(group: list[tuple[str, Source]]) -> dict[str, int]:
    step = max(1, len(group) // SAMPLED)
    seen = _looked_into(group[::step])
    if len(set(seen.values())) == 1:
        return dict.fromkeys((name for name, _ in group), next(iter(seen.values())))
    return seen if step == 1 else _looked_into(group)


def _looked_into(group: list[tuple[str, Source]]) -> dict[str, int]:
    seen = {}
    for name, source in group:
        try:
            seen[name] = len(header(source)["shape"])
        except FormatError:  # told by check, which opens every image
            continue
    return seen
