"""Class folders: the folder of an image is its label. Folders train, val and test above them are an official split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vesalius.core.cohort import Cohort
from vesalius.errors import LabelError
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.patients import KEYWORD, Patients, by_facts, by_folders, by_names, by_option
from vesalius.formats.target_of import target_of

SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "train_set", "trainset", "训练", "训练集"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "val_set", "验证", "验证集"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "test_set", "testset", "测试", "测试集"), "test"),
}
NOT_CLASSES = frozenset({
    "image", "images", "img", "imgs", "data", "dataset", "scans", "pictures", "dicom", "dicoms", "nifti", "png", "jpg", "jpegs", "mask", "masks", "label",
    "labels",
    "annotations", "annotation", "segmentation", "segmentations", "imagestr", "labelstr", "imagests", "labelsts", "ground_truth", "gt", "jpegimages", "图像",
    "影像", "图片",
})


@dataclass(frozen=True)
class Place:
    """Where the class folders begin: path parts above them and whether a split folder lies between."""

    depth: int
    split: bool


def split_of(name: str) -> str | None:
    """The official split that a folder or a table's cell stands for.

    >>> split_of("Valid"), split_of("normal")
    ('validation', None)
    """
    return SPLITS.get(name.strip().lower())


@LAYOUTS.register("class-folders")
class ClassFolders(Layout):
    """``[split/]class/[patient/]image``."""

    name = "class-folders"

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or given.options.table or given.options.label:
            return None
        place = place_of(given.tree.images)
        if place is None:
            return None
        counts = Counter(_class(each, place) for each in _inside(given))
        counts.pop(None, None)
        if not _are_classes(counts) or _are_patients(given, place):
            return None
        shown = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())[:6])
        return f"{len(counts)} folders that hold images: {shown}" + (" below folders train/val/test" if place.split else "")

    @classmethod
    def read(cls, given: Given) -> Cohort:
        place = place_of(given.tree.images)
        if place is None:
            raise LabelError("there are no class folders", where=given.data, expected="a folder a class with its images",
                             do="give a table of labels with --table")
        found = given.found
        rows = [Row(name, source, _class(each, place), _split(each, place)) for (name, source), each in zip(found.items, _inside(given), strict=True)]
        loose = sum(row.label is None for row in rows)
        notes = [found.skipped_note(), f"{loose} images lie outside the class folders and have no label" if loose else None, _label_note(given)]
        target = target_of([row.label for row in rows], name="class", kind=given.options.target, from_folders=True)
        patients = patients_of(given, _inside(given), [str(row.label or "") for row in rows], place.depth + (1 if place.split else 0) + 1)
        return cohort_of(given, cls.name, rows, target, patients, [note for note in notes if note])


def _are_patients(given: Given, place: Place) -> bool:
    """Whether DICOM files say that each folder is one patient of its own: such folders are no classes."""
    held: dict[str | None, set[str]] = {}
    for each, (id_, _) in zip(_inside(given), given.found.items, strict=True):
        held.setdefault(_class(each, place), set()).add(str(given.found.dicom.get(id_, {}).get("PatientID") or ""))
    held.pop(None, None)
    stated = [next(iter(ids)) for ids in held.values() if len(ids) == 1]
    return len(stated) == len(held) and "" not in stated and len(set(stated)) == len(stated)


def _inside(given: Given) -> list[str]:
    """The path of each image, in the order of ``found.items``; a series, whose id is its folder, gets a name inside of it."""
    return [f"{name.split('#', 1)[0].removeprefix('./')}/#{source.member or ''}" if source.files else name for name, source in given.found.items]


def _label_note(given: Given) -> str | None:
    return f"the table {given.tree.tables[0]} was not used: the folders are the labels" if given.tree.tables else None


def patients_of(given: Given, names: list[str], classes: list[str], depth: int) -> Patients:
    """``--patient``, then DICOM PatientID, then sub-folders below the class (at ``depth``), then file names."""
    if given.options.patient:
        return by_option(names, given.options.patient)
    stated = {name: str(given.found.dicom.get(id_, {}).get("PatientID") or "") for name, (id_, _) in zip(names, given.found.items, strict=True)}
    found = by_facts(names, stated, "DICOM PatientID")
    return found or by_folders([_part(name, depth) for name in names], classes) or by_names(names, classes)


def _part(name: str, depth: int) -> str:
    """The folder of a path at that depth, or nothing when the file itself is there."""
    parts = name.split("#", 1)[0].split("/")
    return parts[depth] if len(parts) > depth + 1 else ""


def place_of(names: tuple[str, ...]) -> Place | None:
    """Go down single folders (``archive/chest_xray/…``), then see whether split folders come first; None when there are no folders."""
    depth = 0
    while True:
        heads = {head for name in names if (head := _part(name, depth))}
        if not heads:
            return None
        splits = [head for head in heads if split_of(head)]
        if splits and len(splits) == len(heads) and any(_part(name, depth + 1) for name in names):
            return Place(depth, True)
        if len(heads) == 1 and any(_part(name, depth + 1) for name in names) and all(_part(name, depth) for name in names):
            depth += 1
            continue
        return Place(depth, False)


def _class(name: str, place: Place) -> str | None:
    return _part(name, place.depth + int(place.split)) or None


def _split(name: str, place: Place) -> str | None:
    return split_of(_part(name, place.depth)) if place.split else None


def _are_classes(counts: Counter[str | None]) -> bool:
    """Folders are classes when their names are no technical ones, do not name patients, and they hold several images each on average."""
    if not counts or any(str(name).lower() in NOT_CLASSES or split_of(str(name)) for name in counts):
        return False
    if len(counts) > 2 and all(KEYWORD.search(str(name)) for name in counts):
        return False
    return len(counts) <= 2 or len(counts) <= sum(counts.values()) / 2
