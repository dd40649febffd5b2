"""The structures that masks mark: their numbers, their names, whether they exclude one another, each with its evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vesalius.core.cohort import MaskFile
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError, FormatError, LabelError, OptionError
from vesalius.formats.building import Row
from vesalius.formats.cases import MAX_CLASSES, SOFT
from vesalius.formats.given import Given
from vesalius.formats.masks import found_numbers, numbers_of
from vesalius.formats.opening import header

SCAN_SAMPLES = 2**28
"""Label maps are looked into for their numbers up to so many samples (some seconds); of more, some that lie evenly in the list."""
SOFT_NUMBERS = 16
"""A picture with more different numbers than these, most of its samples nearly black or white, has soft edges."""
SOFT_SHARE = 0.9
PICTURE_SHARE = 0.1
"""More different numbers than this part of the samples are no structures."""
LABEL_FILES = ("labels", "label", "classes", "class_names", "labelmap", "label_map", "标签")
LINE = re.compile(r"^\s*(\d+)(?:[\s,;:=\t]+(?:[\d.]+\s+){0,6})\"?([^\"\d][^\"]*?)\"?\s*$")
"""``1 liver``, ``1,liver``, ``1: liver`` and the lines of ITK-SNAP (number, colour, visibility, "name")."""
BACKGROUND = ("background", "bg", "none", "clear label", "背景")
IGNORE = ("ignore", "ignored", "void", "忽略")


@dataclass(frozen=True)
class Stated:
    """Structures as the user or a file beside the masks names them: name to numbers, and the number that nobody judged."""

    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None
    told: str = ""

    @property
    def target(self) -> TargetSpec:
        """Structures that share a number do not exclude one another."""
        numbers = Counter(number for values in self.values.values() for number in values)
        exclusive = max(numbers.values(), default=1) == 1
        return TargetSpec("mask", tuple(self.values), "mask", self.told, tuple(self.values.values()), self.ignore, exclusive)


@dataclass
class Seen:
    """Numbers that were found in label maps: in how many files each, and what the user should know."""

    files: Counter[int] = field(default_factory=Counter)
    soft: int = 0
    notes: list[str] = field(default_factory=list)


def is_assignment(label: str | None) -> bool:
    """Whether ``--label`` gives numbers their names rather than to name columns."""
    return label is not None and "=" in label


def assigned(label: str) -> Stated:
    """``"anterior=1,posterior=2,all=1+2,ignore=255"``.

    Raises
    ------
    OptionError: it is no list of names with numbers.

    >>> assigned("whole=1+2, core=2").target.exclusive
    False
    """
    values: dict[str, tuple[int, ...]] = {}
    for part in label.split(","):
        name, _, numbers = (each.strip() for each in part.partition("="))
        if not name or not re.fullmatch(r"\d+(\s*\+\s*\d+)*", numbers):
            raise OptionError("--label does not name the numbers of the masks", expected="e.g. anterior=1,posterior=2 or tumour=1+2", got=f"'{part.strip()}'")
        values[name] = tuple(int(number) for number in numbers.split("+"))
    return stated(values, f"--label {label}")


def stated(values: Mapping[str, Sequence[int]], told: str) -> Stated:
    """Names and numbers without the background; the name ``ignore`` stands for samples that nobody judged.

    Raises
    ------
    OptionError: there is no structure.
    """
    ignore = next((numbers[0] for name, numbers in values.items() if name.lower() in IGNORE), None)
    kept = {name: tuple(numbers) for name, numbers in values.items() if name.lower() not in (*BACKGROUND, *IGNORE)}
    if not kept:
        raise OptionError("there is no structure among the names", expected="at least one beside background and ignore", got=", ".join(values) or "none")
    return Stated(kept, ignore, told)


def target_of_masks(given: Given, rows: Sequence[Row]) -> tuple[TargetSpec, list[str]]:
    """The target that the masks of these rows are, and notes on it.

    Raises
    ------
    LabelError: ``--label`` names a structure that there is not. DataError: no mask can be read, or they hold no number but 0.
    OptionError: ``--label`` cannot be understood.
    """
    label = given.options.label
    if any(mask.name is not None for row in rows for mask in row.masks):
        return _of_files(rows, label)
    if label is not None:
        return assigned(label).target, []
    beside = _names_beside(given)
    seen = _scan([mask for row in rows for mask in row.masks])
    numbers = sorted(number for number in seen.files if number)
    if not numbers and beside is None:
        raise LabelError("every mask is empty", where=given.data, expected="samples that are not 0", got=f"{len(rows)} masks of background only",
                         do="give the right masks, or name the numbers with --label NAME=NUMBER")
    if beside is not None:
        return beside.target, seen.notes
    return _of_numbers(numbers, seen, rows), seen.notes


def _of_numbers(numbers: list[int], seen: Seen, rows: Sequence[Row]) -> TargetSpec:
    picture = all(mask.source.format in ("raster", "tiff") for row in rows for mask in row.masks)
    if seen.soft and set(numbers) <= {1, IGNORED}:
        return TargetSpec("mask", ("mask",), "mask", "the masks have soft edges: grey 128 and above is the structure", (SOFT,))
    if len(numbers) == 1 or (picture and set(numbers) <= {1, IGNORED}):
        return TargetSpec("mask", ("mask",), "mask", f"the masks hold 0 and {' or '.join(map(str, numbers))}", (tuple(numbers),))
    ignore = IGNORED if picture and numbers[-1] == IGNORED and numbers[:-1] == list(range(1, len(numbers))) else None
    kept = [number for number in numbers if number != ignore]
    reason = f"the masks hold the numbers {', '.join(map(str, kept[:12]))}" + (f"; {ignore} counts as not judged" if ignore else "")
    return TargetSpec("mask", tuple(f"class {number}" for number in kept), "mask", reason, tuple((number,) for number in kept), ignore)


def _scan(masks: Sequence[MaskFile]) -> Seen:
    """Look into label maps, one at a time; those that cannot be read are left to `check`, which names them."""
    seen, chosen = Seen(), _affordable(masks)
    for mask in chosen:
        try:
            numbers, _ = numbers_of(mask.source)
        except DataError:
            continue
        counts = found_numbers(numbers)
        if len(counts) > SOFT_NUMBERS and _is_soft(mask, counts):
            seen.soft += 1
            counts = {0: 1, IGNORED: 1}
        elif len(counts) > max(2, PICTURE_SHARE * numbers.size) or len(counts) > MAX_CLASSES:
            raise DataError("the mask is a picture and no label map", where=str(mask.source), expected="a number for each structure",
                            got=f"{len(counts)} different numbers in {numbers.size} samples", do="give the folders of images and of masks their usual names")
        seen.files.update(counts.keys())
    if len(chosen) < len(masks):
        seen.notes.append(f"the numbers of the masks were taken from {len(chosen)} of {len(masks)} files")
    if seen.soft:
        seen.notes.append(f"{seen.soft} masks have soft edges (JPEG or smoothed); they are cut at grey 128")
    if not seen.files:
        raise DataError("no mask can be read", where=str(masks[0].source), expected="label maps", got=f"{len(masks)} files", do="repair them")
    return seen


def _is_soft(mask: MaskFile, counts: Mapping[int, int]) -> bool:
    ends = sum(n for number, n in counts.items() if number <= SOFT_NUMBERS or 255 - SOFT_NUMBERS <= number <= 255)
    return mask.source.format in ("raster", "tiff") and max(counts) <= IGNORED and ends >= SOFT_SHARE * sum(counts.values())


def _affordable(masks: Sequence[MaskFile]) -> list[MaskFile]:
    sizes = []
    for mask in masks:
        try:
            sizes.append(int(np.prod(header(mask.source)["shape"], dtype=np.int64)))
        except FormatError:
            sizes.append(0)
    total = sum(sizes)
    if total <= SCAN_SAMPLES:
        return list(masks)
    n = max(4, int(SCAN_SAMPLES / (total / len(masks))))
    return [masks[int(i)] for i in np.unique(np.linspace(0, len(masks) - 1, n).round())]


def _of_files(rows: Sequence[Row], label: str | None) -> tuple[TargetSpec, list[str]]:
    """A file for each structure; ``--label`` may choose some and their order."""
    names = sorted({str(mask.name) for row in rows for mask in row.masks if mask.name is not None})
    if label is not None:
        chosen = [part.strip() for part in label.split(",") if part.strip()]
        absent = [name for name in chosen if name not in names]
        if absent or not chosen:
            raise LabelError("there is no structure of that name", expected=f"of {', '.join(names[:12])}", got=", ".join(absent) or f"'{label}'",
                             do="correct --label")
        names = chosen
    lacking = [row.id for row in rows if not {mask.name for mask in row.masks} >= set(names)]
    notes = [f"{len(lacking)} cases lack the file of a structure, which counts as absent there, e.g. {lacking[0]}"] if lacking else []
    overlap = _overlap(rows, names)
    reason = f"a file for each of {len(names)} structures" + (f"; they may overlap, as in {overlap}" if overlap else "")
    return TargetSpec("mask", tuple(names), "mask", reason, exclusive=not overlap), notes


def _overlap(rows: Sequence[Row], names: Sequence[str]) -> str | None:
    """A case in which two structures hold the same sample; some cases are looked into (see `SCAN_SAMPLES`)."""
    left = SCAN_SAMPLES
    for row in rows:
        held = [mask for mask in row.masks if mask.name in names]
        try:
            shape = header(row.source)["shape"]
            left -= int(np.prod(shape, dtype=np.int64)) * len(held)
            if _overlaps(held):
                return row.id
        except DataError:
            continue
        if left <= 0:
            return None
    return None


def _overlaps(masks: Sequence[MaskFile]) -> bool:
    taken: np.ndarray | None = None
    for mask in masks:
        marked = numbers_of(mask.source)[0] != 0
        if taken is not None and (taken.shape != marked.shape or (taken & marked).any()):
            return taken.shape == marked.shape
        taken = marked if taken is None else taken | marked
    return False


def _names_beside(given: Given) -> Stated | None:
    """``labels.txt`` or ``labels.csv`` in the root: a number and a name a line, or names alone in the order of their numbers."""
    for name in given.tree.files:
        base = name.lower().rsplit(".", 1)
        if "/" not in name and len(base) == 2 and base[0] in LABEL_FILES and base[1] in ("txt", "csv", "tsv", "label"):
            found = named_numbers(Path(given.tree.path(name)).read_text("utf-8-sig", errors="replace"))
            if found:
                return stated(found, f"the names are in {name}")
    return None


def named_numbers(text: str) -> dict[str, tuple[int, ...]]:
    """Names with their numbers from a text file; empty when it is none.

    >>> named_numbers("0 background\\n1 liver"), named_numbers("liver\\nspleen")
    ({'background': (0,), 'liver': (1,)}, {'liver': (1,), 'spleen': (2,)})
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = [match for line in lines if (match := LINE.match(line))]
    if found and len(found) >= len(lines) - 1:
        return {match[2].strip(): (int(match[1]),) for match in found}
    if lines and all(re.fullmatch(r"[^\d,;\t][^,;\t]*", line) for line in lines):
        first = 0 if lines[0].lower() in BACKGROUND else 1
        return {line: (number,) for number, line in enumerate(lines, first)}
    return {}
