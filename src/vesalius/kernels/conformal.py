"""Answers with a stated error: conformal prediction whose unit is the patient.

Vovk, Gammerman and Shafer 2005 (class-conditional, "Mondrian"); LAC: Sadinle, Lei and Wasserman, JASA 2019; APS: Romano, Sesia and
Candes, NeurIPS 2020; normalised residuals: Lei et al., JASA 2018. Several images of a patient are not exchangeable with those of others, so that
each patient counts once and its images share that weight: hierarchical conformal prediction (Lee, Barber and Willett 2023,
arXiv 2306.06342), which holds for an image drawn from a new patient. Risk control: Angelopoulos et al. 2022 (arXiv 2208.02814).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta

METHODS = ("lac", "aps")


def weighted_bound(scores: np.ndarray, patients: np.ndarray, error: float) -> float:
    """The score that a new patient's image exceeds with a probability of at most ``error``; infinite where there are too few patients.

    Parameters
    ----------
    scores: ``[N]``, higher where the answer was worse. patients: ``[N]`` whose image each is. error: in (0, 1).

    With P patients an image of a patient with m images weighs 1 / (m (P + 1)); the weight that is left belongs to infinity. With one image a
    patient this is the usual ceil((1 - error)(P + 1))-th smallest score.

    >>> weighted_bound(np.arange(9.0), np.arange(9), 0.1), weighted_bound(np.arange(8.0), np.arange(8), 0.1)
    (8.0, inf)
    """
    if not len(scores):
        return float("inf")
    _, place, size = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    held = np.cumsum(1 / size[place][order]) / (len(size) + 1)
    reached = np.flatnonzero(held >= 1 - error - 1e-9)
    return float(scores[order][reached[0]]) if len(reached) else float("inf")


def patients_needed(error: float) -> int:
    """How many patients a finite bound needs.

    >>> patients_needed(0.1), patients_needed(0.05)
    (9, 19)
    """
    return int(np.ceil(1 / error - 1e-9)) - 1


def coverage_range(n: int, error: float, level: float = 0.95) -> tuple[float, float]:
    """Where the coverage of one calibration with n patients lies with a probability of ``level`` (a beta distribution, Vovk 2012).

    The guarantee is a mean over calibrations: with few patients the coverage of this one can be far from it.
    """
    most = int(np.floor((n + 1) * error + 1e-9))
    if most < 1:
        return 1.0, 1.0
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], n + 1 - most, most)
    return float(low), float(high)


def class_scores(p: np.ndarray, method: str = "lac") -> np.ndarray:
    """How badly each class would fit, ``[N, K]`` in [0, 1].

    ``lac``: one minus the probability of the class. ``aps``: the probability of all classes that are at least as likely (not randomised, so that an
    answer does not depend on a draw; the sets are a little larger for it).
    """
    if method == "lac":
        return np.asarray(1 - p)
    order = np.argsort(-p, axis=1, kind="stable")
    summed = np.cumsum(np.take_along_axis(p, order, 1), axis=1)
    return np.take_along_axis(summed, np.argsort(order, axis=1, kind="stable"), 1)


def class_bounds(p: np.ndarray, truth: np.ndarray, patients: np.ndarray, error: float, method: str = "lac") -> np.ndarray:
    """The bound of each class ``[K]`` from the calibration images of that class, infinite (the class is in every set) where they are too few.

    Parameters
    ----------
    p: ``[N, K]`` probabilities. truth: ``[N]`` classes. patients: ``[N]``.
    """
    scores = class_scores(p, method)
    return np.array([weighted_bound(scores[truth == k, k], patients[truth == k], error) for k in range(p.shape[1])])


def prediction_sets(p: np.ndarray, bounds: np.ndarray, answer: np.ndarray | None = None, method: str = "lac") -> np.ndarray:
    """Classes that cannot be ruled out, bool ``[N, K]``. The model's own answer is always among them, which can only raise the coverage.

    ``answer``: ``[N]`` the class that the model names (the likeliest one when None): so a set is never empty.
    """
    held = class_scores(p, method) <= bounds[None] + 1e-9
    held[np.arange(len(p)), p.argmax(1) if answer is None else answer] = True
    return np.asarray(held)


def difficulty(value: np.ndarray, error: np.ndarray, bins: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute error by predicted value: knots ``[M]`` (rising) and levels ``[M]``, for `numpy.interp`; one knot where the values do not differ."""
    order = np.argsort(value, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    knots, first = np.unique([float(value[part].mean()) for part in parts], return_index=True)
    levels = np.array([float(np.abs(error[part]).mean()) for part in parts])[first]
    return knots, np.maximum(levels, max(float(np.abs(error).mean()) * 0.1, 1e-12))


def risk_bound(losses: np.ndarray, error: float) -> int | None:
    """The last column whose expected loss for a new patient is at most ``error`` (conformal risk control).

    Parameters
    ----------
    losses: ``[P, T]`` loss of each patient in [0, 1] at each setting; it must not fall from one column to the next.

    None where even the first column cannot promise it (also when there are fewer than 1 / error - 1 patients).

    >>> risk_bound(np.array([[0, 0, 1.0]] * 30), 0.1), risk_bound(np.zeros((5, 3)), 0.1)
    (1, None)
    """
    n = len(losses)
    if n == 0:
        return None
    held = np.flatnonzero((losses.sum(0) + 1) / (n + 1) <= error + 1e-9)
    return int(held[-1]) if len(held) else None
