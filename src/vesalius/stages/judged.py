"""The judged cases of a part of any kind of run, and their figures as functions of weights: what groups, runs and hospitals are compared by.

Images of one class, masks and boxes keep their results in tables of their own (docs/architecture.md); here they answer the same questions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, RunError
from vesalius.kernels.figures import Ranked, mean_of, regression
from vesalius.kernels.scores import Keyed, assess, figure_of, marks_of, weighted
from vesalius.kernels.stats import Weighted, codes, estimate, resample, settled
from vesalius.stages.boxed import figures as boxes
from vesalius.stages.boxed.operating import thresholds_of
from vesalius.stages.boxed.sheet import Sheet
from vesalius.stages.boxed.tables import Part, part_of
from vesalius.stages.evaluate import values_of
from vesalius.stages.tiled import figures as masks

RANKS = ("auc", "ap")
OF_REGRESSION = ("r2", "spearman", "mae", "rmse")
OF_CLASSES = ("auc", "ap", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "kappa", "brier", "ece")
OF_MASKS = ("dice", "nsd", "sensitivity", "ppv", "hd95", "size_bias", "lesion_sensitivity")
OF_BOXES = ("map50", "cpm", "sensitivity_at_1fp", "sensitivity", "precision", "f1", "count_bias")
UNBOUNDED = ("r2", "spearman", "mae", "rmse", "hd95", "size_bias", "count_bias")
LOWER = frozenset({"mae", "rmse", "brier", "ece", "hd95"})
"""Figures of which less is better."""
FEW_PATTERNS = 8


class Judged(Protocol):
    """Cases of one part. ``names``: figures that exist for the kind; ``strata``: what the truth of each case is, in a word."""

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def patients(self) -> np.ndarray: ...

    @property
    def strata(self) -> np.ndarray: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def primary(self) -> str: ...

    def one(self, name: str) -> Weighted:
        """One figure over all classes, of weighted cases ``[N, B]`` -> ``[B]``; NaN where undefined."""

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """All figures ``[len(names), B]`` of weighted cases."""

    def kept(self, rows: np.ndarray) -> Judged:
        """Some of the cases (a mask or places)."""

    def assess(self, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
        """Every figure with its interval, as plain values; undefined ones are absent."""


@dataclass(frozen=True)
class Classes:
    """Images with a class, several, a grade or a number; ``frame`` holds rows of ``predictions.parquet`` whose truth is known."""

    frame: pd.DataFrame
    target: TargetSpec
    primary: str
    threshold: float | None = None

    @cached_property
    def truth(self) -> np.ndarray:
        return values_of(self.frame, self.target, "truth")

    @cached_property
    def p(self) -> np.ndarray:
        return values_of(self.frame, self.target, "p")

    @property
    def ids(self) -> np.ndarray:
        return self.frame["id"].to_numpy(str)

    @property
    def patients(self) -> np.ndarray:
        return self.frame["patient"].to_numpy(str)

    @property
    def strata(self) -> np.ndarray:
        if self.target.kind == "regression":
            return np.full(len(self.frame), "")
        words = np.array(["|".join(f"{v:g}" for v in np.atleast_1d(row)) for row in self.truth])
        return words if len(np.unique(words)) <= max(FEW_PATTERNS, len(self.target.classes)) else np.full(len(words), "")

    @property
    def names(self) -> tuple[str, ...]:
        return OF_REGRESSION if self.target.kind == "regression" else OF_CLASSES

    def one(self, name: str) -> Weighted:
        if name in RANKS and self.target.kind != "regression":
            return self._ranked(name)
        return figure_of(self.target, self.truth, self.p, name, self.threshold)

    def figures(self, weights: np.ndarray) -> np.ndarray:
        if self.target.kind == "regression":
            found = regression(self.truth.astype(float), self.p[:, 0])(weights)
        else:
            found = {name: row for (scope, name), row in self._compute(weights).items() if scope is None}
        nothing = np.full(weights.shape[1], np.nan)
        return np.stack([found.get(name, nothing) for name in self.names])

    @cached_property
    def _compute(self) -> Callable[[np.ndarray], Keyed]:
        return weighted(self.target, self.truth, self.p, marks_of(self.target, self.truth, self.p, self.threshold))

    def _ranked(self, name: str) -> Weighted:
        """Areas alone cost little: many draws are made of them."""
        several = self.target.kind == "multilabel"
        marks = self.truth if several else (self.truth[:, None] == np.arange(len(self.target.classes))).astype(float)
        chosen = [1] if self.target.kind == "binary" else range(marks.shape[1])
        ranked = [(Ranked(self.p[:, k], np.nan_to_num(marks[:, k])), np.isfinite(marks[:, k])[:, None]) for k in chosen]
        return lambda weights: mean_of([each(weights * known)[name] for each, known in ranked])

    def kept(self, rows: np.ndarray) -> Classes:
        return replace(self, frame=self.frame[rows] if rows.dtype == bool else self.frame.iloc[rows])

    def assess(self, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
        made = assess(self.target, self.truth, self.p, self.patients, threshold=self.threshold, seed=seed, n_boot=n_boot).overall
        return {name: each.to_dict() for name, each in made.items()}


@dataclass(frozen=True)
class Masks:
    """Cases with masks; see `stages.tiled.figures.Cube`."""

    ids: np.ndarray
    cube: masks.Cube
    names: tuple[str, ...] = OF_MASKS
    primary: str = masks.PRIMARY

    @property
    def patients(self) -> np.ndarray:
        return self.cube.patients

    @property
    def strata(self) -> np.ndarray:
        return np.full(len(self.ids), "")

    def one(self, name: str) -> Weighted:
        return self.cube.one(name)

    def figures(self, weights: np.ndarray) -> np.ndarray:
        return self.cube.figures(weights)[[masks.FIGURES.index(name) for name in self.names], 0]

    def kept(self, rows: np.ndarray) -> Masks:
        return replace(self, ids=self.ids[rows], cube=masks.Cube(self.cube.values[:, :, rows], self.cube.patients[rows]))

    def assess(self, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
        return assessed(self, seed, n_boot)


@dataclass(frozen=True)
class Boxes:
    """Cases with boxes at the operating point of the run; see `stages.boxed.sheet`."""

    part: Part
    thresholds: np.ndarray
    names: tuple[str, ...] = OF_BOXES

    @cached_property
    def sheet(self) -> Sheet:
        return Sheet(self.part, self.thresholds)

    @property
    def primary(self) -> str:
        return boxes.primary_of(self.part.ndim)

    @property
    def ids(self) -> np.ndarray:
        return self.part.ids

    @property
    def patients(self) -> np.ndarray:
        return self.part.patients

    @property
    def strata(self) -> np.ndarray:
        return np.array(["some" if len(truth) else "none" for truth in self.part.truths])

    def one(self, name: str) -> Weighted:
        return self.sheet.overall(name)

    def figures(self, weights: np.ndarray) -> np.ndarray:
        return np.stack([self.sheet.overall(name)(weights) for name in self.names])

    def kept(self, rows: np.ndarray) -> Boxes:
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        whole = self.part
        found, truths, raw = [whole.found[i] for i in places], [whole.truths[i] for i in places], [whole.raw[i] for i in places]
        part = Part(whole.ids[places], whole.patients[places], whole.ndim, whole.classes, found, truths, raw, whole.matching)
        return Boxes(part, self.thresholds, self.names)

    def assess(self, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
        return assessed(self, seed, n_boot, boxes.method_of)


def assessed(judged: Judged, seed: int, n_boot: int, method: Callable[[str], str] = lambda name: "bca") -> dict[str, dict[str, Any]]:
    """Every figure of a part with its interval over patients (``method`` of its name); a faultless one has Wilson's bound."""
    found = boxes.many_boxes(resample(judged.figures, judged.patients, n_boot, seed))
    people = codes(judged.patients)[1]
    made = {name: settled(estimate(found, m, method(name), people, len(judged.ids)), name not in UNBOUNDED) for m, name in enumerate(judged.names)}
    return {name: each.to_dict() for name, each in made.items() if each is not None}


def judged_of(tables: pd.DataFrame, metrics: dict[str, Any], target: TargetSpec, split: str = "test") -> Judged:
    """The judged cases of a part.

    Parameters
    ----------
    tables: ``predictions.parquet``, or ``cases.parquet`` of a run with boxes. metrics: ``metrics.json`` of the run: its operating point and primary figure.

    Raises
    ------
    DataError: the part holds no judged case, or a column is absent.
    """
    if target.kind == "boxes":
        part = part_of(tables, target, matching=metrics.get("matching", {}).get("rule", "iou"), split=split)
        if part is None:
            raise _nothing(split)
        return Boxes(part, thresholds_of(metrics.get("operating_point"), target.classes))
    if target.kind == "mask":
        rows = masks.parts_of(tables).get(split)
        if rows is None:
            raise _nothing(split)
        return Masks(rows["id"].drop_duplicates().to_numpy(str), masks.cube_of(rows.reset_index(drop=True), target.classes))
    rows = tables[tables["split"] == split]
    truth = values_of(rows, target, "truth")
    known = ~np.isnan(truth).all(1) if truth.ndim == 2 else np.isfinite(truth) if target.kind == "regression" else truth >= 0
    if not known.any():
        raise _nothing(split)
    threshold = (metrics.get("operating_point") or {}).get("threshold")
    return Classes(rows[known].reset_index(drop=True), target, str(metrics.get("primary", "auc")), threshold)


def _nothing(split: str) -> DataError:
    return DataError(f"there is no judged case in '{split}'", expected="cases with a truth", got="none", do="evaluate the run again")


def table_of(run: Path) -> pd.DataFrame:
    """What a run keeps of its judged cases.

    Raises
    ------
    RunError: it has none: the fit did not come to its end.
    """
    for name in ("cases.parquet", "predictions.parquet"):
        if (run / name).is_file():
            return pd.read_parquet(run / name)
    raise RunError("the run has no predictions", where=run, expected="predictions.parquet or cases.parquet", do="let 'vesalius fit' come to its end")
