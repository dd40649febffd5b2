import json

import numpy as np
import pandas as pd
import pytest

from box_cases import CELLS, table
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxes import iou
from vesalius.stages.boxed.tables import detections_of, part_of, rule_of

ONE = TargetSpec("boxes", ("nodule",), risk="malignant")


def case(true, found, **facts):
    """One case from ``(box, class, ignored, risk)`` and ``(box, class, score, risk)``."""
    truth = [{"box": box, "class": name, "ignored": ignored, "risk": risk} for box, name, ignored, risk in true]
    guess = [{"box": box, "class": name, "score": score, "risk": risk} for box, name, score, risk in found]
    row = {"id": "c0", "path": "c0.png", "patient": "p0", "split": "test", "shape": "[60, 60]", "spacing_mm": None}
    return pd.DataFrame([row | {"truth": json.dumps(truth), "found": json.dumps(guess)} | facts])


def test_every_prediction_and_every_missed_box_has_a_row():
    frame = case(
        [([0, 0, 10, 10], "RBC", False, None), ([30, 30, 40, 40], "RBC", False, None), ([20, 0, 30, 10], "WBC", True, None)],
        [([0, 0, 10, 8], "RBC", 0.4, None), ([0, 0, 10, 10], "RBC", 0.9, None), ([20, 0, 30, 10], "WBC", 0.8, None), ([33, 33, 40, 40], "RBC", 0.2, None)],
    )
    rows = detections_of(frame, CELLS)
    assert rows["score"].tolist()[:4] == [0.9, 0.8, 0.4, 0.2] and np.isnan(rows["score"].iloc[4])
    assert rows["true"].fillna(-1).tolist() == [1, -1, 0, 0, -1] and rows["match"].tolist() == [0, 2, -1, -1, 1]
    assert rows["iou"].tolist() == pytest.approx([1, 1, 0.8, 0.49, 0.49])
    assert rows[["low_0", "low_1", "high_0", "high_1"]].iloc[4].tolist() == [30, 30, 40, 40]
    assert rows["raw"].iloc[0] == pytest.approx(np.log(0.9 / 0.1)) and set(rows["unit"]) == {"pixel"} and rows["size_1"].iloc[2] == 8
    assert rows["class"].tolist() == ["RBC", "WBC", "RBC", "RBC", "RBC"] and set(rows["id"]) == {"c0"}


def test_sizes_are_in_mm_where_the_spacing_is_known_and_the_risk_stands_beside_the_true_one():
    frame = case(
        [([0, 0, 0, 10, 20, 20], "nodule", False, 1), ([40, 40, 40, 50, 50, 50], "nodule", False, None)],
        [([1, 1, 1, 11, 20, 20], "nodule", 0.9, 0.7), ([4, 8, 8, 6, 12, 12], "nodule", 0.6, 0.2)], shape="[60, 60, 60]", spacing_mm="[2.0, 0.5, 0.5]",
    )
    rows = detections_of(frame, ONE, "centre")
    assert rows["true"].fillna(-1).tolist() == [1, -1, -1]  # the second lies in the lesion that the first has found
    assert rows["match"].tolist() == [0, 0, 1] and rows["unit"].tolist() == ["mm"] * 3
    assert rows[["size_0", "size_1", "size_2"]].iloc[0].tolist() == [20, 9.5, 9.5]
    assert rows["risk"].tolist()[:2] == [0.7, 0.2] and rows["true_risk"].fillna(-1).tolist() == [1, 1, -1]
    assert detections_of(frame, ONE, "iou")["true"].fillna(-1).tolist() == [1, 0, -1]


def test_raw_values_are_kept_where_there_are_any():
    found = [{"box": [0, 0, 4, 4], "class": "RBC", "score": 0.5, "risk": None, "raw": 1.25}]
    assert detections_of(case([], []).assign(found=[json.dumps(found)]), CELLS)["raw"].tolist() == [1.25]
    assert detections_of(case([], [([0, 0, 4, 4], "RBC", 1.0, None)]), CELLS)["raw"].tolist() == pytest.approx([np.log(1e7)], rel=1e-3)


def test_a_table_says_the_same_however_it_was_stored(tmp_path):
    frame = table(6)
    frame.to_parquet(tmp_path / "cases.parquet")
    read = pd.read_parquet(tmp_path / "cases.parquet")
    parsed = frame.assign(truth=frame["truth"].map(json.loads), found=frame["found"].map(json.loads), shape=frame["shape"].map(json.loads))
    for other in (read, parsed, frame.assign(spacing_mm=np.nan)):
        pd.testing.assert_frame_equal(detections_of(other, CELLS), detections_of(frame, CELLS))
    nothing = frame.iloc[:0]
    assert not len(detections_of(nothing, CELLS)) and "low_1" in detections_of(nothing, CELLS)


def test_rows_and_arrays_are_of_the_same_boxes():
    frame = table(12)
    part, rows = part_of(frame, CELLS), detections_of(frame, CELLS)
    assert sum(map(len, part.found)) == rows["score"].notna().sum()
    true, ignored = part.boxes()
    missed = rows["score"].isna().sum()
    assert (rows["true"] == 1).sum() + missed == true.sum() and ignored.sum() > 0
    first = rows[(rows["id"] == "test3") & rows["score"].notna()]
    boxes = first[["low_0", "low_1", "high_0", "high_1"]].to_numpy()
    same = first["class"].map(CELLS.classes.index).to_numpy()[:, None] == part.truths[3].labels
    best = (iou(boxes, part.truths[3].boxes) * same).max(1)
    free = (first["match"] < 0).to_numpy()
    assert first["iou"].to_numpy()[free] == pytest.approx(best[free])


def test_a_case_without_anything_is_a_case():
    part = part_of(case([], []), CELLS)
    assert len(part.found[0]) == len(part.truths[0]) == 0 and part.responses().truth.tolist() == [0]
    assert part_of(case([], []), CELLS, split="validation") is None and not len(detections_of(case([], []), CELLS))


def test_what_does_not_fit_is_refused():
    frame = table(3)
    with pytest.raises(DataError, match="the judged cases lack a column: expected found, got id, path.*; evaluate the run again"):
        part_of(frame.drop(columns="found"), CELLS)
    with pytest.raises(DataError, match=r"a case is judged twice \(test0\): expected a row per case"):
        part_of(pd.concat([frame, frame]), CELLS)
    with pytest.raises(DataError, match=r"a box has an unknown class 'cyst' \(c0\): expected one of RBC, WBC, Platelet"):
        part_of(case([([0, 0, 1, 1], "cyst", False, None)], []), CELLS)
    with pytest.raises(DataError, match=r"a box does not fit its image \(c0\): expected 4 edges, got \[0, 0, 0, 1, 1, 1\]"):
        part_of(case([([0, 0, 0, 1, 1, 1], "RBC", False, None)], []), CELLS)
    for score in (1.5, None):
        with pytest.raises(DataError, match=r"a predicted box has no proper score \(c0\): expected 0 to 1, got (1.5|nan)"):
            part_of(case([], [([0, 0, 1, 1], "RBC", score, None)]), CELLS)
    with pytest.raises(OptionError, match="unknown rule of matching 'touch': expected one of iou, centre"):
        part_of(frame, CELLS, matching="touch")
    assert [rule_of(name) for name in ("iou", "IoU >= 0.5", "centre", "centre inside the lesion (LUNA16)")] == ["iou", "iou", "centre", "centre"]
