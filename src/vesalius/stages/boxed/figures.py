"""From the table of judged cases to ``metrics.json`` of a run with boxes.

Everything follows from ``cases.parquet`` (docs/architecture.md). Boxes are matched once; intervals resample patients. What a figure of all classes
together is, `stages.boxed.sheet` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxscores import RULES, TRUE, precision_recall
from vesalius.kernels.freeresponse import risk_auc
from vesalius.kernels.reliability import quality, reliability
from vesalius.kernels.stats import Resampled, codes, estimate, paired, resample, settled
from vesalius.stages.boxed.notes import notes_of
from vesalius.stages.boxed.operating import CHOSEN_ON, KIND, Operating, columns_of, operating_points, thresholds_of
from vesalius.stages.boxed.sheet import COUNTED, FIGURES, OF_CLASS, Sheet
from vesalius.stages.boxed.tables import SPLITS, Part, part_of, rule_of
from vesalius.stages.evaluate import folds_in

__all__ = ["FIGURES", "box_metrics", "compare", "primary_of"]

BOUNDED = frozenset(FIGURES) - set(COUNTED)
"""Figures between 0 and 1, the more the better."""
POINTS = 400
"""A curve of precision and recall is drawn with at most so many points."""


def primary_of(ndim: int) -> str:
    """The figure that a run is judged by."""
    return "map50" if ndim == 2 else "cpm"


def method_of(name: str) -> str:
    """How the interval of a figure of boxes is made: shares and areas by Wilson's, for the bootstrap is too narrow near 1 (docs/benchmarks.md)."""
    return "score" if name in BOUNDED else "bca"


def many_boxes(found: Resampled) -> Resampled:
    """A share of boxes may vary less than one of as many images: no image is the limit of what is independent."""
    return replace(found, n_images=0)


def box_metrics(
    cases: pd.DataFrame, target: TargetSpec, *, matching: str = "iou", operating: Operating | None = None,
    calibration: Mapping[str, Any] | None = None, baselines: Mapping[str, pd.DataFrame] | None = None, seed: int = 0, n_boot: int = 2000,
) -> dict[str, Any]:
    """``metrics.json`` of a run with boxes, without ``looks_at_test``.

    Parameters
    ----------
    cases: ``cases.parquet`` of validation and test. matching: a name of `kernels.boxscores.RULES`, or its text.
    operating: the threshold of each class; chosen on the validation rows by the best F1 when it is None. calibration: what `fit_calibration` says.
    baselines: tables like ``cases`` by other methods, by name; their thresholds are chosen on their own validation rows.
    seed, n_boot: of the bootstrap.

    With folds (``cases["fold"]``) validation is all that is not the test set, and ``"cross_validated"`` says how many folds there are.
    Undefined figures are absent: a class that no case of a part holds has only counts there.

    Raises
    ------
    DataError: there are no test rows, or see `stages.boxed.tables.part_of`. OptionError: an unknown rule, or a class without threshold.
    """
    rule = rule_of(matching)
    parts = _parts(cases, target, rule)
    if "test" not in parts:
        raise DataError("there are no judged cases of the test set", expected="rows with split 'test'", got=f"{len(cases)} others")
    points = operating_points(cases, target, matching=rule) if operating is None else _stated(operating, target)
    sheets = {split: Sheet(part, thresholds_of(points, target.classes)) for split, part in parts.items()}
    scored = {split: _assess(sheet, seed, n_boot) for split, sheet in sheets.items()}
    metrics: dict[str, Any] = {
        "schema": 1, "target": {"kind": target.kind, "classes": list(target.classes), "name": target.name}, "primary": primary_of(parts["test"].ndim),
        **{split: overall for split, (overall, _) in scored.items()},
        "per_class": {split: per_class for split, (_, per_class) in scored.items()},
        "operating_point": points, "matching": {"rule": RULES[rule]},
        "froc": {split: _froc(sheet, seed, n_boot) for split, sheet in sheets.items()},
        "curves": {split: _curves(part) for split, part in parts.items()},
        "counts": {split: {name: sheet.counts[k].agreement() for k, name in enumerate(target.classes)} for split, sheet in sheets.items()},
        "boxes": {split: _boxes(part, sheets[split]) for split, part in parts.items()},
        "calibration": dict(calibration or {"method": "none", "parameters": {}}) | _quality(parts["test"]),
    }
    risk = _risk(parts["test"], seed, n_boot) if target.risk else {}
    metrics |= {"risk": {"name": target.risk, **risk}} if risk else {}
    metrics |= {"cross_validated": n} if (n := folds_in(cases)) else {}
    if baselines:
        metrics |= _against(parts, sheets, baselines, target, metrics["primary"], seed, n_boot)
    return metrics | {"notes": notes_of(metrics, {split: (part, sheets[split]) for split, part in parts.items()})}


def _parts(cases: pd.DataFrame, target: TargetSpec, rule: str) -> dict[str, Part]:
    made = {split: part_of(cases, target, matching=rule, split=split) for split in SPLITS}
    return {split: part for split, part in made.items() if part is not None}


def _stated(operating: Operating, target: TargetSpec) -> dict[str, dict[str, Any]]:
    values = thresholds_of(operating, target.classes)
    facts = [operating[name] for name in target.classes]
    stated = [dict(each) if isinstance(each, Mapping) else {"rule": "given", "chosen_on": CHOSEN_ON} for each in facts]
    return {name: each | {"threshold": float(value)} for name, each, value in zip(target.classes, stated, values, strict=True)}


def _assess(sheet: Sheet, seed: int, n_boot: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Figures of all classes together and of each, as plain values."""
    patients, scopes = sheet.part.patients, 1 + sheet.k
    found = many_boxes(resample(lambda weights: sheet.figures(weights).reshape(-1, weights.shape[1]), patients, n_boot, seed))
    made: list[dict[str, Any]] = [{} for _ in range(scopes)]
    for m in np.flatnonzero(np.isfinite(found.value)):
        name, scope = FIGURES[int(m) // scopes], int(m) % scopes
        whose = patients[sheet.judged(name, scope)]
        each = settled(estimate(found, int(m), method_of(name), codes(whose)[1], len(whose)), name in BOUNDED)
        made[scope] |= {OF_CLASS.get(name, name) if scope else name: each.to_dict()} if each else {}
    return made[0], dict(zip(sheet.part.classes, made[1:], strict=True))


def _froc(sheet: Sheet, seed: int, n_boot: int) -> dict[str, dict[str, list[float]]]:
    """Curves of each class and of all together, of those that exist."""
    curves = {name: froc.curve(sheet.part.patients, n_boot, seed) for name, froc in sheet.froc.items()}
    return {name: curve for name, curve in curves.items() if curve}


def _curves(part: Part) -> dict[str, Any]:
    """``pr`` of each class, and ``reliability`` of the scores of all boxes that count."""
    pairs = {name: precision_recall(part.responses(k)) for k, name in enumerate(part.classes)}
    made = {name: {"x": x[_thinned(len(x))].tolist(), "y": y[_thinned(len(y))].tolist()} for name, (x, y) in pairs.items() if len(x)}
    p, truth = _scores(part)
    return {"pr": made} | ({"reliability": reliability(truth, p, KIND)} if len(p) else {})


def _thinned(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))


def _scores(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Scores and marks ``[D, K]`` of the boxes that count, each in the column of its class (marks of the others are NaN)."""
    _, truth, _ = columns_of(part, len(part.classes))
    p = np.zeros_like(truth)
    held = [each.scores[ruled.verdict[0] >= 0] for each, ruled in zip(part.found, part.ruled, strict=True)]
    p[~np.isnan(truth)] = np.concatenate(held)
    return p, truth


def _quality(part: Part) -> dict[str, Any]:
    """How far the scores of the test are from the shares of true boxes."""
    p, truth = _scores(part)
    facts = quality(truth, p, KIND) if len(p) else {}
    return {"test": {name: value for name, value in facts.items() if np.isfinite(value)} | {"n": len(p)}}


def _boxes(part: Part, sheet: Sheet) -> dict[str, dict[str, int]]:
    """How many boxes there are: ``true``, ``ignored``, ``found`` (at the operating point), and ``images`` and ``patients`` that hold one."""
    true, ignored = part.boxes()
    facts = {}
    for k, name in enumerate(part.classes):
        found = int((sheet.counts[k].true + sheet.counts[k].false).sum())
        facts[name] = {"true": int(true[k].sum()), "ignored": int(ignored[k].sum()), "found": found, "images": int((true[k] > 0).sum())}
        facts[name] |= {"patients": codes(part.patients[true[k] > 0])[1]}
    return facts


def _risk(part: Part, seed: int, n_boot: int) -> dict[str, Any]:
    """``auc`` of the second label over all boxes that meet a true one, with ``n`` boxes and ``n_positive``; empty where it is undefined."""
    rows = [
        (i, found.risk[d], truth.risk[ruled.truth[0, d]])
        for i, (found, truth, ruled) in enumerate(zip(part.found, part.truths, part.ruled, strict=True)) for d in np.flatnonzero(ruled.verdict[0] == TRUE)
    ]
    case, risk, label = (np.array(each, float) for each in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    known = np.isfinite(risk) & np.isfinite(label)
    case, risk, label = case[known].astype(int), risk[known], label[known] == 1
    if not 0 < label.sum() < len(label):
        return {}
    whose = part.patients[np.unique(case)]
    found_auc = estimate(many_boxes(resample(risk_auc(risk, label, case), part.patients, n_boot, seed)), 0, "score", codes(whose)[1], len(whose))
    made = settled(found_auc, True)
    return {"auc": made.to_dict(), "n": len(label), "n_positive": int(label.sum())} if made else {}


def _against(
    parts: dict[str, Part], sheets: dict[str, Sheet], baselines: Mapping[str, pd.DataFrame], target: TargetSpec, primary: str, seed: int, n_boot: int,
) -> dict[str, Any]:
    """Figures of every other method, and the gain over the one that was best on validation."""
    rivals: dict[str, dict[str, Sheet]] = {}
    for name, frame in baselines.items():
        cuts = thresholds_of(operating_points(frame, target, matching=parts["test"].matching), target.classes)
        rivals[name] = {split: Sheet(part, cuts) for split, part in _parts(frame, target, parts["test"].matching).items()}
    judged = {name: {split: _assess(sheet, seed, n_boot)[0] for split, sheet in each.items()} for name, each in rivals.items()}
    made: dict[str, Any] = {"baselines": judged}
    known = {name: each["validation"][primary]["value"] for name, each in judged.items() if primary in each.get("validation", {}) and "test" in each}
    if known:
        best = max(known, key=lambda name: known[name])
        gain = _difference(sheets["test"], rivals[best]["test"], primary, seed, n_boot)
        made |= {"gain": {"over": best, **gain}} if gain else {}
    return made


def _difference(first: Sheet, second: Sheet, metric: str, seed: int, n_boot: int) -> dict[str, Any] | None:
    """First minus second figure on the same cases."""
    if first.part.ids.tolist() != second.part.ids.tolist():
        return None
    made, chance = paired(first.overall(metric), second.overall(metric), first.part.patients, n_boot, seed)
    if made is None:
        return None
    facts = {"metric": metric, "value": made.value, "low": made.low, "high": made.high, "p": chance, "method": "paired patient bootstrap"}
    return facts | {"n_patients": made.n_patients, "n_images": made.n_images}


def compare(
    first: pd.DataFrame, second: pd.DataFrame, target: TargetSpec, *, matching: str = "iou",
    operating: tuple[Operating | None, Operating | None] = (None, None), metric: str | None = None, split: str = "test", seed: int = 0, n_boot: int = 2000,
) -> dict[str, Any] | None:
    """First minus second figure on the cases that both judged, paired by patient; None where it is undefined.

    Parameters
    ----------
    first, second: ``cases.parquet`` of two runs. operating: thresholds of each, chosen on its own validation rows where None.
    metric: one of `FIGURES`; the primary one by default.

    Returns ``{"metric", "value", "low", "high", "p", "method", "n_patients", "n_images"}``.

    Raises
    ------
    OptionError: the metric or the part is unknown. DataError: a column is absent.
    """
    for name, known in ((metric or FIGURES[0], FIGURES), (split, SPLITS)):
        if name not in known:
            raise OptionError(f"'{name}' cannot be compared", expected=f"one of {', '.join(known)}")
    points = [operating_points(frame, target, matching=matching) if given is None else given for frame, given in zip((first, second), operating, strict=True)]
    tables = [frame[frame["split"] == split].set_index("id", drop=False) for frame in (first, second)]
    common = tables[0].index[tables[0].index.isin(tables[1].index)]
    parts = [part_of(table.loc[common].reset_index(drop=True), target, matching=matching) for table in tables]
    if parts[0] is None or parts[1] is None:
        return None
    sheets = [Sheet(part, thresholds_of(each, target.classes)) for part, each in zip(parts, points, strict=True) if part is not None]
    return _difference(sheets[0], sheets[1], metric or primary_of(parts[0].ndim), seed, n_boot)
