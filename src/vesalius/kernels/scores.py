"""The figures of one split, each with an interval whose unit is the patient.

A proportion with one image per patient has Wilson's interval; with several, and an AUC, Wilson's at the effective number of
images (`stats.Resampled.interval`); everything else is resampled by patient (BCa).
Where no image at all is wrong, resampling finds no spread and would promise certainty: the bound is then Wilson's
for as many right answers out of as many (for AUC: as the rarer class has patients).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.kernels import figures
from vesalius.kernels.stats import Estimate, codes, estimate, resample, wilson

Scope = str | None
Keyed = dict[tuple[Scope, str], np.ndarray]

OF_CLASS = ("auc", "ap", "f1", "sensitivity", "specificity", "ppv", "npv")
SHARES = {"auc", "ap", "balanced_accuracy", *figures.RATIOS}
BOUNDED = {"auc", "ap", "f1", "balanced_accuracy", "kappa", *figures.RATIOS}


@dataclass(frozen=True)
class Scored:
    """Figures of all classes together, and of each class against the rest (none for a regression)."""

    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Marks:
    """One class against the rest: ``[N]`` bool each; an image without a mark is not known."""

    positive: np.ndarray
    called: np.ndarray
    known: np.ndarray

    def denominator(self, name: str) -> np.ndarray:
        """The images that a figure is a share of."""
        of = {"sensitivity": self.positive, "specificity": ~self.positive, "ppv": self.called, "npv": ~self.called}
        return self.known & of.get(name, np.ones_like(self.known))

    def right(self) -> np.ndarray:
        return self.positive == self.called


def predicted(target: TargetSpec, p: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """What is called: class numbers ``[N]``, marks ``[N, K]`` bool (multilabel) or values ``[N]`` (regression).

    A binary image is positive when its probability reaches the threshold (0.5 by default), a label when it reaches 0.5.
    """
    if target.kind == "binary":
        return (p[:, 1] >= (0.5 if threshold is None else threshold)).astype(int)
    if target.kind == "multilabel":
        return p >= 0.5
    return p.reshape(len(p), -1)[:, 0] if target.kind == "regression" else p.argmax(1)


def scores(
    target: TargetSpec, truth: np.ndarray, p: np.ndarray, patients: Any, *, threshold: float | None = None, seed: int = 0, n_boot: int = 2000
) -> dict[str, Estimate]:
    """The figures of `assess` over all classes, by name."""
    return assess(target, truth, p, patients, threshold=threshold, seed=seed, n_boot=n_boot).overall


def assess(
    target: TargetSpec, truth: np.ndarray, p: np.ndarray, patients: Any, *, threshold: float | None = None, seed: int = 0, n_boot: int = 2000
) -> Scored:
    """All figures of a split.

    Parameters
    ----------
    target: kind and classes.
    truth: as `TargetSpec.encode` gives it; images without truth are left out.
    p: ``[N, K]`` probabilities (regression: ``[N, 1]`` values).
    patients: ``[N]``. threshold: operating point of a binary target. seed, n_boot: of the bootstrap.

    Figures are macro means over classes where there are more than two (multilabel: over labels, also accuracy and
    kappa). One that is undefined, e.g. an AUC with one class only, is absent.

    Raises
    ------
    DataError: lengths disagree, a probability is not finite, or no image has a truth.
    """
    truth, p, patients = _known(target, np.asarray(truth), np.asarray(p, np.float64), np.asarray(patients, dtype=str))
    if target.kind == "regression":
        return Scored(_resampled(_keyed(figures.regression(truth.astype(np.float64), p[:, 0])), {}, patients, n_boot, seed).get(None, {}), {})
    marks = marks_of(target, truth, p, threshold)
    found = _resampled(weighted(target, truth, p, marks), _scopes(target, marks), patients, n_boot, seed)
    return Scored(found.pop(None, {}), {str(name): found[name] for name in target.classes if name in found})


def _known(target: TargetSpec, truth: np.ndarray, p: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p = p.reshape(len(p), -1)
    if not len(truth) == len(p) == len(patients) or p.shape[1] != target.n_out:
        raise DataError(
            "truth, predictions and patients do not fit", expected=f"[N], [N, {target.n_out}] and [N]", got=f"{truth.shape}, {p.shape} and {patients.shape}"
        )
    known = ~np.isnan(truth).all(1) if truth.ndim == 2 else ~np.isnan(truth) if target.kind == "regression" else truth >= 0
    if not known.any():
        raise DataError("no image has a truth to be judged by", expected="labelled images", got=f"{len(truth)} without a label")
    if not np.isfinite(p[known]).all():
        raise DataError("predictions hold NaN or infinity", got=f"{int((~np.isfinite(p)).any(1).sum())} of {len(p)} images")
    return truth[known] if target.kind in ("multilabel", "regression") else truth[known].astype(int), p[known], patients[known]


def marks_of(target: TargetSpec, truth: np.ndarray, p: np.ndarray, threshold: float | None) -> dict[str, Marks]:
    """Each class against the rest."""
    called, every = predicted(target, p, threshold), np.ones(len(p), bool)
    if target.kind == "multilabel":
        return {name: Marks(truth[:, k] == 1, called[:, k], ~np.isnan(truth[:, k])) for k, name in enumerate(target.classes)}
    return {name: Marks(truth == k, called == k, every) for k, name in enumerate(target.classes)}


def _scopes(target: TargetSpec, marks: dict[str, Marks]) -> dict[Scope, Marks]:
    """The two-by-two table behind each scope; over several classes only 'right or wrong' is one proportion."""
    scopes: dict[Scope, Marks] = {}
    for name, mark in marks.items():
        scopes[name] = mark
    if target.kind == "binary":
        scopes[None] = marks[target.classes[1]]
    elif target.kind != "multilabel":
        right = np.any([mark.positive & mark.called for mark in marks.values()], axis=0)
        scopes[None] = Marks(np.ones_like(right), right, np.ones_like(right))
    return scopes


def weighted(target: TargetSpec, truth: np.ndarray, p: np.ndarray, marks: dict[str, Marks]) -> Callable[[np.ndarray], Keyed]:
    """All figures of weighted samples, by scope (None: over all classes) and name."""
    each = {name: figures.one_class(p[:, k], m.positive, m.called, m.known) for k, (name, m) in enumerate(marks.items())}
    meaning = figures.calibrated(truth, p, target.kind)
    table = None
    if target.kind in ("multiclass", "ordinal"):
        table = figures.table_figures(truth, predicted(target, p), len(marks), target.kind == "ordinal")
    names = figures.CLASS_FIGURES if target.kind == "multilabel" else OF_CLASS

    def compute(weights: np.ndarray) -> Keyed:
        of = {name: figure(weights) for name, figure in each.items()}
        if target.kind == "binary":
            overall = dict(of[target.classes[1]])
        else:
            overall = {name: figures.mean_of([found[name] for found in of.values()]) for name in figures.CLASS_FIGURES}
        if table is not None:
            overall |= table(weights) | {"balanced_accuracy": overall["sensitivity"]}
        keyed: Keyed = {(None, name): row for name, row in (overall | meaning(weights)).items()}
        return keyed | {(scope, name): found[name] for scope, found in of.items() for name in names}

    return compute


def figure_of(target: TargetSpec, truth: np.ndarray, p: np.ndarray, name: str, threshold: float | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """One figure over all classes, of weighted samples ``[N, B]`` -> ``[B]``, e.g. for a paired comparison; NaN where undefined."""
    if target.kind == "regression":
        number = figures.regression(truth.astype(np.float64), p.reshape(len(p), -1)[:, 0])
        return lambda weights: number(weights)[name]
    compute = weighted(target, truth, p, marks_of(target, truth, p, threshold))
    return lambda weights: compute(weights)[None, name]


def _keyed(figure: figures.Figures) -> Callable[[np.ndarray], Keyed]:
    return lambda weights: {(None, name): row for name, row in figure(weights).items()}


def _resampled(
    compute: Callable[[np.ndarray], Keyed], scopes: dict[Scope, Marks], patients: np.ndarray, n_boot: int, seed: int
) -> dict[Scope, dict[str, Estimate]]:
    keys = list(compute(np.ones((len(patients), 1))))
    found = resample(lambda weights: np.stack(list(compute(weights).values())), patients, n_boot, seed)
    people = codes(patients)[1]
    result: dict[Scope, dict[str, Estimate]] = {}
    for m, (scope, name) in enumerate(keys):
        value = float(found.value[m])
        if not np.isfinite(value):
            continue
        made = estimate(found, m, "centred" if name == "ece" else "score" if name in SHARES else "bca", people, len(patients))
        made = _settled(name, value, made, scopes.get(scope), scope is None and len(scopes) > 3, patients)
        if made is not None:
            result.setdefault(scope, {})[name] = made
    return result


def _settled(name: str, value: float, made: Estimate | None, marks: Marks | None, macro: bool, patients: np.ndarray) -> Estimate | None:
    """Wilson's interval where it applies, the bound of a faultless figure, and the counts of its denominator."""
    proportion = name in figures.RATIOS and not (macro and name != "accuracy")
    if marks is not None and proportion:
        base = marks.denominator(name)
        people = len(np.unique(patients[base]))
        if people == base.sum():
            low, high = wilson(int((marks.right() & base).sum()), people)
            return Estimate(value, low, high, people, people, "wilson")
        made = replace(made, n_patients=people, n_images=int(base.sum())) if made else None
    if made is None or name not in BOUNDED or made.low < made.high or value not in (0.0, 1.0):
        return made
    return _bounded(made, None if macro or proportion else marks, patients)


def _bounded(made: Estimate, marks: Marks | None, patients: np.ndarray) -> Estimate:
    people = made.n_patients
    if marks is not None:
        people = min(people, *(len(np.unique(patients[marks.known & side])) or people for side in (marks.positive, ~marks.positive)))
    low, high = wilson(made.value * people, people)
    return replace(made, low=low, high=high, method="wilson bound of a faultless figure")


def confusion(target: TargetSpec, truth: np.ndarray, p: np.ndarray, threshold: float | None = None) -> list[list[int]]:
    """Counts, rows truth and columns predicted; empty for multilabel and regression, which have no such table."""
    if target.kind in ("multilabel", "regression"):
        return []
    k, known = len(target.classes), truth >= 0
    cells = truth[known].astype(int) * k + predicted(target, p, threshold)[known]
    return np.bincount(cells, minlength=k * k).reshape(k, k).tolist()
