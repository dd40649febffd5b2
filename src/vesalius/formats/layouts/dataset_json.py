"""A ``dataset.json`` with its images: the Medical Segmentation Decathlon (Antonelli et al. 2022) and the raw folders of nnU-Net (Isensee et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vesalius.core.cohort import Cohort, MaskFile, Source
from vesalius.errors import DataError, LabelError
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._description import FILE, Description, described
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts._structures import Stated, assigned, stated
from vesalius.formats.layouts.paired_masks import patients_of
from vesalius.formats.layouts.table import beside
from vesalius.formats.matching import stem

CHANNELS = "channels"
"""`Source.member` of a file whose last axis holds the channels."""
PARTS = (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test"))


@LAYOUTS.register("dataset-json")
class DatasetJson(Layout):
    """``dataset.json`` beside ``imagesTr`` and ``labelsTr``, also in the only folder below."""

    name = "dataset-json"
    marks = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        found = described(given)
        return None if found is None else f"{found.base}{FILE} with the labels {', '.join(map(str, [*found.facts['labels']][:6]))}"

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        """The folders beside it are as it says."""
        return ("class-folders", "paired-masks")

    @classmethod
    def read(cls, given: Given) -> Cohort:
        known = described(given)
        if known is None:
            raise DataError(f"there is no {FILE}", where=given.data, expected="one that names labels, beside imagesTr and labelsTr",
                            do="give the folder that holds it")
        label = given.options.label
        target = (assigned(label) if label is not None else _labels(known, given)).target
        found, lost = _rows(given, known)
        if not found:
            raise DataError(f"{FILE} names no case that is there", where=given.data, expected="images with their labels", got=named(lost) or "none",
                            do="put the files where it says, or correct it")
        rows = _without_split(found)
        table = beside(given, [row.id for row in rows])
        if table is not None:
            for i, row in enumerate(rows):
                row.clinical, row.split = table.clinical[i], row.split or table.splits[i]
        patients = table.patients if table and table.patients else patients_of(given, rows)
        return cohort_of(given, cls.name, rows, target, patients, _notes(given, known, rows, lost) + ([table.note] if table else []))


def _labels(known: Description, given: Given) -> Stated:
    """``{"0": "background", "1": "liver"}`` (Decathlon) or ``{"background": 0, "liver": 1, "both": [1, 2], "ignore": 3}`` (nnU-Net)."""
    values: dict[str, tuple[int, ...]] = {}
    for name, numbers in known.facts["labels"].items():
        if str(name).isdigit() and not isinstance(numbers, (int, list)):
            name, numbers = str(numbers), int(name)
        held = numbers if isinstance(numbers, list) else [numbers]
        if not all(str(each).isdigit() for each in held):
            raise LabelError(f"the labels of {FILE} cannot be understood", where=given.data, expected='"name": number, or "number": "name"',
                             got=f"{name}: {numbers}", do="correct it")
        values[str(name)] = tuple(int(each) for each in held)
    return stated(values, f"{FILE} names the labels")


def _rows(given: Given, known: Description) -> tuple[list[Row], list[str]]:
    """Cases whose files are there, and names of those that are not."""
    sources, rows, lost = dict(given.found.items), [], []
    for images, label, split in _cases(known, sources):
        absent = [name for name in (*images, label) if name not in sources]
        if absent or not images:
            lost += absent or [label]
            continue
        files = [sources[name] for name in images]
        if len(files) == 1 and len(known.channels) > 1 and files[0].format == "nifti":
            files = [replace(files[0], member=CHANNELS)]
        rows.append(Row(images[0], files[0], split=split, channels=tuple(files[1:]), masks=(MaskFile(sources[label]),)))
    return rows, lost


def _cases(known: Description, sources: Mapping[str, Source]) -> Iterator[tuple[list[str], str, str]]:
    """Names of the images, the label and the part of every case."""
    inside = _by_channel(known.base, sources)
    for each in known.listed or ():
        images = each.get("image") if isinstance(each.get("image"), list) else [each.get("image")]
        names = [_path(known.base, name) for name in images or ()]
        if len(names) == 1 and names[0] not in sources:
            names = inside.get(names[0].rsplit("/", 1)[0], {}).get(stem(names[0].rsplit("/", 1)[-1]), names)
        yield names, _path(known.base, each.get("label")), "train"
    listed = known.listed is not None
    for images_in, labels_in, split in PARTS[1:] if listed else PARTS:
        folder = f"{known.base}{labels_in}/"
        for label in (name for name in sources if name.startswith(folder)):
            case = stem(label.rsplit("/", 1)[-1])
            plain = f"{known.base}{images_in}/{label[len(folder):]}"
            yield [plain] if plain in sources else inside.get(f"{known.base}{images_in}", {}).get(case, []), label, split


def _path(base: str, name: object) -> str:
    return base + str(name).replace("\\", "/").removeprefix("./")


def _by_channel(base: str, sources: Mapping[str, Source]) -> dict[str, dict[str, list[str]]]:
    """For each folder of images the files ``case_0000``, ``case_0001`` ... of each case."""
    held: dict[str, dict[str, list[str]]] = {f"{base}{images}": {} for images, _, _ in PARTS}
    for name in sorted(sources):
        folder, _, file = name.rpartition("/")
        case, _, channel = stem(file).rpartition("_")
        if folder in held and case and len(channel) == 4 and channel.isdigit():
            held[folder].setdefault(case, []).append(name)
    return held


def _without_split(rows: Sequence[Row]) -> list[Row]:
    """A part alone is no split."""
    alone = len({row.split for row in rows}) == 1
    return [replace(row, split=None) if alone else row for row in rows]


def _notes(given: Given, known: Description, rows: Sequence[Row], lost: Sequence[str]) -> list[str]:
    used = {source.path for row in rows for source in (row.source, *row.channels, *(mask.source for mask in row.masks))}
    left = [name for name, source in given.found.items if source.path not in used]
    files = {len(row.channels) + 1 for row in rows}
    odd = [row.id for row in rows if row.channels and known.channels and len(row.channels) + 1 != len(known.channels)]
    if odd or len(files) > 1:
        raise DataError("the cases do not have the same channels", where=given.data, expected=", ".join(known.channels) or "as many for each",
                        got=f"{' or '.join(map(str, sorted(files)))} files, e.g. {(odd or [rows[0].id])[0]}", do="complete them, or leave those cases out")
    told = [f"the channels are {', '.join(known.channels)}"] if len(known.channels) > 1 else []
    if lost:
        told.append(f"{len(lost)} files that {FILE} names or a label needs are not there; their cases were left out: {named(lost)}")
    if left:
        told.append(f"{len(left)} images have no label and were left out: {named(left)}")
    return told
