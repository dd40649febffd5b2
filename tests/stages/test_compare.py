import json

import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError, RunError
from vesalius.kernels.delong import delong_paired
from vesalius.plan import Plan
from vesalius.seed import generator
from vesalius.stages.compare import compare, differences, judgement, with_noise
from vesalius.stages.judged import judged_of
from vesalius.stages.report.brief import brief_page, compare_page, compare_text
from vesalius.stages.report.texts import same
from vesalius.storage import atomic_json

TARGET = {"kind": "binary", "classes": ["healthy", "ill"], "name": "label"}


def predictions(seed=0, n=200, signal=1.5, images=1):
    """The truth is the same for every seed; the score is not."""
    people = n // images
    truth = np.repeat(generator(0, "compare").integers(0, 2, people), images)
    p = 1 / (1 + np.exp(-(generator(seed, "score", signal).normal(size=n) + signal * (truth - 0.5))))
    patients = np.repeat([f"p{i}" for i in range(people)], images)
    facts = {"id": [f"i{i}" for i in range(n)], "patient": patients, "split": "test", "truth": truth, "p_healthy": 1 - p, "p_ill": p}
    return pd.DataFrame(facts)


def run(folder, table, seal="a" * 64, target=TARGET, sd=None, source="repeats", **metrics):
    folder.mkdir(parents=True)
    atomic_json(folder / "metrics.json", {"target": target, "primary": "auc", "operating_point": {"threshold": 0.5}} | metrics)
    Plan({}).decide("split.seal", seal, "x").decide("network.name", "small-cnn", "x").save(folder / "plan.toml")
    table.to_parquet(folder / "predictions.parquet")
    if sd is not None:
        band = {"band": {"auc": {"mean": 0.8, "sd": sd, "low": 0.7, "high": 0.9, "n": 5}}}
        atomic_json(folder / ("repeats.json" if source == "repeats" else "trust.json"), band if source == "repeats" else {"noise": band | {"from": source}})
    return folder


def codes_of(record):
    return [each["code"] for each in record["sentences"]]


def test_a_better_run_is_named_and_the_interval_is_delongs(tmp_path):
    good, poor = predictions(1, signal=3.0), predictions(2, signal=0.8)
    record = compare(run(tmp_path / "good", good), run(tmp_path / "poor", poor), n_boot=200)
    found = delong_paired(good["truth"].to_numpy(), good["p_ill"].to_numpy(), poor["p_ill"].to_numpy())
    gap = record["figures"]["auc"]
    assert (gap["value"], gap["low"], gap["high"], gap["p"]) == pytest.approx((found.value, found.low, found.high, found.p))
    assert gap["method"] == "delong" and gap["value"] == pytest.approx(gap["first"] - gap["second"])
    assert record["verdict"] == "first" and codes_of(record) == ["better-first", "noise-unknown", "test-spent"]
    assert record["sentences"][0]["en"].startswith("good is better than poor")
    assert compare(tmp_path / "poor", tmp_path / "good", n_boot=200)["verdict"] == "second"
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_no_difference_is_said_and_what_would_show_one(tmp_path):
    record = compare(run(tmp_path / "a", predictions(1)), run(tmp_path / "b", predictions(2)), n_boot=200, out=tmp_path / "out")
    assert record["verdict"] == "none" and record["needed"] > record["n_patients"] and 0.02 < record["detectable"] < 0.2
    assert "No difference shown" in record["sentences"][0]["en"] and "未显示差异" in record["sentences"][0]["zh"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text("utf-8")) == record
    assert {"accuracy", "sensitivity", "specificity", "brier"} <= set(record["figures"])


def test_images_of_a_patient_widen_the_interval(tmp_path):
    """The same ten images of each patient say no more than one."""
    a, b = (predictions(seed, n=60) for seed in (1, 2))
    copies = [pd.concat([each.assign(id=each["id"] + f"-{k}") for k in range(10)], ignore_index=True) for each in (a, b)]
    one = compare(run(tmp_path / "a", a), run(tmp_path / "b", b), n_boot=100)["figures"]["auc"]
    ten = compare(run(tmp_path / "c", copies[0]), run(tmp_path / "d", copies[1]), n_boot=100)["figures"]["auc"]
    assert ten["method"] == "delong by patient (Obuchowski)"
    assert (ten["value"], ten["high"] - ten["low"]) == pytest.approx((one["value"], one["high"] - one["low"]), rel=0.05)


def test_noise_of_the_seed_is_not_progress(tmp_path):
    a, b = predictions(1, signal=2.2), predictions(2, signal=0.8)
    noisy = compare(run(tmp_path / "a", a, sd=0.1), run(tmp_path / "b", b), n_boot=100)
    assert noisy["verdict"] == "noise" and noisy["with_noise"]["low"] < 0 < noisy["figures"]["auc"]["low"]
    assert "within-noise" in codes_of(noisy) and "another seed" in noisy["sentences"][0]["en"]
    calm = compare(run(tmp_path / "c", a, sd=0.001, source="seeds"), run(tmp_path / "d", b, sd=0.002, source="members"), n_boot=100)
    assert calm["verdict"] == "first" and calm["runs"][1]["noise"] == [0.002, 5] and "with-noise" in codes_of(calm)
    folds = compare(run(tmp_path / "e", a, sd=0.1, source="folds"), tmp_path / "d", n_boot=100)
    assert folds["runs"][0]["noise"] is None


def test_the_interval_with_seeds_adds_variances():
    made = with_noise(0.1, 0.03, 10**6, [(0.04, 10**6), (0.0, 10**6)])
    assert made["high"] - 0.1 == pytest.approx(1.96 * 0.05, rel=1e-3)
    few = with_noise(0.1, 0.0, 100, [(0.04, 3), None])
    assert few["high"] - 0.1 > 1.96 * 0.04 * 2**0.5 and with_noise(0.1, 0.1, 9, [None, None]) is None
    assert with_noise(0.0, 0.0, 9, [(0.0, 5), None]) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_less_is_better_for_some_figures():
    assert judgement({"value": 0.5, "low": 0.2, "high": 0.8}, "mae", 50, [None, None])["verdict"] == "second"
    same_twice = judgement({"value": 0.0, "low": 0.0, "high": 0.0}, "auc", 50, [None, None])
    assert same_twice["verdict"] == "none" and same_twice["needed"] is None


def test_two_runs_on_different_data_are_one_clear_error(tmp_path):
    a, b = run(tmp_path / "a", predictions()), run(tmp_path / "b", predictions(), seal="b" * 64)
    with pytest.raises(DataError, match=r"the two runs were tested on different data \(a, b\): expected one sealed test set \(a: aaaaaaaaaaaa\), got b: bbb"):
        compare(a, b)


def test_runs_of_other_classes_and_unfinished_ones_are_refused(tmp_path):
    a = run(tmp_path / "a", predictions())
    other = run(tmp_path / "b", predictions(), target=TARGET | {"classes": ["healthy", "sick"]})
    with pytest.raises(DataError, match="the two runs answer different questions"):
        compare(a, other)
    (tmp_path / "c").mkdir()
    with pytest.raises(RunError, match="this is not a finished run"):
        compare(a, tmp_path / "c")
    (a / "predictions.parquet").unlink()
    with pytest.raises(RunError, match="the run has no predictions"):
        compare(a, other)


def test_the_order_of_the_cases_does_not_matter(tmp_path):
    a, b = predictions(1), predictions(2)
    straight = compare(run(tmp_path / "a", a), run(tmp_path / "b", b), n_boot=50)
    mixed = compare(tmp_path / "a", run(tmp_path / "c", b.sample(frac=1, random_state=1)), n_boot=50)
    assert mixed["figures"]["auc"] == straight["figures"]["auc"]


def test_a_run_beside_itself_is_the_same(tmp_path):
    folder = run(tmp_path / "a", predictions(1))
    record = compare(folder, folder, n_boot=50)
    assert record["verdict"] == "none" and record["needed"] is None and "is the same, whichever patients are drawn" in record["sentences"][0]["en"]


def test_figures_are_those_of_the_whole_table():
    a, b = (judged_of(predictions(seed), {"operating_point": {"threshold": 0.5}, "primary": "auc"}, TargetSpec.from_dict(TARGET)) for seed in (1, 2))
    made = differences((a, b), 0, 100)
    whole = a.assess(0, 50)
    assert {name: row["first"] for name, row in made.items()} == pytest.approx({name: whole[name]["value"] for name in made})




def test_the_page_and_the_text_say_the_same(tmp_path):
    record = compare(run(tmp_path / "run<1>", predictions(1)), run(tmp_path / "run2", predictions(2)), n_boot=50)
    page = compare_page(record, "zh")
    assert "未显示差异" in page and "No difference shown" in page and "run&lt;1&gt;" in page and "run<1>" not in page
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    text = compare_text(record)
    assert "No difference shown" in text and "AUC" in text.splitlines()[len(record["sentences"]) + 2]
    assert "未显示差异" in compare_text(record, "zh")
    with pytest.raises(OptionError, match="there is no page in this language: expected en or zh, got de"):
        brief_page(same("x"), [], [], "de")
