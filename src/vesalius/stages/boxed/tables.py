"""The tables of a run with boxes: ``cases.parquet`` read back as boxes, matched once, and ``detections.parquet`` made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxes import iou
from vesalius.kernels.boxscores import NEITHER, RULES, TRUE, Matched, Responses, match, match_centres

COLUMNS = ("id", "path", "patient", "split", "shape", "spacing_mm", "truth", "found")
SPLITS = ("test", "validation")
SMALLEST = 1e-7
"""Scores are kept this far from 0 and 1 in a logarithm."""


@dataclass(frozen=True)
class Part:
    """Cases of one split, as arrays.

    Parameters
    ----------
    ids, patients: ``[N]``. ndim: 2 or 3. classes: names in the order of their numbers. found, truths: one a case. raw: ``[D]`` a case, the logit
        of each box before calibration. matching: a name of `RULES`.
    """

    ids: np.ndarray
    patients: np.ndarray
    ndim: int
    classes: tuple[str, ...]
    found: list[Detected]
    truths: list[BoxTruth]
    raw: list[np.ndarray]
    matching: str

    @cached_property
    def overlaps(self) -> list[Matched]:
        """The verdicts by IoU at all thresholds of mAP."""
        return [match(found, truth) for found, truth in zip(self.found, self.truths, strict=True)]

    @cached_property
    def ruled(self) -> list[Matched]:
        """The verdicts by the rule of the run, in one row."""
        if self.matching == "centre":
            return [match_centres(found, truth) for found, truth in zip(self.found, self.truths, strict=True)]
        return [Matched(each.verdict[:1], each.truth[:1]) for each in self.overlaps]

    def responses(self, label: int | None = None) -> Responses:
        """Predictions of one class, or of all, judged by the rule of the run."""
        return Responses.of(self.found, self.truths, self.ruled, label)

    def overlapping(self, label: int) -> Responses:
        """Predictions of one class judged by IoU at all thresholds of mAP, whatever the rule of the run."""
        return Responses.of(self.found, self.truths, self.overlaps, label)

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """True boxes of each class that are judged, and that are ignored: ``[K, N]`` both."""
        rows = [(each.labels[~each.ignored], each.labels[each.ignored]) for each in self.truths]
        counts = [np.stack([np.bincount(labels, minlength=len(self.classes)) for labels in pair], 1) for pair in zip(*rows, strict=True)]
        return counts[0], counts[1]


def rule_of(matching: str) -> str:
    """The name of a matching rule, given its name or its text.

    Raises
    ------
    OptionError: it is unknown.
    """
    names = {text: name for name, text in RULES.items()} | {name: name for name in RULES}
    if matching not in names:
        raise OptionError(f"unknown rule of matching '{matching}'", expected=f"one of {', '.join(RULES)}")
    return names[matching]


def part_of(cases: pd.DataFrame, target: TargetSpec, *, matching: str = "iou", split: str | None = None) -> Part | None:
    """The cases of a split (all: None) as arrays; None where there is none.

    Raises
    ------
    DataError: a column is absent, a case is there twice, or a box has an unknown class, another number of edges than the image has, or a score outside
        0 .. 1. OptionError: the rule is unknown.
    """
    absent = [name for name in COLUMNS if name not in cases]
    if absent:
        raise DataError("the judged cases lack a column", expected=absent[0], got=", ".join(map(str, cases.columns)), do="evaluate the run again")
    rows = cases if split is None else cases[cases["split"] == split]
    if rows["id"].duplicated().any():
        raise DataError("a case is judged twice", expected="a row per case", where=rows["id"][rows["id"].duplicated()].iloc[0])
    rule = rule_of(matching)
    if not len(rows):
        return None
    ndim = len(plain(rows["shape"].iloc[0]))
    place = {name: i for i, name in enumerate(target.classes)}
    truths = [_truth(plain(text), place, ndim, name) for text, name in zip(rows["truth"], rows["id"], strict=True)]
    pairs = [_found(plain(text), place, ndim, name) for text, name in zip(rows["found"], rows["id"], strict=True)]
    return Part(rows["id"].to_numpy(str), rows["patient"].to_numpy(str), ndim, target.classes, [a for a, _ in pairs], truths, [b for _, b in pairs], rule)


def plain(cell: Any) -> Any:
    """A cell that holds JSON, or what it stands for."""
    return json.loads(cell) if isinstance(cell, str) else cell


def _edges(items: Sequence[dict[str, Any]], place: dict[str, int], ndim: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes ``[N, 2 * ndim]`` and the numbers of their classes ``[N]``."""
    for item in items:
        if item["class"] not in place:
            raise DataError(f"a box has an unknown class '{item['class']}'", expected=f"one of {', '.join(place)}", where=where, do="evaluate the run again")
        if len(item["box"]) != 2 * ndim:
            raise DataError("a box does not fit its image", expected=f"{2 * ndim} edges", got=item["box"], where=where)
    boxes = np.array([item["box"] for item in items], np.float64).reshape(-1, 2 * ndim)
    return boxes, np.array([place[item["class"]] for item in items], np.int64)


def _truth(items: Sequence[dict[str, Any]], place: dict[str, int], ndim: int, where: str) -> BoxTruth:
    boxes, labels = _edges(items, place, ndim, where)
    ignored = np.array([bool(item.get("ignored")) for item in items], bool)
    return BoxTruth(boxes, labels, ignored, _numbers(items, "risk"))


def _found(items: Sequence[dict[str, Any]], place: dict[str, int], ndim: int, where: str) -> tuple[Detected, np.ndarray]:
    """What was found, the likeliest first, and its raw values."""
    boxes, labels = _edges(items, place, ndim, where)
    scores, risk = _numbers(items, "score"), _numbers(items, "risk")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError("a predicted box has no proper score", expected="0 to 1", got=float(scores[~((scores >= 0) & (scores <= 1))][0]), where=where)
    raw = _numbers(items, "raw")
    raw = np.where(np.isfinite(raw), raw, logit(np.clip(scores, SMALLEST, 1 - SMALLEST)))
    order = np.argsort(-scores, kind="stable")
    return Detected(boxes, labels, scores, risk).kept(order), raw[order]


def _numbers(items: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if item.get(name) is None else item[name] for item in items], np.float64)


def detections_of(cases: pd.DataFrame, target: TargetSpec, matching: str = "iou") -> pd.DataFrame:
    """``detections.parquet``: a row per predicted box and per true box that none meets (score NaN, true NaN, ``iou`` its largest with any of its class).

    Parameters
    ----------
    cases: ``cases.parquet``; a found box may have ``raw`` (logit before calibration), else that of its score is taken.
    matching: ``iou`` (at least 0.5) or ``centre`` (then a further hit of a lesion that was found is neither true nor false, NaN).
    """
    tables = [_table(row, part_of(pd.DataFrame([row]), target, matching=matching)) for row in cases.to_dict("records")]
    ndim = len(plain(cases["shape"].iloc[0])) if len(cases) else 2
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_columns(ndim))


def _columns(ndim: int) -> list[str]:
    edges = [f"{end}_{axis}" for end in ("low", "high") for axis in range(ndim)]
    sizes = [f"size_{axis}" for axis in range(ndim)]
    return ["id", "path", "patient", "split", "class", "score", "raw", *edges, "true", "iou", "match", "risk", "true_risk", "unit", *sizes]


def _table(row: dict[Any, Any], part: Part | None) -> pd.DataFrame:
    """Rows of one case."""
    if part is None:
        raise DataError("there is no case to list", expected="a row of cases.parquet")
    found, truth, d = part.found[0], part.truths[0], part.ndim
    verdict, met = part.ruled[0].verdict[0], part.ruled[0].truth[0]
    overlap = iou(found.boxes, truth.boxes) * (found.labels[:, None] == truth.labels)
    missed = np.flatnonzero(~truth.ignored & ~np.isin(np.arange(len(truth)), met[verdict == TRUE]))
    none = np.full(len(missed), np.nan)
    boxes = np.concatenate([found.boxes, truth.boxes[missed]])
    spacing = plain(row["spacing_mm"])
    known = isinstance(spacing, (list, tuple, np.ndarray))  # an empty cell of a table may be None or NaN
    size = (boxes[:, d:] - boxes[:, :d]) * (np.asarray(spacing, float) if known else 1.0)
    facts: dict[str, Any] = {name: row[name] for name in ("id", "path", "patient", "split")}
    facts |= {"class": np.array(part.classes, object)[np.concatenate([found.labels, truth.labels[missed]])], "score": np.concatenate([found.scores, none])}
    facts |= {"raw": np.concatenate([part.raw[0], none])} | {f"{end}_{i}": boxes[:, k * d + i] for k, end in enumerate(("low", "high")) for i in range(d)}
    facts |= {"true": np.concatenate([np.where(verdict == NEITHER, np.nan, verdict == TRUE), none]), "iou": _best(overlap, met, missed)}
    facts |= {"match": np.concatenate([met, missed]), "risk": np.concatenate([found.risk, none])}
    risk = np.append(truth.risk, np.nan)  # the place -1 is that of no true box
    facts |= {"true_risk": risk[facts["match"]], "unit": "mm" if known else "pixel"} | {f"size_{i}": size[:, i] for i in range(d)}
    return pd.DataFrame(facts, columns=_columns(d), index=range(len(boxes)))


def _best(overlap: np.ndarray, met: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """IoU with the true box that is met, else the largest; of missed ones the largest with a prediction."""
    largest = overlap.max(1, initial=0.0)
    own = np.where(met >= 0, np.take_along_axis(np.pad(overlap, ((0, 0), (0, 1))), met[:, None], 1)[:, 0], largest)
    return np.concatenate([own, overlap[:, missed].max(0, initial=0.0)])
