import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.maskscores import score_case, score_study
from vesalius.seed import generator
from vesalius.stages.tiled.figures import FIGURES, compare, cube_of, dice_against_size, mask_metrics, parts_of
from vesalius.stages.tiled.notes import TEXTS, note

TARGET = TargetSpec("mask", ("liver", "tumour"), "organs", values=((1,), (2,)))
ONE = TargetSpec("mask", ("liver",), values=((1,),))


def table(n=30, noise=0.1, seed=0, split="test", images=1, classes=TARGET.classes, **columns):
    """Scored cases whose Dice falls with their uncertainty."""
    rng = generator(seed, "table", split)
    rows = []
    for i in range(n):
        for k, name in enumerate(classes):
            dice = float(np.clip(0.9 - 0.1 * k - noise * abs(rng.normal()), 0, 1))
            size = float(rng.uniform(100, 1000))
            row = {"id": f"{split}{i}", "path": "x.nii", "patient": f"{split}-p{i // images}", "split": split, "fold": -1, "class": name}
            row |= dict.fromkeys(("dice", "nsd", "sensitivity", "ppv"), dice) | {"iou": dice / (2 - dice), "hd95": 10 * (1 - dice), "specificity": 0.99}
            row |= {"auc": np.nan, "size_true": size, "size_predicted": size * (1.5 if k else 0.9), "n_true": 2, "n_found": 1, "n_false": k}
            rows.append(row | {"uncertainty": 1 - dice + 0.01 * rng.normal(), "unit": "mm", "note": ""})
    frame = pd.DataFrame(rows)
    frame["uncertainty"] = frame.groupby("id")["uncertainty"].transform("mean")
    return frame.assign(**columns)


def metrics_of(frame, target=TARGET, **options):
    return mask_metrics(frame, target, **({"tolerance": 1.0, "n_boot": 300} | options))


def codes_of(metrics):
    return [each["code"] for each in metrics["notes"]]


def test_the_record_has_the_promised_shape_and_true_means():
    frame = pd.concat([table(), table(20, split="validation")], ignore_index=True)
    metrics = metrics_of(frame)
    assert set(metrics) == {"schema", "target", "primary", "test", "validation", "per_class", "tolerance", "uncertainty", "notes"}
    assert (metrics["schema"], metrics["primary"], metrics["tolerance"]) == (1, "dice", {"value": 1.0, "unit": "mm"})
    assert metrics["target"] == {"kind": "mask", "classes": ["liver", "tumour"], "name": "organs"}
    for split in ("test", "validation"):
        part = frame[frame["split"] == split]
        assert metrics[split]["dice"]["value"] == pytest.approx(part.groupby("class")["dice"].mean().mean())
        assert set(metrics[split]) == set(FIGURES) - {"auc"}
        for name, rows in part.groupby("class"):
            for figure in ("iou", "nsd", "hd95", "sensitivity"):
                assert metrics["per_class"][split][name][figure]["value"] == pytest.approx(rows[figure].mean())
    assert metrics["test"]["dice"]["low"] < metrics["test"]["dice"]["value"] < metrics["test"]["dice"]["high"]
    assert (metrics["test"]["dice"]["n_patients"], metrics["test"]["dice"]["n_images"]) == (30, 30)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_sizes_and_lesions_follow_from_the_table():
    per_class = metrics_of(table())["per_class"]["test"]
    assert [per_class[name]["size_error"]["value"] for name in TARGET.classes] == pytest.approx([0.1, 0.5])
    assert [per_class[name]["size_bias"]["value"] for name in TARGET.classes] == pytest.approx([-0.1, 0.5])
    assert [per_class[name]["lesion_f1"]["value"] for name in TARGET.classes] == pytest.approx([2 / 3, 2 / 4])
    assert per_class["liver"]["lesion_sensitivity"]["value"] == 0.5


def test_a_class_is_a_mean_over_its_own_cases_and_the_whole_a_mean_over_classes():
    frame = table(12)
    empty = (frame["class"] == "tumour") & (frame.index < 16)
    frame.loc[empty, ["dice", "iou", "nsd", "hd95", "sensitivity", "ppv"]] = np.nan
    frame.loc[empty, ["size_true", "size_predicted", "n_true", "n_found", "n_false"]] = 0
    frame.loc[empty, "note"] = "both empty"
    metrics = metrics_of(frame)
    tumour = metrics["per_class"]["test"]["tumour"]
    assert (tumour["dice"]["n_images"], tumour["specificity"]["n_images"], metrics["test"]["dice"]["n_images"]) == (4, 12, 12)
    means = [frame.loc[~empty & (frame["class"] == name), "dice"].mean() for name in TARGET.classes]
    assert metrics["test"]["dice"]["value"] == pytest.approx(np.mean(means))
    note_en = next(each["en"] for each in metrics["notes"] if each["code"] == "both-empty")
    assert note_en.startswith("8 of 12 test cases do not hold 'tumour'")


def test_several_cases_of_a_patient_do_not_make_the_interval_narrower():
    alone, doubled = table(20), table(20)
    doubled = pd.concat([doubled, doubled.assign(id="again" + doubled["id"])], ignore_index=True)
    one, two = (metrics_of(frame, n_boot=1000)["test"]["dice"] for frame in (alone, doubled))
    assert two["n_images"] == 40 and two["n_patients"] == 20
    assert two["high"] - two["low"] == pytest.approx(one["high"] - one["low"], rel=0.02)


def test_folds_are_kept_apart_from_the_model_that_is_kept():
    folds = pd.concat([table(10, split="validation", seed=k, noise=0.3).assign(fold=k, id=lambda f, k=k: f["id"] + f"-{k}") for k in range(2)])
    frame = pd.concat([table(), folds], ignore_index=True)
    metrics = metrics_of(frame)
    assert "validation" not in metrics and metrics["cross_validation"]["dice"]["n_images"] == 20
    assert metrics["cross_validation"]["dice"]["value"] == pytest.approx(folds.groupby("class")["dice"].mean().mean())
    assert set(metrics["per_class"]) == {"test", "cross_validation"} and "cross-validation" in codes_of(metrics)
    both = metrics_of(pd.concat([frame, table(5, split="validation")], ignore_index=True))
    assert both["validation"]["dice"]["n_images"] == 5 and both["cross_validation"] == metrics["cross_validation"]


def test_a_table_without_folds_has_no_cross_validation():
    assert set(parts_of(table().drop(columns="fold"))) == {"test"}


def test_the_uncertainty_predicts_the_error_when_it_does_and_not_when_it_does_not():
    frame = table(60)
    good = metrics_of(frame)
    rng = generator(0, "shuffle")
    mixed = dict(zip(frame["id"].unique(), rng.random(60), strict=True))
    poor = metrics_of(frame.assign(uncertainty=frame["id"].map(mixed)))
    cases = frame.groupby("id").agg(dice=("dice", "mean"), uncertainty=("uncertainty", "first"))
    assert good["uncertainty"]["spearman"]["value"] == pytest.approx(spearmanr(1 - cases["dice"], cases["uncertainty"]).statistic)
    assert good["uncertainty"]["aurc_chance"]["value"] == pytest.approx((1 - cases["dice"]).mean())
    ordered = (1 - cases.sort_values("uncertainty")["dice"]).to_numpy()
    assert good["uncertainty"]["aurc"]["value"] == pytest.approx((ordered.cumsum() / np.arange(1, 61)).mean())
    for found in (good, poor):
        assert set(found["uncertainty"]) == {"aurc", "aurc_best", "aurc_chance", "spearman"}
        assert found["uncertainty"]["aurc_best"]["value"] <= found["uncertainty"]["aurc"]["value"]
    assert "uncertainty-tells" in codes_of(good) and "uncertainty-unclear" in codes_of(poor)
    assert good["uncertainty"]["aurc"]["value"] < poor["uncertainty"]["aurc"]["value"]


@pytest.mark.parametrize("frame", [table(20, uncertainty=np.nan), table(2), table(20).drop(columns="uncertainty")], ids=["none", "two cases", "no column"])
def test_nothing_is_said_of_an_uncertainty_that_is_not_there(frame):
    assert "uncertainty" not in metrics_of(frame)


def test_faultless_cases_do_not_promise_certainty():
    dice = metrics_of(table(8, dice=1.0))["test"]["dice"]
    assert dice["value"] == dice["high"] == 1.0 and 0.6 < dice["low"] < 0.75 and dice["method"] == "wilson bound of a faultless figure"


def test_one_patient_says_nothing_of_others():
    test = metrics_of(table(3, images=3))["test"]
    assert (test["dice"]["low"], test["dice"]["high"], test["dice"]["n_patients"]) == (0.0, 1.0, 1)
    assert test["dice"]["note"].startswith("one patient") and test["hd95"]["low"] == test["hd95"]["value"]


def test_a_figure_that_some_draws_lack_says_so():
    frame = table(10)
    lost = (frame["class"] == "tumour") & (frame["id"] != "test3") & (frame["id"] != "test4")
    frame.loc[lost, "dice"] = np.nan
    found = metrics_of(frame)["test"]["dice"]
    assert found["note"].startswith("undefined in") and found["low"] < found["value"] < found["high"]


def test_empty_masks_are_counted_and_said_in_both_languages():
    frame = table(12)
    tumour = frame.index[frame["class"] == "tumour"]
    frame.loc[tumour[:3], ["note", "dice", "hd95"]] = ["prediction empty", 0.0, np.nan]
    frame.loc[tumour[3:5], ["note", "dice", "hd95", "size_true"]] = ["truth empty", 0.0, np.nan, 0.0]
    notes = {each["code"]: each for each in metrics_of(frame)["notes"]}
    assert notes["prediction-empty"]["en"].startswith("In 3 of 10 test cases that hold 'tumour' nothing was predicted")
    assert notes["truth-empty"]["en"].startswith("'tumour' was predicted in 2 of 2 test cases that do not hold it")
    assert "3 例" in notes["prediction-empty"]["zh"] and "tumour" in notes["truth-empty"]["zh"]


def test_a_class_that_no_test_case_holds_and_one_that_is_never_drawn():
    frame = table(12)
    gone = frame["class"] == "tumour"
    absent = frame.copy()
    absent.loc[gone, ["dice", "iou", "nsd", "hd95", "sensitivity", "ppv"]] = np.nan
    absent.loc[gone, ["note", "size_true", "size_predicted", "n_true", "n_found", "n_false"]] = ["both empty", 0, 0, 0, 0, 0]
    metrics = metrics_of(absent)
    assert "class-absent" in codes_of(metrics) and set(metrics["per_class"]["test"]["tumour"]) == {"specificity"}
    assert metrics["test"]["dice"]["value"] == pytest.approx(frame.loc[~gone, "dice"].mean())
    never = frame.assign(note=np.where(gone, "prediction empty", ""), dice=np.where(gone, 0.0, frame["dice"]))
    assert "never-drawn" in codes_of(metrics_of(never))


def test_few_patients_are_said_in_words():
    few, many = metrics_of(table(8)), metrics_of(table(120), n_boot=50)
    assert codes_of(few)[:3] == ["small-test", "few-of-class", "few-of-class"] and not {"small-test", "few-of-class"} & set(codes_of(many))
    assert few["notes"][0]["en"].startswith("8 patients in the test set: a mean Dice of 0.")


def test_units_are_those_of_the_table():
    pixels = metrics_of(table(unit="pixel"))
    assert pixels["tolerance"]["unit"] == "pixel" and "unit-pixel" in codes_of(pixels) and "hd95" in pixels["test"]
    frame = table()
    frame.loc[:9, "unit"] = "pixel"
    mixed = metrics_of(frame)
    assert "unit-mixed" in codes_of(mixed) and "hd95" not in mixed["test"] and mixed["test"]["size_error"]["value"] == pytest.approx(0.3)


def test_every_note_fills_both_languages():
    facts = {"name": "liver", "n": 3, "total": 9, "value": "0.50", "low": "0.10", "high": "0.90"}
    for code in TEXTS:
        made = note(code, **facts)
        assert "{" not in made["en"] + made["zh"] and made["en"] != made["zh"]


def test_points_of_dice_against_size_leave_out_the_empty():
    frame = table(5)
    frame.loc[1, ["size_true", "dice"]] = [0.0, 0.0]
    rows = dice_against_size(frame.drop(columns="fold"))
    assert len(rows) == 9 and set(rows[0]) == {"id", "patient", "split", "fold", "class", "size", "dice", "unit"}
    assert rows[0]["size"] == frame.loc[0, "size_true"] and json.loads(json.dumps(rows)) == rows


def test_a_better_model_is_found_better_and_an_equal_one_is_not():
    good, poor = table(noise=0.05), table(noise=0.3)
    found = compare(good, poor, n_boot=500)
    assert found["value"] == pytest.approx(good["dice"].mean() - poor["dice"].mean()) and found["low"] > 0 and found["p"] < 0.05
    assert (found["metric"], found["n_patients"], found["n_images"], found["method"]) == ("dice", 30, 30, "paired patient bootstrap")
    same = compare(good, good, n_boot=200)
    assert (same["value"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    assert compare(good, good.sample(frac=1, random_state=0), n_boot=200)["high"] == pytest.approx(0, abs=1e-12)  # paired by name, not by row
    swapped = compare(poor, good, n_boot=500)
    assert swapped["value"] == -found["value"] and compare(good, poor, metric="hd95", n_boot=200)["value"] < 0


def test_only_what_both_scored_is_compared():
    one, two = table(12, noise=0.05), table(12, noise=0.3)
    shuffled = two[(two["id"] != "test3") & ~((two["id"] == "test5") & (two["class"] == "liver"))].sample(frac=1, random_state=0)
    found = compare(one, shuffled, n_boot=100)
    kept = one.merge(shuffled, on=["id", "class"])
    assert found["n_images"] == 11
    assert found["value"] == pytest.approx((kept["dice_x"] - kept["dice_y"]).groupby(kept["class"]).mean().mean())
    assert compare(one, two.assign(id="z" + two["id"])) is None and compare(one, two, part="validation") is None


def test_what_cannot_be_judged_is_refused():
    frame = table(4)
    with pytest.raises(DataError, match="there are no predictions of the test set: expected rows with split 'test', got 8 others"):
        metrics_of(frame.assign(split="validation"))
    with pytest.raises(DataError, match="the scored cases lack a column: expected hd95, got id, path"):
        metrics_of(frame.drop(columns="hd95"))
    with pytest.raises(DataError, match=r"a case is scored twice \(test0\): expected a row per case and class, got two of 'liver'"):
        metrics_of(pd.concat([frame, frame]))
    with pytest.raises(DataError, match="the scored cases hold an unknown class 'tumour': expected one of liver"):
        metrics_of(frame, ONE)
    with pytest.raises(OptionError, match="'map50' cannot be compared: expected one of dice, iou"):
        compare(frame, frame, metric="map50")
    with pytest.raises(OptionError, match="'train' cannot be compared: expected one of test, validation, cross_validation"):
        compare(frame, frame, part="train")


def test_rows_of_scored_masks_go_straight_into_the_table():
    rng = generator(0, "masks")
    rows = []
    for i in range(6):
        truth = np.zeros((1, 16, 16), np.uint8)
        truth[0, 2:8, 2:8], truth[0, 10:13, 9 : 11 + i % 3] = 1, 2
        predicted = np.where(rng.random(truth.shape) < 0.05, 0, truth).astype(np.uint8)
        facts = {"id": f"c{i}", "patient": f"p{i}", "split": "test", "fold": -1, "uncertainty": rng.random(), "unit": "mm"}
        rows += [facts | row for row in score_study(truth, predicted, TARGET, spacing_mm=(1.0, 1.0), tolerance_mm=1.0)]
    frame = pd.DataFrame(rows)
    cube = cube_of(frame, TARGET.classes)
    assert cube.values.shape == (len(FIGURES), 2, 6)
    metrics = metrics_of(frame)
    assert metrics["test"]["dice"]["value"] == pytest.approx(frame.groupby("class")["dice"].mean().mean())
    assert set(score_case(truth[0] == 1, truth[0] == 1, spacing_mm=(1.0, 1.0), tolerance_mm=1.0)) < set(frame)


def test_what_the_network_adds_is_the_paired_difference_from_the_best_baseline_of_validation():
    network, weak, good = (pd.concat([table(noise=n, seed=s), table(12, n, s, "validation")], ignore_index=True) for n, s in ((0.05, 1), (0.3, 2), (0.1, 3)))
    lucky = weak.assign(dice=np.where(weak["split"] == "test", 0.99, weak["dice"]))
    metrics = metrics_of(network, baselines={"lucky": lucky, "good": good})
    assert set(metrics["baselines"]["good"]) == {"test", "validation"} and metrics["gain"]["over"] == "good"
    tests = [frame[frame["split"] == "test"].groupby("class")["dice"].mean().mean() for frame in (network, good)]
    assert metrics["baselines"]["good"]["test"]["dice"]["value"] == pytest.approx(tests[1])
    assert metrics["gain"]["value"] == pytest.approx(tests[0] - tests[1])
    assert metrics["gain"] == {"over": "good", **compare(network, good, n_boot=300)}
    assert metrics["gain"]["low"] < metrics["gain"]["value"] < metrics["gain"]["high"]
    assert "baselines" not in metrics_of(network) and "gain" not in metrics_of(network)


def test_without_validation_the_only_baseline_is_the_one_that_counts():
    metrics = metrics_of(table(seed=1), baselines={"boosted": table(seed=2)})
    assert set(metrics["baselines"]["boosted"]) == {"test"} and metrics["gain"]["over"] == "boosted"
