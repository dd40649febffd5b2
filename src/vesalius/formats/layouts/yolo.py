"""Boxes as YOLO states them: a text file an image, a line a box (class, centre x and y, width, height as shares of the image; Redmon et al. 2016).

https://doi.org/10.1109/CVPR.2016.91; folders, ``data.yaml`` and polygons as today's programs write them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from vesalius.core.cohort import Cohort, MarkedBox, Source
from vesalius.errors import DataError, FormatError
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._boxed import RULED_OUT, Gathered, boxes_cohort, nearest, part_of
from vesalius.formats.layouts._pairing import named
from vesalius.formats.layouts._roles import FOLDERS
from vesalius.formats.layouts._yolofiles import NOT_LABELS, Described, described
from vesalius.formats.matching import stem
from vesalius.formats.opening import header

SNIFFED = 20
PIXELS_FROM = 2.0
"""A share of an image is at most 1 and a little more for boxes that reach out; from here on it is a number of pixels."""
CORNERS = 4
Key = tuple[tuple[str, ...], str]


@LAYOUTS.register("yolo")
class Yolo(Layout):
    """``images/[train/]x.jpg`` with ``labels/[train/]x.txt``, or ``x.txt`` beside ``x.jpg``; names in ``data.yaml``, ``classes.txt`` or ``obj.names``."""

    name = "yolo"
    boxes = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or not any(name.lower().endswith(".txt") for name in given.tree.files):
            return None
        found = _texts(given)
        held = [lines for name in list(found.values())[:SNIFFED] if (lines := _lines(given.tree.path(name)))]
        if not found or not all(_is_box(lines[0]) for lines in held) or not (held or described(given).names):
            return None
        image, text = next(iter(found.items()))
        return f"{len(found)} text files of the YOLO kind, e.g. {text} for {image}"

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        return (*RULED_OUT, *(("paired-masks", "dataset-json") if given.options.target == "boxes" else ()))

    @classmethod
    def read(cls, given: Given) -> Cohort:
        found, told = _texts(given), described(given)
        if not found:
            raise DataError("no image has a text file of the YOLO kind", where=given.data, expected="labels/x.txt for images/x.jpg, or x.txt beside x.jpg",
                            do="name the text files as their images")
        gathered = _gathered(given, found, told)
        return boxes_cohort(given, cls.name, gathered, told.evidence or "boxes of YOLO; no file names the classes")


def _gathered(given: Given, found: dict[str, str], told: Described) -> Gathered:
    gathered = Gathered(classes=told.names, splits=told.splits or _folders(given), notes=list(told.notes))
    sources, used = dict(given.found.items), set(found.values())
    for image, text in found.items():
        gathered.boxes[image] = _boxes(given.tree.path(text), sources[image], told)
    for image in told.listed:
        gathered.boxes.setdefault(image, [])
    gathered.lost += [name for name in _candidates(given) if name not in used and any(map(_is_box, _lines(given.tree.path(name))))]
    gathered.lost += list(told.lost)
    bare = [name for name in sources if name not in gathered.boxes]
    if bare:
        gathered.notes.append(f"{len(bare)} images have no text file: an empty one would say that there is nothing in them; e.g. {named(bare)}")
    if not gathered.classes:
        gathered.classes = [f"class {k}" for k in sorted({int(box.name.split()[1]) for boxes in gathered.boxes.values() for box in boxes})]
    return gathered


def _candidates(given: Given) -> list[str]:
    return [name for name in given.tree.files if name.lower().endswith(".txt") and stem(name.rsplit("/", 1)[-1]).lower() not in NOT_LABELS]


def _texts(given: Given) -> dict[str, str]:
    """Image id to its text file: the same name in the same folders, those for images and labels apart; else the only one of that name."""
    placed: dict[Key, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in _candidates(given):
        placed[_key(name)].append(name)
        by_stem[_key(name)[1]].append(name)
    images = [name for name, _ in given.found.items]
    alone = Counter(_key(name)[1] for name in images)
    found = {}
    for name in images:
        place = _key(name)
        text = nearest(placed.get(place, []), name) or (nearest(by_stem.get(place[1], []), name) if alone[place[1]] == 1 else None)
        if text is not None:
            found[name] = text
    return found


def _key(name: str) -> Key:
    *folders, base = name.split("#", 1)[0].split("/")
    return tuple(folder for folder in folders if folder.lower() not in FOLDERS), stem(base)


def _lines(path: str) -> list[list[str]]:
    return [parts for line in Path(path).read_text("utf-8-sig", errors="replace").splitlines() if (parts := line.split())]


def _is_box(parts: list[str]) -> bool:
    """A class (a whole number) and at least four numbers."""
    try:
        [float(part) for part in parts]
    except ValueError:
        return False
    return len(parts) > CORNERS and parts[0].isdigit()


def _folders(given: Given) -> dict[str, str]:
    """The part of the split that a folder of the image stands for."""
    splits = {name: next((split for folder in name.split("/")[:-1] if (split := part_of(folder))), None) for name, _ in given.found.items}
    return {name: split for name, split in splits.items() if split}


def _boxes(path: str, source: Source, told: Described) -> list[MarkedBox]:
    """The boxes of one file. A class that has no name becomes one that nobody named, which `check` tells.

    Raises
    ------
    FormatError: a line is no box, or its numbers are pixels.
    """
    lines = _lines(path)
    if not lines:
        return []
    try:
        height, width = header(source)["shape"][-2:]
    except FormatError:  # the image is told by `check`, which opens it; its boxes are lost with it
        return []
    return [_box(parts, path, (height, width), told) for parts in lines]


def _box(parts: list[str], path: str, shape: tuple[int, int], told: Described) -> MarkedBox:
    if not _is_box(parts) or (len(parts) != CORNERS + 1 and len(parts) % 2 == 0):
        raise FormatError("a line of the text file is no box", where=path, expected="class, centre x, centre y, width, height", got=" ".join(parts)[:60],
                          do="correct it (a sixth number, as in predictions, is not read)")
    values = [float(part) for part in parts[1:]]
    if max(map(abs, values)) >= PIXELS_FROM:
        raise FormatError("the numbers of a box are no shares of the image", where=path, expected="0 to 1", got=" ".join(parts)[:60],
                          do="divide them by the width and the height of the image")
    low, high = _edges(values)
    number = int(parts[0])
    name = told.names[number] if number < len(told.names) else f"class {number}"
    return MarkedBox(name, (low[1] * shape[0], low[0] * shape[1]), (high[1] * shape[0], high[0] * shape[1]))


def _edges(values: list[float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Low and high ``(x, y)`` of centre and size, or of the corners of a polygon."""
    if len(values) == CORNERS:
        x, y, width, height = values
        return (x - width / 2, y - height / 2), (x + width / 2, y + height / 2)
    xs, ys = values[::2], values[1::2]
    return (min(xs), min(ys)), (max(xs), max(ys))
