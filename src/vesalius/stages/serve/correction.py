"""What a doctor says is right, checked against the model's classes and the study's grid, as a finding of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.errors import DataError, LabelError, OptionError
from vesalius.formats import open_study
from vesalius.formats.masks import numbers_of, same_grid
from vesalius.outputs.segment import Segment
from vesalius.stages.boxed.findings import rounded
from vesalius.stages.serve.document import measurement_facts

WHAT = {"mask": "mask", "boxes": "boxes"}
"""What a correction has to hold, by the kind of the model; of all others a label."""


@dataclass(frozen=True)
class Corrected:
    """A correction that has been checked.

    Parameters
    ----------
    document: the finding's document with the doctor's answer in place of the model's. truth: for `Truth.add`.
    finding, study: of a corrected mask, on the study's grid.
    """

    document: dict[str, Any]
    truth: dict[str, Any]
    finding: Finding | None = None
    study: Study | None = None


def corrected(document: Mapping[str, Any], correction: Mapping[str, Any], folder: Path) -> Corrected:
    """The finding as the doctor has it.

    Parameters
    ----------
    correction: ``label`` (classes, several joined by ``|``, or a number), ``boxes`` (``{"box": [low..., high...], "label"}`` each; empty: there is nothing) or
        ``mask`` (a label map as NIfTI, by its name in ``folder``); what the kind of the model asks for. folder: of the finding's results.

    Raises
    ------
    OptionError: it holds something else than the model answers with. LabelError: a class that the model does not have, or no number. DataError: a box without
    extent or outside the image, or a mask on another grid.
    """
    kind = str(document["model"]["kind"])
    what = WHAT.get(kind, "label")
    if correction.get(what) is None:
        held = ", ".join(sorted(name for name, value in correction.items() if value is not None)) or "nothing"
        raise OptionError("the correction does not say what is right", expected=f"'{what}' for a model of {kind}", got=held)
    if what == "mask":
        return _mask(document, str(correction["mask"]), folder)
    answer = _boxes(document, correction["boxes"]) if what == "boxes" else _label(document, str(correction["label"]))
    return Corrected(_blank(document) | answer, {what: answer[what]})


def _blank(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what the model said."""
    gone: dict[str, Any] = {"probability": None, "low": None, "high": None, "calibration": None, "scores": {}, "set": None, "abstain": False}
    return dict(document) | gone | {"boxes": [], "measurements": []}


def _label(document: Mapping[str, Any], label: str) -> dict[str, Any]:
    model = document["model"]
    if model["kind"] == "regression":
        value = _number(label)
        name = next(iter(document["scores"]), "value")
        return {"label": f"{value:g}", "scores": {name: value}}
    names = [part.strip() for part in label.split(SEPARATOR)] if model["kind"] == "multilabel" else [label.strip()]
    present = [name for name in names if name]
    _known(present, model["classes"])
    if model["kind"] != "multilabel" and not present:
        raise LabelError("the correction names no class", expected=f"one of {', '.join(model['classes'])}", got="nothing")
    return {"label": SEPARATOR.join(name for name in model["classes"] if name in present)}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabelError("the correction is no number", expected="a finite number", got=f"'{text[:40]}'")
    return value


def _known(names: Sequence[str], classes: Sequence[str]) -> None:
    wrong = next((name for name in names if name not in classes), None)
    if wrong is not None:
        raise LabelError("the model has no such class", expected=f"one of {', '.join(classes)}", got=f"'{wrong[:80]}'")


def _boxes(document: Mapping[str, Any], boxes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    grid, classes = document["grid"], document["model"]["classes"]
    _known([str(each.get("label")) for each in boxes], classes)
    spacing = grid["spacing_mm"]
    rows = []
    for each in boxes:
        box = _box(each.get("box"), grid["shape"])
        ndim = len(grid["shape"])
        size = [(box[ndim + i] - box[i]) * spacing[i] for i in range(ndim)] if spacing else None
        rows.append({"box": box, "label": str(each["label"]), "score": None, "risk": None, "size_mm": size})
    return {"boxes": rows, "label": SEPARATOR.join(name for name in classes if any(row["label"] == name for row in rows))}


def _box(given: Any, shape: Sequence[int]) -> list[float]:
    """Cut to the image; a corner may reach out of it."""
    ndim = len(shape)
    try:
        box = np.asarray(given, float).reshape(2, ndim)
    except (TypeError, ValueError):
        box = np.full((2, ndim), np.nan)
    inside = np.clip(box, 0, np.array(shape, float))
    if not np.isfinite(box).all() or not (inside[1] > inside[0]).all():
        raise DataError("a box has no extent in the image", expected=f"{2 * ndim} numbers, low then high, within 0 and {list(shape)}", got=str(given)[:120])
    return rounded(inside.ravel())


def _mask(document: Mapping[str, Any], name: str, folder: Path) -> Corrected:
    path = folder / Path(name).name  # the name of a file, whatever path was sent
    if not path.is_file():
        raise DataError("the corrected mask is not there", expected="the name of a mask that was stored for this finding", got=f"'{path.name[:80]}'",
                        do="store the mask first")
    labels, grid = numbers_of(Source("nifti", str(path)))
    study = open_study(Source("nifti", str(folder / document["files"]["image"])))
    classes = tuple(document["model"]["classes"])
    if labels.shape != study.grid.shape or not same_grid(grid, study.grid):
        raise DataError("the corrected mask does not lie on the grid of the image", expected=study.grid.shape, got=labels.shape,
                        do="draw it on the image of the finding")
    if int(labels.max(initial=0)) > len(classes):
        raise LabelError("the corrected mask holds a number that stands for no class", expected=f"0 to {len(classes)}", got=int(labels.max()))
    finding = Segment(TargetSpec("mask", classes)).finding(labels[None], study)
    made = _blank(document) | {"label": finding.label, "measurements": measurement_facts(finding)}
    return Corrected(made, {"labels": labels, "grid": study.grid}, finding, study)
