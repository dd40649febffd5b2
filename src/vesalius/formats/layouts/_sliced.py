"""Boxes on single slices: rows that name slices of DICOM series or of volumes become studies of one slice each.

Slices of a DICOM series are named by their file or SOPInstanceUID, or by a number beside a column that names the series: an Instance Number (0020,0013)
or a place along the series, from 0. Slices of other volumes are named by their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from vesalius.core.cohort import Source
from vesalius.core.target import missing
from vesalius.errors import DataError, LabelError
from vesalius.formats.dicom import facts_of
from vesalius.formats.dicomgeometry import plane_of, stack_of
from vesalius.formats.dicomseries import Instance
from vesalius.formats.given import Given
from vesalius.formats.layouts._boxcolumns import Columns
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts.table import image_column
from vesalius.formats.matching import SAMPLE, Index
from vesalius.formats.opening import header
from vesalius.formats.sheet import Sheet
from vesalius.formats.slices import slice_of
from vesalius.formats.sources import Found, ndims

BY_PLACE = ("slice", "slice_index", "slice_idx", "slice_id", "z", "z_index", "z_slice", "frame", "frame_index", "切片", "层", "层面")
BY_NUMBER = ("instance_number", "instancenumber", "slice_number", "slice_no", "slicenumber", "层号")
"""Columns with the Instance Number of a DICOM series; of other volumes a place from 0, as those of `BY_PLACE`."""
Part = tuple[str, Source]


@dataclass(frozen=True)
class Sliced:
    """The data as slices: ``given`` lists those that rows name, the cells of column ``image`` of ``sheet`` are their ids."""

    given: Given
    sheet: Sheet
    image: str
    notes: tuple[str, ...]


def sliced(given: Given, sheet: Sheet, columns: Columns) -> Sliced | None:
    """What the rows of a table of 2-D boxes name of series and volumes; None where they name pictures, or boxes with three axes.

    Raises
    ------
    LabelError: a row has a box and names a whole series or volume, or a slice that there is not. DataError: it is not certain which volume a row means.
    """
    if len(columns.first) != 2 or columns.world:
        return None
    by_name = slice_column(given, sheet, columns)
    if by_name is not None:
        return _made(given, sheet, by_name, _of_names(given, sheet, columns, by_name), ())
    image = image_column(sheet, given)
    held = {cell: given.index.find(cell) for cell in dict.fromkeys(sheet.frame[image])} if image else {}
    deep = _volumes(given, held)
    if image is None or not deep:
        return None
    number = next((name for name in sheet.columns if _is_number(name) and name not in (image, *columns.all)), None)
    if number is None and len(deep) <= 0.5 * sum(map(len, held.values())):
        return None  # some volumes among pictures, which is told of every layout
    if number is None:
        raise LabelError("the boxes have two axes and the images three", where=sheet.path, got=f"{sorted(deep)[0]} and the columns {', '.join(columns.all)}",
                         expected="a column 'slice' (from 0), 'instance_number' or 'SOPInstanceUID' that says on which slice a box lies, or edges along z",
                         do="add one of them")
    return _made(given, sheet, image, _of_numbers(given, sheet, columns, image, number, held, deep), (number,))


def one_of(found: Sequence[str], cell: str | None, where: str) -> None:
    """Refuse a cell that means several images.

    Raises
    ------
    DataError: names them.
    """
    if len(found) > 1:
        raise DataError("it is not certain which image a row means", where=where, expected="one image of that name", got=f"{cell}: {named(found)}",
                        do="write the path of the image, or its SeriesInstanceUID or SOPInstanceUID, into the table")


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def _is_number(name: str) -> bool:
    return _plain(name) in (*BY_PLACE, *BY_NUMBER)


def _all(given: Given) -> tuple[list[Part], dict[str, dict[str, str]]]:
    """Every slice of every series under the relative path of its file, and its SOPInstanceUID."""
    items, facts = [], {}
    for each in given.found.instances.values():
        for instance in each:
            items.append((instance.name, Source("dicom", given.tree.path(instance.name))))
            facts[instance.name] = {"SOPInstanceUID": instance.uid}
    return items, facts


def slice_column(given: Given, sheet: Sheet, columns: Columns) -> str | None:
    """The column whose cells are single slices of series, when they are so rather than whole images; None for boxes with three axes."""
    if len(columns.first) != 2 or columns.world or not given.found.instances:
        return None
    known, asked, usual = Index(*_all(given)), given.options.image, sheet.roles.get("image")
    free = [sheet.column(asked, "--image")] if asked else [name for name in sheet.columns if name not in columns.all and not _is_number(name)]
    cells = {name: [cell for cell in sheet.frame[name] if cell and (name in (asked, usual) or not cell.isdigit())] for name in free}
    shares = {name: _share(cells[name], known, given.index) for name in free}
    best = max(shares, key=lambda name: shares[name], default="")
    return best if shares.get(best) else None


def _share(cells: Sequence[str], known: Index, whole: Index) -> float:
    """Which part of the cells mean one slice; 0 when as many mean an image or several slices (a series, numbers that start again in each)."""
    held = cells[:SAMPLE]
    one = sum(len(known.find(cell)) == 1 for cell in held)
    other = sum(bool(whole.find(cell)) or len(known.find(cell)) > 1 for cell in held)
    return one / len(held) if one > other else 0.0


def _volumes(given: Given, held: Mapping[str | None, list[str]]) -> set[str]:
    """Of the images that cells mean those with three axes."""
    sources = dict(given.found.items)
    names = dict.fromkeys(name for names in held.values() for name in names)
    return {name for name, axes in ndims(tuple((name, sources[name]) for name in names)).items() if axes == 3}


def _of_names(given: Given, sheet: Sheet, columns: Columns, image: str) -> list[Part | None]:
    """The slice of each row; None where it has none."""
    items, facts = _all(given)
    sources, known = dict(items), Index(items, facts)
    parts: list[Part | None] = []
    for i, cell in enumerate(sheet.frame[image]):
        whole = given.index.find(cell)
        found = [] if whole else known.find(cell)
        one_of(found, cell, f"{sheet.path}, row {i + 2}")
        if whole:
            _no_slice(sheet, columns, i, f"'{cell}' in '{image}', which is {whole[0]}")
        parts.append((found[0], sources[found[0]]) if found else None)
    return parts


def _no_slice(sheet: Sheet, columns: Columns, i: int, got: str) -> None:
    """A row without a slice may only say that there is nothing."""
    if not all(missing(sheet.frame[name].iloc[i]) for name in columns.all):
        raise LabelError("a row has a box and names no slice", where=f"{sheet.path}, row {i + 2}", expected="one slice of a series or volume, as in other rows",
                         got=got, do="name the slice in every row with a box, or give whole volumes and slices in two tables")


def _of_numbers(given: Given, sheet: Sheet, columns: Columns, image: str, number: str, held: Mapping[str | None, list[str]],
                deep: set[str]) -> list[Part | None]:
    """The slice of each row of a volume, and the picture of each row of one; None where there is none."""
    sources, places = dict(given.found.items), _Places(given, number)
    parts: list[Part | None] = []
    for i, (cell, stated) in enumerate(zip(sheet.frame[image], sheet.frame[number], strict=True)):
        names = held[cell]
        one_of(names, cell, f"{sheet.path}, row {i + 2}")
        if not names or names[0] not in deep:
            parts.append((names[0], sources[names[0]]) if names else None)
        elif stated is None:
            _no_slice(sheet, columns, i, f"nothing in '{number}'")
            parts.append(None)
        else:
            parts.append(places.part(names[0], stated, f"{sheet.path}, row {i + 2}"))
    return parts


class _Places:
    """Slices by their number: each series and volume is looked into once."""

    def __init__(self, given: Given, column: str) -> None:
        self.given, self.column, self.by_number = given, column, _plain(column) in BY_NUMBER
        self.sources = dict(given.found.items)
        self.known: dict[str, dict[int, Part]] = {}

    def part(self, volume: str, stated: str, where: str) -> Part:
        """The slice that a cell means.

        Raises
        ------
        LabelError: there is none of that number.
        """
        if volume not in self.known:
            self.known[volume] = self._parts(volume)
        held = self.known[volume]
        number = float(stated) if re.fullmatch(r"-?\d+(\.0*)?", stated) else -1.0
        if number not in held:
            way = "an Instance Number" if self.by_number and volume in self.given.found.instances else "the place of a slice, from 0"
            raise LabelError("there is no such slice", where=where, expected=f"{way}: {min(held)} to {max(held)} of {volume}",
                             got=f"'{stated}' in '{self.column}'", do="correct the number, or fetch the whole series")
        return held[int(number)]

    def _parts(self, volume: str) -> dict[int, Part]:
        source, slices = self.sources[volume], self.given.found.instances.get(volume, ())
        if not slices:
            return {place: (f"{volume}#z:{place}", slice_of(source, place)) for place in range(int(header(source)["shape"][0]))}
        paths = {instance: (instance.name, Source("dicom", self.given.tree.path(instance.name))) for instance in slices}
        if self.by_number:
            return _numbered(slices, paths, volume)
        return {place: paths[instance] for place, instance in self._placed(slices, source)}

    def _placed(self, slices: Sequence[Instance], source: Source) -> list[tuple[int, Instance]]:
        """As the volume is stacked when it is opened, so that its own slices have these places."""
        facts = [facts_of(path) for path in source.files]
        flat = (int(facts[0]["Rows"]), int(facts[0]["Columns"]))
        stack = stack_of([plane_of(each) for each in facts], flat, [Path(path).name for path in source.files], source.path,
                         "fill" if self.given.options.gaps == "fill" else "refuse")
        return [(place, slices[i]) for place, i in zip(stack.places, stack.order, strict=True)]


def _numbered(slices: Sequence[Instance], paths: Mapping[Instance, Part], volume: str) -> dict[int, Part]:
    numbers = [instance.number for instance in slices]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise LabelError("the slices of a series cannot be told apart by their Instance Number", where=volume, expected="a number of its own for each slice",
                         got=f"{len(set(numbers))} different ones of {len(numbers)}", do="name the slices by SOPInstanceUID, file or 'slice' (from 0)")
    return {int(instance.number or 0): paths[instance] for instance in slices}


def _made(given: Given, sheet: Sheet, image: str, parts: Sequence[Part | None], dropped: Sequence[str]) -> Sliced:
    """The table with the ids of slices in its column of images; rows without a slice keep what they said."""
    wholes = _wholes(given, parts)
    empty = {i for i, (part, cell) in enumerate(zip(parts, sheet.frame[image], strict=True)) if part is None and given.index.find(cell)}
    cells = [cell if part is None else part[0] for part, cell in zip(parts, sheet.frame[image], strict=True)]
    frame = sheet.frame.assign(**{image: pd.Series(cells, dtype=object)}).drop(columns=list(dropped))
    frame = frame.drop(index=sorted(empty)).reset_index(drop=True)
    roles = {role: name for role, name in sheet.roles.items() if name not in dropped}
    items = tuple(sorted({part[0]: part for part in parts if part is not None}.values()))
    dicom = given.found.dicom | {name: given.found.dicom.get(wholes[name], {}) | {"SOPInstanceUID": ""} for name, _ in items if name in wholes}
    found = Found(items, given.found.skipped, dicom, given.found.instances, wholes)
    return Sliced(replace(given, listed=found), Sheet(frame, sheet.path, roles), image, tuple(_notes(given, image, items, wholes, len(empty))))


def _wholes(given: Given, parts: Sequence[Part | None]) -> dict[str, str]:
    """The image that each slice is part of."""
    of = {instance.name: volume for volume, slices in given.found.instances.items() for instance in slices}
    names = [part[0] for part in parts if part is not None]
    return {name: of.get(name) or name.rpartition("#z:")[0] for name in names if name in of or "#z:" in name}


def _notes(given: Given, image: str, items: Sequence[Part], wholes: Mapping[str, str], empty: int) -> list[str]:
    volumes = sorted({wholes[name] for name, _ in items if name in wholes})
    there = sum(len(given.found.instances.get(name, ())) or int(header(dict(given.found.items)[name])["shape"][0]) for name in volumes)
    without = [name for name, _ in given.found.items if name not in volumes and name not in dict(items)]
    marked = sum(name in wholes for name, _ in items)
    return [
        f"the boxes lie on single slices: each of the {marked} slices that a row names, of {len(volumes)} series and volumes, is a study of its own",
        f"{there - marked} other slices of them have no row and are not judged: they are neither learnt from as holding nothing nor counted in any figure",
        *([f"{len(without)} images have no row in the table and were left out: {named(without)}"] if without else []),
        *([f"{empty} rows without a box name a whole series or volume in '{image}' and no slice of it; they were left out"] if empty else []),
    ]
