import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.delong import delong_paired
from vesalius.seed import generator
from vesalius.stages.evaluate import calibrate_on_validation, choose_operating_point, evaluate, gain_over, rule_of, values_of
from vesalius.stages.notes import small_test

BINARY = TargetSpec("binary", ("healthy", "ill"), "diagnosis")
MANY = TargetSpec("multiclass", ("a", "b", "c"))


def table(target=BINARY, n=240, signal=3.0, seed=0, images=1, split=("validation", "test")):
    """Predictions in both splits; logits are twice too large, so that calibration has something to do."""
    rng = generator(seed, "table", signal)
    k, truth = max(target.n_out, 2), generator(0, "truth", n).integers(0, max(target.n_out, 2), n)
    raw = rng.normal(0, 1, (n, k))
    raw[np.arange(n), truth] += signal / 2
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "path": "x.png", "patient": [f"p{i // images}" for i in range(n)], "label": truth})
    frame["split"] = [split[(i // images) % len(split)] for i in range(n)]
    if target.kind == "multilabel":
        marks = (truth[:, None] == np.arange(k)).astype(float)
        frame[[f"truth_{name}" for name in target.classes]] = marks
    elif target.kind == "regression":
        return frame.assign(truth=truth * 10.0, raw_value=raw[:, 1] * 10, value=raw[:, 1] * 10)
    else:
        frame["truth"] = truth
    p = 1 / (1 + np.exp(-raw * 2)) if target.kind == "multilabel" else softmax(raw * 4, 1)
    for j, name in enumerate(target.classes):
        frame[f"raw_{name}"], frame[f"p_{name}"] = raw[:, j] * 4, p[:, j]
    return frame


def baselines(target=BINARY, **options):
    good, poor = table(target, signal=2.0, **options), table(target, signal=0.1, **options)
    return pd.concat([good.assign(model="hog"), poor.assign(model="histogram")], ignore_index=True)


def run(frame, rivals=None, target=BINARY, **options):
    calibrator, facts = calibrate_on_validation(frame, target)
    operating = choose_operating_point(frame, target) if target.kind == "binary" else None
    return evaluate(frame, rivals, target, calibration=facts, operating=operating, n_boot=200, **options)


def test_the_record_has_the_promised_shape_and_true_figures():
    frame = table()
    metrics = run(frame, baselines())
    test = frame[frame["split"] == "test"]
    called = test["p_ill"] >= metrics["operating_point"]["threshold"]
    assert metrics["test"]["auc"]["value"] == pytest.approx(roc_auc_score(test["truth"], test["p_ill"]))
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(accuracy_score(test["truth"], called))
    assert set(metrics) == {
        "schema", "target", "primary", "test", "validation", "per_class", "confusion", "curves", "calibration", "operating_point", "baselines", "gain", "notes",
    }
    assert {"value", "low", "high", "n_patients", "n_images"} <= set(metrics["test"]["auc"])
    assert metrics["target"] == {"kind": "binary", "classes": ["healthy", "ill"], "name": "diagnosis"} and metrics["primary"] == "auc"
    assert np.sum(metrics["confusion"]["test"]) == 120 and set(metrics["curves"]["test"]) == {"roc", "pr", "reliability"}
    assert set(metrics["per_class"]["test"]) == {"healthy", "ill"}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_the_gain_is_over_the_baseline_that_was_best_on_validation():
    rivals = baselines()
    swapped = rivals["model"].map({"hog": "histogram", "histogram": "hog"}).where(rivals["split"] == "test", rivals["model"])
    metrics = run(table(), rivals.assign(model=swapped))
    assert metrics["baselines"]["histogram"]["test"]["auc"]["value"] > metrics["baselines"]["hog"]["test"]["auc"]["value"]
    assert metrics["gain"]["over"] == "hog"


def test_one_image_per_patient_is_compared_by_delong_and_several_by_bootstrap():
    one, two = table(), table(signal=2.0)
    test = one["split"] == "test"
    found, expected = gain_over(one, two, BINARY, "auc"), delong_paired(one["truth"][test], one["p_ill"][test], two["p_ill"][test])
    assert (found["value"], found["low"], found["p"], found["method"]) == (expected.value, expected.low, expected.p, "delong")
    found = gain_over(table(images=2), table(signal=2.0, images=2), BINARY, "auc", n_boot=300)
    assert found["method"] == "paired patient bootstrap" and (found["n_patients"], found["n_images"]) == (60, 120)
    assert found["low"] < found["value"] < found["high"]


def test_pairs_are_matched_by_image_not_by_row():
    one, two = table(), table(signal=2.0)
    shuffled = two.sample(frac=1, random_state=3)
    assert gain_over(one, shuffled, BINARY, "auc") == gain_over(one, two, BINARY, "auc")
    assert gain_over(one, two.iloc[::3], BINARY, "auc")["n_images"] == 40


@pytest.mark.parametrize("kind", ["multiclass", "ordinal", "multilabel", "regression"])
def test_every_kind_of_target_is_evaluated(kind):
    target = TargetSpec(kind, () if kind == "regression" else ("a", "b", "c"))
    metrics = run(table(target), baselines(target), target)
    primary = {"regression": "r2", "ordinal": "kappa"}.get(kind, "auc")
    assert metrics["primary"] == primary and metrics["gain"]["over"] == "hog" and metrics["gain"]["metric"] == primary
    assert metrics["gain"]["value"] == pytest.approx(metrics["test"][primary]["value"] - metrics["baselines"]["hog"]["test"][primary]["value"])
    assert "operating_point" not in metrics
    json.dumps(metrics, allow_nan=False)


def test_calibration_is_judged_out_of_fold():
    calibrator, facts = calibrate_on_validation(table(n=1200), BINARY)
    assert facts["method"].startswith("temperature") and facts["chosen_on"] == "validation"
    assert all(facts["after"][name] < facts["before"][name] for name in ("brier", "nll", "ece"))
    assert calibrator.parameters == facts["parameters"]
    frame = table(n=60)
    assert calibrate_on_validation(frame.assign(truth=1), BINARY)[1]["method"] == "none"


def test_the_test_set_has_no_say_in_threshold_and_calibration():
    frame = table()
    other = frame.copy()
    on_test = other["split"] == "test"
    other.loc[on_test, ["raw_ill", "p_ill"]] = 0.123
    other.loc[on_test, "truth"] = 1 - other.loc[on_test, "truth"]
    assert calibrate_on_validation(frame, BINARY) == calibrate_on_validation(other, BINARY)
    assert choose_operating_point(frame, BINARY) == choose_operating_point(other, BINARY)


def test_a_stated_sensitivity_is_met_on_validation():
    frame = table()
    found = choose_operating_point(frame, BINARY, rule="sensitivity 0.95")
    part = frame[frame["split"] == "validation"]
    assert found["rule"] == "sensitivity>=0.95" and found["sensitivity"] >= 0.95
    assert (part["p_ill"][part["truth"] == 1] >= found["threshold"]).mean() == pytest.approx(found["sensitivity"])
    assert rule_of(found["rule"]) == ("sensitivity", 0.95)
    youden = choose_operating_point(frame, BINARY)
    assert 0 < youden["threshold"] < 1 and youden["sensitivity"] + youden["specificity"] > 1.5


def test_one_class_in_validation_gives_one_half_and_no_false_figure():
    frame = table()
    frame.loc[frame["split"] == "validation", "truth"] = 0
    found = choose_operating_point(frame, BINARY)
    assert found["threshold"] == 0.5 and "sensitivity" not in found and "one class" in found["rule"]


def test_an_interval_drawn_from_very_few_patients_is_called_too_narrow():
    drawn = {"value": 0.5, "low": 0.4, "high": 0.6, "method": "patient bootstrap (bca)"}
    (few,), (more,) = small_test(drawn, ("a Dice", "Dice"), 2, 2), small_test(drawn, ("a Dice", "Dice"), 10, 2)
    assert few["code"] == more["code"] == "small-test" and few["en"].startswith(more["en"][:-1].replace("10", "2"))
    assert "fewer than 10 patients is itself too narrow" in few["en"] and "本身就偏窄" in few["zh"] and "narrow" not in more["en"]
    (counted,) = small_test(drawn | {"method": "wilson"}, ("an accuracy", "准确率"), 2, 2)
    assert "narrow" not in counted["en"] and small_test(None, ("", ""), 2, 2) == [] == small_test(drawn, ("", ""), 100, 2)


def test_small_n_is_said_in_words():
    frame = table(n=26)
    frame["p_ill"] = np.where(frame["truth"] == 1, 0.9, 0.1)
    first = frame.index[frame["split"] == "test"][0]
    frame.loc[first, "p_ill"] = 1 - frame.loc[first, "p_ill"]
    frame["p_healthy"] = 1 - frame["p_ill"]
    notes = {each["code"]: each for each in run(frame)["notes"]}
    assert notes["small-test"]["en"] == "13 patients in the test set: an accuracy of 0.92 could be anything from 0.67 to 0.99."
    assert notes["small-test"]["zh"] == "测试集只有 13 名患者：准确率 0.92 的真实值可能在 0.67 到 0.99 之间。"
    assert "13 patients in validation" in notes["small-validation"]["en"] and "few-of-class" in notes


def test_further_notes_are_called_for_by_the_figures():
    frame = table(n=400)
    assert run(frame)["notes"] == []
    codes = [each["code"] for each in run(frame, table(n=400).assign(model="hog"))["notes"]]
    assert codes == ["gain-unclear"]
    one = frame.copy()
    one.loc[one["split"] == "test", "truth"] = 1
    metrics = run(one)
    assert "auc" not in metrics["test"] and metrics["primary"] == "accuracy" and "one-class-test" in [n["code"] for n in metrics["notes"]]
    never = table(MANY, n=400)
    never["p_c"] = 0.0
    assert "Never predicted on the test set: c." in " ".join(note["en"] for note in run(never, target=MANY)["notes"])


@pytest.mark.parametrize(("low", "high", "code"), [(0.01, 0.05, "help"), (-0.004, 0.004, "flat"), (-0.01, 0.05, "unclear")])
def test_the_data_size_curve_gets_a_sentence(low, high, code):
    curve = [{"n_patients": 100}, {"n_patients": 200, "metric": "auc", "gain": (low + high) / 2, "gain_low": low, "gain_high": high, "worth": 0.005}]
    metrics = run(table(n=400), data_size=curve)
    said = metrics["notes"][-1]
    assert metrics["data_size"] == curve
    assert said["code"] == f"more-patients-{code}" and "200" in said["en"] and "AUC" in said["zh"] and f"{high:+.3f}" in said["zh"]


def test_bad_tables_are_refused():
    frame = table()
    with pytest.raises(DataError, match="there are no predictions of the test set"):
        evaluate(frame[frame["split"] == "validation"], None, BINARY, calibration={}, operating=None)
    with pytest.raises(DataError, match="the predictions lack a column: expected p_ill"):
        values_of(frame.drop(columns="p_ill"), BINARY, "p")
    with pytest.raises(OptionError, match="unknown rule for the operating point"):
        choose_operating_point(frame, BINARY, rule="sensitivity high")


def test_folds_are_counted_and_said():
    frame = table(n=400)
    held = frame["split"] == "validation"
    frame["fold"] = np.where(held, np.arange(400) // 2 % 4, -1)
    metrics, plain = run(frame), run(table(n=400))
    assert metrics["cross_validated"] == 4 and "cross_validated" not in plain and "cross_validated" not in run(frame.assign(fold=-1))
    assert {name: metrics[name] for name in ("test", "validation", "calibration")} == {name: plain[name] for name in ("test", "validation", "calibration")}
    said = {each["code"]: each for each in metrics["notes"]}
    assert "from 4 folds" in said["cross-validated"]["en"] and "4 折交叉验证" in said["cross-validated"]["zh"]
    assert "calibration and the operating point" in said["chosen-on-folds"]["en"] and "概率校准和判定阈值" in said["chosen-on-folds"]["zh"]


@pytest.mark.parametrize(("target", "chosen"), [(MANY, "The calibration was chosen"), (TargetSpec("regression", (), "age"), None)])
def test_only_what_was_chosen_on_folds_is_named(target, chosen):
    frame = table(target)
    said = {each["code"]: each["en"] for each in run(frame.assign(fold=np.where(frame["split"] == "validation", 1, -1)), target=target)["notes"]}
    assert "cross-validated" in said and said.get("chosen-on-folds", "").startswith(chosen or "") and ("chosen-on-folds" in said) == (chosen is not None)
