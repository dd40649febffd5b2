"""Cases whose marks disagree with the model come first and are drawn."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vesalius.core.cohort import Case, Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.stages.doubtful import marked
from vesalius.stages.doubtful.marked import boxes_table, doubt_marked, masks_table
from vesalius.stages.run import RunFolder
from vesalius.stages.trust.base import Trust

STUDY = Study(np.full((1, 32, 32), 90, np.uint8), Grid.plain((32, 32)))


def trust_of(folder: Path, table: pd.DataFrame, target: TargetSpec, monkeypatch: pytest.MonkeyPatch) -> Trust:
    cases = {name: Case(name, Source("raster", name), name) for name in table["id"].unique()}
    monkeypatch.setattr(marked, "open_case", lambda case: STUDY)
    truth = np.zeros((1, 32, 32), np.uint8)
    truth[0, 4:12, 4:12] = 1
    monkeypatch.setattr(marked, "open_truth", lambda case, target, study: truth)
    (folder / "metrics.json").write_text(json.dumps({"matching": {"rule": "iou"}}))
    mapping: Any = SimpleNamespace()
    return Trust(RunFolder(folder), mapping, table, None, table, target, cases)


def masks(worst: float) -> pd.DataFrame:
    dice = np.append(np.linspace(0.86, 0.94, 19), worst)
    return pd.DataFrame({"id": [f"c{i}" for i in range(20)], "patient": [f"p{i}" for i in range(20)], "split": "validation", "class": "liver",
                         "dice": dice, "uncertainty": 0.1})


def test_a_mask_far_from_the_model_is_named_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = trust_of(tmp_path, masks(0.05), TargetSpec("mask", ("liver",)), monkeypatch)
    folder = tmp_path / "masks" / "validation"
    folder.mkdir(parents=True)
    labels = np.zeros((1, 32, 32), np.uint8)
    labels[0, 20:28, 20:28] = 1
    np.savez(folder / f"{hashlib.sha256(b'c19').hexdigest()[:16]}.npz", labels=labels)
    found = doubt_marked(trust)
    assert [case["id"] for case in found["cases"]] == ["c19"] and found["n_doubted"] == 1 and "Dice 0.05" in found["cases"][0]["en"]
    assert "data:image/png" in (tmp_path / found["page"]).read_text("utf-8")


def test_masks_that_agree_are_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = trust_of(tmp_path, masks(0.85), TargetSpec("mask", ("liver",)), monkeypatch)
    assert not masks_table(trust)["doubted"].any() and doubt_marked(trust)["sentences"][0]["severity"] == "ok"


def test_boxes_without_annotation_and_boxes_unseen_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = {"box": [2, 2, 10, 10], "class": "cell"}, {"box": [20, 20, 28, 28], "class": "cell"}
    rows = [
        ("right", [own], [own | {"score": 0.9}]), ("forgotten", [own], [own | {"score": 0.9}, other | {"score": 0.95}]),
        ("unseen", [own, other], [own | {"score": 0.9}]), ("doubtful", [own], [own | {"score": 0.9}, other | {"score": 0.3}]),
    ]
    table = pd.DataFrame([
        {"id": name, "path": name, "patient": name, "split": "test", "shape": "[32, 32]", "spacing_mm": "null", "truth": json.dumps(truth),
         "found": json.dumps(found)} for name, truth, found in rows
    ])
    trust = trust_of(tmp_path, table, TargetSpec("boxes", ("cell",)), monkeypatch)
    made = boxes_table(trust)
    assert set(made.loc[made["doubted"], "id"]) == {"forgotten", "unseen"}
    found = doubt_marked(trust)
    assert found["n_doubted"] == 2 and [case["id"] for case in found["cases"]] == ["unseen", "forgotten"]
