"""Curves for the report, thinned to what a picture can show."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from vesalius.core.target import TargetSpec
from vesalius.kernels.reliability import reliability
from vesalius.kernels.scores import marks_of

POINTS = 200


def thin(x: np.ndarray, y: np.ndarray, most: int = POINTS) -> dict[str, list[float]]:
    """At most so many points, evenly spread along the length of the curve; both ends stay.

    >>> thin(np.arange(5.0), np.zeros(5), 3)
    {'x': [0.0, 2.0, 4.0], 'y': [0.0, 0.0, 0.0]}
    """
    if len(x) > most:
        way = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
        keep = np.unique(np.searchsorted(way, np.linspace(0, way[-1], most)).clip(0, len(x) - 1))
        keep[0], keep[-1] = 0, len(x) - 1
        x, y = x[keep], y[keep]
    return {"x": np.round(x, 6).tolist(), "y": np.round(y, 6).tolist()}


def curves(target: TargetSpec, truth: np.ndarray, p: np.ndarray, most: int = POINTS) -> dict[str, Any]:
    """``{"roc": {CLASS: {"x": fpr, "y": tpr}}, "pr": {CLASS: {"x": recall, "y": precision}}, "reliability": …}``.

    Truth ``[N]`` or ``[N, K]``, probabilities ``[N, K]``. A class with only one side is left out; of a binary target
    the positive class is drawn; a regression has none.
    """
    if target.kind == "regression":
        return {}
    known = ~np.isnan(truth).all(1) if truth.ndim == 2 else truth >= 0
    truth, p = truth[known], p[known]
    drawn: dict[str, Any] = {"roc": {}, "pr": {}}
    for k, (name, marks) in enumerate(marks_of(target, truth, p, None).items()):
        positive, score = marks.positive[marks.known], p[marks.known, k]
        if not 0 < positive.sum() < len(positive) or (target.kind == "binary" and name != target.positive):
            continue
        fpr, tpr, _ = roc_curve(positive, score)
        precision, recall, _ = precision_recall_curve(positive, score)
        drawn["roc"][name], drawn["pr"][name] = thin(fpr, tpr, most), thin(recall[::-1], precision[::-1], most)
    return drawn | {"reliability": reliability(truth, p, target.kind)}
