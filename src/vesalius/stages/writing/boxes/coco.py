"""A finding with boxes in the format of COCO (Lin et al., ECCV 2014; cocodataset.org, "Data format" and "Results format"); pictures only."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError, OptionError
from vesalius.stages.boxed.findings import Lesion, rounded
from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found, Held
from vesalius.storage import atomic_json


@BOX_WRITERS.register("coco")
class CocoWriter(BoxWriter):
    """An instances file whose annotations also carry ``score``: the list of its ``annotations`` is one of results."""

    name = "coco"
    suffix = ".coco.json"

    @classmethod
    def check(cls, study: Study, source: Source, classes: Sequence[str]) -> None:
        if study.ndim != 2:
            raise OptionError("COCO holds boxes of pictures", expected="a 2-D image", got=f"a volume, {source}", do="write json or csv instead")

    @classmethod
    def write(cls, found: Found, part: Path) -> None:
        atomic_json(part, coco_facts([Pictured.of(found.source, found.study.grid, found.lesions)], found.classes))

    @classmethod
    def read(cls, found: Found, part: Path) -> list[Held]:
        try:
            facts = json.loads(part.read_text())
            names = {each["id"]: each["name"] for each in facts["categories"]}
            return [_held(row, names) for row in facts["annotations"]]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("the COCO file has no boxes", where=part, got=type(error).__name__) from error


@dataclass(frozen=True)
class Pictured:
    """One picture of a COCO file: its name there, its shape ``(Y, X)``, its boxes."""

    name: str
    shape: tuple[int, ...]
    lesions: Sequence[Lesion]

    @classmethod
    def of(cls, source: Source, grid: Grid, lesions: Sequence[Lesion], root: str | None = None) -> Pictured:
        """``root``: the folder from which the name is counted; by default that of the picture."""
        path = os.path.abspath(source.path)
        name = Path(os.path.relpath(path, root or os.path.dirname(path))).as_posix()
        return cls(f"{name}#{source.member}" if source.member else name, grid.shape, lesions)


def coco_facts(pictures: Sequence[Pictured], classes: Sequence[str]) -> dict[str, Any]:
    """One instances file of several pictures; ids begin with 1, categories are in the order of ``classes``."""
    rows = [(i, lesion) for i, picture in enumerate(pictures, 1) for lesion in picture.lesions]
    names = list(dict.fromkeys((*classes, *(lesion.name for _, lesion in rows))))
    return {
        "info": {"description": "Vesalius findings; research use: a doctor decides", "version": "1"},
        "images": [{"id": i, "file_name": each.name, "height": each.shape[0], "width": each.shape[1]} for i, each in enumerate(pictures, 1)],
        "annotations": [_annotation(n, i, names.index(lesion.name) + 1, lesion) for n, (i, lesion) in enumerate(rows, 1)],
        "categories": [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(names, 1)],
    }


def _annotation(number: int, image: int, category: int, lesion: Lesion) -> dict[str, Any]:
    """``bbox`` is x, y, width, height; pixel i covers i .. i + 1, as in `core.boxes`."""
    y, x, height, width = (*lesion.low, *(b - a for a, b in zip(lesion.low, lesion.high, strict=True)))
    made = {"id": number, "image_id": image, "category_id": category, "bbox": rounded((x, y, width, height)),
            "area": rounded([height * width])[0], "iscrowd": 0, "score": round(lesion.score, 6)}
    return made if lesion.risk is None else made | {"risk": round(lesion.risk, 6)}


def _held(row: dict[str, Any], names: dict[int, str]) -> Held:
    x, y, width, height = row["bbox"]
    return Held(names[row["category_id"]], np.array([y, x, y + height, x + width], float), row["score"], row.get("risk"))
