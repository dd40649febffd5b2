import json

import numpy as np
import pandas as pd
import pytest

from box_cases import CELLS, CLASSES, coco_like, table
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxscores import average_precision
from vesalius.kernels.stats import SCORE
from vesalius.stages.boxed.figures import FIGURES, box_metrics, compare
from vesalius.stages.boxed.notes import TEXTS, note
from vesalius.stages.boxed.operating import choose_thresholds
from vesalius.stages.boxed.sheet import Sheet
from vesalius.stages.boxed.tables import detections_of, part_of

NODULES = TargetSpec("boxes", ("nodule",), risk="malignant")


def both(**options):
    return pd.concat([table(**options), table(**({"n": 30} | options | {"split": "validation", "seed": 7}))], ignore_index=True)


def metrics_of(frame, target=CELLS, **options):
    return box_metrics(frame, target, **({"n_boot": 200} | options))


def codes_of(metrics):
    return [each["code"] for each in metrics["notes"]]


def test_the_record_has_the_promised_shape():
    metrics = metrics_of(both())
    expected = {"schema", "target", "primary", "test", "validation", "per_class", "operating_point", "matching", "froc", "curves", "counts", "boxes"}
    assert set(metrics) == expected | {"calibration", "notes"} and json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert (metrics["schema"], metrics["primary"], metrics["matching"]) == (1, "map50", {"rule": "IoU >= 0.5"})
    assert metrics["target"] == {"kind": "boxes", "classes": ["RBC", "WBC", "Platelet"], "name": "kind"}
    for split in ("test", "validation"):
        assert set(metrics[split]) == set(FIGURES)
        for name in CELLS.classes:
            own = metrics["per_class"][split][name]
            assert set(own) == {"ap50", "ap", *FIGURES} - {"map50", "map"}
            assert own["ap50"]["low"] <= own["ap50"]["value"] <= own["ap50"]["high"]
            assert set(metrics["froc"][split][name]) == {"fp_per_image", "sensitivity", "low", "high"}
            assert set(metrics["counts"][split][name]) == {"bias", "low", "high", "mae", "n"}
            assert set(metrics["curves"][split]["pr"][name]) == {"x", "y"}
        assert "all" in metrics["froc"][split] and set(metrics["curves"][split]["reliability"]) == {"confidence", "observed", "n"}
    assert metrics["operating_point"]["WBC"]["chosen_on"] == "validation" and metrics["operating_point"]["WBC"]["rule"] == "f1"
    assert (metrics["test"]["map50"]["n_patients"], metrics["test"]["map50"]["n_images"]) == (40, 40)


def test_figures_are_those_of_the_kernels_and_of_the_detections():
    frame = both()
    metrics, thresholds = metrics_of(frame), choose_thresholds(frame, CELLS)
    part = part_of(frame, CELLS, split="test")
    ap = np.stack([average_precision(part.overlapping(k))[:, 0] for k in range(CLASSES)])
    assert metrics["test"]["map50"]["value"] == pytest.approx(ap[:, 0].mean()) and metrics["test"]["map"]["value"] == pytest.approx(ap.mean())
    methods = {name: metrics["test"][name]["method"] for name in ("map50", "count_mae")}
    assert methods == {"map50": SCORE, "count_mae": "patient bootstrap (bca)"}
    rows = detections_of(frame[frame["split"] == "test"], CELLS)
    for k, name in enumerate(CELLS.classes):
        own, figures = rows[rows["class"] == name], metrics["per_class"]["test"][name]
        truth = (own["true"] == 1).sum() + own["score"].isna().sum()
        called = own[own["score"] >= thresholds[name]]
        assert figures["ap50"]["value"] == pytest.approx(ap[k, 0]) and figures["ap"]["value"] == pytest.approx(ap[k].mean())
        assert figures["sensitivity"]["value"] == pytest.approx((called["true"] == 1).sum() / truth)
        assert figures["precision"]["value"] == pytest.approx((called["true"] == 1).sum() / called["true"].notna().sum())
        counts = part.boxes()[0][k]
        guessed = called[called["true"].notna()].groupby("id").size().reindex(part.ids, fill_value=0).to_numpy()
        assert figures["count_mae"]["value"] == pytest.approx(np.abs(guessed - counts).mean()) == pytest.approx(metrics["counts"]["test"][name]["mae"])
        assert figures["count_bias"]["value"] == pytest.approx((guessed - counts).mean()) == pytest.approx(metrics["counts"]["test"][name]["bias"])
        assert metrics["boxes"]["test"][name]["true"] == counts.sum() and metrics["boxes"]["test"][name]["found"] == guessed.sum()
        # From the rows: as many right ones as there are before the first false positive an image is exceeded.
        ranked = own[own["true"].notna()].sort_values("score", ascending=False, kind="stable")
        within = ranked[(ranked["true"] == 0).cumsum() <= 1.0 * 40]
        assert figures["sensitivity_at_1fp"]["value"] == pytest.approx((within["true"] == 1).sum() / truth)


def test_the_figures_of_the_cells_are_those_of_pycocotools():
    frame = both(n=12, extra=30)
    assert metrics_of(frame)["test"]["map50"]["value"] == pytest.approx(coco_like(part_of(frame, CELLS, split="test"))[1], abs=1e-9)
    assert metrics_of(frame)["test"]["map"]["value"] == pytest.approx(coco_like(part_of(frame, CELLS, split="test"))[0], abs=1e-9)


def test_volumes_are_judged_by_cpm_and_have_a_risk():
    frame = both(ndim=3, classes=("nodule",), n=30, spacing=[1.0, 1.0, 1.0])
    metrics = metrics_of(frame, NODULES, matching="centre")
    assert metrics["primary"] == "cpm" and metrics["matching"]["rule"] == "centre inside the lesion (LUNA16)"
    assert metrics["test"]["cpm"] == metrics["per_class"]["test"]["nodule"]["cpm"]  # one class: the curve of all is its own
    rows = detections_of(frame[frame["split"] == "test"], NODULES, "centre")
    met = rows[(rows["true"] == 1) & rows["risk"].notna()]
    risk, positive = met["risk"].to_numpy(), met["true_risk"].to_numpy() == 1
    wins = np.subtract.outer(risk[positive], risk[~positive])
    assert metrics["risk"]["auc"]["value"] == pytest.approx(((wins > 0) + (wins == 0) / 2).mean())
    assert metrics["risk"]["name"] == "malignant" and (metrics["risk"]["n"], metrics["risk"]["n_positive"]) == (len(met), positive.sum())
    assert "risk" not in metrics_of(frame, TargetSpec("boxes", ("nodule",)))
    of_one_kind = frame.assign(truth=frame["truth"].str.replace('"risk": 0', '"risk": 1'))
    assert "risk" not in metrics_of(of_one_kind, NODULES)


def test_several_images_of_a_patient_do_not_make_the_interval_narrower():
    alone = table(20)
    doubled = pd.concat([alone, alone.assign(id="again" + alone["id"])], ignore_index=True)
    one, two = (metrics_of(frame, n_boot=1500, operating=dict.fromkeys(CELLS.classes, 0.5))["test"]["f1"] for frame in (alone, doubled))
    assert (two["n_images"], two["n_patients"]) == (40, 20) and two["value"] == pytest.approx(one["value"])
    assert two["high"] - two["low"] == pytest.approx(one["high"] - one["low"], rel=0.02)


def test_a_class_that_the_test_lacks_has_counts_only_and_is_left_out_of_the_mean():
    frame = both()
    gone = frame["split"] == "test"
    frame.loc[gone, "truth"] = frame.loc[gone, "truth"].map(lambda cell: json.dumps([item for item in json.loads(cell) if item["class"] != "WBC"]))
    metrics = metrics_of(frame)
    assert set(metrics["per_class"]["test"]["WBC"]) <= {"precision", "count_mae", "count_bias"}
    others = [metrics["per_class"]["test"][name] for name in ("RBC", "Platelet")]
    for name, own in (("map50", "ap50"), ("precision", "precision"), ("sensitivity", "sensitivity")):
        assert metrics["test"][name]["value"] == pytest.approx(np.mean([each[own]["value"] for each in others]))
    assert "WBC" not in metrics["froc"]["test"] and "WBC" not in metrics["curves"]["test"]["pr"] and "class-absent" in codes_of(metrics)


def test_faultless_boxes_and_one_patient_promise_no_certainty():
    perfect = metrics_of(both(n=8, miss=0, noise=0, extra=0, ignored=0))["test"]
    assert perfect["map50"]["value"] == perfect["map50"]["high"] == 1 and 0.6 < perfect["map50"]["low"] < 0.75
    assert perfect["map50"]["method"] == "wilson bound of a faultless figure" and perfect["count_mae"]["value"] == perfect["count_mae"]["high"] == 0
    alone = metrics_of(pd.concat([table(4, images=4), table(20, split="validation")]))["test"]
    assert "map50" not in alone or (alone["map50"]["low"], alone["map50"]["high"]) == (0, 1)


def test_thresholds_and_calibration_are_taken_as_given():
    given = {"RBC": {"threshold": 0.4, "rule": "fp_per_image<=1", "chosen_on": "validation"}, "WBC": 0.3, "Platelet": 0.2}
    metrics = metrics_of(both(), operating=given, calibration={"method": "temperature", "parameters": {"temperature": [1.0]}})
    assert metrics["operating_point"]["RBC"] == given["RBC"]
    assert metrics["operating_point"]["WBC"] == {"threshold": 0.3, "rule": "given", "chosen_on": "validation"}
    assert metrics["calibration"]["method"] == "temperature" and set(metrics["calibration"]["test"]) == {"ece", "brier", "nll", "n"}
    assert "not-calibrated" not in codes_of(metrics) and "not-calibrated" in codes_of(metrics_of(both()))


def test_another_method_is_set_against_the_network():
    frame, poor, worse = both(noise=0.5), both(miss=0.5), both(miss=0.8)
    metrics = metrics_of(frame, baselines={"worse": worse, "blobs": poor})
    assert set(metrics["baselines"]) == {"worse", "blobs"} and set(metrics["baselines"]["blobs"]["test"]) == set(FIGURES)
    gain = metrics["gain"]
    assert (gain["over"], gain["metric"], gain["n_images"]) == ("blobs", "map50", 40) and gain["low"] > 0 and gain["p"] < 0.05
    assert gain["value"] == pytest.approx(metrics["test"]["map50"]["value"] - metrics["baselines"]["blobs"]["test"]["map50"]["value"])
    same = metrics_of(frame, baselines={"itself": frame})
    assert same["gain"]["value"] == 0 and "gain-unclear" in codes_of(same)
    assert "gain" not in metrics_of(frame, baselines={"elsewhere": frame.assign(id="z" + frame["id"])})


def test_two_runs_are_compared_on_what_both_judged():
    good, poor = both(noise=0.5), both(miss=0.4)
    found = compare(good, poor, CELLS, n_boot=200)
    assert found["metric"] == "map50" and found["low"] > 0 and (found["n_patients"], found["n_images"]) == (40, 40)
    shuffled = compare(good, poor.sample(frac=1, random_state=0), CELLS, n_boot=200)
    assert shuffled == found and compare(good, good, CELLS, n_boot=50)["value"] == 0
    fewer = compare(good, poor[~poor["id"].isin(["test1", "test2"])], CELLS, metric="f1", n_boot=50)
    assert fewer["n_images"] == 38 and compare(good, poor[poor["split"] == "validation"], CELLS) is None
    held = compare(good, poor, CELLS, metric="count_mae", split="validation", operating=(dict.fromkeys(CELLS.classes, 0.5), None), n_boot=50)
    assert held["n_images"] == 30 and held["value"] < 0
    with pytest.raises(OptionError, match="'dice' cannot be compared: expected one of map50, map"):
        compare(good, poor, CELLS, metric="dice")
    with pytest.raises(OptionError, match="'train' cannot be compared: expected one of test, validation"):
        compare(good, poor, CELLS, split="train")


def test_what_a_reader_must_know_is_said():
    few = metrics_of(both(n=6, extra=1))
    assert codes_of(few)[:2] == ["small-test", "boxes-counted"] and {"few-of-class", "no-negatives", "small-validation", "few-false"} <= set(codes_of(few))
    judged = {each["code"]: each["en"] for each in metrics_of(both(n=6, ignored=0))["notes"]}
    assert "boxes-counted" not in judged and judged["boxes-counted-all"].endswith(").")
    assert few["notes"][0]["en"].startswith("6 patients in the test set: an mAP50 of 0.")
    healthy = both()
    healthy.loc[0, "truth"] = "[]"
    assert "no-negatives" not in codes_of(metrics_of(healthy))
    missing = metrics_of(both(miss=0.6))
    biased = next(each for each in missing["notes"] if each["code"] == "counts-biased")
    assert "too few" in biased["en"] and "偏少" in biased["zh"] and "'RBC'" in biased["en"]
    alone = both(miss=0.6)
    alone.loc[alone["split"] == "test", "patient"] = "one"
    assert "counts-biased" not in codes_of(metrics_of(alone)), "one patient has no interval that could leave 0 out"
    never = both()
    never["found"] = never["found"].map(lambda cell: json.dumps([item for item in json.loads(cell) if item["class"] != "WBC"]))
    assert {"never-found", "threshold-unchosen"} <= set(codes_of(metrics_of(never)))


def test_every_note_fills_both_languages():
    facts = {"name": "RBC", "n": 3, "images": 9, "each": "RBC 3", "ignored": 1, "rate": 2, "value": 1, "low": 0, "high": 2, "way": "many", "way_zh": "偏多"}
    for code in TEXTS:
        made = note(code, **facts)
        assert "{" not in made["en"] + made["zh"] and made["en"] != made["zh"]


def test_a_model_that_finds_nothing_has_figures_of_nought():
    metrics = metrics_of(both().assign(found="[]"))
    assert metrics["test"]["map50"]["value"] == 0 == metrics["test"]["cpm"]["value"] and "precision" not in metrics["test"]
    assert metrics["curves"]["test"] == {"pr": {}}
    assert metrics["per_class"]["test"]["RBC"]["count_bias"]["value"] < 0


def test_figures_of_weighted_cases_are_those_of_cases_that_are_there_so_often():
    frame = table(8)
    times = np.array([0, 1, 2, 0, 3, 1, 1, 0])
    sheet = Sheet(part_of(frame, CELLS), np.full(3, 0.5))
    again = frame.iloc[np.repeat(np.arange(8), times)].assign(id=lambda rows: [f"{i}" for i in range(len(rows))])
    expected = Sheet(part_of(again, CELLS), np.full(3, 0.5)).figures(np.ones((8, 1)))
    assert sheet.figures(times[:, None].astype(float)) == pytest.approx(expected, nan_ok=True)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(DataError, match="there are no judged cases of the test set: expected rows with split 'test', got 5 others"):
        metrics_of(table(5, split="validation"))
    with pytest.raises(OptionError, match="the class 'Platelet' has no threshold"):
        metrics_of(both(), operating={"RBC": 0.5, "WBC": 0.5})
