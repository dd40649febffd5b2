"""A folder of images and a table of labels: CSV, TSV, Parquet or XLSX."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.cohort import Cohort
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.errors import DataError, LabelError
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.patients import Patients, by_facts, by_names, by_option
from vesalius.formats.sheet import CANONICAL, Sheet, read_sheet, roles_of, texts, typed
from vesalius.formats.target_of import side_matters, target_of

LABEL_FILES = ("labels", "label", "metadata", "meta", "index", "data", "table", "annotations", "groundtruth", "标签")
MATCHED = 0.5
"""A column names the images when at least this part of its cells does."""
MANY = 20


@dataclass(frozen=True)
class Labels:
    """Which columns hold the label, how they are to be read, and why they were chosen."""

    columns: tuple[str, ...]
    several: bool
    evidence: str


@LAYOUTS.register("table")
class TableLayout(Layout):
    """Images anywhere below the folder, one table."""

    name = "table"

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or not given.tree.images:
            return None
        if given.options.table:
            return f"the table {given.options.table}"
        if not given.tree.tables or (_mostly_dicom(given)):
            return None
        sheet = given_sheet(given)
        if given.options.label is None and labels_in(sheet, image_column(sheet, given)) is None:
            return None
        column = image_column(sheet, given)
        return f"the table {Path(sheet.path).name}, whose column '{column}' names the images" if column else None

    @classmethod
    def read(cls, given: Given) -> Cohort:
        return read_table(given, cls.name)


def _mostly_dicom(given: Given) -> bool:
    kinds = Counter(kind for kind in given.tree.formats if kind)
    return kinds["dicom"] + kinds["?"] > 0.5 * sum(kinds.values())


def given_sheet(given: Given) -> Sheet:
    """The table of ``--table``, the only one in the folder, the one called ``labels``, or train, val and test tables joined.

    Raises
    ------
    LabelError: several could be meant.
    """
    if given.options.table:
        beside = given.path / given.options.table
        return read_sheet(beside if beside.is_file() else Path(given.options.table))
    names = given.tree.tables
    if len(names) == 1:
        return read_sheet(given.path / names[0])
    if names and all(split_of(Path(name).stem) for name in names):
        return joined([(read_sheet(given.path / name), str(split_of(Path(name).stem))) for name in names])
    usual = [name for name in names if Path(name).stem.lower() in LABEL_FILES]
    if len(usual) != 1:
        raise LabelError("several tables could hold the labels", where=given.data, expected="one", got=", ".join(names[:8]) or "none",
                         do="choose with --table FILE")
    return read_sheet(given.path / usual[0])


def joined(parts: list[tuple[Sheet, str]]) -> Sheet:
    """Tables of the parts of a split as one, with a column ``split``."""
    frames = [sheet.frame.assign(split=split) for sheet, split in parts]
    frame = texts(pd.concat(frames, ignore_index=True))
    return Sheet(frame, parts[0][0].path, roles_of(list(frame.columns)) | {"split": "split"})


def image_column(sheet: Sheet, given: Given) -> str | None:
    """The column whose cells name images: ``--image``, else the best matching one, the usual names first."""
    if given.options.image:
        return sheet.column(given.options.image, "--image")
    index = given.index
    usual = sheet.roles.get("image")
    shares = {name: index.share(list(sheet.frame[name])) for name in sheet.columns}
    best = max(shares, key=lambda name: (round(shares[name], 2), name == usual))
    if shares[best] >= MATCHED or (shares[best] > 0 and best == usual):
        return best
    return best if shares[best] > 0 else None


@dataclass(frozen=True)
class Beside:
    """What a table says of images whose truth lies elsewhere (in masks), in the order of the images that were asked about."""

    clinical: list[dict[str, Any]]
    splits: list[str | None]
    patients: Patients | None
    note: str


def beside(given: Given, names: Sequence[str]) -> Beside | None:
    """Patients, splits and clinical columns of ``--table``, or of the only table in the folder when it names the images; else None.

    Raises
    ------
    LabelError: ``--table`` names no image, or ``--patient`` a column that there is not.
    """
    if not given.options.table and len(given.tree.tables) != 1:
        return None
    sheet = given_sheet(given)
    image = image_column(sheet, given) if len(sheet.columns) > 1 else None
    row_of = {name: i for i, cell in reversed(list(enumerate(sheet.frame[image]))) for name in given.index.find(cell)} if image else {}
    if image is None or not row_of.keys() & set(names):
        if given.options.table:
            raise unmatched(given, sheet)
        return None
    return beside_rows(given, sheet, image, names, row_of)


def beside_rows(given: Given, sheet: Sheet, image: str, names: Sequence[str], row_of: Mapping[str, int], other: Sequence[str] = ()) -> Beside:
    """As `beside`, of a table whose rows by image are known; ``other``: columns that say nothing of a patient (names of masks)."""
    none = Labels(tuple(other), False, "")
    roles, places = _free_roles(sheet, image, none), {name: row_of[name] for name in names if name in row_of}
    clinical, splits = _clinical(sheet, image, none, roles), _splits(sheet, roles)
    asked = given.options.patient
    known = _patients(given, sheet, roles, dict.fromkeys(names, 0) | places) if len(places) == len(names) and ("patient" in roles or asked) else None
    told = f"column '{image}' of {Path(sheet.path).name} names the images; {len(names) - len(places)} of {len(names)} have no row in it"
    return Beside([clinical[places[name]] if name in places else {} for name in names], [splits[places[name]] if name in places else None for name in names],
                  known, told)


def read_table(given: Given, layout: str) -> Cohort:
    """Join a table to the images.

    Raises
    ------
    LabelError: no label column, a misspelt column, or rows of one image that contradict each other. DataError: no row has an image.
    """
    sheet = given_sheet(given)
    wanted = _asked(sheet, given.options.label)
    image = image_column(sheet, given)
    if image is None:
        raise unmatched(given, sheet)
    labels = wanted or labels_in(sheet, image)
    if labels is None:
        raise LabelError("no column of the table is known to be the label", where=sheet.path, expected="a column such as label or diagnosis",
                         got=", ".join(sheet.columns[:12]), do="name it with --label COLUMN")
    return _cohort(given, layout, sheet, image, labels)


def _cohort(given: Given, layout: str, sheet: Sheet, image: str, labels: Labels) -> Cohort:
    values = _values(sheet, labels)
    matched, notes = _match(given, sheet, image, values)
    sources = dict(given.found.items)
    roles = _free_roles(sheet, image, labels)
    clinical = _clinical(sheet, image, labels, roles)
    splits = _splits(sheet, roles)
    rows = [Row(name, sources[name], values[i], splits[i], clinical[i]) for name, i in matched.items()]
    target = _target(given, labels, rows)
    patients = _patients(given, sheet, roles, matched)
    return cohort_of(given, layout, rows, target, patients, [labels.evidence, f"column '{image}' names the images", *notes], sided=_sided(sheet, labels))


def _sided(sheet: Sheet, labels: Labels) -> list[str]:
    return [name for name in (*labels.columns,) if side_matters([name])]


def _asked(sheet: Sheet, label: str | None) -> Labels | None:
    if label is None:
        return None
    names = [label] if label in sheet.columns else [part.strip() for part in label.split(",")]
    columns = tuple(sheet.column(name, "--label") for name in names)
    if len(columns) > 1:
        _marks_only(sheet, columns)
    return Labels(columns, len(columns) > 1, f"the label is --label {label}")


def _marks_only(sheet: Sheet, columns: tuple[str, ...]) -> None:
    wrong = next((name for name in columns if not _is_mark(sheet, name)), None)
    if wrong:
        raise LabelError("several label columns must be 0/1", where=sheet.path, expected="0 or 1", got=f"other values in '{wrong}'",
                         do="name one column, or correct it")


def labels_in(sheet: Sheet, image: str | None) -> Labels | None:
    """The label column by its usual name; else several 0/1 columns; else the only column that has no other meaning."""
    named = sheet.roles.get("label")
    if named and named != image:
        return Labels((named,), False, f"column '{named}' is the label, by its name")
    other = {sheet.roles.get(role) for role in ("image", "patient", "split", *CANONICAL)} | {image}
    free = [name for name in sheet.columns if name not in other]
    marks = tuple(name for name in free if _is_mark(sheet, name))
    if len(marks) >= 2:
        return Labels(marks, True, f"{len(marks)} columns of 0/1 are the labels: {', '.join(marks[:6])}")
    if len(free) == 1 and sheet.frame[free[0]].nunique() < max(3, len(sheet.frame) / 2):
        return Labels((free[0],), False, f"column '{free[0]}' is the label, as the only one without another meaning")
    return None


def _is_mark(sheet: Sheet, name: str) -> bool:
    held = set(sheet.frame[name].dropna().unique())
    return bool(held) and held <= {"0", "1", "0.0", "1.0", "True", "False", "true", "false"}


def _one_of(sheet: Sheet, labels: Labels) -> bool:
    """Whether every row has exactly one of the 0/1 columns: classes written in columns."""
    marks = sheet.frame[list(labels.columns)].isin(["1", "1.0", "True", "true"])
    return bool((marks.sum(axis=1) == 1).all())


def _values(sheet: Sheet, labels: Labels) -> list[Any]:
    if not labels.several:
        return typed(list(sheet.frame[labels.columns[0]]))
    cells = sheet.frame[list(labels.columns)]
    marks = cells.isin(["1", "1.0", "True", "true"]).to_numpy()
    empty = cells.isna().all(axis=1).to_numpy()
    return [None if gone else SEPARATOR.join(name for name, mark in zip(labels.columns, row, strict=True) if mark) for row,
            gone in zip(marks, empty, strict=True)]


def _target(given: Given, labels: Labels, rows: list[Row]) -> TargetSpec:
    held, name = [row.label for row in rows], ", ".join(labels.columns[:3])
    if not labels.several:
        return target_of(held, name=name, kind=given.options.target)
    single = all(value and SEPARATOR not in value for value in held if value is not None)
    if single and given.options.target in (None, "multiclass", "binary"):
        spec = target_of(held, name="label", kind=given.options.target, classes=labels.columns)
        return TargetSpec(spec.kind, spec.classes, spec.name, f"exactly one of {len(labels.columns)} 0/1 columns is 1 in each row; {spec.reason}")
    return TargetSpec("multilabel", labels.columns, "labels", f"{len(labels.columns)} columns of 0/1")


def _match(given: Given, sheet: Sheet, image: str, values: list[Any]) -> tuple[dict[str, int], list[str]]:
    """For each image its row; rows without an image and images without a row are told."""
    index, rows_of, lost = given.index, defaultdict(list), []
    for i, cell in enumerate(sheet.frame[image]):
        names = index.find(cell)
        for name in names:
            rows_of[name].append(i)
        if not names:
            lost.append(str(cell))
    if not rows_of:
        raise unmatched(given, sheet)
    _agree(rows_of, values, sheet)
    notes = [given.found.skipped_note() if given.found.skipped != (("." + sheet.path.rsplit(".", 1)[-1].lower(), 1),) else None]
    notes.append(f"{len(lost)} rows of the table have no image, e.g. {lost[0]}" if lost else None)
    without = [name for name, _ in given.found.items if name not in rows_of]
    notes.append(f"{len(without)} images have no row in the table and were left out, e.g. {without[0]}" if without else None)
    doubled = sum(len(rows) > 1 for rows in rows_of.values())
    notes.append(f"{doubled} images have several rows with the same label; the first counts" if doubled else None)
    return {name: rows[0] for name, rows in rows_of.items()}, [note for note in notes if note]


def _agree(rows_of: dict[str, list[int]], values: list[Any], sheet: Sheet) -> None:
    torn = {name: sorted({str(values[i]) for i in rows}) for name, rows in rows_of.items() if len({str(values[i]) for i in rows}) > 1}
    if torn:
        shown = "; ".join(f"{name}: {' and '.join(labels)}" for name, labels in list(torn.items())[:3])
        raise LabelError("rows of one image contradict each other", where=sheet.path, expected="one label an image",
                         got=f"{len(torn)} images with several, e.g. {shown}",
                         do=f"correct the table (several findings in one cell are joined by '{SEPARATOR}')")


def unmatched(given: Given, sheet: Sheet) -> DataError:
    """The error for a table that names no image."""
    cells = [str(cell) for cell in sheet.frame[sheet.roles.get("image", sheet.columns[0])][:2]]
    return DataError("no row of the table has an image", where=sheet.path,
                     expected=f"names of the images, such as {given.found.items[0][0] if given.found.items else '?'}",
                     got=", ".join(cells), do="name the column with --image, or give the folder that holds the images")


def _free_roles(sheet: Sheet, image: str, labels: Labels) -> dict[str, str]:
    return {role: name for role, name in sheet.roles.items() if name not in labels.columns and (name != image or role == "patient")}


def _clinical(sheet: Sheet, image: str, labels: Labels, roles: dict[str, str]) -> list[dict[str, Any]]:
    """All further columns; site, sex and age under these names."""
    own = {image, *labels.columns, roles.get("patient"), roles.get("split")}
    renamed = {roles[role]: role for role in CANONICAL if role in roles}
    columns = {renamed.get(name, name): typed(list(sheet.frame[name])) for name in sheet.columns if name not in own}
    return [{name: column[i] for name, column in columns.items()} for i in range(len(sheet.frame))]


def _splits(sheet: Sheet, roles: dict[str, str]) -> list[str | None]:
    """The official split, when every filled cell of its column is train, val or test."""
    if "split" not in roles:
        return [None] * len(sheet.frame)
    found = [split_of(cell) if cell else None for cell in sheet.frame[roles["split"]]]
    return found if all(split or not cell for split, cell in zip(found, sheet.frame[roles["split"]], strict=True)) else [None] * len(found)


def _patients(given: Given, sheet: Sheet, roles: dict[str, str], matched: dict[str, int]) -> Patients:
    """``--patient`` (a column or an expression), then DICOM PatientID, then a column, then file names."""
    names, option = list(matched), given.options.patient
    if option and option not in sheet.columns and (option.lower() == "none" or not option.replace("_", "").replace(" ", "").isalnum()):
        return by_option(names, option)
    column = sheet.column(option, "--patient") if option else roles.get("patient")
    stated = {name: str(facts.get("PatientID") or "") for name, facts in given.found.dicom.items()}
    from_files = None if option else by_facts(names, stated, "DICOM PatientID")
    if from_files or column is None:
        return from_files or by_names(names)
    cells = list(sheet.frame[column])
    return by_facts(names, {name: cells[i] for name, i in matched.items()}, f"column '{column}'") or by_names(names)
