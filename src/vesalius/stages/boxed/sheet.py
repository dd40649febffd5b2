"""The figures of one part of a run with boxes, for many weighted samples of its cases at once.

A figure of all classes together is the mean over the classes that the part holds, but ``cpm`` and ``sensitivity_at_1fp``, which are of the curve
that counts the false positives of all classes together (where there is one class that is the same).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from vesalius.kernels.boxscores import MOST, Hits
from vesalius.kernels.figures import ratio
from vesalius.kernels.freeresponse import Counts, Froc
from vesalius.stages.boxed.tables import Part

FIGURES = ("map50", "map", "cpm", "sensitivity_at_1fp", "sensitivity", "precision", "f1", "count_mae", "count_bias")
OF_CLASS = {"map50": "ap50", "map": "ap"}
"""What a figure is called for one class."""
COUNTED = ("count_mae", "count_bias")
POOLED = ("cpm", "sensitivity_at_1fp")
AT_POINT = ("sensitivity", "precision", "f1", *COUNTED)
"""Figures at the operating point, in the order of `Counts.figures`."""
ALL = "all"


class Sheet:
    """The figures of one part, as functions of weights of its cases."""

    def __init__(self, part: Part, thresholds: np.ndarray) -> None:
        self.part, self.k = part, len(part.classes)
        matched = [part.responses(k) for k in range(self.k)]
        self.counts = [Counts.of(each, thresholds[k]) for k, each in enumerate(matched)]
        self.held = np.array([each.truth > 0 for each in matched])
        self.froc = {name: Froc(each) for name, each in zip(part.classes, matched, strict=True)} | {ALL: Froc(part.responses())}

    @cached_property
    def _hits(self) -> list[list[Hits]]:
        """Of each class and IoU threshold, for mAP; matched only where it is asked for."""
        each = [self.part.overlapping(k) for k in range(self.k)]
        return [[responses.hits(t, MOST) for t in range(len(responses.verdict))] for responses in each]

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """``[F, 1 + K, B]`` in the order of `FIGURES`: of all classes together, then of each, for weighted cases ``[N, B]``."""
        return np.stack([self.one(name, weights) for name in FIGURES])

    def one(self, name: str, weights: np.ndarray) -> np.ndarray:
        """One figure ``[1 + K, B]``."""
        each = np.stack([self._of_class(name, k, weights) for k in range(self.k)])
        if name in POOLED:
            return np.concatenate([self._free(name, ALL, weights)[None], each])
        ever = np.logical_or(self.held.any(1), name in COUNTED)
        # A draw that lost one of the classes is undefined: a mean over other classes would be another figure.
        overall = ratio(np.where(ever[:, None], each, 0.0).sum(0), np.full(weights.shape[1], ever.sum()))
        return np.concatenate([overall[None], each])

    def overall(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """One figure of all classes together, ``[N, B] -> [B]``."""
        return lambda weights: self.one(name, weights)[0]

    def _of_class(self, name: str, k: int, weights: np.ndarray) -> np.ndarray:
        if name in POOLED:
            return self._free(name, self.part.classes[k], weights)
        if name in OF_CLASS:
            hits = self._hits[k][: 1 if name == "map50" else None]
            return np.mean([each.average_precision(weights) for each in hits], axis=0)
        row = AT_POINT.index(name)
        return np.asarray(self.counts[k].figures(weights)[row])

    def _free(self, name: str, scope: str, weights: np.ndarray) -> np.ndarray:
        return self.froc[scope].cpm(weights) if name == "cpm" else self.froc[scope]((1.0,), weights)[0]

    def judged(self, name: str, scope: int) -> np.ndarray:
        """The cases that a figure is of ``[N]`` bool; scope 0: all classes together."""
        if name not in ("sensitivity", "f1"):
            return np.ones(self.held.shape[1], bool)
        return np.asarray(self.held.any(0) if scope == 0 else self.held[scope - 1])
