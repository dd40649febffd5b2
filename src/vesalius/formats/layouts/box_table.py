"""A table of boxes: a row a box, with corners, corner and size, or centre and diameter (as in LUNA16), in samples or mm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesalius.core.cohort import Cohort, MarkedBox
from vesalius.core.target import missing
from vesalius.errors import LabelError
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._boxcolumns import Columns, box_columns
from vesalius.formats.layouts._boxed import RISKS, RULED_OUT, Gathered, boxes_cohort, truth_value, whole
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts._sliced import one_of, slice_column, sliced
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.layouts.paired_masks import patients_of_names
from vesalius.formats.layouts.table import image_column, joined, unmatched
from vesalius.formats.patients import Patients, by_facts
from vesalius.formats.sheet import CANONICAL, Sheet, read_sheet, typed

Cells = dict[str, Any]
ONLY_CLASS = "object"
"""The class of boxes where no column names one."""


@LAYOUTS.register("box-table")
class BoxTable(Layout):
    """Images anywhere below the folder, one table (or one each for train, val and test) with a row a box."""

    name = "box-table"
    boxes = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or not given.tree.images:
            return None
        tables = [(path, columns) for path in _tables(given) if (columns := _columns(path, strict=False))]
        if not tables or _names(given, read_sheet(Path(tables[0][0])), tables[0][1]) is None:
            return None
        return f"the table {Path(tables[0][0]).name}: {tables[0][1].told}"

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        return (*RULED_OUT, *(("paired-masks", "dataset-json") if given.options.target == "boxes" else ()))

    @classmethod
    def read(cls, given: Given) -> Cohort:
        sheet, columns = _sheet(given)
        parts = sliced(given, sheet, columns)
        if parts is not None:
            given, sheet = parts.given, parts.sheet
        image = parts.image if parts else image_column(sheet, given)
        if image is None:
            raise unmatched(given, sheet)
        label = _class_column(given, sheet, columns, image)
        gathered = _gathered(given, sheet, columns, image, label)
        gathered.notes += parts.notes if parts else ()
        told = f"column '{label}' of {Path(sheet.path).name} names the classes" if label else f"no column of {Path(sheet.path).name} names classes"
        return boxes_cohort(given, cls.name, gathered, told)


def _names(given: Given, sheet: Sheet, columns: Columns) -> str | None:
    """The column that names images, or slices of them."""
    return slice_column(given, sheet, columns) or image_column(sheet, given)


def _tables(given: Given) -> list[str]:
    table = given.options.table
    if table:
        return [str(given.path / table) if (given.path / table).is_file() else table]
    return [given.tree.path(name) for name in given.tree.tables]


def _columns(path: str, *, strict: bool = True) -> Columns | None:
    """The columns of a box in a table; a table that cannot be read has none, unless it is the one that was named."""
    try:
        return box_columns(read_sheet(Path(path)).columns)
    except LabelError:
        if strict:
            raise
        return None


def _sheet(given: Given) -> tuple[Sheet, Columns]:
    """The table of boxes; those of train, val and test joined.

    Raises
    ------
    LabelError: there is none, or several could be meant.
    """
    held = [(path, columns) for path in _tables(given) if (columns := _columns(path, strict=bool(given.options.table)))]
    if not held:
        raise LabelError("no table states boxes", where=given.options.table or given.data, got=", ".join(given.tree.tables[:8]) or "no table",
                         expected="columns such as xmin, ymin, xmax, ymax (zmin, zmax), x, y, width, height, or coordX, coordY, coordZ, diameter_mm",
                         do="name the table with --table, or its columns so")
    splits = [split_of(Path(path).stem) for path, _ in held]
    if len(held) > 1 and all(splits) and len({columns for _, columns in held}) == 1:
        return joined([(read_sheet(Path(path)), str(split)) for (path, _), split in zip(held, splits, strict=True)]), held[0][1]
    if len(held) > 1:
        raise LabelError("several tables state boxes", where=given.data, expected="one", got=", ".join(Path(path).name for path, _ in held),
                         do="choose with --table FILE")
    return read_sheet(Path(held[0][0])), held[0][1]


def _class_column(given: Given, sheet: Sheet, columns: Columns, image: str) -> str | None:
    """``--label`` where it is a column, else the column with the usual name, unless it only marks with 1 where there is a box."""
    asked = given.options.label
    if asked in sheet.columns:
        return str(asked)
    usual = sheet.roles.get("label")
    if usual is None or usual in (image, *columns.all) or usual.lower() in RISKS:
        return None
    held = {cell for cell, first in zip(sheet.frame[usual], sheet.frame[columns.first[0]], strict=True) if first is not None}
    return None if held == {"1"} else usual


def _gathered(given: Given, sheet: Sheet, columns: Columns, image: str, label: str | None) -> Gathered:
    rows_of, lost = _rows(given, sheet, image)
    cells = {name: list(sheet.frame[name]) for name in sheet.columns}
    per_box = _per_box(cells, rows_of, {image, label, *columns.all, *_sizes(sheet, columns), sheet.roles.get("patient"), sheet.roles.get("split")})
    gathered = Gathered(lost=lost, label_used=label is not None and given.options.label == label)
    empty = 0
    for name, rows in rows_of.items():
        marked = [_box(sheet, {name: column[i] for name, column in cells.items()}, i, columns, label, per_box) for i in rows]
        empty += None in marked
        gathered.boxes[name] = [box for box in marked if box is not None]
    gathered.notes += [columns.told, f"column '{image}' names the images", *_unlisted(given, gathered, empty)]
    gathered.patients = _patients(given, sheet, image, rows_of, list(gathered.boxes))
    _of_images(sheet, cells, columns, rows_of, per_box, gathered, {image, label})
    return gathered


def _rows(given: Given, sheet: Sheet, image: str) -> tuple[dict[str, list[int]], list[str]]:
    """For each image its rows, and the rows whose image is not there."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    for i, cell in enumerate(sheet.frame[image]):
        found = given.index.find(cell)
        one_of(found, cell, sheet.path)
        if found:
            rows_of[found[0]].append(i)
        else:
            lost[str(cell)] += 1
    return dict(sorted(rows_of.items())), [f"{Path(sheet.path).name}: {cell} ({n} rows)" for cell, n in lost.items()]


def _box(sheet: Sheet, cells: Cells, row: int, columns: Columns, label: str | None, per_box: Sequence[str]) -> MarkedBox | None:
    """The box of a row; None when its cells for it are empty.

    Raises
    ------
    LabelError: some cells are empty and others are not, one is no number, or the box has no class.
    """
    if all(missing(cells[name]) for name in columns.all):
        return None
    values = {name: _number(cells[name]) for name in columns.all}
    if None in values.values() or (label and missing(cells[label])):
        lacking = next((name for name, value in values.items() if value is None), label)
        got = cells.get(str(lacking))
        what = "class" if lacking == label else "number"
        raise LabelError("a row states part of a box", where=f"{sheet.path}, row {row + 2}", expected=f"a {what} in '{lacking}'",
                         got=f"'{got}'" if got is not None else "an empty cell", do="complete it, or empty all cells of the box if there is none")
    low, high = _corners(columns, {name: float(value or 0) for name, value in values.items()})
    facts = {name: truth_value(cells[name]) for name in per_box if not missing(cells[name])}
    name = str(cells[label]) if label else ONLY_CLASS
    return MarkedBox(name, low, high, True, facts=facts) if columns.world else MarkedBox(name, low[::-1], high[::-1], facts=facts)


def _corners(columns: Columns, values: dict[str, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Low and high ``(x, y(, z))``."""
    first, second = ([values[name] for name in names] for names in (columns.first, columns.second))
    if columns.way == "corners":
        return tuple(first), tuple(second)
    if columns.way == "size":
        return tuple(first), tuple(a + size for a, size in zip(first, second, strict=True))
    pairs = list(zip(first, second, strict=True))
    return tuple(a - size / 2 for a, size in pairs), tuple(a + size / 2 for a, size in pairs)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _per_box(cells: dict[str, list[Any]], rows_of: dict[str, list[int]], other: set[str | None]) -> list[str]:
    """Columns that tell of a box rather than of its image: second labels, and those that differ within an image."""
    free = {name: column for name, column in cells.items() if name not in other}
    return [name for name, column in free.items() if name.lower() in RISKS or any(len({column[i] for i in rows}) > 1 for rows in rows_of.values())]


def _sizes(sheet: Sheet, columns: Columns) -> list[str]:
    """Columns with the size of the image: ``width`` and ``height`` beside corners."""
    held = {name.lower(): name for name in sheet.columns if name not in columns.all}
    pairs = (("height", "width"), ("image_height", "image_width"), ("img_height", "img_width"))
    return next(([held[a], held[b]] for a, b in pairs if a in held and b in held), [])


def _of_images(sheet: Sheet, cells: dict[str, list[Any]], columns: Columns, rows_of: dict[str, list[int]], per_box: Sequence[str], gathered: Gathered,
               other: set[str | None]) -> None:
    """What the table says of each image: official split, stated size, clinical columns."""
    sizes, roles = _sizes(sheet, columns), sheet.roles
    own = {*other, *columns.all, *per_box, *sizes, roles.get("patient"), roles.get("split")}
    renamed = {roles[role]: role for role in CANONICAL if role in roles}
    clinical = {renamed.get(name, name): typed(column) for name, column in cells.items() if name not in own}
    for name, (row, *_) in rows_of.items():
        gathered.clinical[name] = {column: values[row] for column, values in clinical.items()}
        if "split" in roles and (split := split_of(str(cells[roles["split"]][row]))):
            gathered.splits[name] = split
        shape = tuple(whole(cells[column][row]) for column in sizes)
        if shape and all(shape):
            gathered.stated[name] = shape


def _unlisted(given: Given, gathered: Gathered, empty: int) -> list[str]:
    """Images without a row: not marked where the table lists others that hold nothing; else, in the folders of those that it
    names, they hold nothing (as in LUNA16, whose table lists nodules only).
    """
    if empty:
        return ["images without a row count as not marked, since the table lists others that hold nothing"]
    folders = {name.rpartition("/")[0] for name in gathered.boxes}
    bare = [name for name, _ in given.found.items if name not in gathered.boxes and name.rpartition("/")[0] in folders]
    gathered.boxes.update({name: [] for name in bare})
    return [f"{len(bare)} images without a row count as holding nothing, since the table lists no image without a box: {named(bare)}"] if bare else []


def _patients(given: Given, sheet: Sheet, image: str, rows_of: dict[str, list[int]], names: list[str]) -> Patients:
    """``--patient`` (a column or an expression), then DICOM PatientID, then a column, then file names."""
    option = given.options.patient
    column = option if option in sheet.columns else sheet.roles.get("patient")
    if option and option not in sheet.columns:
        return patients_of_names(given, names)
    stated = {name: str(given.found.dicom.get(name, {}).get("PatientID") or "") for name in names}
    if column and (option or not any(stated.values())):
        cells = {name: sheet.frame[column].iloc[rows[0]] for name, rows in rows_of.items()}
        found = by_facts(names, cells, f"column '{column}'")
        if found:
            return replace(found, ids=tuple(given.found.whole.get(each, each) for each in found.ids))  # a slice without one is its volume's patient
    return patients_of_names(given, names)
