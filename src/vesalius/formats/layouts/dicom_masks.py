"""DICOM images with their segmentations: SEG and RTSTRUCT objects anywhere in the tree, joined to the series that they refer to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vesalius.core.cohort import Cohort, MaskFile, Source
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.errors import FormatError, LabelError
from vesalius.formats import dicomseg, rtstruct
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.dicom import facts_of
from vesalius.formats.dicommarks import RTSTRUCT_CLASS, SEG_CLASSES, Marks, Structure
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.patients import Patients, alone, by_facts, by_option

READERS: dict[str, Callable[[str], Marks]] = {**dict.fromkeys(SEG_CLASSES, dicomseg.marks_of), RTSTRUCT_CLASS: rtstruct.marks_of}
"""SOP Class UID to what lists the structures of such an object."""
SHOWN = 6


@LAYOUTS.register("dicom-masks")
class DicomMasks(Layout):
    """Any order of folders. A series belongs to an object that names it: by SeriesInstanceUID, by an image, or as the only one of its frame of reference.

    Structures of one name (case, underscores and spaces aside) are one class; ``--label`` chooses some. Where several objects mark the same structure of
    the same series, the newest one counts and a note says so; objects that mark different structures add up.
    """

    name = "dicom-masks"
    marks = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or given.options.table or "dicom" not in given.tree.formats and "?" not in given.tree.formats:
            return None
        kinds = Counter(kind for _, kind in _objects(given))
        segmentations = sum(kinds[kind] for kind in SEG_CLASSES)
        told = [f"{n} {what}" for n, what in ((segmentations, "segmentations (SEG)"), (kinds[RTSTRUCT_CLASS], "structure sets (RTSTRUCT)")) if n]
        return f"DICOM images with {' and '.join(told)}" if told else None

    @classmethod
    def read(cls, given: Given) -> Cohort:
        marks, notes = _read_all(given)
        images = {id_: source for id_, source in given.found.items if str(given.found.dicom.get(id_, {}).get("SOPClassUID")) not in READERS}
        owners, more = _joined(marks, images, given)
        if not owners:
            raise LabelError("no segmentation belongs to an image that is here", where=given.data,
                             expected="SEG or RTSTRUCT objects and the series they refer to", got=f"{len(marks)} objects and {len(images)} images",
                             do="put the series beside them")
        names = _asked(_classes(structure.name for each in owners.values() for mark in each for structure in mark.structures), given.options.label)
        rows, overlaps = [], []
        for id_ in sorted(owners):
            chosen, older = _newest(owners[id_], names, id_)
            overlaps += older
            rows.append(_row(id_, images[id_], chosen, names))
        classes = tuple(sorted(set(names.values()), key=str.casefold))
        exclusive = len(classes) == 1 or all(mark.exclusive and len(each) == 1 for each in owners.values() for mark in each)
        target = TargetSpec("mask", classes, "structure", f"{len(classes)} structures named by SEG and RTSTRUCT objects", (), None, exclusive)
        unmarked = len(images) - len(rows)
        left = f"{unmarked} images have no segmentation and were left out" if unmarked else None
        told = [note for note in (*notes, *more, *_few(overlaps), left) if note]
        return cohort_of(given, cls.name, rows, target, _patients(given, [row.id for row in rows]), told)


def _objects(given: Given) -> list[tuple[str, str]]:
    """Files that mark images, with their SOP class: SEG, which the images' list holds, and RTSTRUCT among the files that are no images."""
    taken = {path for _, source in given.found.items for path in (source.files or (source.path,))}
    found = [(source.path, str(given.found.dicom.get(id_, {}).get("SOPClassUID"))) for id_, source in given.found.items if source.format.startswith("dicom")]
    if len(found) > 0:
        others = (given.tree.path(name) for name, kind in zip(given.tree.files, given.tree.formats, strict=True) if kind in ("dicom", "?"))
        found += [(path, _class_of(path)) for path in others if path not in taken]
    return [(path, kind) for path, kind in found if kind in READERS]


def _class_of(path: str) -> str:
    """SOP class of a file that holds no image; nothing when it is no DICOM."""
    try:
        return str(facts_of(path).get("SOPClassUID"))
    except Exception:  # noqa: BLE001 - the parser raises anything on files of other kinds; they mark nothing
        return ""


def _read_all(given: Given) -> tuple[list[Marks], list[str]]:
    """Every object that can be read; a note names those that cannot."""
    marks, wrong = [], []
    for path, kind in _objects(given):
        try:
            marks.append(READERS[kind](path))
        except FormatError as error:
            wrong.append(str(error))
    notes = [f"{len(wrong)} segmentations cannot be read and were left out, e.g. {wrong[0]}"] if wrong else []
    return marks, notes


@dataclass(frozen=True)
class _Index:
    """Images by what an object may call them."""

    series: Mapping[str, list[str]]
    frames: Mapping[str, list[str]]


def _joined(marks: list[Marks], images: Mapping[str, Source], given: Given) -> tuple[dict[str, list[Marks]], list[str]]:
    """Objects by the image that they mark, and notes on those that mark none that is here."""
    index = _Index(_by(images, given, "SeriesInstanceUID"), _by(images, given, "FrameOfReferenceUID"))
    owners: dict[str, list[Marks]] = defaultdict(list)
    lost: list[str] = []
    instances: dict[str, str] = {}
    for mark in marks:
        held = [id_ for uid in mark.series for id_ in index.series.get(uid, [])]
        if not held and mark.instances:
            instances = instances or _instances(images)
            held = list(dict.fromkeys(instances[uid] for uid in mark.instances if uid in instances))
        alike = index.frames.get(mark.frame_uid, [])
        held = held or (alike if len(alike) == 1 else [])
        lost += [] if held else [mark.path]
        for id_ in dict.fromkeys(held):
            owners[id_].append(mark)
    return owners, [f"{len(lost)} segmentations refer to images that are not here, e.g. {lost[0]}"] if lost else []


def _by(images: Mapping[str, Source], given: Given, keyword: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    for id_ in images:
        if uid := given.found.dicom.get(id_, {}).get(keyword):
            found[str(uid)].append(id_)
    return dict(found)


def _instances(images: Mapping[str, Source]) -> dict[str, str]:
    """SOPInstanceUID to image; every file is looked into, which is done only when an object names no series."""
    places = ((id_, path) for id_, source in images.items() if source.format.startswith("dicom") for path in source.files or (source.path,))
    return {str(facts_of(path).get("SOPInstanceUID")): id_ for id_, path in places}


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _classes(names: Iterable[str]) -> dict[str, str]:
    """Each spelling's class: the commonest spelling of the same name, without the character that joins labels."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        counts[_key(name)][" ".join(name.replace(SEPARATOR, "/").split()) or "unnamed"] += 1
    return {key: min(count.items(), key=lambda each: (-each[1], each[0]))[0] for key, count in counts.items()}


def _asked(names: dict[str, str], label: str | None) -> dict[str, str]:
    """Of all classes those that ``--label`` names; all when it is not given.

    Raises
    ------
    LabelError: it names one that no object marks.
    """
    if not label:
        return names
    keys = [_key(part) for part in label.split(",") if part.strip()]
    unknown = [key for key in keys if key not in names]
    if unknown:
        raise LabelError(f"there is no structure '{unknown[0]}'", expected=f"of {', '.join(sorted(names.values(), key=str.casefold))}", do="correct --label")
    return {key: names[key] for key in keys}


def _newest(marks: list[Marks], names: Mapping[str, str], id_: str) -> tuple[list[tuple[Marks, Structure]], list[str]]:
    """Each class from the newest object that marks it; all segments of that name within one object count."""
    chosen: list[tuple[Marks, Structure]] = []
    taken: dict[str, str] = {}
    notes = []
    for mark in sorted(marks, key=lambda each: (each.created, each.path), reverse=True):
        held = [structure for structure in mark.structures if structure.marked and _key(structure.name) in names]
        older = sorted({names[_key(structure.name)] for structure in held if _key(structure.name) in taken})
        if older:
            notes.append(f"{id_}: {', '.join(older)} by {mark.path} are older than those by {taken[_key(older[0])]}, which are used")
        fresh = [structure for structure in held if _key(structure.name) not in taken]
        chosen += [(mark, structure) for structure in fresh]
        taken.update({_key(structure.name): mark.path for structure in fresh})
    return chosen, notes


def _few(notes: list[str]) -> list[str]:
    """The first of many, and how many there are."""
    if not notes:
        return []
    return [f"{len(notes)} segmentations mark a structure that a newer one marks too; the newest counts, e.g. {'; '.join(notes[:2])}"]


def _row(id_: str, source: Source, chosen: list[tuple[Marks, Structure]], names: Mapping[str, str]) -> Row:
    masks = tuple(MaskFile(Source(mark.format, mark.path, structure.member), names[_key(structure.name)]) for mark, structure in chosen)
    label = SEPARATOR.join(sorted({str(mask.name) for mask in masks}, key=str.casefold))
    split = next((found for part in id_.split("/")[:-1] if (found := split_of(part))), None)
    return Row(id_, source, label, split, masks=masks)


def _patients(given: Given, ids: list[str]) -> Patients:
    if given.options.patient:
        return by_option(ids, given.options.patient)
    stated = {id_: str(given.found.dicom.get(id_, {}).get("PatientID") or "") for id_ in ids}
    return by_facts(ids, stated, "DICOM PatientID") or alone(ids, "no PatientID: each image counts as one patient")
