"""Whether a probability means what it says: ECE, Brier score, log loss, reliability, and where to cut.

A truth is ``[N]`` class numbers (binary, multiclass, ordinal) or ``[N, K]`` marks 0/1/NaN (multilabel);
probabilities are ``[N, K]``. A binary target is judged by the probability of its second class, several
classes by the confidence of the winning one (Guo et al., ICML 2017), multilabel by the mean over classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.errors import OptionError, TooFewError

BINS = 15
"""Equal-width bins of the calibration error, as in Guo et al. 2017."""

SMALLEST = 1e-12
"""Probabilities are kept this far from 0 in a logarithm."""

Rule = str | tuple[str, float]


def judged(truth: np.ndarray, p: np.ndarray, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of (confidence, came true) to be judged: one pair, or one per class of a multilabel target."""
    if kind == "binary":
        return [(p[:, 1], (truth == 1).astype(float))]
    if kind == "multilabel":
        known = ~np.isnan(truth)
        return [(p[known[:, k], k], truth[known[:, k], k].astype(float)) for k in range(p.shape[1])]
    return [(p.max(1), (p.argmax(1) == truth).astype(float))]


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The number of the equal-width bin in [0, 1] of each confidence; the last one includes 1."""
    return np.clip((confidence * bins).astype(int), 0, bins - 1)


def ece(truth: np.ndarray, p: np.ndarray, kind: str, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of confidence and frequency, weighted by bin size; NaN without cases."""
    found = [_one_ece(confidence, true, bins) for confidence, true in judged(truth, p, kind) if len(true)]
    return float(np.mean(found)) if found else float("nan")


def _one_ece(confidence: np.ndarray, true: np.ndarray, bins: int) -> float:
    place = bin_of(confidence, bins)
    gap = np.bincount(place, confidence, bins) - np.bincount(place, true, bins)
    return float(np.abs(gap).sum() / len(true))


def brier(truth: np.ndarray, p: np.ndarray, kind: str) -> float:
    """Brier score: squared error of the second class (binary, in [0, 1]), summed over classes (several,
    in [0, 2], Brier 1950), or the mean over the marks of each class, then over classes (multilabel)."""
    if kind in ("binary", "multilabel"):
        found = [np.square(confidence - true).mean() for confidence, true in judged(truth, p, kind) if len(true)]
        return float(np.mean(found)) if found else float("nan")
    marks = truth[:, None] == np.arange(p.shape[1])
    return float(np.square(p - marks).sum(1).mean()) if len(truth) else float("nan")


def nll(truth: np.ndarray, p: np.ndarray, kind: str) -> float:
    """Mean negative log likelihood in nats; for multilabel the mean over all known marks."""
    each = case_nll(truth, p, kind)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def case_nll(truth: np.ndarray, p: np.ndarray, kind: str) -> np.ndarray:
    """Negative log likelihood of each case ``[N]``; a multilabel case is the mean of its known marks (NaN without)."""
    if kind != "multilabel":
        return -np.log(np.maximum(p[np.arange(len(truth)), truth.astype(int)], SMALLEST))
    of_true = np.where(truth > 0.5, p, 1 - p)
    loss = np.where(np.isnan(truth), 0.0, -np.log(np.maximum(of_true, SMALLEST)))
    known = (~np.isnan(truth)).sum(1)
    return np.where(known > 0, loss.sum(1) / np.maximum(known, 1), np.nan)


def quality(truth: np.ndarray, p: np.ndarray, kind: str) -> dict[str, float]:
    """``{"ece", "brier", "nll"}``: how far the probabilities are from what came true."""
    return {"ece": ece(truth, p, kind), "brier": brier(truth, p, kind), "nll": nll(truth, p, kind)}


def reliability(truth: np.ndarray, p: np.ndarray, kind: str, bins: int = BINS) -> dict[str, list[float]]:
    """Points of the reliability plot: mean confidence, observed frequency and size of each bin that holds a case.

    Classes of a multilabel target are pooled.
    """
    pairs = judged(truth, p, kind)
    confidence, true = np.concatenate([c for c, _ in pairs]), np.concatenate([t for _, t in pairs])
    place = bin_of(confidence, bins)
    n = np.bincount(place, minlength=bins)
    held = n > 0
    mean = np.bincount(place, confidence, bins)[held] / n[held]
    observed = np.bincount(place, true, bins)[held] / n[held]
    return {"confidence": mean.tolist(), "observed": observed.tolist(), "n": n[held].tolist()}


def operating_point(p: np.ndarray, truth: np.ndarray, rule: Rule = "youden", weights: np.ndarray | None = None) -> dict[str, Any]:
    """Where to cut the probability of the positive class.

    Parameters
    ----------
    p: ``[N]`` probability of the positive class; a case is called positive when ``p >= threshold``.
    truth: ``[N]`` 0/1.
    rule: ``"youden"`` (largest sensitivity + specificity - 1, Youden 1950), ``"accuracy"``,
        ``("sensitivity", s)`` (the highest threshold that reaches s) or ``("specificity", s)`` (the lowest).
    weights: ``[N]`` how often each case counts; once by default.

    The threshold lies half-way between the two neighbouring probabilities, so that it does not hang
    on the last digit of one case.

    Returns ``{"threshold", "rule", "sensitivity", "specificity"}``.

    Raises
    ------
    TooFewError: one of the classes is absent.
    OptionError: unknown rule, or a wish outside (0, 1].
    """
    cut, sensitivity, specificity, share = _cuts(p, truth, np.ones(len(p)) if weights is None else weights)
    best = _choose(rule, sensitivity, specificity, share)
    name = rule if isinstance(rule, str) else f"{rule[0]}>={rule[1]:g}"
    return {"threshold": float(cut[best]), "rule": name, "sensitivity": float(sensitivity[best]), "specificity": float(specificity[best])}


def _cuts(p: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """All cuts from the highest down, with sensitivity and specificity at each, and the share of positives."""
    values, place = np.unique(-p, return_inverse=True)
    positive = np.bincount(place, weights * (truth == 1), len(values))
    negative = np.bincount(place, weights * (truth != 1), len(values))
    if not positive.sum() or not negative.sum():
        raise TooFewError("no operating point can be chosen", expected="cases of both classes", got="one class", do="give validation cases of both classes")
    edges = np.concatenate([[1.0 + 1e-9], -values, [0.0]])
    cut = (edges[:-1] + edges[1:]) / 2
    cut[-1] = 0.0
    sensitivity = np.concatenate([[0.0], positive.cumsum()]) / positive.sum()
    specificity = 1 - np.concatenate([[0.0], negative.cumsum()]) / negative.sum()
    return cut, sensitivity, specificity, float(positive.sum() / weights.sum())


def _choose(rule: Rule, sensitivity: np.ndarray, specificity: np.ndarray, share: float) -> int:
    if rule == "youden":
        return int(np.argmax(np.round(sensitivity + specificity, 12)))
    if rule == "accuracy":
        return int(np.argmax(np.round(share * sensitivity + (1 - share) * specificity, 12)))
    if isinstance(rule, tuple) and rule[0] in ("sensitivity", "specificity") and 0 < rule[1] <= 1:
        reached = sensitivity if rule[0] == "sensitivity" else specificity
        fits = np.flatnonzero(reached >= rule[1] - 1e-12)
        return int(fits[0] if rule[0] == "sensitivity" else fits[-1])
    raise OptionError("unknown rule for the operating point", expected="youden, accuracy, (sensitivity, 0-1] or (specificity, 0-1]", got=rule)
