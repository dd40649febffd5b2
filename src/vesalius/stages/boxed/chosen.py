"""The boxes that a reader should see first: what was missed, what was found where nothing is, and what is surest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.kernels.boxes import iou
from vesalius.stages.boxed.tables import COLUMNS, detections_of, plain

ROLES = {"missed": 4, "false": 4, "found": 3}
"""How many boxes of each role."""
A_CASE = 2
"""Boxes of one role that one image may show."""
SAME = 0.5
"""IoU from which a box of another class is said to be of the same object."""


@dataclass(frozen=True)
class Chosen:
    """One box to look at.

    Parameters
    ----------
    id, role: of the image; ``missed``, ``false`` or ``found``. name: class of the box.
    box: ``low..., high...`` in samples of the study; the true box where it was missed.
    score: of the box; of a missed one the score below the threshold of the box that meets it (None: nothing meets it).
    taken_for: class for which a missed object was taken, or the true class where a false box lies ("": none).
    """

    id: str
    role: str
    name: str
    box: tuple[float, ...]
    score: float | None
    taken_for: str = ""

    @property
    def extent(self) -> float:
        low, high = np.split(np.array(self.box), 2)
        return float(np.prod(high - low))


def choose_boxes(cases: pd.DataFrame, target: TargetSpec, thresholds: Mapping[str, float], matching: str = "iou") -> list[Chosen]:
    """The boxes that tell most, the worst first: at most `ROLES` of each role and `A_CASE` of one image in a role, in turn over the classes.

    A true box is missed when no box of its class at or above the class's threshold meets it. Missed boxes begin with those of the lowest
    score, of equals with the largest; false ones and right ones begin with the highest score. The test is used, and validation where there
    is none.

    Parameters
    ----------
    cases: the run's ``cases.parquet``. thresholds: by class; 0 where a class has none. matching: see `stages.boxed.tables.detections_of`.

    Raises
    ------
    DataError: a column is missing.
    """
    missing = [name for name in COLUMNS if name not in cases]
    if missing:
        raise DataError("the cases lack a column", expected=missing[0], got=", ".join(map(str, cases.columns)), do="evaluate the run again")
    part = "test" if (cases["split"] == "test").any() else "validation"
    rows = cases[cases["split"] == part].sort_values("id", kind="stable")
    found = [each for _, row in rows.iterrows() for each in sorted_out(row, target, thresholds, matching)]
    orders = {role: [each for each in found if each.role == role] for role in ROLES}
    orders["missed"].sort(key=lambda each: (each.score or 0.0, -each.extent))
    for role in ("false", "found"):
        orders[role].sort(key=lambda each: -(each.score or 0.0))
    return [each for role, most in ROLES.items() for each in _take(orders[role], most)]


def sorted_out(case: pd.Series, target: TargetSpec, thresholds: Mapping[str, float], matching: str = "iou") -> list[Chosen]:
    """Every box of one case with its role; what is not judged has none."""
    truth = [box for box in plain(case["truth"]) if not box.get("ignored")]
    kept = [box for box in plain(case["found"]) if box["score"] >= thresholds.get(box["class"], 0.0)]
    places, made = plain(case["truth"]), []
    for row in detections_of(case.to_frame().T, target, matching).to_dict("records"):
        name, score = str(row["class"]), None if np.isnan(row["score"]) else float(row["score"])
        at_point = score is not None and score >= thresholds.get(name, 0.0)
        if row["true"] == 1 and at_point:
            made.append(Chosen(str(case["id"]), "found", name, _box(row), score))
        elif row["true"] == 0 and at_point:
            made.append(Chosen(str(case["id"]), "false", name, _box(row), score, _other(_box(row), name, truth)))
        elif row["true"] == 1 or score is None:
            box = tuple(map(float, places[int(row["match"])]["box"]))
            made.append(Chosen(str(case["id"]), "missed", name, box, score, _other(box, name, kept)))
    return made


def _box(row: Mapping[Any, Any]) -> tuple[float, ...]:
    ndim = sum(f"low_{axis}" in row for axis in range(3))
    return tuple(float(row[f"{end}_{axis}"]) for end in ("low", "high") for axis in range(ndim))


def _other(box: Sequence[float], name: str, others: Sequence[Mapping[str, Any]]) -> str:
    """The other class whose box lies there, of several the one with the largest overlap."""
    rest = [other for other in others if other["class"] != name]
    if not rest:
        return ""
    overlap = iou(np.array([box], float), np.array([other["box"] for other in rest], float))[0]
    return str(rest[int(overlap.argmax())]["class"]) if overlap.max() >= SAME else ""


def _take(order: Sequence[Chosen], most: int) -> list[Chosen]:
    """The first of the order, in turn over the classes, then in the order again."""
    rank: dict[str, int] = {}
    turns = []
    for i, each in enumerate(order):
        rank[each.name] = rank.get(each.name, -1) + 1
        turns.append((rank[each.name], i))
    taken: list[int] = []
    for _, i in sorted(turns):
        if len(taken) < most and sum(order[j].id == order[i].id for j in taken) < A_CASE:
            taken.append(i)
    return [order[i] for i in sorted(taken)]
