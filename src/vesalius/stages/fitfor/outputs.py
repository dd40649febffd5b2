"""What a model answers, as a few numbers a study, for `stages.monitor`: the same of new findings and of the images that were held out in training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.finding import Finding
from vesalius.core.target import TargetSpec
from vesalius.stages.evaluate import folds_in

ANSWER = "answer."
"""What the names of these numbers begin with."""


def outputs_of(finding: Finding, target: TargetSpec) -> dict[str, float]:
    """By name: the probability of each class (of the positive one in a binary target), the value of a regression, the size of each structure, the number of
    boxes of each class."""
    scores = finding.scores
    if target.kind in ("mask", "boxes"):
        part = "size" if target.kind == "mask" else "count"
        return {f"{ANSWER}{name}": float(scores.get(f"{name}.{part}", 0.0)) for name in target.classes}
    return {f"{ANSWER}{name}": float(scores[name]) for name in _named(target) if name in scores}


def _named(target: TargetSpec) -> Sequence[str]:
    if target.kind == "regression":
        return (target.name,)
    return target.classes[1:] if target.kind == "binary" else target.classes


def outputs_of_run(run: Path, target: TargetSpec) -> dict[str, dict[str, float]]:
    """The same of the validation images of a finished run, by id, from its tables; empty where they are absent.

    Of whole images with folds it is empty too: each was judged by the networks of one fold, and what the average of all of them answers is distributed in
    another way, which `stages.monitor` would take for a change of what comes in.
    """
    path = run / ("cases.parquet" if target.kind == "boxes" else "predictions.parquet")
    if not path.is_file():
        return {}
    frame = pd.read_parquet(path)
    held = frame[frame["split"] == "validation"]
    if target.kind == "mask":
        wide = held.pivot_table(index="id", columns="class", values="size_predicted", aggfunc="first")
        return {str(name): {f"{ANSWER}{k}": float(np.nan_to_num(row[k])) for k in target.classes if k in wide} for name, row in wide.iterrows()}
    if target.kind == "boxes":
        least = _thresholds(run)
        return {str(name): _counts(json.loads(found), target, least) for name, found in zip(held["id"], held["found"], strict=True)}
    if folds_in(held):
        return {}
    columns = {name: "value" if target.kind == "regression" else f"p_{name}" for name in _named(target)}
    return {str(row["id"]): {f"{ANSWER}{name}": float(row[column]) for name, column in columns.items()} for row in held.to_dict("records")}


def _thresholds(run: Path) -> dict[str, float]:
    operating = json.loads((run / "metrics.json").read_text("utf-8")).get("operating_point") or {}
    return {name: float(each["threshold"]) for name, each in operating.items()}


def _counts(found: list[dict[str, Any]], target: TargetSpec, least: dict[str, float]) -> dict[str, float]:
    kept = [box["class"] for box in found if box["score"] >= least.get(box["class"], 0.5)]
    return {f"{ANSWER}{name}": float(kept.count(name)) for name in target.classes}
