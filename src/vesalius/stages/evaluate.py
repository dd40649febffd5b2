"""Figures that can be believed: calibrated and cut on validation, then judged once on the test set.

Everything comes from tables of predictions (columns in ``docs/architecture.md``), so that a network and a baseline
are judged by the same code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.calibrate import Calibrator, fit_calibrator, out_of_fold
from vesalius.kernels.curves import curves
from vesalius.kernels.delong import delong_paired
from vesalius.kernels.reliability import Rule, operating_point, quality
from vesalius.kernels.scores import Scored, assess, confusion, figure_of
from vesalius.kernels.stats import codes, paired
from vesalius.seed import generator
from vesalius.stages.notes import notes_of

PRIMARY = {"regression": "r2", "ordinal": "kappa"}
"""The figure that a run is judged by, ``auc`` for the other kinds; always one where more is better."""
SECOND = "accuracy"
DRAWS = 200
"""Patient bootstraps whose median is the threshold of a rule that looks for a maximum (Thiele and Hirschfeld 2021)."""


def columns_of(target: TargetSpec, what: str) -> list[str]:
    """Names of the columns that hold ``raw`` values, probabilities ``p`` or ``truth``."""
    if what == "truth":
        return [f"truth_{name}" for name in target.classes] if target.kind == "multilabel" else ["truth"]
    if target.kind == "regression":
        return ["raw_value" if what == "raw" else "value"]
    return [f"{what}_{name}" for name in target.classes]


def values_of(frame: pd.DataFrame, target: TargetSpec, what: str) -> np.ndarray:
    """The columns as an array ``[N, K]``; truth as `TargetSpec.encode` gives it.

    Raises
    ------
    DataError: a column is absent.
    """
    names = columns_of(target, what)
    absent = [name for name in names if name not in frame]
    if absent:
        raise DataError("the predictions lack a column", expected=absent[0], got=", ".join(map(str, frame.columns)), do="evaluate the run again")
    values = frame[names].to_numpy(np.float64)
    if what != "truth" or target.kind == "multilabel":
        return values
    return values[:, 0] if target.kind == "regression" else np.nan_to_num(values[:, 0], nan=-1).astype(int)


def part_of(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    """The images of one split, in the order of the table."""
    return frame[frame["split"] == split]


def calibrate_on_validation(predictions: pd.DataFrame, target: TargetSpec, *, method: str = "auto") -> tuple[Calibrator, dict[str, Any]]:
    """Fit the calibrator on validation, and say what it does there.

    Returns the calibrator and ``{"method", "parameters", "before": {"ece", "brier", "nll"}, "after": {…}, "chosen_on"}``.
    ``after`` is out of fold: each patient is judged by a calibrator that was fitted on others.
    """
    frame = part_of(predictions, "validation")
    raw, truth, patients = values_of(frame, target, "raw"), values_of(frame, target, "truth"), frame["patient"].to_numpy(str)
    made = fit_calibrator(raw, truth, target.kind, method=method, patients=patients)
    facts: dict[str, Any] = {"method": made.method, "parameters": made.parameters, "before": {}, "after": {}, "chosen_on": "validation"}
    known = ~np.isnan(truth).all(1) if truth.ndim == 2 else truth >= 0
    if target.kind != "regression" and known.any():
        raw, truth, patients = raw[known], truth[known], patients[known]
        facts["before"] = _finite(quality(truth, Calibrator(target.kind)(raw), target.kind))
        facts["after"] = _finite(quality(truth, out_of_fold(raw, truth, target.kind, made.method, patients), target.kind))
    return made, facts


def _finite(facts: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in facts.items() if np.isfinite(value)}


def rule_of(rule: str | Rule) -> Rule:
    """A rule as it stands in a plan, e.g. ``"sensitivity 0.95"``, as the kernel wants it.

    >>> rule_of("sensitivity 0.95"), rule_of("youden")
    (('sensitivity', 0.95), 'youden')
    """
    if isinstance(rule, tuple):
        return rule
    words = rule.replace(">=", " ").split()
    try:
        return (words[0], float(words[1])) if len(words) == 2 else rule.strip()
    except ValueError as error:
        raise OptionError("unknown rule for the operating point", expected="e.g. 'youden' or 'sensitivity 0.95'", got=rule) from error


def choose_operating_point(predictions: pd.DataFrame, target: TargetSpec, *, rule: str | Rule = "youden", seed: int = 0) -> dict[str, Any]:
    """The threshold of a binary target, chosen on validation from calibrated probabilities.

    A rule that looks for a maximum (youden, accuracy) hangs on single cases, so the median over 200 patient
    bootstraps is taken; a stated sensitivity or specificity is met exactly on validation.

    Returns ``{"threshold", "rule", "chosen_on", "sensitivity", "specificity"}``; with one class only in validation
    the threshold is 0.5 and the figures that do not exist are absent.
    """
    frame, wish = part_of(predictions, "validation"), rule_of(rule)
    p, truth = values_of(frame, target, "p")[:, 1], values_of(frame, target, "truth")
    known = truth >= 0
    p, truth, place = p[known], truth[known], codes(frame["patient"].to_numpy(str)[known])[0]
    if len(np.unique(truth)) < 2:
        return {"threshold": 0.5, "rule": "one half: validation has one class", "chosen_on": "nothing"} | _reached(p, truth, 0.5)
    found = operating_point(p, truth, wish)
    if isinstance(wish, str):
        found["threshold"] = _settled(p, truth, place, wish, seed)
    return {"threshold": found["threshold"], "rule": found["rule"], "chosen_on": "validation"} | _reached(p, truth, found["threshold"])


def _settled(p: np.ndarray, truth: np.ndarray, place: np.ndarray, rule: Rule, seed: int) -> float:
    rng, people = generator(seed, "operating point"), int(place.max()) + 1
    thresholds = []
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(0, people, people), minlength=people)[place].astype(float)
        if 0 < weights[truth == 1].sum() < weights.sum():
            thresholds.append(operating_point(p, truth, rule, weights)["threshold"])
    return float(np.median(thresholds)) if thresholds else operating_point(p, truth, rule)["threshold"]


def _reached(p: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    called = p >= threshold
    shares = {"sensitivity": called[truth == 1], "specificity": ~called[truth == 0]}
    return {name: float(share.mean()) for name, share in shares.items() if len(share)}


def evaluate(
    predictions: pd.DataFrame, baselines: pd.DataFrame | None, target: TargetSpec, *,
    calibration: dict[str, Any], operating: dict[str, Any] | None, data_size: list[dict[str, Any]] | None = None, seed: int = 0, n_boot: int = 2000,
) -> dict[str, Any]:
    """``metrics.json`` of the contract, without ``looks_at_test``.

    Parameters
    ----------
    predictions: validation and test with calibrated probabilities; with a ``fold`` validation is all that is not the test set, each image as the
        networks of its fold see it, and ``"cross_validated"`` says how many folds there are. baselines: the same with ``model``; their thresholds
        are chosen on validation by the same rule. calibration, operating: what was chosen on validation.
    data_size: the curve of `stages.datasize`; it is kept, and its sentence joins the notes.

    Raises
    ------
    DataError: there are no test predictions, or a column is absent.
    """
    if part_of(predictions, "test").empty:
        raise DataError("there are no predictions of the test set", expected="rows with split 'test'", got=f"{len(predictions)} others")
    threshold = operating["threshold"] if operating else None
    scored = _scored(predictions, target, threshold, seed, n_boot)
    metrics: dict[str, Any] = {
        "schema": 1, "target": {"kind": target.kind, "classes": list(target.classes), "name": target.name},
        "primary": primary_of(target, scored["test"]),
        **{split: _plain(found.overall) for split, found in scored.items()},
        "per_class": {split: {name: _plain(rows) for name, rows in found.per_class.items()} for split, found in scored.items()},
        "confusion": _each(predictions, target, scored, lambda truth, p: confusion(target, truth, p, threshold)),
        "curves": _each(predictions, target, scored, lambda truth, p: curves(target, truth, p)),
        "calibration": calibration,
    }
    metrics |= {"operating_point": operating} if operating else {}
    metrics |= {"cross_validated": n} if (n := folds_in(predictions)) else {}
    if baselines is not None and len(baselines):
        metrics |= _against(predictions, baselines, target, metrics["primary"], operating, seed, n_boot)
    return metrics | ({"data_size": data_size} if data_size else {}) | {"notes": notes_of(metrics, predictions, data_size)}


def folds_in(predictions: pd.DataFrame) -> int:
    """How many folds a table of predictions is of; 0 where validation was one part that no network has learnt from."""
    return int(predictions["fold"].max()) + 1 if "fold" in predictions and len(predictions) else 0


def primary_of(target: TargetSpec, scored: Scored) -> str:
    """The figure that the run is judged by; accuracy where the usual one is undefined on the test set."""
    usual = PRIMARY.get(target.kind, "auc")
    return usual if usual in scored.overall or target.kind == "regression" else SECOND


def _scored(frame: pd.DataFrame, target: TargetSpec, threshold: float | None, seed: int, n_boot: int) -> dict[str, Scored]:
    found = {}
    for split in ("test", "validation"):
        part = part_of(frame, split)
        if len(part):
            truth, p = values_of(part, target, "truth"), values_of(part, target, "p")
            found[split] = assess(target, truth, p, part["patient"], threshold=threshold, seed=seed, n_boot=n_boot)
    return found


def _plain(rows: dict[str, Any]) -> dict[str, Any]:
    return {name: made.to_dict() for name, made in rows.items()}


def _each(frame: pd.DataFrame, target: TargetSpec, splits: Any, make: Any) -> dict[str, Any]:
    parts = {split: part_of(frame, split) for split in splits}
    return {split: make(values_of(part, target, "truth"), values_of(part, target, "p")) for split, part in parts.items()}


def _against(
    predictions: pd.DataFrame, baselines: pd.DataFrame, target: TargetSpec, primary: str, operating: dict[str, Any] | None, seed: int, n_boot: int
) -> dict[str, Any]:
    """Figures of every baseline, and the gain over the one that was best on validation."""
    cuts: dict[str, float | None] = {}
    judged: dict[str, dict[str, Scored]] = {}
    for model, frame in baselines.groupby("model", sort=False):
        name = str(model)
        cuts[name] = choose_operating_point(frame, target, rule=_same_rule(operating), seed=seed)["threshold"] if operating else None
        judged[name] = _scored(frame, target, cuts[name], seed, n_boot)
    made: dict[str, Any] = {"baselines": {name: {split: _plain(found.overall) for split, found in splits.items()} for name, splits in judged.items()}}
    known = {name: splits["validation"].overall[primary].value for name, splits in judged.items() if primary in _validated(splits)}
    if known:
        best = max(known, key=lambda name: known[name])
        rival = baselines[baselines["model"] == best]
        gain = gain_over(predictions, rival, target, primary, (operating["threshold"] if operating else None, cuts[best]), seed=seed, n_boot=n_boot)
        made |= {"gain": {"over": best, **gain}} if gain else {}
    return made


def _validated(splits: dict[str, Scored]) -> dict[str, Any]:
    return splits["validation"].overall if "validation" in splits else {}


def _same_rule(operating: dict[str, Any] | None) -> str:
    rule = str(operating["rule"]) if operating else "youden"
    return rule if rule.split(">=")[0].split()[0] in ("youden", "accuracy", "sensitivity", "specificity") else "youden"


def gain_over(
    first: pd.DataFrame, second: pd.DataFrame, target: TargetSpec, metric: str, thresholds: tuple[float | None, float | None] = (None, None),
    *, seed: int = 0, n_boot: int = 2000,
) -> dict[str, Any] | None:
    """First minus second figure on the test images that both predicted, paired; None where it is undefined.

    DeLong for the AUC of a binary target with one image per patient, else a paired patient bootstrap.
    Returns ``{"metric", "value", "low", "high", "p", "method", "n_patients", "n_images"}``.
    """
    one, two = part_of(first, "test").set_index("id"), part_of(second, "test").set_index("id")
    common = one.index[one.index.isin(two.index)]
    one, two = one.loc[common], two.loc[common]
    truth, patients = values_of(one, target, "truth"), one["patient"].to_numpy(str)
    known = ~np.isnan(truth).all(1) if truth.ndim == 2 else np.isfinite(truth) if target.kind == "regression" else truth >= 0
    truth, patients = truth[known], patients[known]
    p = [values_of(part, target, "p")[known] for part in (one, two)]
    people = codes(patients)[1]
    counts = {"n_patients": people, "n_images": len(truth)}
    if metric == "auc" and target.kind == "binary" and people == len(truth) and min(np.bincount(truth, minlength=2)) >= 2:
        found = delong_paired(truth, p[0][:, 1], p[1][:, 1])
        return {"metric": metric, "value": found.value, "low": found.low, "high": found.high, "p": found.p, "method": "delong"} | counts
    figures = [figure_of(target, truth, p[k], metric, thresholds[k]) for k in (0, 1)]
    made, chance = paired(figures[0], figures[1], patients, n_boot, seed)
    if made is None:
        return None
    return {"metric": metric, "value": made.value, "low": made.low, "high": made.high, "p": chance, "method": "paired patient bootstrap"} | counts
