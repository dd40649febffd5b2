"""Stated errors for masks and boxes: what the Dice of a case does not fall short of, and a threshold that misses at most a stated share."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.boxes import Detected
from vesalius.kernels.boxscores import Matched
from vesalius.kernels.conformal import patients_needed, risk_bound, weighted_bound
from vesalius.stages.boxed.tables import Part
from vesalius.stages.boxed.tables import part_of as boxes_of
from vesalius.stages.evaluate import part_of
from vesalius.stages.knowing import Knowing
from vesalius.stages.trust._share import mean_of, share_of, told
from vesalius.stages.trust.base import Trust, not_for, sentence

SPREAD = 0.05
"""Added to the doubt, so that a sure case has a bound too."""
SETTINGS = 200


def of_masks(trust: Trust, error: float) -> dict[str, Any]:
    """A bound on the mean Dice of each case from its doubt, and on the size of each structure by how far sizes were off."""
    learnt, asked = (_cases(part_of(trust.predictions, split)) for split in ("validation", "test"))
    if not len(learnt):
        return not_for("No validation case has both a Dice and a doubt.", "没有同时具备 Dice 与不确定度的验证集病例。")
    scores = (1 - learnt["dice"].to_numpy()) / (learnt["uncertainty"].to_numpy() + SPREAD)
    made = Knowing("mask", error, (weighted_bound(scores, learnt["patient"].to_numpy(str), error),), spread=SPREAD, facts=_sizes(trust, error))
    made.save(trust.run.model)
    least, patients = made.least_dice(asked["uncertainty"].to_numpy()), asked["patient"].to_numpy(str)
    test = {"coverage": share_of(asked["dice"].to_numpy() >= least, patients, trust.seed), "least_dice": mean_of(least, patients, trust.seed)}
    facts = {"error": error, "calibrated_on": "validation", "unit": "patient", "method": "1 - Dice over doubt", "n_patients": int(learnt["patient"].nunique())}
    return facts | {"sizes": made.facts, "test": test, "sentences": _said_of_masks(test, np.isfinite(made.bounds[0]), error)}


def _cases(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a case: mean Dice over its classes and its doubt, where both exist. Cases of folds count as validation."""
    each = rows.groupby("id", sort=True).agg(dice=("dice", "mean"), uncertainty=("uncertainty", "first"), patient=("patient", "first"))
    return each.dropna()


def _sizes(trust: Trust, error: float) -> dict[str, Any]:
    """By class the factor by which a true size differs from the predicted one at most."""
    rows, made = part_of(trust.predictions, "validation"), {}
    for name in trust.target.classes:
        held = rows[(rows["class"] == name) & (rows["size_true"] > 0) & (rows["size_predicted"] > 0)]
        apart = np.abs(np.log(held["size_true"].to_numpy() / held["size_predicted"].to_numpy()))
        bound = weighted_bound(apart, held["patient"].to_numpy(str), error)
        made[name] = {"factor": float(np.exp(bound)) if np.isfinite(bound) else None, "n_patients": int(held["patient"].nunique())}
    return made


def _said_of_masks(test: dict[str, Any], finite: bool, error: float) -> list[dict[str, str]]:
    if not finite:
        need = patients_needed(error)
        return [sentence("conformal-few", "info", f"Fewer than {need} validation patients: the Dice of a new case cannot be bounded.",
                         f"验证集患者少于 {need} 名：无法给出新病例 Dice 的下限。")]
    if test["coverage"] is None:
        return []
    reached = test["coverage"]["high"] >= 1 - error
    en = f"The Dice that each test case was promised to reach (error {error:.0%}) was reached in {told(test['coverage'])} of the cases"
    zh = f"对每个测试病例承诺达到的 Dice（错误率 {error:.0%}）实际达到的比例为 {told(test['coverage'])}"
    low = test["least_dice"]
    en, zh = (f"{en}; the promise was {low['value']:.2f} on average.", f"{zh}；平均承诺值为 {low['value']:.2f}。") if low else (f"{en}.", f"{zh}。")
    return [sentence("conformal", "ok" if reached else "warning", en, zh)]


def of_boxes(trust: Trust, error: float) -> dict[str, Any]:
    """The threshold at which a new patient's expected share of missed boxes is at most the stated one, and what was missed with it in the test.

    It is kept with the model, so that `predict` and the clinic say which boxes reach it.
    """
    rule = json.loads(trust.run.metrics.read_text("utf-8"))["matching"]["rule"]
    learnt, asked = (boxes_of(trust.predictions, trust.target, matching=rule, split=split) for split in ("validation", "test"))
    if learnt is None:
        return not_for("There are no validation cases to calibrate on.", "没有可用于校准的验证集病例。")
    settings = np.linspace(0, 1, SETTINGS + 1)
    losses, people = missed(learnt, settings)
    place = risk_bound(losses, error)
    Knowing("boxes", error, (float("inf") if place is None else float(settings[place]),), facts={"n_patients": len(people)}).save(trust.run.model)
    facts = {"error": error, "calibrated_on": "validation", "unit": "patient", "method": "conformal risk control", "n_patients": len(people)}
    if place is None:
        least = float(losses[:, 0].mean()) if len(losses) else 1.0
        return facts | {"threshold": None, "test": {}, "sentences": [sentence(
            "conformal-boxes", "info",
            f"No threshold promises to miss at most {error:.0%} of the boxes ({len(people)} patients; {least:.0%} were missed by every box).",
            f"没有阈值能保证漏检不超过 {error:.0%}（{len(people)} 名患者；{least:.0%} 的目标未被任何框命中）。")]}
    threshold = float(settings[place])
    test = _boxes_test(asked, threshold, trust.seed) if asked is not None else {}
    share = test.get("missed")
    said = [] if share is None else [sentence(
        "conformal-boxes", "ok" if share["low"] <= error else "warning",
        f"At a score of {threshold:.2f} at most {error:.0%} of a patient's boxes are expected to be missed; in the test {told(share)} were, with "
        f"{test['false_per_image']:.1f} false boxes an image.",
        f"阈值取 {threshold:.2f} 时，预计每名患者漏检不超过 {error:.0%}；测试中漏检 {told(share)}，每幅图像误检 {test['false_per_image']:.1f} 个。")]
    return facts | {"threshold": threshold, "test": test, "sentences": said}


def missed(part: Part, settings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each patient's true boxes that are missed at each threshold ``[P, T]`` (a mean over the images that hold one), and the patients."""
    reached = [best_scores(found, ruled, len(truth)) for found, ruled, truth in zip(part.found, part.ruled, part.truths, strict=True)]
    judged = [best[~truth.ignored] for best, truth in zip(reached, part.truths, strict=True)]
    rows = [(whose, (best[:, None] < settings[None]).mean(0)) for best, whose in zip(judged, part.patients, strict=True) if len(best)]
    people = np.unique([whose for whose, _ in rows]) if rows else np.zeros(0, str)
    losses = [np.mean([loss for other, loss in rows if other == whose], axis=0) for whose in people]
    return (np.stack(losses) if losses else np.zeros((0, len(settings)))), people


def best_scores(found: Detected, ruled: Matched, n: int) -> np.ndarray:
    """Score of the box that meets each of n true ones, -1 where none does."""
    best = np.full(n, -1.0)
    met = ruled.truth[0] >= 0
    np.maximum.at(best, ruled.truth[0][met], found.scores[met])
    return best


def _boxes_test(part: Part, threshold: float, seed: int) -> dict[str, Any]:
    losses, people = missed(part, np.array([threshold]))
    wrong = [int(((found.scores >= threshold) & (ruled.verdict[0] == 0)).sum()) for found, ruled in zip(part.found, part.ruled, strict=True)]
    return {"missed": mean_of(losses[:, 0], people, seed), "false_per_image": float(np.mean(wrong)) if wrong else 0.0}
