"""The boxes that a reader should see first: what was missed, what was found where nothing is, and what is surest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vesalius.errors import DataError
from vesalius.kernels.boxgeometry import iou

ROLES = {"missed": 4, "false": 4, "found": 3}
"""How many boxes of each role."""
A_CASE = 2
"""Boxes of one role that one image may show."""
MATCH = 0.5
"""IoU from which two boxes are of one object."""
NEEDED = ("id", "split", "truth", "found")


@dataclass(frozen=True)
class Chosen:
    """One box to look at.

    Parameters
    ----------
    id, role: of the image; ``missed``, ``false`` or ``found``. name: class of the box.
    box: ``low..., high...`` in samples of the study; the true box where it was missed.
    score: of the box; of a missed one the best score below the threshold (None: nothing meets it).
    taken_for: class at whose threshold a missed box was found, or the true class where a false one lies ("": none).
    """

    id: str
    role: str
    name: str
    box: tuple[float, ...]
    score: float | None
    taken_for: str = ""

    @property
    def extent(self) -> float:
        ndim = len(self.box) // 2
        return float(np.prod([high - low for low, high in zip(self.box[:ndim], self.box[ndim:], strict=True)]))


def choose_boxes(cases: pd.DataFrame, thresholds: Mapping[str, float], matching: str = "iou") -> list[Chosen]:
    """The boxes that tell most, the worst first: at most `ROLES` of each role and `A_CASE` of one image in a role, in turn over the classes.

    A true box is missed when no box of its class at or above the class's threshold meets it (each meets one true box at most, the best
    first). Missed boxes begin with those of the lowest score, of equals the largest; false ones and right ones with the highest score.
    The test is used, and validation where there is none.

    Parameters
    ----------
    cases: the run's ``cases.parquet``. thresholds: by class; 0 where a class has none.
    matching: ``"iou"`` (at least `MATCH`), or ``"centre"``: the middle of the found box lies in the true one.

    Raises
    ------
    DataError: a column is missing.
    """
    missing = [name for name in NEEDED if name not in cases]
    if missing:
        raise DataError("the cases lack a column", expected=missing[0], got=", ".join(map(str, cases.columns)), do="evaluate the run again")
    part = "test" if (cases["split"] == "test").any() else "validation"
    rows = cases[cases["split"] == part].sort_values("id", kind="stable")
    all_boxes = [each for _, row in rows.iterrows() for each in sorted_out(str(row["id"]), listed(row["truth"]), listed(row["found"]), thresholds, matching)]
    orders = {
        "missed": sorted((c for c in all_boxes if c.role == "missed"), key=lambda c: (c.score or 0.0, -c.extent, c.id)),
        "false": sorted((c for c in all_boxes if c.role == "false"), key=lambda c: (-(c.score or 0.0), c.id)),
        "found": sorted((c for c in all_boxes if c.role == "found"), key=lambda c: (-(c.score or 0.0), c.id)),
    }
    return [each for role, most in ROLES.items() for each in _take(orders[role], most)]


def listed(cell: Any) -> list[dict[str, Any]]:
    """The boxes of a cell of ``cases.parquet``: JSON text, or the list itself."""
    return list(json.loads(cell)) if isinstance(cell, str) else list(cell if cell is not None else [])


def sorted_out(
    case: str, truth: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], thresholds: Mapping[str, float], matching: str = "iou",
) -> list[Chosen]:
    """Every box of one image with its role; boxes that meet an ignored one, and ignored ones, have none."""
    names = dict.fromkeys([*(t["class"] for t in truth), *(f["class"] for f in found)])
    kept = [f for f in found if f["score"] >= thresholds.get(f["class"], 0.0)]
    made: list[Chosen] = []
    for name in names:
        true, mine = [t for t in truth if t["class"] == name], sorted((f for f in kept if f["class"] == name), key=lambda f: -f["score"])
        free = [t for t in true if not t.get("ignored")]
        met = assigned(mine, free, matching)
        ignored = [t for t in true if t.get("ignored")]
        for each, place in zip(mine, met, strict=True):
            if place < 0 and _best(each, ignored, matching) is not None:
                continue
            others = [t for t in truth if t["class"] != name and not t.get("ignored")]
            role, other = ("found", None) if place >= 0 else ("false", _best(each, others, matching))
            made.append(Chosen(case, role, name, tuple(each["box"]), float(each["score"]), str(other["class"]) if other else ""))
        faint = [f for f in found if f["class"] == name and f["score"] < thresholds.get(name, 0.0)]
        for i, each in enumerate(free):
            if i in met:
                continue
            seen = [float(f["score"]) for f in faint if meets([f["box"]], [each["box"]], matching)[0, 0]]
            instead = _best(each, [f for f in kept if f["class"] != name], matching)
            made.append(Chosen(case, "missed", name, tuple(each["box"]), max(seen, default=None), str(instead["class"]) if instead else ""))
    return made


def assigned(found: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]], matching: str = "iou") -> list[int]:
    """Which true box each found one meets, the best first and each true one once: places in ``truth``, -1 for none."""
    if not found or not truth:
        return [-1] * len(found)
    boxes = [t["box"] for t in truth]
    ok, overlap = meets([f["box"] for f in found], boxes, matching), iou(_array([f["box"] for f in found]), _array(boxes))
    taken: list[int] = []
    for i in range(len(found)):
        free = [j for j in np.argsort(-overlap[i], kind="stable") if ok[i, j] and j not in taken]
        taken.append(int(free[0]) if free else -1)
    return taken


def meets(found: Sequence[Sequence[float]], truth: Sequence[Sequence[float]], matching: str = "iou") -> np.ndarray:
    """Whether found boxes are of the same object as true ones: bool ``[N, M]``."""
    a, b = _array(found), _array(truth)
    if matching != "centre":
        return np.asarray(iou(a, b) >= MATCH)
    low, high = np.split(b, 2, axis=1)
    middle = np.stack(np.split(a, 2, axis=1)).mean(0)[:, None]
    return np.asarray(((middle >= low) & (middle <= high)).all(-1))


def _array(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array([list(map(float, box)) for box in boxes])


def _best(box: dict[str, Any], others: Sequence[dict[str, Any]], matching: str) -> dict[str, Any] | None:
    """The box that meets this one, the one with the largest overlap."""
    if not others:
        return None
    boxes = [other["box"] for other in others]
    overlap = np.where(meets([box["box"]], boxes, matching)[0], iou(_array([box["box"]]), _array(boxes))[0] + 1, 0)
    return others[int(overlap.argmax())] if overlap.max() > 0 else None


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
