"""Boxes that must be looked at so that few are missed: told beside what is reported, which stays what it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vesalius.core.boxes import Detected
from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.outputs.detect import Detect
from vesalius.stages.boxed.predict import predict_boxes
from vesalius.stages.knowing import Knowing

SCORES = (0.9, 0.6, 0.4, 0.03)


@dataclass
class Fixed:
    """Four boxes whatever the picture is; the faintest only for those who ask for it."""

    output: Detect = field(default_factory=lambda: Detect(TargetSpec("boxes", ("cell",)), facts={"thresholds": {"cell": 0.5}}))
    reads: Any = field(default_factory=lambda: SimpleNamespace(channels=1, ndim=2))
    hash: str = "0123456789abcdef"
    asked: list[float | None] = field(default_factory=list)

    def detect(self, study: Study, floor: float | None = None) -> Detected:
        self.asked.append(floor)
        scores = np.array([score for score in SCORES if score >= (0.05 if floor is None else floor)], np.float32)
        n = len(scores)
        boxes = np.array([[5 * i, 3, 5 * i + 4, 9] for i in range(n)], np.float32)
        return Detected(boxes, np.zeros(n, np.int64), scores, np.full(n, np.nan, np.float32))


def quiet(done: int, total: int, what: str) -> None:
    return None


def told(tmp_path: Path, knowing: Knowing | None, mapping: Fixed | None = None, out: str = "out") -> tuple[dict[str, Any], pd.DataFrame, Fixed]:
    path, mapping = tmp_path / "a.png", mapping or Fixed()
    if not path.exists():
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
    _, _, table, record = predict_boxes(mapping, [Source("raster", str(path))], tmp_path / out, kinds=("csv",), progress=quiet, knowing=knowing)
    return json.loads(record.read_text("utf-8")), pd.read_csv(table, encoding="utf-8-sig"), mapping


def test_boxes_below_the_operating_point_that_the_promise_needs(tmp_path: Path) -> None:
    plain, _, _ = told(tmp_path, None, out="plain")
    facts, rows, _ = told(tmp_path, Knowing("boxes", 0.1, (0.4,), facts={"n_patients": 40}))
    (finding,) = facts["findings"]
    assert facts["promise"] == {"missed_at_most": 0.1, "score": 0.4, "n_patients": 40} and facts["thresholds"] == {"cell": 0.5}
    assert finding["boxes"] == plain["findings"][0]["boxes"] and len(finding["boxes"]) == 2  # what is reported does not change
    assert [(each["score"], each["reported"]) for each in finding["kept_at_risk"]] == [(0.9, True), (0.6, True), (0.4, False)]
    assert (rows.loc[0, "kept_at_risk"], rows.loc[0, "kept_unreported"], rows.loc[0, "cell.count"]) == (3, 1, 2)
    (note,) = [note for note in finding["notes"] if note["code"] == "kept-at-risk"]
    assert note["text"] == ("At a score of 0.4 or more, at most 10% of a new patient's boxes are expected to be missed. Boxes that reach it: 3 (2 are "
                            "reported); 1 of them lie below the operating point and are not reported: look at these too.")
    assert note["zh"] == "分数不低于 0.4 时，预计新患者的漏检不超过 10%。达到该分数的框：3 个（已报告 2 个），其中 1 个低于工作点、未列入报告，请一并查看。"
    listed = pd.read_csv(tmp_path / "out" / "kept_at_risk.csv", encoding="utf-8-sig")
    assert listed["reported"].tolist() == ["yes", "yes", "no"] and listed.loc[2, ["low_y", "low_x", "high_y", "high_x"]].tolist() == [10, 3, 14, 9]
    assert "promise" not in plain and not (tmp_path / "plain" / "kept_at_risk.csv").exists() and "kept_at_risk" not in plain["findings"][0]


def test_a_promise_that_needs_fewer_than_are_reported(tmp_path: Path) -> None:
    facts, rows, _ = told(tmp_path, Knowing("boxes", 0.2, (0.7,)))
    (finding,) = facts["findings"]
    assert len(finding["boxes"]) == 2 and [each["score"] for each in finding["kept_at_risk"]] == [0.9]
    assert "Boxes that reach it: 1 (2 are reported)." in finding["notes"][0]["text"] and rows.loc[0, "kept_unreported"] == 0


def test_faint_boxes_are_asked_for_where_the_promise_needs_them(tmp_path: Path) -> None:
    facts, _, mapping = told(tmp_path, Knowing("boxes", 0.1, (0.02,)))
    assert mapping.asked == [0.02] and [each["score"] for each in facts["findings"][0]["kept_at_risk"]] == pytest.approx(list(SCORES))
    _, _, usual = told(tmp_path, Knowing("boxes", 0.1, (0.4,)), out="usual")
    assert usual.asked == [None]


@pytest.mark.parametrize("knowing", [Knowing("boxes", 0.1, (float("inf"),), facts={"n_patients": 4}), Knowing("binary", 0.1, (0.5, 0.5))])
def test_nothing_is_promised(tmp_path: Path, knowing: Knowing) -> None:
    facts, rows, _ = told(tmp_path, knowing)
    (finding,) = facts["findings"]
    assert "kept_at_risk" not in finding and "kept_at_risk" not in rows and not (tmp_path / "out" / "kept_at_risk.csv").exists()
    codes = [note["code"] for note in finding["notes"]]
    assert codes.count("no-promise") == (knowing.kind == "boxes") and (facts.get("promise", {}).get("score", 1) is None) == (knowing.kind == "boxes")


def test_a_run_that_goes_on_says_the_same_and_reads_again_where_the_promise_changed(tmp_path: Path) -> None:
    promise = Knowing("boxes", 0.1, (0.4,))
    first, _, mapping = told(tmp_path, promise)
    again, _, same = told(tmp_path, promise, mapping)
    assert again == first and len(same.asked) == 1
    other, _, _ = told(tmp_path, Knowing("boxes", 0.1, (0.7,)), mapping)
    assert len(mapping.asked) == 2 and len(other["findings"][0]["kept_at_risk"]) == 1


def test_a_study_without_a_box_says_that_none_reaches_it(tmp_path: Path) -> None:
    mapping = Fixed()
    mapping.detect = lambda study, floor=None: Detected.empty(2)  # type: ignore[method-assign]
    facts, rows, _ = told(tmp_path, Knowing("boxes", 0.1, (0.4,)), mapping)
    assert facts["findings"][0]["kept_at_risk"] == [] and rows.loc[0, "kept_at_risk"] == 0
    assert "Boxes that reach it: 0 (0 are reported)." in facts["findings"][0]["notes"][0]["text"]
    assert (tmp_path / "out" / "kept_at_risk.csv").read_text("utf-8-sig").strip() == "source,class,score,reported"
