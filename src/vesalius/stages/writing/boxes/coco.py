"""A finding with boxes in the format of COCO (Lin et al., ECCV 2014; cocodataset.org, "Data format" and "Results format"); pictures only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError, OptionError
from vesalius.stages.boxed.findings import rounded
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
        atomic_json(part, coco_facts([found]))

    @classmethod
    def read(cls, found: Found, part: Path) -> list[Held]:
        try:
            facts = json.loads(part.read_text())
            names = {each["id"]: each["name"] for each in facts["categories"]}
            return [_held(row, names) for row in facts["annotations"]]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("the COCO file has no boxes", where=part, got=type(error).__name__) from error


def coco_facts(every: Sequence[Found]) -> dict[str, Any]:
    """One instances file of the findings of several pictures; ids begin with 1, categories are in the model's order."""
    classes = list(dict.fromkeys(name for found in every for name in found.classes))
    images = [_image(i, found) for i, found in enumerate(every, 1)]
    rows = [(i, lesion) for i, found in enumerate(every, 1) for lesion in found.lesions]
    return {
        "info": {"description": "Vesalius findings; research use: a doctor decides", "version": "1"}, "images": images,
        "annotations": [_annotation(n, i, classes.index(lesion.name) + 1, lesion.low, lesion.high, lesion.score, lesion.risk)
                        for n, (i, lesion) in enumerate(rows, 1)],
        "categories": [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(classes, 1)],
    }


def _image(number: int, found: Found) -> dict[str, Any]:
    height, width = found.study.grid.shape
    member = f"#{found.source.member}" if found.source.member else ""
    return {"id": number, "file_name": Path(found.source.path).name + member, "height": height, "width": width}


def _annotation(number: int, image: int, category: int, low: Sequence[float], high: Sequence[float], score: float, risk: float | None) -> dict[str, Any]:
    """``bbox`` is x, y, width, height; pixel i covers i .. i + 1, as in `core.boxes`."""
    y, x, height, width = (*low, *(b - a for a, b in zip(low, high, strict=True)))
    made = {"id": number, "image_id": image, "category_id": category, "bbox": rounded((x, y, width, height)),
            "area": rounded([height * width])[0], "iscrowd": 0, "score": round(score, 6)}
    return made if risk is None else made | {"risk": round(risk, 6)}


def _held(row: dict[str, Any], names: dict[int, str]) -> Held:
    x, y, width, height = row["bbox"]
    return Held(names[row["category_id"]], np.array([y, x, y + height, x + width], float), row["score"], row.get("risk"))
