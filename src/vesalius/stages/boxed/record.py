"""What was found in one study, kept beside its files so that a run that goes on need not find it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.finding import Boxes, Finding, Score, Text
from vesalius.core.geometry import Grid


def kept_record(finding: Finding, boxes: Boxes, row: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Plain values from which `kept_finding` makes the finding again. ``key``: changes with anything that the finding depends on."""
    grid = finding.grid
    held = {"array": boxes.array, "labels": boxes.labels, "scores": boxes.scores, "risk": boxes.risk, "ids": boxes.ids}
    where = {"shape": grid.shape, "spacing_mm": grid.spacing_mm, "affine_lps": grid.affine_lps, "spacing_known": grid.spacing_known}
    return {"key": key, "finding": finding.to_dict(), "grid": where, "boxes": held, "row": dict(row)}


def kept_finding(path: Path, key: str) -> tuple[Finding, dict[str, Any]] | None:
    """The finding and its row of the table; None when there is none of that key, it is damaged, or a file that it names is gone."""
    try:
        facts = json.loads(path.read_text())
        if facts["key"] != key or not all((path.parent / Path(name).name).is_file() for name in _files(facts["row"])):
            return None
        return _finding(facts), facts["row"]
    except (OSError, ValueError, KeyError, TypeError):  # a record that cannot be used costs its time again, and nothing else
        return None


def _files(row: Mapping[str, Any]) -> list[str]:
    return [value for value in row.values() if isinstance(value, str) and value.rpartition("/")[2].startswith("boxes.")]


def _finding(facts: Mapping[str, Any]) -> Finding:
    where, held, said = facts["grid"], facts["boxes"], facts["finding"]
    grid = Grid(tuple(where["shape"]), tuple(where["spacing_mm"]), np.array(where["affine_lps"], float), bool(where["spacing_known"]))
    array = np.array(held["array"], np.float32).reshape(-1, 2 * grid.ndim)
    risk = tuple(float("nan") if value is None else float(value) for value in held["risk"])
    boxes = Boxes(array, grid, tuple(held["labels"]), tuple(held["scores"]), risk, tuple(held["ids"]))
    scores = tuple(Score(**each) for each in said["scores"])
    return Finding(said["source"], said["label"], said["probability"], grid, (boxes, *scores), tuple(Text(**each) for each in said["notes"]))
