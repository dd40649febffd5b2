"""Sets of answers with a stated error, calibrated on validation and judged on the test; see `kernels.conformal`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.kernels.conformal import class_bounds, coverage_range, difficulty, patients_needed, prediction_sets, weighted_bound
from vesalius.stages.evaluate import part_of, values_of
from vesalius.stages.knowing import Knowing
from vesalius.stages.trust._conformalmarked import of_boxes, of_masks
from vesalius.stages.trust._foldwords import of_folds
from vesalius.stages.trust._share import mean_of, share_of, told
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

ERROR = 0.1
"""The stated error; others are shown beside it."""
ERRORS = (0.2, 0.1, 0.05)
NORMALISED_LEAST = 80
"""With so many validation patients an interval is wider where the model errs more (half of them say where); else it has one width."""


@trust_part("conformal", order=60, share=0.5)
def conformal(trust: Trust) -> dict[str, Any]:
    """Which answers cannot be ruled out at an error of 10 %, how often the truth is among them in the test, and how often one is left.

    Patients are the unit: each counts once. Bounds are kept with the model (`stages.knowing`). Validation has also served to calibrate the
    probabilities and to choose the weights, so the promise is not exact; the coverage on the test is what was measured. With folds the bounds are of the
    networks of single folds, and the sentences say it.
    """
    if trust.target.kind == "boxes":
        return of_boxes(trust, ERROR)
    if trust.target.kind == "mask":
        return of_masks(trust, ERROR)
    if not len(part_of(trust.predictions, "validation")):
        return not_for("There are no validation cases to calibrate on.", "没有可用于校准的验证集病例。")
    judge = {"regression": _value, "multilabel": _signs}.get(trust.target.kind, _classes)
    found = judge(trust) | {"error": ERROR, "calibrated_on": "validation", "unit": "patient"}
    return found | {"sentences": [*found["sentences"], *of_folds(trust, "conformal")]}


def _known(frame: pd.DataFrame, target: TargetSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (or values), truth and patients of the labelled rows."""
    p, truth, patients = values_of(frame, target, "p"), values_of(frame, target, "truth"), frame["patient"].to_numpy(str)
    known = np.isfinite(truth) if target.kind == "regression" else truth >= 0
    return p[known], truth[known], patients[known]


def _answers(p: np.ndarray, threshold: float | None) -> np.ndarray:
    return p.argmax(1) if threshold is None else (p[:, 1] >= threshold).astype(int)


def _classes(trust: Trust) -> dict[str, Any]:
    target, threshold = trust.target, trust.mapping.output.threshold
    learnt = _known(part_of(trust.predictions, "validation"), target)
    asked = _known(part_of(trust.predictions, "test"), target)
    bounds = {error: class_bounds(*learnt, error) for error in ERRORS}
    answers = _answers(asked[0], threshold)
    sets = {error: prediction_sets(asked[0], bounds[error], answers) for error in ERRORS}
    counts = [len(np.unique(learnt[2][learnt[1] == k])) for k in range(len(target.classes))]
    Knowing(target.kind, ERROR, tuple(map(float, bounds[ERROR])), facts={"n_patients": counts}).save(trust.run.model)
    classes = {name: _class_facts(k, counts[k], float(bounds[ERROR][k]), asked, sets[ERROR], trust.seed) for k, name in enumerate(target.classes)}
    test = _set_figures(sets[ERROR], asked[1], asked[2], answers, trust.seed)
    other = [{"error": error} | _set_figures(sets[error], asked[1], asked[2], answers, trust.seed) for error in ERRORS]
    smaller = prediction_sets(asked[0], class_bounds(*learnt, ERROR, "aps"), answers, "aps")
    aps = {"size": float(smaller.sum(1).mean()), "coverage": share_of(smaller[np.arange(len(smaller)), asked[1]], asked[2], trust.seed)} if len(smaller) else {}
    return {"method": "lac", "classes": classes, "test": test, "by_error": other, "aps": aps, "sentences": _said(classes, test)}


def _class_facts(k: int, n: int, bound: float, asked: tuple[np.ndarray, ...], held: np.ndarray, seed: int) -> dict[str, Any]:
    rows = asked[1] == k
    facts = {"n_patients": n, "needed": patients_needed(ERROR), "bound": bound if np.isfinite(bound) else None, "promised": list(coverage_range(n, ERROR))}
    return facts | {"test": share_of(held[rows, k], asked[2][rows], seed)}


def _set_figures(held: np.ndarray, truth: np.ndarray, patients: np.ndarray, answers: np.ndarray, seed: int) -> dict[str, Any]:
    """Coverage, how often one answer is left, its error there and the error of all answers."""
    rows, alone = np.arange(len(held)), held.sum(1) == 1
    return {
        "coverage": share_of(held[rows, truth], patients, seed), "decided": share_of(alone, patients, seed), "size": mean_of(held.sum(1), patients, seed),
        "error_decided": share_of(answers[alone] != truth[alone], patients[alone], seed), "error_all": share_of(answers != truth, patients, seed),
    }


def _said(classes: dict[str, Any], test: dict[str, Any]) -> list[dict[str, str]]:
    few = [name for name, facts in classes.items() if facts["bound"] is None]
    short = [name for name, facts in classes.items() if facts["bound"] is not None and facts["test"] and facts["test"]["high"] < 1 - ERROR]
    said = []
    if test["coverage"]:
        said.append(sentence(
            "conformal", "warning" if short else "ok",
            f"At a stated error of {ERROR:.0%} the true answer was among those not ruled out in {told(test['coverage'])} of the test images; in "
            f"{told(test['decided'])} one answer was left, in the others the model does not decide.",
            f"在设定错误率 {ERROR:.0%} 下，测试图像中真实答案未被排除的比例为 {told(test['coverage'])}；"
            f"其中 {told(test['decided'])} 只剩一个答案，其余情况模型不作判断。",
        ))
    if short:
        names = ", ".join(short)
        said.append(sentence("conformal-short", "warning", f"The promised coverage of {1 - ERROR:.0%} was not reached in the test for: {names}.",
                             f"以下类别在测试集中未达到承诺的 {1 - ERROR:.0%} 覆盖率：{names}。"))
    if few:
        names, need = ", ".join(few), patients_needed(ERROR)
        said.append(sentence("conformal-few", "info", f"Fewer than {need} validation patients: {names} can never be ruled out.",
                             f"验证集患者少于 {need} 名，因此始终无法排除：{names}。"))
    return said


def _signs(trust: Trust) -> dict[str, Any]:
    """Each sign is a question of its own: absent or present."""
    target = trust.target
    classes, bounds, every = {}, [], []
    for k, name in enumerate(target.classes):
        p, truth, patients = _sign(part_of(trust.predictions, "validation"), target, k)
        each = class_bounds(p, truth, patients, ERROR)
        seen, marks, whose = _sign(part_of(trust.predictions, "test"), target, k)
        held = prediction_sets(seen, each)
        n = min(len(np.unique(patients[truth == mark])) for mark in (0, 1))
        facts = {"n_patients": n, "needed": patients_needed(ERROR), "bound": float(each.max()) if np.isfinite(each).all() else None}
        classes[name] = facts | {"promised": list(coverage_range(n, ERROR)), "test": share_of(held[np.arange(len(held)), marks], whose, trust.seed)}
        bounds += [float(value) for value in each]
        every.append((held, marks, whose, seen.argmax(1)))
    Knowing("multilabel", ERROR, tuple(bounds)).save(trust.run.model)
    held, marks, whose, answers = (np.concatenate(part) for part in zip(*every, strict=True))
    test = _set_figures(held, marks, whose, answers, trust.seed)
    return {"method": "lac, sign by sign", "classes": classes, "test": test, "sentences": _said(classes, test)}


def _sign(frame: pd.DataFrame, target: TargetSpec, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of absent and present ``[N, 2]``, truth and patients of the rows where sign k is known."""
    p, truth = values_of(frame, target, "p")[:, k], values_of(frame, target, "truth")[:, k]
    known = np.isfinite(truth)
    return np.stack([1 - p[known], p[known]], 1), truth[known].astype(int), frame["patient"].to_numpy(str)[known]


def _value(trust: Trust) -> dict[str, Any]:
    p, truth, patients = _known(part_of(trust.predictions, "validation"), trust.target)
    value = p[:, 0]
    knots, levels, rows = _difficulty_of(value, truth, patients)
    bound = weighted_bound(np.abs(truth - value)[rows] / np.interp(value, knots, levels)[rows], patients[rows], ERROR)
    made = Knowing("regression", ERROR, (bound,), tuple(map(float, knots)), tuple(map(float, levels)))
    made.save(trust.run.model)
    p, truth, patients = _known(part_of(trust.predictions, "test"), trust.target)
    half = made.half_width(p[:, 0])
    test = {"coverage": share_of(np.abs(truth - p[:, 0]) <= half, patients, trust.seed)}
    finite = np.isfinite(half).all() and len(half) > 0
    test |= {"width": mean_of(2 * half, patients, trust.seed)} if finite else {}
    said = [] if test["coverage"] is None else [_said_of_value(test, finite)]
    return {"method": "normalised residuals" if len(knots) > 1 else "residuals", "n_patients": len(np.unique(patients)), "test": test, "sentences": said}


def _difficulty_of(value: np.ndarray, truth: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knots and levels of the expected error, and the rows that are left to calibrate on."""
    people = np.unique(patients)
    if len(people) < NORMALISED_LEAST:
        return np.zeros(1), np.ones(1), np.arange(len(value))
    learns = np.isin(patients, people[::2])
    return *difficulty(value[learns], (truth - value)[learns]), np.flatnonzero(~learns)


def _said_of_value(test: dict[str, Any], finite: bool) -> dict[str, str]:
    if not finite:
        need = patients_needed(ERROR)
        return sentence("conformal-few", "info", f"Fewer than {need} validation patients: the error of a value cannot be bounded.",
                        f"验证集患者少于 {need} 名：无法给出数值误差的界限。")
    reached = test["coverage"]["high"] >= 1 - ERROR
    return sentence(
        "conformal", "ok" if reached else "warning",
        f"Intervals promised to hold the true value in {1 - ERROR:.0%} of images held it in {told(test['coverage'])} of the test images.",
        f"承诺在 {1 - ERROR:.0%} 的图像中包含真值的区间，在测试图像中实际包含真值的比例为 {told(test['coverage'])}。",
    )
