"""Figures of many weighted samples at once: what the bootstrap calls.

Everything takes weights ``[N, B]`` (how often image n counts in sample b) and gives ``[B]``, with NaN where a
figure is undefined. Names are those of ``metrics.json``. Definitions equal scikit-learn's; a macro figure is the
mean over the classes for which it is defined.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from vesalius.kernels.reliability import BINS, bin_of, judged

RATIOS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
CLASS_FIGURES = ("auc", "ap", "accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity", "ppv", "npv", "kappa")
REGRESSION_FIGURES = ("mae", "rmse", "r2", "spearman")
UNDEFINED = float("nan")

Figures = Callable[[np.ndarray], dict[str, np.ndarray]]


def ratio(top: Any, bottom: Any) -> np.ndarray:
    """``top / bottom``, NaN where the bottom is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, UNDEFINED), where=bottom != 0)


def mean_of(rows: list[np.ndarray]) -> np.ndarray:
    """Mean over rows, leaving out NaN; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(np.stack(rows), axis=0)


class Ranked:
    """Scores sorted once, so that the areas of every resample are cumulative sums.

    Parameters
    ----------
    score: ``[N]``, higher is more positive. positive: ``[N]`` 0/1.
    """

    def __init__(self, score: np.ndarray, positive: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self.positive = positive[self.order].astype(float)[:, None]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``auc`` (trapezoidal, ties count one half) and ``ap`` (average precision, step-wise)."""
        ordered = weights[self.order]
        hits = ordered * self.positive
        true = np.cumsum(hits, axis=0)[self.ends]
        false = np.cumsum(ordered - hits, axis=0)[self.ends]
        gained = np.diff(true, axis=0, prepend=0)
        area = (np.diff(false, axis=0, prepend=0) * (true - gained / 2)).sum(0)
        n, m = true[-1], false[-1]
        precise = (gained * ratio(true, true + false)) if (true[0] + false[0] == 0).any() else gained * true / (true + false)
        return {"auc": ratio(area, n * m), "ap": ratio(np.nansum(precise, axis=0), n)}


def of_counts(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of two-by-two tables."""
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    total = tp + fp + fn + tn
    agreed, chance = ratio(tp + tn, total), ratio((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), total**2)
    return {
        "accuracy": agreed, "balanced_accuracy": (sensitivity + specificity) / 2, "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity, "specificity": specificity, "ppv": ratio(tp, tp + fp), "npv": ratio(tn, tn + fn),
        "kappa": ratio(agreed - chance, 1 - chance),
    }


def one_class(score: np.ndarray, positive: np.ndarray, called: np.ndarray, known: np.ndarray) -> Figures:
    """Figures of one class against the rest: areas of the score, ratios of the call; images not known count nothing."""
    ranked = Ranked(score, positive)
    cells = np.stack([called & positive, called & ~positive, ~called & positive, ~called & ~positive]) & known
    cells = cells.astype(float)
    everywhere = bool(known.all())

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        tp, fp, fn, tn = cells @ weights
        return ranked(weights if everywhere else weights * known[:, None]) | of_counts(tp, fp, fn, tn)

    return figures


def calibrated(truth: np.ndarray, p: np.ndarray, kind: str) -> Figures:
    """``brier`` and ``ece`` as in `vesalius.kernels.reliability`."""
    if kind == "multilabel":
        columns = [_one_calibrated(p[:, k], np.nan_to_num(truth[:, k]), ~np.isnan(truth[:, k])) for k in range(p.shape[1])]
        return lambda weights: {name: mean_of([column(weights)[name] for column in columns]) for name in ("brier", "ece")}
    confidence, true = judged(truth, p, kind)[0]
    base = _one_calibrated(confidence, true, np.ones(len(true), bool))
    if kind == "binary":
        return base
    squared = np.square(p - (truth[:, None] == np.arange(p.shape[1]))).sum(1)
    return lambda weights: base(weights) | {"brier": ratio(squared @ weights, weights.sum(0))}


def _one_calibrated(confidence: np.ndarray, true: np.ndarray, known: np.ndarray) -> Figures:
    gaps = np.zeros((BINS, len(true)))
    gaps[bin_of(confidence), np.arange(len(true))] = np.where(known, confidence - true, 0.0)
    squared = np.where(known, np.square(confidence - true), 0.0)
    mass = known.astype(float)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = mass @ weights
        return {"brier": ratio(squared @ weights, total), "ece": ratio(np.abs(gaps @ weights).sum(0), total)}

    return figures


def table_figures(truth: np.ndarray, called: np.ndarray, k: int, quadratic: bool) -> Figures:
    """``accuracy`` and Cohen's ``kappa`` of a K-by-K table; quadratic weights for an ordinal target (Cohen 1968)."""
    cell = truth * k + called
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    cost = (distance**2 if quadratic else distance > 0).astype(float)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        table = np.stack([(cell == c).astype(float) @ weights for c in range(k * k)]).reshape(k, k, -1)
        total, expected = table.sum((0, 1)), np.einsum("ib,jb->ijb", table.sum(1), table.sum(0))
        wrong, chance = np.einsum("ij,ijb->b", cost, table), np.einsum("ij,ijb->b", cost, expected)
        return {"accuracy": ratio(np.einsum("iib->b", table), total), "kappa": 1 - ratio(wrong * total, chance)}

    return figures


def regression(truth: np.ndarray, value: np.ndarray) -> Figures:
    """``mae``, ``rmse`` (in units of the target), ``r2`` and Spearman's rank correlation."""
    error = value - truth
    rank_truth, rank_value = WeightedRank(truth), WeightedRank(value)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        n = weights.sum(0)
        squared = ratio(np.square(error) @ weights, n)
        spread = ratio(np.square(truth) @ weights, n) - ratio(truth @ weights, n) ** 2
        spread = np.where(spread > 1e-12 * max(float(np.square(truth).mean()), 1e-300), spread, 0.0)
        return {
            "mae": ratio(np.abs(error) @ weights, n), "rmse": np.sqrt(squared), "r2": 1 - ratio(squared, spread),
            "spearman": _correlation(rank_truth(weights), rank_value(weights), weights),
        }

    return figures


class WeightedRank:
    """Mid-ranks ``[N, B]`` of values in weighted samples."""

    def __init__(self, values: np.ndarray) -> None:
        levels, self.level = np.unique(values, return_inverse=True)
        self.marks = np.argsort(self.level, kind="stable")
        self.starts = np.searchsorted(self.level[self.marks], np.arange(len(levels)))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        mass = np.add.reduceat(weights[self.marks], self.starts, axis=0)
        return (mass.cumsum(0) - mass / 2)[self.level]


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    n = weights.sum(0)
    a, b = a - ratio((a * weights).sum(0), n), b - ratio((b * weights).sum(0), n)
    return ratio((a * b * weights).sum(0), np.sqrt((a * a * weights).sum(0) * (b * b * weights).sum(0)))
