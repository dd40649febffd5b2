"""Pictures of cells whose boxes are wrong in known ways."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vesalius.errors import OptionError
from vesalius.phantoms.boxfiles import LAYOUTS, Pictured, place_of, write_boxes
from vesalius.phantoms.cells import draw_smear, present
from vesalius.phantoms.sheet import Item, jpeg, truth_of, write_items
from vesalius.phantoms.smear import CLASSES, draw_stain
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

ABSENT_CLASS = "Parasite"
"""A class that the file lists and that no box has."""
UNKNOWN_ID = 99
SHAPE = (96, 128)
Box = tuple[float, float, float, float]
STATES = {"unknown_class": ("coco", "yolo"), "empty_class": ("coco", "yolo"), "sizes": ("coco", "voc")}
"""Flaws that only some layouts can state."""


@dataclass
class _Spoilt:
    """What was spoilt, by flaw: image id to boxes, or ids."""

    boxes: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)


def _bad(flaw: str, box: Box) -> Box:
    """The box with that flaw. Degenerate ones have no width, or end before they begin."""
    y0, x0, y1, x1 = box
    height, width = SHAPE
    if flaw == "degenerate":
        return (y0, x1, y1, x0) if int(x0) % 2 else (y1, x0, y1, x1)
    if flaw == "outside":
        return (y0, width + 10.0, y1, width + 30.0)
    return (y0, max(x0, width - 12.0), min(y1, float(height)), width + 5.0)


def make_broken_boxes(
    out: Path, seed: int, n: int, *, layout: Literal["coco", "voc", "yolo", "csv"] = "coco", degenerate: int = 2, outside: int = 1, beyond: int = 1,
    twice: int = 1, missing_image: int = 0, unknown_class: int = 0, sizes: int = 0, empty_class: bool = False, only_negative: bool = False,
) -> Truth:  # fmt: skip
    """Pictures as of `make_cells`, each with one flaw at most; the first four flaws add a box, so that the good boxes are whole.

    Parameters
    ----------
    degenerate: boxes that end where they begin, or before. outside: wholly beyond the picture. beyond: reaching out of it.
    twice: the first box of a picture stands there twice. missing_image: marked, but the picture is absent.
    unknown_class: a box whose class number nobody knows (coco, yolo). sizes: the stated size is not the picture's, but turned (coco, voc).
    empty_class: the file lists a class that no box has (coco, yolo). only_negative: no picture has any box.

    Raises
    ------
    OptionError: more flaws than pictures, or one that the layout cannot state.
    """
    wanted = {"degenerate": degenerate, "outside": outside, "beyond": beyond, "twice": twice, "missing_image": missing_image,
              "unknown_class": unknown_class, "sizes": sizes}
    _possible(n, layout, wanted, empty_class, only_negative)
    flaw_of = [flaw for flaw, count in wanted.items() for _ in range(count)]
    spoilt, given, good, items = _Spoilt(), [], [], []
    for number in range(n):
        flaw = flaw_of[number] if number < len(flaw_of) else ""
        item, picture = _picture(seed, number, layout, only_negative)
        items.append(item)
        good.append(picture)
        given.append(_spoil(item.id, picture, flaw, spoilt))
    write_items(out, [item for item in items if item.id not in spoilt.ids.get("missing_image", [])])
    write_boxes(out / DATA, layout, given, [*CLASSES, ABSENT_CLASS] if empty_class else CLASSES)
    _spoil_files(out / DATA, layout, [Path(name).stem for name in spoilt.ids.get("unknown_class", [])])
    options = {"layout": layout, **wanted, "empty_class": empty_class, "only_negative": only_negative}
    facts = {"kind": "broken-boxes", "seed": seed, "n": n, "options": options, "target": "boxes", "target_kind": "boxes", "classes": CLASSES}
    boxes = {item.id: [{"class": name, "box": list(box)} for name, box in p.boxes] for item, p in zip(items, good, strict=True)}
    none: dict[str, Any] = {flaw: {} if flaw in ("degenerate", "outside", "beyond", "twice") else [] for flaw in wanted}
    return truth_of(out, items, facts, {"boxes": boxes, **none, **spoilt.boxes, **spoilt.ids, "empty_class": [ABSENT_CLASS] * empty_class})


def _possible(n: int, layout: str, wanted: dict[str, int], empty_class: bool, only_negative: bool) -> None:
    if layout not in LAYOUTS:
        raise OptionError("there is no such layout of a phantom with boxes", expected=" or ".join(LAYOUTS), got=layout)
    for flaw, able in STATES.items():
        if (wanted.get(flaw) or (flaw == "empty_class" and empty_class)) and layout not in able:
            raise OptionError(f"the layout cannot state the flaw '{flaw}'", expected=" or ".join(able), got=layout)
    if min(wanted.values()) < 0 or sum(wanted.values()) > n:
        raise OptionError("a phantom cannot have more flawed pictures than pictures", expected=f"0 to {n} in all", got=sum(wanted.values()))
    if only_negative and any(wanted.values()):
        raise OptionError("pictures without any box cannot have flawed ones", expected="only_negative with every other flaw 0", got=sum(wanted.values()))


def _picture(seed: int, number: int, layout: str, empty: bool) -> tuple[Item, Pictured]:
    stain = draw_stain(generator(seed, "broken-boxes", "stain", number))
    image, cells = draw_smear(generator(seed, "broken-boxes", number), stain, SHAPE, 6.0, empty=empty)
    boxes = tuple((each.cell.kind, tuple(map(float, each.box))) for each in cells)
    picture = Pictured(f"P{number:04d}_1.jpg", f"P{number:04d}", SHAPE, None, boxes)  # type: ignore[arg-type]
    place = place_of(layout, picture.name, None)
    return Item(jpeg(image, 92), ".jpg", picture.patient, present(boxes), present(boxes), id=place), picture


def _spoil(name: str, picture: Pictured, flaw: str, spoilt: _Spoilt) -> Pictured:
    """The picture's record as the file will state it."""
    if flaw in ("degenerate", "outside", "beyond", "twice"):
        kind, box = picture.boxes[0]
        added = box if flaw == "twice" else _bad(flaw, box)
        spoilt.boxes.setdefault(flaw, {})[name] = [list(added)]
        return replace(picture, boxes=(*picture.boxes, (kind, added)))
    if flaw:
        spoilt.ids.setdefault(flaw, []).append(name)
    return replace(picture, shape=picture.shape[::-1]) if flaw == "sizes" else picture


def _spoil_files(data: Path, layout: str, stems: list[str]) -> None:
    """Give the first box of each named picture a class that nobody knows."""
    if layout == "coco" and stems:
        path = data / "annotations" / "instances_all.json"
        facts = json.loads(path.read_text("utf-8"))
        numbers = {image["id"] for image in facts["images"] if Path(image["file_name"]).stem in stems}
        for number in numbers:
            next(each for each in facts["annotations"] if each["image_id"] == number)["category_id"] = UNKNOWN_ID
        path.write_text(json.dumps(facts), "utf-8")
    for stem in stems if layout == "yolo" else ():
        path = data / "labels" / "all" / f"{stem}.txt"
        path.write_text(f"{UNKNOWN_ID} {path.read_text('utf-8').split(' ', 1)[1]}", "utf-8")
