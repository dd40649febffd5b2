"""The model's answers for another set, in the columns of a run's own table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case, Cohort
from vesalius.core.target import MARKED, SEPARATOR, SEVERAL, TargetSpec, missing, text_of
from vesalius.errors import DataError, LabelError
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.stages.boxed.evaluate import BoxJudge, judged_boxes
from vesalius.stages.predict import raw_frame, raw_values, with_probabilities
from vesalius.stages.prepare import prepare_all
from vesalius.stages.tiled.evaluate import Judge, judged
from vesalius.stages.tiled.quicken import within_memory
from vesalius.stages.work import Progress

SPLIT = "external"
STATED = ("regression", "multilabel", "mask", "boxes")
"""Kinds that the data may be read as only when the model says so."""


@dataclass(frozen=True)
class Scored:
    """The judged cases (columns of ``predictions.parquet`` or ``cases.parquet``), and the prepared images where the model reads studies whole."""

    table: pd.DataFrame
    images: np.ndarray | None


def target_for(cohort: Cohort, model: TargetSpec) -> TargetSpec:
    """The target by which the set is judged: that of the model, with the numbers by which the set marks its structures.

    Raises
    ------
    LabelError: the set has classes that the model does not know (masks: or lacks one). DataError: it is marked in another way.
    """
    known, held = set(model.classes), _classes_of(cohort, model)
    wrong = held != known if model.kind == "mask" else not held <= known
    if wrong and model.kind != "regression":
        raise LabelError("the classes of the external set are not those of the model", where=cohort.root, expected=f"the model's {', '.join(model.classes)}",
                         got=f"the set's {', '.join(sorted(held)) or 'none'}", do="rename the labels of the set, or name the right column with --label")
    if (model.kind in MARKED) != (cohort.target.kind in MARKED) or (model.kind == "mask" and cohort.target.exclusive != model.exclusive):
        raise DataError("the external set is marked in another way than the model answers", where=cohort.root, expected=model.kind, got=cohort.target.kind,
                        do="give a set with the same kind of truth")
    if model.kind not in MARKED:
        return model
    values = dict(zip(cohort.target.classes, cohort.target.values, strict=True)) if cohort.target.values else {}
    return replace(cohort.target, kind=model.kind, classes=model.classes, values=tuple(values.get(name, ()) for name in model.classes) if values else (),
                   risk=model.risk)


def _classes_of(cohort: Cohort, model: TargetSpec) -> set[str]:
    if model.kind in MARKED:
        return set(cohort.target.classes)
    labels = [case.label for case in cohort.cases if not missing(case.label)]
    if model.kind not in SEVERAL:
        return {text_of(label) for label in labels}
    return {part.strip() for label in labels for part in str(label).split(SEPARATOR) if part.strip()}


def rows_of(cases: Sequence[Case], hashes: dict[str, str]) -> pd.DataFrame:
    """A row per case as in ``cohort.parquet``, with its clinical columns."""
    rows = [{"id": case.id, "path": case.source.path, "member": case.source.member, "hash": hashes[case.id], "patient": str(case.patient),
             "label": case.label if case.label is None or isinstance(case.label, float) else text_of(case.label), "split": SPLIT, **_clinical(case)}
            for case in cases]
    return pd.DataFrame(rows)


def _clinical(case: Case) -> dict[str, Any]:
    own = ("id", "path", "member", "hash", "patient", "label", "split")
    return {f"clinical_{name}" if name in own else name: value for name, value in case.clinical.items()}


def scored(
    mapping: Mapping, target: TargetSpec, cases: dict[str, Case], rows: pd.DataFrame, out: Path, *, jobs: int | None, progress: Progress,
) -> Scored:
    """The answers of the model for all rows; what was done before is read back from ``out``."""
    if isinstance(mapping, BoxedMapping):
        return Scored(judged_boxes(mapping, rows, BoxJudge(cases, target), out, progress=progress), None)
    if isinstance(mapping, TiledMapping):
        within_memory(mapping)
        return Scored(judged(mapping, rows, Judge(cases, target, float(mapping.plan["output.tolerance"])), out, progress=progress, what="cases marked"), None)
    sources = [cases[name].source for name in rows["id"]]
    prepared = prepare_all(rows["id"].tolist(), sources, rows["hash"].tolist(), mapping.reads, out / "cache", jobs=jobs, progress=progress)
    kept = np.array([name not in prepared.unreadable for name in rows["id"]])
    places = np.flatnonzero(kept)
    if not len(places):
        raise DataError("no image of the external set can be read", where=out, got=next(iter(prepared.unreadable.values())), do="run 'vesalius check' on it")
    raw = raw_values(mapping, prepared.images, places.tolist(), jobs=jobs, progress=progress)
    return Scored(with_probabilities(mapping, raw_frame(mapping, rows[kept].reset_index(drop=True), raw)), prepared.images[places])
