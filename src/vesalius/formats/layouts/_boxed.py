"""From boxes that a layout has gathered to a `Cohort`: which image each file means, the classes, the second label, the patients."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from vesalius.core.cohort import Cohort, MarkedBox
from vesalius.core.target import SEPARATOR, TargetSpec, text_of
from vesalius.errors import DataError, LabelError
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import Given
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts._roles import FOLDERS
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.layouts.paired_masks import patients_of
from vesalius.formats.layouts.table import beside
from vesalius.formats.matching import stem
from vesalius.formats.patients import Patients
from vesalius.formats.target_of import in_order

RISKS = ("malignant", "malignancy", "is_malignant", "cancer", "risk", "恶性", "良恶性")
"""Names of a second label that boxes may carry; its values must be 0 and 1."""
SHOWN = 8
RULED_OUT = ("class-folders", "table", "dicom-tree")
"""Readings that are wrong where files of boxes lie beside the images."""


@dataclass
class Gathered:
    """What a layout of boxes has read, by image id.

    Parameters
    ----------
    boxes: of each image that is marked; empty where it is marked and holds nothing. stated: shapes in array order.
    splits: official ones. lost: files or entries whose image is not there. classes: names in the data's own order (they may be
        more than occur); empty: those of the boxes, sorted. clinical: further facts of each image. patients: in the order of
        ``boxes``, where a table of the layout's own tells them. label_used: whether ``--label`` was understood already.
    """

    boxes: dict[str, list[MarkedBox]] = field(default_factory=dict)
    stated: dict[str, tuple[int, ...]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    classes: Sequence[str] = ()
    clinical: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    patients: Patients | None = None
    label_used: bool = False


class ByStem:
    """Images by the name of a file beside them: the same stem, in the nearest folder."""

    def __init__(self, given: Given) -> None:
        self.held: dict[str, list[str]] = defaultdict(list)
        for name, _ in given.found.items:
            self.held[stem(name.split("#", 1)[0].rsplit("/", 1)[-1])].append(name)

    def find(self, path: str) -> str | None:
        """The image that a file such as ``Annotations/x.xml`` marks; None when there is none.

        Raises
        ------
        DataError: several images have that name and lie equally near.
        """
        return nearest(self.held.get(stem(path.rsplit("/", 1)[-1]), []), path)


def nearest(names: Sequence[str], path: str) -> str | None:
    """Of several images the one whose folders agree most with those of a file; None when there is none.

    Raises
    ------
    DataError: several are equally near.
    """
    mine = PurePosixPath(path).parts[:-1]
    names = [name for name in names if not _apart(mine, PurePosixPath(name).parts[:-1])]
    names = [name for name in names if not _of_masks(name)] or names
    if len(names) < 2:
        return names[0] if names else None
    scored = sorted(((_shared(mine, PurePosixPath(name).parts[:-1]), name) for name in names), key=lambda each: each[0], reverse=True)
    if scored[0][0] == scored[1][0]:
        raise DataError("it is not certain which image is marked", where=path, expected="one image of that name", got=named(sorted(names)),
                        do="put each file of boxes beside its image, or rename the images")
    return scored[0][1]


def _apart(mine: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether the folders of both name parts of a split, and different ones: numbers often start again in each."""
    parts, others = ({split for folder in folders if (split := part_of(folder))} for folders in (mine, theirs))
    return bool(parts and others and not parts & others)


def part_of(folder: str) -> str | None:
    """The part of an official split that a folder is, also with a year.

    >>> part_of("val2017")
    'validation'
    """
    return split_of(re.sub(r"[\W_]*\d{4}$", "", folder))


def _of_masks(name: str) -> bool:
    return any(FOLDERS.get(folder.lower()) == "mask" for folder in name.split("/")[:-1])


def _shared(mine: Sequence[str], theirs: Sequence[str]) -> tuple[int, int]:
    """Folders of the same name, and how many are in between."""
    return len(set(mine) & set(theirs)), -len(set(mine) ^ set(theirs))


def whole(text: Any) -> int:
    """A side of an image as a file states it; 0 where it states none.

    >>> whole("640"), whole(None), whole("?")
    (640, 0, 0)
    """
    try:
        return int(float(text or 0))
    except (TypeError, ValueError):
        return 0


def boxes_cohort(given: Given, layout: str, gathered: Gathered, reason: str) -> Cohort:
    """The cohort of all images that are marked; ``--label`` names the classes to take.

    Raises
    ------
    DataError: no image is marked. LabelError: ``--label`` names a class that there is not.
    """
    if not gathered.boxes:
        raise DataError("no box belongs to an image that is there", where=given.data, expected="images with the names that the boxes give",
                        got=named(sorted(gathered.lost)) or "no entry", do="give the folder that holds images and boxes")
    label = None if gathered.label_used else given.options.label
    target = _target(given, gathered, reason, label)
    sources = dict(given.found.items)
    table = None if gathered.patients else beside(given, list(gathered.boxes))
    rows = [Row(name, sources[name], boxes=tuple(box for box in boxes if box.name in target.classes or label is None),
                stated=gathered.stated.get(name), split=gathered.splits.get(name), clinical=gathered.clinical.get(name, {}))
            for name, boxes in gathered.boxes.items()]
    for i, row in enumerate(rows):
        row.label = label_of(row.boxes or (), target.classes)
        if table is not None:
            row.clinical, row.split = {**table.clinical[i], **row.clinical}, row.split or table.splits[i]
    _official(rows)
    patients = gathered.patients or (table.patients if table and table.patients else patients_of(given, rows))
    return replace(cohort_of(given, layout, rows, target, patients, [*gathered.notes, *_left_out(given, gathered), *([table.note] if table else [])]),
                   lost=tuple(sorted(gathered.lost)))


def label_of(boxes: Iterable[MarkedBox], classes: Sequence[str]) -> str:
    """The classes that boxes hold, as the label of a case says them; boxes that are not judged do not count."""
    held = {box.name for box in boxes if not box.ignored}
    return SEPARATOR.join(name for name in classes if name in held)


def _target(given: Given, gathered: Gathered, reason: str, label: str | None) -> TargetSpec:
    held = {box.name for boxes in gathered.boxes.values() for box in boxes}
    names = tuple(dict.fromkeys(gathered.classes)) or tuple(in_order(held))
    if label is not None:
        names, reason = _chosen(label, names), f"{reason}; --label {label}"
    if not names:
        raise LabelError("no image has a box", where=given.data, expected="boxes in at least some images", got=f"{len(gathered.boxes)} images without any",
                         do="give the right files of boxes")
    return TargetSpec("boxes", names, "boxes", reason, risk=_risk(gathered.boxes.values()))


def _chosen(label: str, names: Sequence[str]) -> tuple[str, ...]:
    chosen = [part.strip() for part in label.split(",") if part.strip()]
    absent = [name for name in chosen if name not in names]
    if absent or not chosen:
        raise LabelError("there is no class of that name", expected=f"of {', '.join(names[:SHOWN])}", got=", ".join(absent) or f"'{label}'",
                         do="correct --label")
    return tuple(dict.fromkeys(chosen))


def _risk(held: Iterable[Sequence[MarkedBox]]) -> str:
    """The fact of the boxes that is a second label: one of `RISKS`, 0 or 1 wherever it is stated, and both of them."""
    values: dict[str, set[str]] = defaultdict(set)
    for boxes in held:
        for box in boxes:
            for name, value in box.facts.items():
                if name.lower() in RISKS:
                    values[name].add(text_of(value))
    return next((name for name in sorted(values, key=lambda name: RISKS.index(name.lower())) if values[name] == {"0", "1"}), "")


def truth_value(value: Any) -> Any:
    """0 and 1 of the many ways to write them; anything else as it is.

    >>> truth_value("1.0"), truth_value(True), truth_value("yes")
    (1, 1, 'yes')
    """
    text = text_of(value).lower()
    return int(text in ("1", "1.0", "true")) if text in ("0", "1", "0.0", "1.0", "true", "false") else value


def _official(rows: Sequence[Row]) -> None:
    """One part alone is no split."""
    if len({row.split for row in rows}) == 1:
        for row in rows:
            row.split = None


def _left_out(given: Given, gathered: Gathered) -> list[str]:
    left = [name for name, _ in given.found.items if name not in gathered.boxes]
    return [f"{len(left)} images are not marked and were left out: {named(left)}"] if left else []
