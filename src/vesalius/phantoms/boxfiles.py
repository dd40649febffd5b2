"""Planted boxes as the files that others keep them in: COCO, Pascal VOC, YOLO and a table.

A box is (y0, x0, y1, x1) in pixels with edges: pixel i covers i .. i + 1. VOC counts pixels from 1 and includes both ends (Everingham et al.,
IJCV 2010); COCO has x, y, width, height (Lin et al., ECCV 2014); YOLO the centre and size as shares of the picture (Redmon et al., CVPR 2016).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from vesalius.phantoms.sheet import write_table

LAYOUTS = ("coco", "voc", "yolo", "csv")
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Pictured:
    """One picture with its boxes: file name, patient, shape (Y, X), part of the split (or None) and ``(class, (y0, x0, y1, x1))``."""

    name: str
    patient: str
    shape: tuple[int, int]
    part: str | None
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...]


def place_of(layout: str, name: str, part: str | None) -> str:
    """Where the picture of that name lies in a layout, relative to the data."""
    if layout == "yolo":
        return f"images/{part or 'all'}/{name}"
    return f"JPEGImages/{name}" if layout == "voc" else f"images/{name}"


def write_boxes(data: Path, layout: str, pictures: Sequence[Pictured], classes: Sequence[str]) -> None:
    """Write the files that mark the pictures, in that layout, under ``data``."""
    {"coco": _coco, "voc": _voc, "yolo": _yolo, "csv": _table}[layout](data, pictures, classes)


def parts_of(pictures: Sequence[Pictured]) -> dict[str | None, list[Pictured]]:
    """The pictures by part of the split, train first; one part None where there is none."""
    known: list[str | None] = [part for part in (*PARTS, None) if any(picture.part == part for picture in pictures)]
    return {part: [picture for picture in pictures if picture.part == part] for part in known}


def coco_facts(pictures: Sequence[Pictured], classes: Sequence[str]) -> dict[str, Any]:
    """An instances file; ids begin with 1."""
    images = [{"id": i, "file_name": p.name, "height": p.shape[0], "width": p.shape[1]} for i, p in enumerate(pictures, 1)]
    marked = [(i, name, box) for i, p in enumerate(pictures, 1) for name, box in p.boxes]
    annotations = [
        {"id": k, "image_id": i, "category_id": list(classes).index(name) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
        for k, (i, name, (y0, x0, y1, x1)) in enumerate(marked, 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": k, "name": name} for k, name in enumerate(classes, 1)]}


def _coco(data: Path, pictures: Sequence[Pictured], classes: Sequence[str]) -> None:
    for part, held in parts_of(pictures).items():
        path = data / "annotations" / f"instances_{part or 'all'}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coco_facts(held, classes)), "utf-8")


def voc_text(picture: Pictured) -> str:
    """One picture's XML."""
    root = xml.Element("annotation")
    xml.SubElement(root, "filename").text = picture.name
    size = xml.SubElement(root, "size")
    for name, value in (("width", picture.shape[1]), ("height", picture.shape[0]), ("depth", 3)):
        xml.SubElement(size, name).text = str(value)
    for name, (y0, x0, y1, x1) in picture.boxes:
        thing = xml.SubElement(root, "object")
        xml.SubElement(thing, "name").text = name
        xml.SubElement(thing, "difficult").text = "0"
        box = xml.SubElement(thing, "bndbox")
        for edge, at in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            xml.SubElement(box, edge).text = f"{at:g}"
    xml.indent(root)
    return xml.tostring(root, encoding="unicode")


def _voc(data: Path, pictures: Sequence[Pictured], classes: Sequence[str]) -> None:
    (data / "Annotations").mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (data / "Annotations" / f"{Path(picture.name).stem}.xml").write_text(voc_text(picture), "utf-8")
    for part, held in parts_of(pictures).items():
        if part is not None:
            path = data / "ImageSets" / "Main" / f"{part}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{Path(picture.name).stem}\n" for picture in held), "utf-8")


def yolo_text(picture: Pictured, classes: Sequence[str]) -> str:
    """One picture's lines: number of the class from 0, centre and size."""
    height, width = picture.shape
    rows = [
        (list(classes).index(name), (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        for name, (y0, x0, y1, x1) in picture.boxes
    ]
    return "".join(f"{number} {x:.8f} {y:.8f} {w:.8f} {h:.8f}\n" for number, x, y, w, h in rows)


def _yolo(data: Path, pictures: Sequence[Pictured], classes: Sequence[str]) -> None:
    for picture in pictures:
        path = data / "labels" / (picture.part or "all") / f"{Path(picture.name).stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yolo_text(picture, classes), "utf-8")
    found = parts_of(pictures)
    folders = [f"{part}: images/{part}" for part in found if part] or ["train: images/all", "val: images/all"]
    names = [f"  {k}: {name}" for k, name in enumerate(classes)]
    (data / "data.yaml").write_text("\n".join(["path: .", *folders, f"nc: {len(names)}", "names:", *names, ""]), "utf-8")


def _table(data: Path, pictures: Sequence[Pictured], classes: Sequence[str]) -> None:
    """``boxes.csv``, a row per box; a picture without any has one row whose class and box are empty."""
    rows = []
    for picture in pictures:
        facts: dict[str, Any] = {"image": place_of("csv", picture.name, picture.part), "patient": picture.patient}
        facts |= {"split": picture.part} if picture.part else {}
        empty: dict[str, Any] = dict.fromkeys(("class", "xmin", "ymin", "xmax", "ymax"), "")
        boxes = [{"class": name, "xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1} for name, (y0, x0, y1, x1) in picture.boxes]
        rows += [facts | each for each in boxes or [empty]]
    write_table(data / "boxes.csv", rows)
