import json

import numpy as np
import pandas as pd
import pytest

from box_cases import CELLS, table
from vesalius.errors import OptionError
from vesalius.kernels.calibrate import Calibrator
from vesalius.stages.boxed.operating import (
    calibrated,
    calibrated_cases,
    choose_thresholds,
    columns_of,
    fit_calibration,
    operating_points,
    thresholds_of,
)
from vesalius.stages.boxed.tables import detections_of, part_of


def validation(n=40, **options):
    return table(n, split="validation", **options)


def counted(rows, name, threshold):
    """Right and false boxes from the threshold on, and true ones."""
    rows = rows[rows["class"] == name]
    called = rows[(rows["score"] >= threshold) & rows["true"].notna()]
    return called["true"].sum(), (called["true"] == 0).sum(), (rows["true"] == 1).sum() + rows["score"].isna().sum()


def test_the_threshold_has_the_best_f1_of_all():
    frame = validation()
    found, rows = choose_thresholds(frame, CELLS), detections_of(frame, CELLS)
    for name in CELLS.classes:
        f1 = {}
        for threshold in (*np.linspace(0.01, 0.99, 99), found[name]):
            true, false, truth = counted(rows, name, threshold)
            f1[threshold] = 2 * true / (true + false + truth)
        assert f1[found[name]] == max(f1.values()) > 0.8


def test_a_stated_rate_of_false_positives_is_kept():
    frame = validation()
    points = operating_points(frame, CELLS, rule=("fp_per_image", 0.25))
    rows = detections_of(frame, CELLS)
    for name in CELLS.classes:
        assert points[name]["rule"] == "fp_per_image<=0.25" and points[name]["chosen_on"] == "validation"
        assert counted(rows, name, points[name]["threshold"])[1] <= 0.25 * 40 < counted(rows, name, points[name]["threshold"] - 0.1)[1]


def test_only_validation_is_looked_at_and_nothing_to_choose_on_is_said():
    frame = validation()
    assert choose_thresholds(pd.concat([frame, table(30, miss=0.9)]), CELLS) == choose_thresholds(frame, CELLS)
    for nothing in (table(30), frame.assign(found="[]"), frame.assign(truth="[]")):
        facts = operating_points(nothing, CELLS)["WBC"]
        assert facts == {"threshold": 0.5, "rule": "0.5 (nothing to choose on)", "chosen_on": "validation"}


def test_thresholds_are_taken_alone_or_with_facts():
    assert thresholds_of({"RBC": 0.2, "WBC": {"threshold": 0.3, "rule": "f1"}, "Platelet": 1}, CELLS.classes).tolist() == [0.2, 0.3, 1.0]
    assert thresholds_of(None, CELLS.classes).tolist() == [0.5] * 3
    with pytest.raises(OptionError, match="the class 'WBC' has no threshold: expected one for each class, got RBC"):
        thresholds_of({"RBC": 0.2}, CELLS.classes)
    for rule in ("youden", ("sensitivity", 0.9), ("fp_per_image",)):
        with pytest.raises(OptionError, match=r"unknown rule for the operating point: expected f1 or \(fp_per_image, rate\)"):
            choose_thresholds(validation(3), CELLS, rule=rule)


def test_a_calibrated_score_is_the_share_of_true_boxes():
    fitted, fresh = validation(120, extra=40), table(120, seed=1, extra=40)
    made, facts = fit_calibration(fitted, CELLS)
    assert facts["after"]["ece"] < facts["before"]["ece"] / 2 and facts["after"]["nll"] < facts["before"]["nll"]
    assert (facts["chosen_on"], facts["method"], facts["parameters"]) == ("validation", made.method, made.parameters)
    before = detections_of(fresh, CELLS)
    after = detections_of(calibrated_cases(fresh, CELLS, made), CELLS)
    assert np.sort(after["raw"]) == pytest.approx(np.sort(before["raw"]), nan_ok=True)
    gaps = []
    for rows in (before, after):
        rows = rows[rows["true"].notna()]
        bins = rows.groupby((rows["score"] * 10).astype(int), observed=True)[["score", "true"]].agg(["mean", "size"])
        gaps.append(float((abs(bins["score"]["mean"] - bins["true"]["mean"]) * bins["true"]["size"]).sum() / len(rows)))
    assert gaps[1] < 0.04 < gaps[0]


def test_the_order_within_a_class_stays_and_the_logit_before_is_kept():
    frame = validation(60)
    made, _ = fit_calibration(frame, CELLS)
    for cell, old in zip(calibrated_cases(frame, CELLS, made)["found"], frame["found"], strict=True):
        items, before = json.loads(cell), json.loads(old)
        assert [item["raw"] for item in items] == pytest.approx([np.log(item["score"] / (1 - item["score"])) for item in before])
        for name in CELLS.classes:
            pairs = [(a["score"], b["score"]) for a, b in zip(items, before, strict=True) if a["class"] == name]
            assert np.argsort([a for a, _ in pairs]).tolist() == np.argsort([b for _, b in pairs]).tolist()


def test_a_bias_is_fitted_as_soon_as_there_are_boxes_enough():
    few_patients = validation(30, images=3)
    assert fit_calibration(few_patients, CELLS)[0].method == "temperature"  # 30 or so white cells
    many = validation(90, images=9)
    assert fit_calibration(many, CELLS)[0].method == "temperature+bias"


def test_nothing_to_calibrate_on_leaves_the_scores_as_they_are():
    made, facts = fit_calibration(table(5), CELLS)
    assert facts["method"] == "none" and "before" not in facts and facts["n"] == 0
    assert calibrated(np.array([0.2, 0.9]), np.array([0, 2]), made, 3) == pytest.approx([0.2, 0.9])
    assert len(calibrated(np.zeros(0), np.zeros(0, int), Calibrator("multilabel"), 3)) == 0


def test_boxes_that_meet_an_ignored_one_do_not_count():
    frame = validation(10, ignored=1.0)
    raw, marks, people = columns_of(part_of(frame, CELLS), 3)
    judged = detections_of(frame, CELLS)["true"].notna().sum()
    assert raw.shape == marks.shape == (judged, 3) and len(people) == judged and not (marks == 1).any()
    assert (np.isfinite(marks).sum(1) == 1).all()
