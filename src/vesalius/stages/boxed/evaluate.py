"""Look for boxes in cases with a mapping, and keep what was found beside the truth; every case is kept as soon as it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.formats.boxes import open_boxes
from vesalius.formats.cases import open_case
from vesalius.mapping import BoxedMapping
from vesalius.storage import atomic_json

Progress = Callable[[int, int, str], None]
SCORES = "scores"
KEPT_FROM = 0.002
"""Least score of what is kept: the tail decides the average precision and the false positives at high sensitivity."""


@dataclass(frozen=True)
class BoxJudge:
    """What judging needs besides a mapping: the cases by id, and the target."""

    cases: Mapping[str, Case]
    target: TargetSpec

    def opened(self, name: str) -> tuple[Study, BoxTruth]:
        """A case and its boxes."""
        study = open_case(self.cases[name])
        return study, open_boxes(self.cases[name], self.target, study)


def judged_boxes(
    mapping: BoxedMapping, rows: pd.DataFrame, judge: BoxJudge, folder: Path, *, fold: int = -1, progress: Progress, what: str = "cases looked through",
) -> pd.DataFrame:
    """``cases.parquet`` (docs/architecture.md) of the cases in ``rows``; what was done before is read back.

    Parameters
    ----------
    rows: of the cohort (id, path, patient, split). folder: of the run; records go to ``log/scores``.
    """
    made: list[dict[str, Any]] = []
    for done, facts in enumerate(rows.to_dict("records"), 1):
        made.append(_one(mapping, {str(k): v for k, v in facts.items()}, judge, folder, fold))
        progress(done, len(rows), what)
    return pd.DataFrame(made)


def _one(mapping: BoxedMapping, facts: dict[str, Any], judge: BoxJudge, folder: Path, fold: int) -> dict[str, Any]:
    name = hashlib.sha256(facts["id"].encode()).hexdigest()[:16]
    record = folder / "log" / SCORES / f"{name}.json"
    mark = f"{mapping.hash} {json.dumps(mapping.task.facts, sort_keys=True)} {fold}"
    if record.is_file():
        held = json.loads(record.read_text("utf-8"))
        if held["mark"] == mark:
            return dict(held["row"])
    study, truth = judge.opened(facts["id"])
    row = case_row(facts, study, truth, mapping.detect(study, KEPT_FROM), judge.target) | {"fold": fold}
    record.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(record, {"mark": mark, "row": row})
    return row


def case_row(facts: Mapping[str, Any], study: Study, truth: BoxTruth, found: Detected, target: TargetSpec) -> dict[str, Any]:
    """A row of ``cases.parquet``."""
    spacing = list(study.grid.spacing_mm) if study.grid.spacing_known else None
    common = {name: facts[name] for name in ("id", "path", "patient", "split")}
    held = json.dumps(truth_list(truth, target)), json.dumps(found_list(found, target))
    return common | {"shape": json.dumps(list(study.grid.shape)), "spacing_mm": json.dumps(spacing), "truth": held[0], "found": held[1]}


def truth_list(truth: BoxTruth, target: TargetSpec) -> list[dict[str, Any]]:
    """True boxes as plain values."""
    risks = [int(r) if np.isfinite(r) else None for r in truth.risk]
    return [{"box": _plain(box), "class": target.classes[k], "ignored": bool(i), "risk": r}
            for box, k, i, r in zip(truth.boxes, truth.labels, truth.ignored, risks, strict=True)]


def found_list(found: Detected, target: TargetSpec) -> list[dict[str, Any]]:
    """Predicted boxes as plain values."""
    return [{"box": _plain(box), "class": target.classes[k], "score": round(float(s), 6), "risk": round(float(r), 6) if np.isfinite(r) else None}
            for box, k, s, r in zip(found.boxes, found.labels, found.scores, found.risk, strict=True)]


def _plain(box: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in box]
