"""Images with masks beside them: in folders (``images`` and ``masks``), by endings of names (``x``, ``x_mask``), or a folder a case."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from vesalius.core.cohort import Cohort, MaskFile
from vesalius.core.target import MARKED
from vesalius.errors import DataError
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._description import described
from vesalius.formats.layouts._pairing import Pair, Pairing, named, pair, views
from vesalius.formats.layouts._roles import FOLDERS, MASK_WORDS, Item, by_number, items_of
from vesalius.formats.layouts._structures import is_assignment, target_of_masks
from vesalius.formats.layouts.table import beside
from vesalius.formats.patients import Patients, by_facts, by_names, by_option

HINT = re.compile("|".join([*map(re.escape, MASK_WORDS), *(name for name, role in FOLDERS.items() if role == "mask")]), re.IGNORECASE)
"""Names without any of these words hold no masks: most data sets are passed over without a closer look."""
ENOUGH = 0.5
"""Part of the masks that must have found their image for the layout to be taken for this one."""

FOLDERS_OF_CASES = 3


@LAYOUTS.register("paired-masks")
class PairedMasks(Layout):
    """``[split/]images/x`` with ``[split/]masks/x``; ``x.png`` with ``x_mask.png``; ``case/image`` with ``case/segmentations/*``."""

    name = "paired-masks"
    marks = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or not (given.options.target in MARKED or HINT.search("\n".join(given.tree.images))) or described(given) is not None:
            return None  # a dataset.json says it better
        if given.options.label and not is_assignment(given.options.label) and given.options.target not in MARKED:
            return None
        items = _items(given)
        masks = [item for item in items if item.role == "mask"]
        if sum(item.source.format.startswith("dicom") for item in masks) > ENOUGH * len(masks):
            return None  # segmentation objects, which name their image themselves
        if not masks or len(masks) == len(items):
            return None
        found = pair(items, given.data)
        if not found.pairs or found.score[0] < ENOUGH * len(masks):
            return None
        return f"{len(found.pairs)} images with masks, by {found.how}, e.g. {found.pairs[0].images[0].id} with {found.pairs[0].masks[0].id}"

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        """Folders that hold one case each, an image and its masks, are no classes."""
        folders = [each.images[0].context for each in pair(_items(given), given.data).pairs]
        return ("class-folders",) if len(folders) >= FOLDERS_OF_CASES and len(set(folders)) == len(folders) else ()

    @classmethod
    def read(cls, given: Given) -> Cohort:
        items = _items(given)
        found = pair(items, given.data)
        if not found.pairs:
            raise DataError("no image has a mask", where=given.data, expected="folders such as images and masks, or names such as x.png and x_mask.png",
                            got=f"{len(items)} images", do="name the masks as their images")
        fields = views(items, found.pairs)
        rows = [_row(each, fields) for each in found.pairs]
        _official(rows)
        target, notes = target_of_masks(given, rows)
        table = beside(given, [row.id for row in rows])
        if table is not None:
            for i, row in enumerate(rows):
                row.clinical, row.split = table.clinical[i], row.split or table.splits[i]
        return cohort_of(given, cls.name, rows, target, table.patients if table and table.patients else patients_of(given, rows),
                         [*_left_out(items, found, fields), *notes, *([table.note] if table else [])])


def _items(given: Given) -> list[Item]:
    """All files with their roles; by numbers (``x``, ``x_1``) only where masks are asked for, since such names are often several images of a patient."""
    items = items_of(given.found.items)
    asked = given.options.target in MARKED or given.options.layout == PairedMasks.name
    return by_number(items) if asked and all(item.role == "image" for item in items) else items


def _row(each: Pair, fields: dict[str, Item]) -> Row:
    first, *others = each.images
    view = fields.get(first.id)
    masks = tuple(MaskFile(mask.source, mask.structure) for mask in each.masks)
    return Row(first.id, first.source, split=first.split, channels=tuple(image.source for image in others), masks=masks, view=view.source if view else None)


def _official(rows: list[Row]) -> None:
    """Folders that hold training images only are no split."""
    if len({row.split for row in rows}) == 1:
        for row in rows:
            row.split = None


def patients_of(given: Given, rows: list[Row]) -> Patients:
    """``--patient``, then DICOM PatientID, then a folder for each patient, then file names."""
    return patients_of_names(given, [row.id for row in rows])


def patients_of_names(given: Given, names: list[str]) -> Patients:
    """As `patients_of`, for ids of images; the slices of one volume are of one patient."""
    whole = given.found.whole
    if not whole:
        return _patients_of(given, names)
    of = dict.fromkeys(whole.get(name, name) for name in names)
    found = _patients_of(given, list(of))
    told = dict(zip(of, found.ids, strict=True))
    evidence = found.evidence.replace(" images)", f" series and volumes, {len(names):,} slices)")
    return replace(found, ids=tuple(told[whole.get(name, name)] for name in names), evidence=evidence)


def _patients_of(given: Given, names: list[str]) -> Patients:
    if given.options.patient:
        return by_option(names, given.options.patient)
    stated = {name: str(given.found.dicom.get(name, {}).get("PatientID") or "") for name in names}
    return by_facts(names, stated, "DICOM PatientID") or by_names(names, _folders(names))


def _folders(names: list[str]) -> list[str]:
    """The folder of each image when few share them: numbers may start again in each (``benign``, ``malignant``)."""
    folders = [name.rpartition("/")[0] for name in names]
    return folders if len(set(folders)) <= max(2, len(names) // 4) else [""] * len(names)


def _left_out(items: list[Item], found: Pairing, fields: dict[str, Item]) -> list[str]:
    """What was not used, with names."""
    images = {image.id for each in found.pairs for image in each.images}
    masks = {mask.id for each in found.pairs for mask in each.masks}
    kinds = {role: [item.id for item in items if item.role == role] for role in ("image", "mask", "second")}
    used = {field.id for field in fields.values()}
    notes = [f"masks were found by {found.how}"]
    for names, told in (([name for name in kinds["image"] if name not in images], "images have no mask and were left out"),
                        ([name for name in kinds["mask"] if name not in masks], "masks have no image and were left out"),
                        (kinds["second"], "masks are of a second observer and were left out"),
                        ([item.id for item in items if item.role == "view" and item.id not in used], "fields of view have no image and were left out")):
        if names:
            notes.append(f"{len(names)} {told}: {named(names)}")
    channels = Counter(len(each.images) for each in found.pairs)
    return notes + ([f"{max(channels)} files are the channels of each image"] if max(channels) > 1 else [])
