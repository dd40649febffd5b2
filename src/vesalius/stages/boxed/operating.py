"""What is chosen on validation: from which score on a box is a finding, and what a score means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.kernels.boxscores import NEITHER, TRUE
from vesalius.kernels.calibrate import Calibrator, fit_calibrator, out_of_fold
from vesalius.kernels.freeresponse import HALF, Cuts
from vesalius.kernels.reliability import quality
from vesalius.stages.boxed.tables import Part, part_of, plain

RULE = "f1"
CHOSEN_ON = "validation"
KIND = "multilabel"
"""Each class has a sigmoid of its own."""
ENOUGH = 40
"""With so many true and false boxes of a class its calibration has a bias too, however few the patients are."""

Rule = str | tuple[str, float]
Operating = Mapping[str, float | Mapping[str, Any]]
"""A threshold for each class, alone or among facts."""


def choose_thresholds(cases: pd.DataFrame, target: TargetSpec, *, matching: str = "iou", rule: Rule = RULE) -> dict[str, float]:
    """The score from which a box of each class is a finding; see `operating_points`."""
    return {name: float(facts["threshold"]) for name, facts in operating_points(cases, target, matching=matching, rule=rule).items()}


def operating_points(cases: pd.DataFrame, target: TargetSpec, *, matching: str = "iou", rule: Rule = RULE) -> dict[str, dict[str, Any]]:
    """``{CLASS: {"threshold", "rule", "chosen_on"}}`` from the validation cases.

    Parameters
    ----------
    cases: ``cases.parquet``; only rows of split ``validation`` are looked at. matching: see `kernels.boxscores.RULES`.
    rule: ``"f1"`` (the best F1 of boxes) or ``("fp_per_image", rate)`` (the lowest threshold with at most so many false boxes an image).

    A class without a right box on validation has the threshold 0.5 and the rule ``"0.5 (nothing to choose on)"``.

    Raises
    ------
    OptionError: the rule is unknown.
    """
    part = part_of(cases, target, matching=matching, split=CHOSEN_ON)
    cuts = {name: Cuts.of(part.responses(k)) if part else None for k, name in enumerate(target.classes)}
    return {name: {**_chosen(each, rule), "chosen_on": CHOSEN_ON} for name, each in cuts.items()}


def _chosen(cuts: Cuts | None, rule: Rule) -> dict[str, Any]:
    if rule != RULE and not (isinstance(rule, tuple) and len(rule) == 2 and rule[0] == "fp_per_image"):
        raise OptionError("unknown rule for the operating point", expected="f1 or (fp_per_image, rate)", got=rule)
    if cuts is None or not len(cuts.true) or not cuts.true[-1]:
        return {"threshold": HALF, "rule": f"{HALF:g} (nothing to choose on)"}
    if isinstance(rule, tuple):
        return {"threshold": cuts.at_rate(rule[1]), "rule": f"fp_per_image<={rule[1]:g}"}
    return {"threshold": cuts.best(), "rule": rule}


def thresholds_of(operating: Operating | None, classes: Sequence[str]) -> np.ndarray:
    """The threshold of each class ``[K]``.

    Raises
    ------
    OptionError: a class has none.
    """
    if operating is None:
        return np.full(len(classes), HALF)
    absent = [name for name in classes if name not in operating]
    if absent:
        raise OptionError(f"the class '{absent[0]}' has no threshold", expected="one for each class", got=", ".join(operating))
    values = [operating[name] for name in classes]
    return np.array([value["threshold"] if isinstance(value, Mapping) else value for value in values], float)


def fit_calibration(cases: pd.DataFrame, target: TargetSpec, *, matching: str = "iou", method: str = "auto") -> tuple[Calibrator, dict[str, Any]]:
    """Free-response calibration: the score of a box becomes the share of true boxes among boxes of that score, class by class.

    Parameters
    ----------
    cases: ``cases.parquet`` with scores as the network gives them (not calibrated); only rows of split ``validation`` are looked at.
    method: see `kernels.calibrate.fit_calibrator`.

    Boxes that meet an ignored one are left out. The chance of a box depends on the floor above which boxes are listed: calibrate with the floor in use.

    Returns the calibrator of raw values ``[D, K]`` (logits; each box counts in the column of its class) and ``metrics["calibration"]``: ``method``,
    ``parameters``, ``before``, ``after`` (each ``ece``, ``brier``, ``nll``; "after" from the other patients' calibrator), ``n`` (boxes) and ``chosen_on``.
    """
    part = part_of(cases, target, matching=matching, split=CHOSEN_ON)
    raw, truth, people = columns_of(part, len(target.classes))
    made = fit_calibrator(raw, truth, KIND, method=method, patients=people)
    if method == "auto" and made.method == "temperature" and _many(truth):
        made = fit_calibrator(raw, truth, KIND, method="temperature+bias")  # how many boxes are false hangs on the floor, which a temperature cannot mend
    facts: dict[str, Any] = {"method": made.method, "parameters": made.parameters, "chosen_on": CHOSEN_ON, "n": len(raw)}
    if len(raw):
        before, after = Calibrator(KIND)(raw), out_of_fold(raw, truth, KIND, made.method, people)
        facts |= {name: _finite(quality(truth, p, KIND)) for name, p in (("before", before), ("after", after))}
    return made, facts


def _many(truth: np.ndarray) -> bool:
    """Whether every class that has boxes has enough true and false ones."""
    n = np.stack([(truth == mark).sum(0) for mark in (0, 1)])
    return bool((n[:, n.any(0)] >= ENOUGH).all())


def _finite(facts: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in facts.items() if np.isfinite(value)}


def columns_of(part: Part | None, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw values ``[D, K]`` (0 but for the box's class), marks ``[D, K]`` (NaN but for it) and patients ``[D]`` of the boxes that count."""
    raws, marks, people = [np.zeros((0, k))], [np.zeros((0, k))], [np.zeros(0, str)]
    rows = zip(part.raw, part.found, part.ruled, part.patients, strict=True) if part else ()
    for values, found, ruled, patient in rows:
        held = np.flatnonzero(ruled.verdict[0] != NEITHER)
        own = (np.arange(len(held)), found.labels[held])
        raw, mark = np.zeros((len(held), k)), np.full((len(held), k), np.nan)
        raw[own], mark[own] = values[held], ruled.verdict[0][held] == TRUE
        raws.append(raw)
        marks.append(mark)
        people.append(np.repeat(patient, len(held)))
    return np.concatenate(raws), np.concatenate(marks), np.concatenate(people)


def calibrated(scores: np.ndarray, labels: np.ndarray, calibrator: Calibrator, classes: int) -> np.ndarray:
    """Scores ``[D]`` of boxes with these classes ``[D]`` after calibration."""
    raw = np.zeros((len(scores), classes))
    own = (np.arange(len(scores)), labels)
    raw[own] = logit(np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7))
    return calibrator(raw)[own] if len(scores) else np.zeros(0)


def calibrated_cases(cases: pd.DataFrame, target: TargetSpec, calibrator: Calibrator) -> pd.DataFrame:
    """``cases.parquet`` with calibrated scores; each found box keeps the logit before in ``raw``."""
    place = {name: k for k, name in enumerate(target.classes)}

    def one(cell: Any) -> str:
        items = plain(cell)
        scores = np.array([item["score"] for item in items], float)
        made = calibrated(scores, np.array([place[item["class"]] for item in items], int), calibrator, len(place))
        before = logit(np.clip(scores, 1e-7, 1 - 1e-7))
        return json.dumps([item | {"score": float(p), "raw": float(z)} for item, p, z in zip(items, made, before, strict=True)])

    return cases.assign(found=[one(cell) for cell in cases["found"]])
