"""What the pages of a run with boxes read from its detections and its judged cases (docs/architecture.md, "Boxes")."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both, say

POOLED = "all"
"""Name of the curve over all classes together."""
NEEDED = frozenset({"id", "split", "class", "score", "true", "match"})


def detections_of(facts: RunFacts) -> pd.DataFrame | None:
    """The test's boxes: every one that was found, and the true ones that nothing met."""
    found = facts.detections
    if found is None or not set(found.columns) >= NEEDED:
        return None
    return found[found["split"] == "test"].reset_index(drop=True)


def judged_of(facts: RunFacts) -> pd.DataFrame | None:
    """The test's cases with all true boxes."""
    found = facts.judged
    if found is None or not {"id", "split", "truth"} <= set(found.columns):
        return None
    test = found[found["split"] == "test"].reset_index(drop=True)
    return test if len(test) else None


def classes_of(facts: RunFacts) -> list[str]:
    """In the order of the target, or of the detections where no file states it."""
    if facts.target is not None and facts.target.classes:
        return list(facts.target.classes)
    rows = detections_of(facts)
    return [] if rows is None else list(map(str, dict.fromkeys(rows["class"])))


def thresholds_of(facts: RunFacts) -> dict[str, float]:
    """The operating point of each class."""
    points = facts.metrics.get("operating_point") or {}
    return {str(name): float(point["threshold"]) for name, point in points.items() if isinstance(point, dict) and point.get("threshold") is not None}


def at_operating_point(facts: RunFacts) -> pd.DataFrame | None:
    """The test's boxes that count as found: at or above the threshold of their class; None where there is no operating point."""
    rows, limits = detections_of(facts), thresholds_of(facts)
    if rows is None or not limits:
        return None
    return rows[rows["score"] >= rows["class"].map(limits).fillna(0.0).astype(float)]


@dataclass(frozen=True)
class Tally:
    """Boxes of one class (or all) in the test at the operating point: true ones, those found, false ones; and the images."""

    n_true: int
    n_found: int
    n_false: int
    n_images: int

    @property
    def false_per_image(self) -> float:
        return self.n_false / self.n_images if self.n_images else math.nan

    @property
    def sensitivity(self) -> float:
        return self.n_found / self.n_true if self.n_true else math.nan


def tally(facts: RunFacts, name: str | None = None) -> Tally | None:
    """Of one class, or of all; None where the run does not say."""
    rows, kept = detections_of(facts), at_operating_point(facts)
    if rows is None or kept is None:
        return None
    mine = [each if name is None else each[each["class"] == name] for each in (rows, kept)]
    missed = int(mine[0]["score"].isna().sum())
    n_true = int((mine[0]["true"] == 1).sum() - (mine[0]["score"].isna() & (mine[0]["true"] == 1)).sum()) + missed
    return Tally(n_true, int((mine[1]["true"] == 1).sum()), int((mine[1]["true"] == 0).sum()), n_images(facts))


def n_images(facts: RunFacts) -> int:
    """Judged images of the test, those without a box too."""
    cases = judged_of(facts)
    if cases is not None:
        return len(cases)
    figures = [int(f["n_images"]) for f in facts.metrics.get("test", {}).values() if f.get("n_images")]
    return max(figures, default=0)


def counts_of(facts: RunFacts, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """True and found boxes of a class in every image of the test (what meets an ignored box is not counted)."""
    cases, kept = judged_of(facts), at_operating_point(facts)
    if cases is None or kept is None:
        return None
    true = [sum(box["class"] == name and not box.get("ignored") for box in truth_in(cell)) for cell in cases["truth"]]
    mine = kept[(kept["class"] == name) & kept["true"].notna()]
    found = cases["id"].map(mine["id"].value_counts()).fillna(0)
    return np.array(true, float), found.to_numpy(float)


def truth_in(cell: Any) -> list[dict[str, Any]]:
    """The true boxes of a cell of ``cases.parquet``."""
    return list(json.loads(cell)) if isinstance(cell, str) else list(cell)


@dataclass(frozen=True)
class Sized:
    """Every true box of the test: its class, its size (geometric mean of its sides) and whether it was found at the operating point."""

    rows: pd.DataFrame
    unit: Both


def sized(facts: RunFacts) -> Sized | None:
    """In mm where every case states its spacing, else in samples."""
    cases, kept = judged_of(facts), at_operating_point(facts)
    if cases is None or kept is None:
        return None
    met = set(zip(kept.loc[kept["true"] == 1, "id"], kept.loc[kept["true"] == 1, "match"].astype(int), strict=True))
    known = "spacing_mm" in cases and all(isinstance(cell, str) and cell != "null" for cell in cases["spacing_mm"])
    rows = []
    for _, case in cases.iterrows():
        spacing = np.array(json.loads(case["spacing_mm"]), float) if known else np.ones(1)
        for place, box in enumerate(truth_in(case["truth"])):
            low, high = np.split(np.array(box["box"], float), 2)
            if not box.get("ignored"):
                rows.append({"class": box["class"], "size": float(np.exp(np.log((high - low) * spacing).mean())), "met": (case["id"], place) in met})
    return Sized(pd.DataFrame(rows, columns=["class", "size", "met"]), say("unit.mm" if known else "unit.pixels"))


def errors_by_image(facts: RunFacts) -> pd.DataFrame | None:
    """A row an image of the test: ``id, n_true, n_missed, n_false``, the most errors first."""
    cases, kept = judged_of(facts), at_operating_point(facts)
    if cases is None or kept is None:
        return None
    true = np.array([sum(not box.get("ignored") for box in truth_in(cell)) for cell in cases["truth"]])
    met, false = (cases["id"].map(kept.loc[kept["true"] == flag, "id"].value_counts()).fillna(0).astype(int) for flag in (1, 0))
    made = pd.DataFrame({"id": cases["id"], "n_true": true, "n_missed": true - met, "n_false": false})
    return made.assign(wrong=made["n_missed"] + made["n_false"]).sort_values(["wrong", "id"], ascending=[False, True], kind="stable").reset_index(drop=True)
