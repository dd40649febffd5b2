"""A finding with boxes as JSON: everything that is known of each box, and the candidates below the operating point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vesalius.errors import FormatError
from vesalius.stages.boxed.findings import counts_of, lesions_of
from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found, Held
from vesalius.storage import atomic_json


@BOX_WRITERS.register("json")
class JsonWriter(BoxWriter):
    """``{"schema", "source", "model", "grid", "classes", "counts", "boxes": [...], "candidates": [...]}``; see `Lesion.to_dict`.

    ``low`` and ``high`` are in samples and array order, with continuous edges (sample i covers i .. i + 1); the grid's ``affine_lps`` takes the index
    (x, y, z, 1) of a sample's centre to LPS mm. ``candidates`` are boxes that the model holds possible, those that count among them.
    """

    name = "json"
    suffix = ".json"

    @classmethod
    def write(cls, found: Found, part: Path) -> None:
        grid = found.study.grid
        where = {"shape": grid.shape, "axes": "zyx"[-grid.ndim :], "spacing_mm": grid.spacing_mm if grid.spacing_known else None, "affine_lps": grid.affine_lps}
        facts = {"schema": 1, "note": "Research use: a doctor decides.", "source": str(found.source), "model": found.model, "grid": where,
                 "classes": found.classes, "risk": found.risk or None, "counts": counts_of([lesion.name for lesion in found.lesions], found.classes)}
        held = {"boxes": [lesion.to_dict() for lesion in found.lesions]}
        possible = {} if found.candidates is None else {"candidates": [lesion.to_dict() for lesion in lesions_of(found.candidates)]}
        atomic_json(part, facts | held | possible)

    @classmethod
    def read(cls, found: Found, part: Path) -> list[Held]:
        try:
            rows = json.loads(part.read_text())["boxes"]
            return [Held(row["class"], np.array([*row["low"], *row["high"]], float), row["score"], row["risk"]) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("the JSON file has no boxes", where=part, got=type(error).__name__) from error
