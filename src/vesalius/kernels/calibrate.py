"""From a network's raw values to probabilities that mean what they say.

Temperature scaling: Guo et al., *On calibration of modern neural networks*, ICML 2017. With a bias it is
Platt scaling (Platt 1999) for two classes and bias-corrected temperature scaling (Alexandari et al.,
ICML 2020) for several. Isotonic regression: Zadrozny and Elkan, KDD 2002. Targets are smoothed by Platt's
rule of succession, so that a small or perfectly separated validation set does not give probabilities of 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_softmax, softmax

from vesalius.core.target import KINDS
from vesalius.errors import DataError, OptionError
from vesalius.kernels.reliability import brier, case_nll, ece, nll, operating_point, quality, reliability
from vesalius.seed import generator

__all__ = ["METHODS", "Calibrator", "brier", "ece", "fit_calibrator", "nll", "operating_point", "out_of_fold", "quality", "reliability"]

METHODS = ("none", "temperature", "temperature+bias", "isotonic")
"""From the simplest to the freest; ``auto`` prefers the simpler one unless a freer one is clearly better."""

SLOPE = 0.01
"""Share of the sigmoid mixed into an isotonic step function: strictly monotone, never exactly 0 or 1."""

FEW = 40
"""With fewer patients than this, or fewer than `FEW_OF_CLASS` cases of a class, ``auto`` takes the temperature alone."""
FEW_OF_CLASS = 10
ISOTONIC_LEAST = 200
"""Cases of each class that isotonic regression needs (Niculescu-Mizil and Caruana 2005: it overfits below about 1,000 cases)."""
FOLDS = 5


@dataclass(frozen=True)
class Calibrator:
    """Raw values ``[N, K]`` to probabilities ``[N, K]`` (float64).

    Parameters
    ----------
    kind: kind of the target. Binary (K = 2), multiclass and ordinal values go through a soft-max, multilabel
        values through a sigmoid each; a regression's values ``[N, 1]`` come back as they are.
    method: one of `METHODS`.
    parameters: plain numbers and lists; ``temperature`` and ``bias`` per column, ``x`` and ``y`` the knots of isotonic
        regression (binary: one column, the difference of the two raw values).
    """

    kind: str
    method: str = "none"
    parameters: dict[str, Any] = field(default_factory=dict)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        values = np.asarray(raw, np.float64)
        if self.kind == "regression":
            return values
        if self.kind in ("multiclass", "ordinal"):
            return softmax(self._scaled(values), axis=1)
        if self.kind == "multilabel":
            return self._sigmoid(values)[0]
        positive, negative = self._sigmoid(margin(values))
        return np.concatenate([negative, positive], axis=1)

    def _scaled(self, z: np.ndarray) -> np.ndarray:
        return z / np.asarray(self.parameters.get("temperature", 1.0)) + np.asarray(self.parameters.get("bias", 0.0))

    def _sigmoid(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each column and of its opposite (kept apart: ``1 - p`` loses digits near 1)."""
        scaled = self._scaled(z)
        positive, negative = expit(scaled), expit(-scaled)
        if self.method != "isotonic":
            return positive, negative
        knots = zip(self.parameters["x"], self.parameters["y"], strict=True)
        step = np.stack([np.interp(z[:, k], x, y) if len(x) else positive[:, k] for k, (x, y) in enumerate(knots)], axis=1)
        return (1 - SLOPE) * step + SLOPE * positive, (1 - SLOPE) * (1 - step) + SLOPE * negative

    def to_dict(self) -> dict[str, Any]:
        """Plain values for TOML or JSON."""
        return {"kind": self.kind, "method": self.method, "parameters": dict(self.parameters)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Calibrator:
        if facts.get("method") not in METHODS:
            raise OptionError("unknown calibration", expected=f"one of {', '.join(METHODS)}", got=facts.get("method"))
        return cls(facts["kind"], facts["method"], dict(facts["parameters"]))


def margin(raw: np.ndarray) -> np.ndarray:
    """The log odds ``[N, 1]`` of the second class of a two-column soft-max."""
    return raw[:, 1:2] - raw[:, :1]


def fit_calibrator(raw: np.ndarray, truth: np.ndarray, kind: str, *, method: str = "auto", patients: Any = None) -> Calibrator:
    """Fit a calibrator on cases that the network was not trained on (validation).

    Parameters
    ----------
    raw: logits ``[N, K]`` (regression: values ``[N, 1]``).
    truth: as `TargetSpec.encode` gives it; cases without truth (-1, NaN) are left out.
    kind: kind of the target.
    method: one of `METHODS` or ``auto``: the simplest method whose log likelihood in patient-grouped 5-fold
        cross-validation is not more than one standard error worse than the best one's; temperature
        alone when there are few cases, and none when there is only one class.
    patients: ``[N]`` whose image each is, for the folds; each image its own patient by default.

    Raises
    ------
    OptionError: unknown kind or method, or isotonic for several exclusive classes.
    DataError: shapes disagree or a raw value is not finite.
    """
    raw, truth = np.asarray(raw, np.float64), np.asarray(truth)
    _refuse(raw, truth, kind, method)
    if kind == "regression":
        return Calibrator(kind)
    owner = np.arange(len(raw)) if patients is None else np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    known = ~np.isnan(truth).all(1) if kind == "multilabel" else truth >= 0
    raw, truth, owner = raw[known], truth[known], owner[known]
    if method == "auto":
        method = _choose(raw, truth, kind, owner)
    return _fit(raw, truth, kind, method)


def _refuse(raw: np.ndarray, truth: np.ndarray, kind: str, method: str) -> None:
    if kind not in KINDS:
        raise OptionError(f"unknown kind of target '{kind}'", expected=f"one of {', '.join(KINDS)}")
    if method not in (*METHODS, "auto"):
        raise OptionError(f"unknown calibration '{method}'", expected=f"one of auto, {', '.join(METHODS)}")
    if method == "isotonic" and kind in ("multiclass", "ordinal"):
        raise OptionError("isotonic calibration is for two classes or several labels", got=kind, do="use temperature or temperature+bias")
    if raw.ndim != 2 or len(raw) != len(truth) or (kind == "binary" and raw.shape[1] != 2):
        raise DataError("raw values and truth do not fit", expected="raw [N, K] and truth [N] (binary: K = 2)", got=f"{raw.shape} and {truth.shape}")
    if not np.isfinite(raw).all():
        raise DataError("raw values hold NaN or infinity", got=f"{int((~np.isfinite(raw)).any(1).sum())} of {len(raw)} cases", do="look at the training log")


def _counts(truth: np.ndarray, kind: str, columns: int) -> np.ndarray:
    """Cases of each class; for multilabel the rarer side of each label."""
    if kind == "multilabel":
        return np.minimum((truth == 1).sum(0), (truth == 0).sum(0))
    return np.bincount(truth.astype(int), minlength=columns)


def _choose(raw: np.ndarray, truth: np.ndarray, kind: str, owner: np.ndarray) -> str:
    counts = _counts(truth, kind, raw.shape[1])
    if (counts > 0).sum() < (1 if kind == "multilabel" else 2):
        return "none"
    if len(np.unique(owner)) < FEW or counts.min() < FEW_OF_CLASS:
        return "temperature"
    names = ["temperature", "temperature+bias"]
    if kind in ("binary", "multilabel") and counts.min() >= ISOTONIC_LEAST:
        names.append("isotonic")
    losses = {name: _crossed(raw, truth, kind, owner, name) for name in names}
    best = min(names, key=lambda name: float(losses[name].mean()))
    return next(name for name in names if _as_good(losses[name] - losses[best]))


def _as_good(worse_by: np.ndarray) -> bool:
    """Whether the mean excess per patient is within one standard error of nothing."""
    return bool(worse_by.mean() <= worse_by.std(ddof=1) / np.sqrt(len(worse_by)))


def _crossed(raw: np.ndarray, truth: np.ndarray, kind: str, owner: np.ndarray, method: str) -> np.ndarray:
    """Cross-validated log loss of each patient."""
    place = np.unique(owner, return_inverse=True)[1]
    loss = case_nll(truth, out_of_fold(raw, truth, kind, method, owner), kind)
    return np.bincount(place, loss) / np.bincount(place)


def out_of_fold(raw: np.ndarray, truth: np.ndarray, kind: str, method: str, patients: Any) -> np.ndarray:
    """Probabilities ``[N, K]`` of each fifth of the patients by a calibrator fitted on the others: an honest "after".

    Every image needs a truth (multilabel: at least one mark).
    """
    people, place = np.unique(np.asarray(patients), return_inverse=True)
    fold = (generator(0, "calibrate").permutation(len(people)) % FOLDS)[place]
    p = np.zeros(raw.shape)
    for k in np.unique(fold):
        p[fold == k] = _fit(raw[fold != k], truth[fold != k], kind, method)(raw[fold == k])
    return p


def _fit(raw: np.ndarray, truth: np.ndarray, kind: str, method: str) -> Calibrator:
    if method == "none" or not len(raw):
        return Calibrator(kind)
    biased = method != "temperature"
    if kind in ("multiclass", "ordinal"):
        return Calibrator(kind, method, _fit_softmax(raw, truth.astype(int), biased))
    z = margin(raw) if kind == "binary" else raw
    marks = (truth == 1).astype(float)[:, None] if kind == "binary" else truth.astype(float)
    columns = [_fit_column(z[:, k], marks[:, k], biased) for k in range(z.shape[1])]
    parameters: dict[str, Any] = {"temperature": [t for t, _ in columns]}
    if biased:
        parameters["bias"] = [b for _, b in columns]
    if method == "isotonic":
        knots = [_knots(z[:, k], marks[:, k]) for k in range(z.shape[1])]
        parameters |= {"x": [x for x, _ in knots], "y": [y for _, y in knots]}
    return Calibrator(kind, method, parameters)


def _fit_column(z: np.ndarray, marks: np.ndarray, biased: bool) -> tuple[float, float]:
    """Temperature and bias of one sigmoid; (1, 0) when the marks do not differ."""
    z, marks = z[~np.isnan(marks)], marks[~np.isnan(marks)]
    if not 0 < marks.sum() < len(marks):
        return 1.0, 0.0
    two = np.stack([np.zeros_like(z), z], axis=1)
    found = _fit_softmax(two, marks.astype(int), biased)
    bias = found["bias"][1] - found["bias"][0] if biased else 0.0
    return found["temperature"][0], bias


def _fit_softmax(raw: np.ndarray, truth: np.ndarray, biased: bool) -> dict[str, list[float]]:
    """Least log loss over ``softmax(raw / temperature + bias)`` with smoothed targets."""
    n, k = raw.shape
    spread = float((raw - raw.mean(1, keepdims=True)).std()) or 1.0
    z, targets = raw / spread, _smoothed(truth, k)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = np.exp(free[0]), free[1:] if biased else 0.0
        log_p = log_softmax(scale * z + bias, axis=1)
        wrong = np.exp(log_p) - targets
        slope = np.concatenate([[scale * (wrong * z).sum() / n], wrong.mean(0) if biased else []])
        return float(-(targets * log_p).sum() / n), slope

    start = np.zeros(1 + k * biased)
    start[0] = np.log(spread)
    bounds = [(-7.0, 7.0)] + [(-30.0, 30.0)] * (k * biased)
    free = minimize(loss, np.clip(start, -7, 7), jac=True, method="L-BFGS-B", bounds=bounds).x
    bias = free[1:] - free[1:].mean() if biased else np.zeros(0)
    return {"temperature": [float(spread / np.exp(free[0]))]} | ({"bias": bias.tolist()} if biased else {})


def _smoothed(truth: np.ndarray, k: int) -> np.ndarray:
    """Platt's targets for K classes: a class seen n times is believed (n + 1) / (n + K)."""
    n = np.bincount(truth, minlength=k)[truth]
    targets = np.repeat(1 / (n + k), k).reshape(-1, k)
    targets[np.arange(len(truth)), truth] = (n + 1) / (n + k)
    return targets


def _knots(z: np.ndarray, marks: np.ndarray) -> tuple[list[float], list[float]]:
    """Ends of the steps of the isotonic regression of marks on z; empty when the marks do not differ."""
    z, marks = z[~np.isnan(marks)], marks[~np.isnan(marks)]
    if not 0 < marks.sum() < len(marks):
        return [], []
    x, place, n = np.unique(z, return_inverse=True, return_counts=True)
    y = isotonic_regression(np.bincount(place, marks) / n, weights=n).x
    ends = np.flatnonzero(np.diff(y, prepend=np.nan) != 0)
    keep = np.union1d(ends, np.append(ends[1:] - 1, len(y) - 1))
    return x[keep].tolist(), y[keep].tolist()
