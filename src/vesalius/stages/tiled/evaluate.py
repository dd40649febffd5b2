"""Mark cases with a mapping and score what it marked, on each case's own grid; every case is kept as soon as it is done."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.formats.cases import open_case, open_truth, open_view
from vesalius.kernels.maskscores import score_study
from vesalius.mapping import Segmented, TiledMapping
from vesalius.outputs.segment import Segment, judged_only
from vesalius.stages.tiled import bias
from vesalius.storage import atomic_json, atomic_write

Progress = Callable[[int, int, str], None]
SCORES = "scores"
PIXEL_TOLERANCE = 2.0
LEAST_TOLERANCE_MM = 1.0


class Marks(Protocol):
    """What is judged: a mapping, or anything else that marks a study. ``hash`` names what it has learnt, ``task`` how it decides."""

    @property
    def hash(self) -> str: ...

    @property
    def task(self) -> Segment: ...

    def segment(self, study: Study, *, probability: bool = False) -> Segmented: ...


@dataclass(frozen=True)
class Judge:
    """What scoring needs besides a mapping: the cases by id, the target, the tolerance of NSD (mm, or samples where no spacing is known)."""

    cases: Mapping[str, Case]
    target: TargetSpec
    tolerance: float

    def opened(self, name: str) -> tuple[Study, np.ndarray]:
        """A case and its truth; outside the field of view nothing is judged."""
        case = self.cases[name]
        study = open_case(case)
        return study, judged_only(open_truth(case, self.target, study), open_view(case, study))


def tolerance_for(spacing_mm: Sequence[float]) -> float:
    """Tolerance of the surface score: 1 mm, or the finest spacing where that is coarser; 2 samples where no spacing is known."""
    return max(LEAST_TOLERANCE_MM, min(spacing_mm)) if spacing_mm else PIXEL_TOLERANCE


def judged(
    mapping: Marks, rows: pd.DataFrame, judge: Judge, folder: Path, *, fold: int = -1, progress: Progress, what: str = "cases marked and scored",
) -> pd.DataFrame:
    """``predictions.parquet`` (docs/architecture.md) of the cases in ``rows``; what was done before is read back.

    Parameters
    ----------
    rows: of the cohort (id, path, patient, split). folder: of the run; masks go to ``masks/`` and scores to ``log/scores``.
    """
    made: list[dict[str, Any]] = []
    for done, facts in enumerate(rows.to_dict("records"), 1):
        made += _one(mapping, {str(k): v for k, v in facts.items()}, judge, folder, fold)
        progress(done, len(rows), what)
    return pd.DataFrame(made)


def _one(mapping: Marks, facts: dict[str, Any], judge: Judge, folder: Path, fold: int) -> list[dict[str, Any]]:
    name = hashlib.sha256(facts["id"].encode()).hexdigest()[:16]
    record = folder / "log" / SCORES / f"{name}.json"
    mark = f"{mapping.hash} {mapping.task.facts.get('bias')} {fold}"
    if record.is_file():
        held = json.loads(record.read_text("utf-8"))
        if held["mark"] == mark:
            return list(held["rows"])
    study, truth = judge.opened(facts["id"])
    found = mapping.segment(study, probability=study.ndim == 2)  # for the area under the ROC curve; a volume's would fill the memory
    rows = scored(facts, study, truth, found, judge, fold)
    path = folder / "masks" / facts["split"] / f"{name}.npz"
    _save_mask(path, found)
    record.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(record, {"mark": mark, "rows": rows})
    return rows


def scored(facts: dict[str, Any], study: Study, truth: np.ndarray, found: Segmented, judge: Judge, fold: int) -> list[dict[str, Any]]:
    """Rows of ``predictions.parquet``, one a structure, of one case (its id, path, patient and split in ``facts``) that was marked."""
    known = study.grid.spacing_known
    common = {name: facts[name] for name in ("id", "path", "patient", "split")} | {"fold": fold, "uncertainty": found.doubt, "unit": "mm" if known else "pixel"}
    scores = score_study(truth, found.labels, judge.target, spacing_mm=study.grid.spacing_mm, tolerance_mm=judge.tolerance, probability=found.probability)
    return [common | {name: _plain(value) for name, value in row.items()} for row in scores]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _save_mask(path: Path, found: Segmented) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, labels=found.labels)
    atomic_write(path, buffer.getvalue())


def choose_bias(mappings: Sequence[tuple[TiledMapping, pd.DataFrame]], judge: Judge, progress: Progress) -> dict[str, Any] | None:
    """Operating point on validation, for one structure; None where there are several (the likeliest wins).

    Parameters
    ----------
    mappings: each with the validation cases that it has not seen.

    Returns ``{"threshold", "rule", "chosen_on", "dice", "dice_at_half"}``.
    """
    if len(judge.target.classes) != 1:
        return None
    counted, total = [], sum(len(rows) for _, rows in mappings)
    for mapping, rows in mappings:
        for name in rows["id"]:
            study, truth = judge.opened(name)
            p = mapping.segment(study, probability=True).probability
            known = truth[0] != IGNORED
            counted.append(bias.curves(p[0][known], truth[0][known] == 1))  # type: ignore[index]
            progress(len(counted), total, "validation cases marked for the threshold")
    threshold, dice, half = bias.best_threshold(counted)
    return {"threshold": threshold, "rule": "mean Dice", "chosen_on": "validation", "dice": dice, "dice_at_half": half}
