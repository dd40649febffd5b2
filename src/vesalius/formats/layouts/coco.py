"""Boxes as COCO states them: JSON files of instances (Lin et al. 2014, https://doi.org/10.1007/978-3-319-10602-1_48)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.core.cohort import Cohort, MarkedBox
from vesalius.errors import DataError, FormatError
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._boxed import RULED_OUT, Gathered, boxes_cohort, nearest, part_of, truth_value, whole
from vesalius.formats.layouts._pairing import named

KEYS = (b'"images"', b'"annotations"', b'"categories"')
PREFERRED = "instances"
"""Where files are called so, others beside them (key points, captions) repeat the same images."""
KNOWN = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "attributes", "keypoints", "num_keypoints", "score"})
MOST_BYTES = 2**31


@LAYOUTS.register("coco")
class Coco(Layout):
    """JSON files anywhere below the folder, images anywhere too; files of train, val and test are an official split."""

    name = "coco"
    boxes = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        names = json_files(given)
        return f"COCO's {', '.join(names[:4])}" if names and given.tree.images else None

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        return (*RULED_OUT, *(("paired-masks", "dataset-json") if given.options.target == "boxes" else ()))

    @classmethod
    def read(cls, given: Given) -> Cohort:
        names = json_files(given)
        if not names:
            raise DataError("there is no JSON file of the COCO kind", where=given.data, expected="one with images, annotations and categories",
                            do="give the folder that holds it")
        gathered = Gathered()
        entered: dict[str, str] = {}
        for name in names:
            _enter(given, name, gathered, entered)
        return boxes_cohort(given, cls.name, gathered, f"the categories of {named(names)}")


def json_files(given: Given) -> list[str]:
    """JSON files of this kind."""
    names = [name for name in given.tree.files if name.lower().endswith(".json")] if given.is_folder else []
    found = [name for name in names if _is_coco(Path(given.tree.path(name)))]
    return [name for name in found if PREFERRED in name.rsplit("/", 1)[-1].lower()] or found


def _is_coco(path: Path) -> bool:
    if path.stat().st_size > MOST_BYTES:
        return False
    data = path.read_bytes()
    return all(key in data for key in KEYS) and (b'"bbox"' in data or b'"image_id"' not in data)


def _enter(given: Given, name: str, gathered: Gathered, entered: dict[str, str]) -> None:
    """Add one file; ``entered`` says which file named each image."""
    path = given.tree.path(name)
    facts = _parsed(path)
    classes = {each["id"]: str(each["name"]).strip() for each in facts["categories"]}
    gathered.classes = list(dict.fromkeys([*gathered.classes, *classes.values()]))
    boxes = _boxes(facts["annotations"], classes, path)
    split = _split(name)
    for each in facts["images"]:
        marked = boxes.pop(each["id"], [])
        image = _image(given, name, str(each["file_name"]))
        if image is None:
            gathered.lost.append(f"{name}: {each['file_name']}")
            continue
        if image in entered:
            raise DataError("an image is named twice", where=path, expected="one entry an image", got=f"{image}, also in {entered[image]}",
                            do="keep one of the entries")
        entered[image] = name
        gathered.boxes[image] = marked
        if (height := whole(each.get("height"))) and (width := whole(each.get("width"))):
            gathered.stated[image] = (height, width)
        if split:
            gathered.splits[image] = split
    if boxes:
        gathered.lost += [f"{name}: image_id {key} ({len(held)} boxes)" for key, held in boxes.items()]


def _parsed(path: str) -> dict[str, Any]:
    """The file, with its three lists.

    Raises
    ------
    FormatError: it is damaged, or an entry lacks what every entry has.
    """
    try:
        facts = json.loads(Path(path).read_text("utf-8-sig"))
    except ValueError as error:
        raise FormatError("the JSON file cannot be read", where=path, expected="COCO's images, annotations and categories", got=type(error).__name__,
                          do="repair it") from error
    for part, keys in (("images", ("id", "file_name")), ("annotations", ("image_id", "category_id")), ("categories", ("id", "name"))):
        held = facts.get(part) if isinstance(facts, dict) else None
        odd = next((each for each in held if not isinstance(each, dict) or not all(key in each for key in keys)), None) if isinstance(held, list) else held
        if not isinstance(held, list) or odd is not None:
            raise FormatError(f"the {part} of the JSON file cannot be understood", where=path, expected=f"a list of entries with {' and '.join(keys)}",
                              got=str(odd)[:80], do="correct it")
    return dict(facts)


def _boxes(annotations: Sequence[Mapping[str, Any]], classes: Mapping[Any, str], path: str) -> dict[Any, list[MarkedBox]]:
    """Boxes by image id, in the order of the file. A category that the file does not list becomes a class that nobody named, which `check` tells."""
    held: dict[Any, list[MarkedBox]] = {}
    for each in annotations:
        x, y, width, height = _corners(each, path)
        name = classes.get(each["category_id"], f"category {each['category_id']}")
        further = each.get("attributes") if isinstance(each.get("attributes"), dict) else {}
        facts = {key: truth_value(value) for key, value in {**each, **(further or {})}.items() if key not in KNOWN and not isinstance(value, (dict, list))}
        box = MarkedBox(name, (y, x), (y + height, x + width), ignored=bool(each.get("iscrowd")), facts=facts)
        held.setdefault(each["image_id"], []).append(box)
    return held


def _corners(each: Mapping[str, Any], path: str) -> tuple[float, float, float, float]:
    """``[x, y, width, height]``; where there is none, the smallest box around the polygons."""
    given = each.get("bbox") or _around(each.get("segmentation"))
    try:
        x, y, width, height = (float(value) for value in given)
    except (TypeError, ValueError) as error:
        raise FormatError("an annotation has no box", where=path, expected="bbox [x, y, width, height]", got=f"{given} in annotation {each.get('id')}",
                          do="correct it, or leave it out") from error
    return x, y, width, height


def _around(polygons: Any) -> list[float]:
    if not isinstance(polygons, list) or not polygons or not all(isinstance(each, list) and each for each in polygons):
        return []
    xs, ys = ([value for each in polygons for value in each[axis::2]] for axis in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _split(name: str) -> str | None:
    """``instances_val2017.json``, ``test.json``, or a file in a folder of that name."""
    *folders, base = name.split("/")
    words = re.split(r"[^0-9a-z\u4e00-\u9fff]+", base.lower().removesuffix(".json"))
    return next((split for word in (*words, *reversed(folders)) if (split := part_of(word))), None)


def _image(given: Given, name: str, file_name: str) -> str | None:
    """The image that an entry names: its path from the JSON file's folder, else the nearest of that name."""
    folder, plain = name.rpartition("/")[0], file_name.replace("\\", "/").removeprefix("./")
    whole = f"{folder}/{plain}" if folder else plain
    known = given.index.by[0]
    if whole in known:
        return whole
    found = given.index.find(plain)
    return plain if plain in found else nearest(found, _hint(name, plain))


def _hint(name: str, plain: str) -> str:
    """A path with all that is known of where the image lies: folders of the JSON file and of the entry, and the part of the split."""
    split = _split(name)
    return "/".join([*name.split("/")[:-1], *([split] if split else []), *plain.split("/")])
