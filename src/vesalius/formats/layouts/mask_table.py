"""A table whose columns name the images and their masks: a row a case, a column for a label map, or one for each structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vesalius.core.cohort import Cohort, MaskFile, Source
from vesalius.core.target import MARKED
from vesalius.errors import DataError, LabelError
from vesalius.formats.base import suffix_format
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts._roles import FOLDERS, MASK_WORDS, tokens_of, without
from vesalius.formats.layouts._structures import is_assignment, target_of_masks
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.layouts.paired_masks import patients_of
from vesalius.formats.layouts.table import beside_rows, given_sheet, image_column, labels_in, unmatched
from vesalius.formats.opening import format_of
from vesalius.formats.sheet import Sheet

FILES = 0.5
"""A column names masks when its name speaks of masks and at least this part of its filled cells are names of image files."""
PATH_WORDS = frozenset({"path", "file", "filepath", "filename", "name", "img", "image", "fn", "url"})
"""Words of a column's name that are no part of a structure's name."""


@LAYOUTS.register("mask-table")
class MaskTable(Layout):
    """Images and masks anywhere; paths in the table are from its own folder or from that of the data, or absolute.

    One column of masks holds label maps; of several each holds one structure, called as the column (``liver_mask``: liver), and structures may overlap.
    Several rows of one image add up. An image whose cells of masks are empty is left out and told.
    """

    name = "mask-table"
    marks = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or not given.tree.images or not _has_table(given):
            return None
        try:
            sheet = given_sheet(given)
        except LabelError:
            if given.options.table:
                raise
            return None
        masks = _mask_columns(given, sheet)
        if not masks or not _meant(given, sheet, masks) or (not given.options.table and image_column(_rest(sheet, masks), given) is None):
            return None
        return f"the table {Path(sheet.path).name}, whose {_told(masks)} name{'s' if len(masks) == 1 else ''} masks"

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        """What a table says of masks counts before what names of files say; whether a column of classes is meant, the user must say."""
        sheet = given_sheet(given)
        rest = _rest(sheet, _mask_columns(given, sheet))
        classes = labels_in(rest, image_column(rest, given)) is not None and given.options.target not in MARKED and given.options.label is None
        return ("paired-masks", "class-folders", "dataset-json", *(() if classes else ("table",)))

    @classmethod
    def read(cls, given: Given) -> Cohort:
        sheet = given_sheet(given)
        masks = _mask_columns(given, sheet)
        if not masks:
            raise LabelError("no column of the table names masks", where=sheet.path, expected="a column such as mask or liver_mask with names of files",
                             got=", ".join(sheet.columns[:12]), do="name it with --label COLUMN")
        image = image_column(_rest(sheet, masks), given)
        if image is None:
            raise unmatched(given, sheet)
        names, lost = _images(given, sheet, image)
        rows, bare = _rows(given, sheet, masks, names)
        if not rows:
            raise LabelError("no row of the table names an image and its mask", where=sheet.path, expected=f"files in '{image}' and {_told(masks)}",
                             got=f"{len(lost)} rows without an image that is there, {len(bare)} without a mask", do="fill them in, or name the columns")
        chosen = given.options.label is not None and not is_assignment(given.options.label) and set(masks) == set(_parts(given.options.label))
        target, notes = target_of_masks(replace(given, options=replace(given.options, label=None)) if chosen else given, rows)
        table = beside_rows(given, sheet, image, [row.id for row in rows], {name: i[0] for name, i in names.items()}, masks)
        for i, row in enumerate(rows):
            row.clinical, row.split = table.clinical[i], table.splits[i]
        told = [f"column '{image}' names the images and {_told(masks)} the masks", *notes, *_left_out(given, rows, lost, bare)]
        return cohort_of(given, cls.name, rows, target, table.patients or patients_of(given, rows), told)


def _has_table(given: Given) -> bool:
    """One table, or those of the parts of a split: of several others none is looked into unasked."""
    tables = given.tree.tables
    return bool(given.options.table) or len(tables) == 1 or (bool(tables) and all(split_of(Path(name).stem) for name in tables))


def _parts(label: str | None) -> list[str]:
    return [part.strip() for part in (label or "").split(",") if part.strip()]


def _mask_columns(given: Given, sheet: Sheet) -> tuple[str, ...]:
    """Columns that ``--label`` names and that hold names of files; else those whose names speak of masks."""
    asked = [name for name in sheet.columns if name in _parts(given.options.label)]
    held = asked or [name for name in sheet.columns if set(_words(name)) & MASK_WORDS]
    return tuple(name for name in held if name != given.options.image and _holds_files(list(sheet.frame[name])))


def _words(name: str) -> list[str]:
    """``maskLeft_1`` in words, without numbers at their ends."""
    spaced = "".join(f"_{c}" if c.isupper() and i and name[i - 1].islower() else c for i, c in enumerate(name))
    return [word.rstrip("0123456789") for word in tokens_of(spaced)]


def _holds_files(cells: Sequence[str | None]) -> bool:
    held = [cell for cell in cells if cell]
    return bool(held) and sum(suffix_format(cell) is not None for cell in held) >= FILES * len(held)


def _meant(given: Given, sheet: Sheet, masks: Sequence[str]) -> bool:
    """Whether ``--label``, where it is given, may speak of these masks: a column of them, their structures or their numbers."""
    label = given.options.label
    if label is None or is_assignment(label) or given.options.target in MARKED:
        return True
    return set(_parts(label)) <= {*masks, *(name for name in _structures(masks).values() if name)}


def _rest(sheet: Sheet, masks: Sequence[str]) -> Sheet:
    roles = {role: name for role, name in sheet.roles.items() if name not in masks}
    return Sheet(sheet.frame.drop(columns=list(masks)), sheet.path, roles)


def _structures(masks: Sequence[str]) -> dict[str, str | None]:
    """The structure that each column holds; None where the columns' names do not tell several apart: label maps, which add up."""
    bare = {name: without(name, PATH_WORDS) for name in masks}
    several = len(masks) > 1 and all(bare.values()) and len(set(bare.values())) == len(masks) and not all(each.isdigit() for each in bare.values())
    return {name: bare[name] if several else None for name in masks}


def _images(given: Given, sheet: Sheet, image: str) -> tuple[dict[str, list[int]], list[str]]:
    """For each image its rows, and the cells whose image is not there.

    Raises
    ------
    DataError: a cell means several images.
    """
    held: dict[str, list[int]] = defaultdict(list)
    lost = []
    for i, cell in enumerate(sheet.frame[image]):
        found = given.index.find(cell)
        named_so = [name for name in found if not _of_masks(name)] or found
        if len(named_so) > 1:
            raise DataError("it is not certain which image a row means", where=f"{sheet.path}, row {i + 2}", expected="one image of that name",
                            got=f"{cell}: {named(named_so)}", do="write the path of the image into the table")
        if named_so:
            held[named_so[0]].append(i)
        else:
            lost.append(str(cell))
    return dict(held), lost


def _of_masks(name: str) -> bool:
    return any(FOLDERS.get(folder.lower()) == "mask" for folder in name.split("/")[:-1])


def _rows(given: Given, sheet: Sheet, masks: Sequence[str], names: Mapping[str, list[int]]) -> tuple[list[Row], list[str]]:
    """A row for each image with a mask, and the images without one."""
    structures, sources, rows, bare = _structures(masks), dict(given.found.items), [], []
    for name, places in names.items():
        marks: dict[tuple[str, str], MaskFile] = {}
        for i in places:
            for column in masks:
                cell = sheet.frame[column].iloc[i]
                if cell:
                    source = _mask(given, sources, sheet, cell, name, f"{sheet.path}, row {i + 2}, '{column}'")
                    marks[column, source.path] = MaskFile(source, structures[column])
        if marks:
            rows.append(Row(name, sources[name], masks=tuple(marks.values())))
        else:
            bare.append(name)
    return rows, bare


def _mask(given: Given, sources: Mapping[str, Source], sheet: Sheet, cell: str, image: str, where: str) -> Source:
    """The file that a cell means: a path from the table's or the data's folder, an absolute one, or the name of one file of the data.

    Raises
    ------
    DataError: there is no such file, it is the image itself, or several have that name.
    """
    path = cell.replace("\\", "/")
    tried = list(dict.fromkeys((Path(sheet.path).parent / path, given.path / path)))  # an absolute path stays as it is
    there = next((each for each in tried if each.is_file()), None)
    if there is None:
        found = [name for name in given.index.find(cell) if name != image]
        found = [name for name in found if _of_masks(name)] or found
        if len(found) > 1:
            raise DataError("it is not certain which mask a row means", where=where, expected="one file of that name", got=f"{cell}: {named(found)}",
                            do="write the path of the mask into the table")
        if found:
            return sources[found[0]]
    if there is None:
        raise DataError("the mask that a row names is not there", where=where, expected=f"a file at {' or '.join(map(str, tried))}", got=cell,
                        do="correct the table or bring the file; an empty cell says that the image is not marked")
    if there.resolve() == Path(sources[image].path).resolve():
        raise DataError("a row names the image as its own mask", where=where, expected="the file of the mask", got=cell, do="correct the table")
    return Source(format_of(there), str(there))


def _told(masks: Sequence[str]) -> str:
    return f"column{'s' if len(masks) > 1 else ''} {', '.join(repr(name) for name in masks)}"


def _left_out(given: Given, rows: Sequence[Row], lost: Sequence[str], bare: Sequence[str]) -> list[str]:
    used = {str(Path(source.path).resolve()) for row in rows for source in (row.source, *(mask.source for mask in row.masks))}
    taken = {row.id for row in rows} | set(bare)
    rest = [name for name, source in given.found.items if name not in taken and str(Path(source.path).resolve()) not in used]
    told = ((list(lost), "rows of the table have no image"), (list(bare), "images have a row without a mask and were left out"),
            (rest, "images or masks have no row in the table and were left out"))
    return [f"{len(names)} {what}: {named(names)}" for names, what in told if names]
