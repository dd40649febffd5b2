"""Sets, intervals and thresholds on drawn predictions: what is promised is kept in the test and stored with the model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from vesalius.core.finding import Finding, Score
from vesalius.core.geometry import Grid
from vesalius.core.target import TargetSpec
from vesalius.errors import RunError
from vesalius.stages.knowing import Knowing, cells_of
from vesalius.stages.run import RunFolder
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.conformal import conformal
from vesalius.stages.trust.selective import selective

GRID = Grid.plain((4, 4))


def trust_of(folder: Path, table: pd.DataFrame, target: TargetSpec, mapping: Any = None) -> Trust:
    made = mapping or SimpleNamespace(output=SimpleNamespace(threshold=None), networks=[None])
    return Trust(RunFolder(folder), made, table[["id", "split", "label"]].copy() if "label" in table else table, None, table, target, {})


def parts(n: int) -> pd.DataFrame:
    """Two images a patient, half of the patients in each part."""
    people = np.arange(n) // 2
    return pd.DataFrame({"id": [f"i{i}" for i in range(n)], "patient": [f"p{p}" for p in people], "split": np.where(people % 2, "test", "validation"),
                         "label": "a"})


def classes(seed: int, n: int = 800, names: tuple[str, ...] = ("a", "b", "c"), sharp: float = 2.0) -> pd.DataFrame:
    rng, k = np.random.default_rng(seed), len(names)
    truth = np.repeat(rng.choice(k, n // 2), 2)
    p = softmax(sharp * np.eye(k)[truth] + rng.normal(0, 1, (n, k)), axis=1)
    return parts(n).assign(truth=truth, **{f"p_{name}": p[:, i] for i, name in enumerate(names)})


def test_the_true_class_is_in_the_set_as_often_as_stated(tmp_path: Path) -> None:
    target = TargetSpec("multiclass", ("a", "b", "c"))
    found = conformal(trust_of(tmp_path, classes(0), target))
    for facts in found["classes"].values():
        assert facts["test"]["low"] <= 0.9 <= facts["test"]["high"] + 0.02 and facts["bound"] is not None
    assert found["test"]["error_decided"]["value"] < found["test"]["error_all"]["value"]
    sizes = [each["size"]["value"] for each in found["by_error"]]
    assert sizes == sorted(sizes) and found["sentences"][0]["severity"] == "ok"
    stored = Knowing.load(tmp_path)
    assert stored is not None and list(stored.bounds) == [facts["bound"] for facts in found["classes"].values()]


def test_shifted_test_data_break_the_promise_and_that_is_said(tmp_path: Path) -> None:
    table = classes(0)
    shifted = table["split"] == "test"
    table.loc[shifted, "truth"] = (table.loc[shifted, "truth"] + 1) % 3
    found = conformal(trust_of(tmp_path, table, TargetSpec("multiclass", ("a", "b", "c"))))
    assert "conformal-short" in [each["code"] for each in found["sentences"]]


def test_a_class_with_few_patients_is_never_ruled_out(tmp_path: Path) -> None:
    table = classes(1, 200)
    table = table[(table["split"] == "test") | (table["truth"] != 2)].reset_index(drop=True)
    found = conformal(trust_of(tmp_path, table, TargetSpec("multiclass", ("a", "b", "c"))))
    assert found["classes"]["c"]["bound"] is None and any("c can never be ruled out" in each["en"] for each in found["sentences"])
    assert json.loads((tmp_path / "model" / "conformal.json").read_text())["bounds"][2] is None


def test_without_validation_it_does_not_apply(tmp_path: Path) -> None:
    table = classes(1, 40).assign(split="test")
    assert conformal(trust_of(tmp_path, table, TargetSpec("multiclass", ("a", "b", "c"))))["applies"] is False


def test_values_get_intervals(tmp_path: Path) -> None:
    rng, table = np.random.default_rng(0), parts(1200)
    value = rng.uniform(0, 10, 1200)
    table = table.assign(value=value, truth=value + rng.normal(0, 0.1 + 0.1 * value))
    found = conformal(trust_of(tmp_path, table, TargetSpec("regression", (), "age")))
    assert found["method"] == "normalised residuals" and found["test"]["coverage"]["low"] <= 0.9 <= found["test"]["coverage"]["high"] + 0.02
    stored = Knowing.load(tmp_path)
    assert stored is not None
    narrow, wide = stored.half_width(np.array([1.0, 9.0]))
    assert wide > 2 * narrow
    told = stored.told(Finding("f", "1", None, GRID, (Score("age", 1.0, unit="value"),)), TargetSpec("regression", (), "age"))
    assert cells_of(told) == {"low": pytest.approx(1 - narrow), "high": pytest.approx(1 + narrow)}


def test_signs_are_asked_one_by_one(tmp_path: Path) -> None:
    rng, table = np.random.default_rng(0), parts(600)
    truth = (rng.random((600, 2)) < 0.5).astype(float)
    truth[:100, 1] = np.nan
    p = 1 / (1 + np.exp(-(3 * (2 * np.nan_to_num(truth) - 1) + rng.normal(0, 1.5, truth.shape))))
    table = table.assign(truth_x=truth[:, 0], truth_y=truth[:, 1], p_x=p[:, 0], p_y=p[:, 1])
    target = TargetSpec("multilabel", ("x", "y"))
    found = conformal(trust_of(tmp_path, table, target))
    assert found["classes"]["y"]["test"]["n_images"] < found["classes"]["x"]["test"]["n_images"]
    assert all(facts["test"]["value"] >= 0.86 for facts in found["classes"].values())
    open_ = Knowing("multilabel", 0.1, (0.6, 0.6, 0.1, 0.1))
    assert open_.held_names(np.array([0.5, 0.95]), "x|y", target) == ["x|y", "y"]


def test_masks_promise_a_least_dice(tmp_path: Path) -> None:
    rng, table = np.random.default_rng(0), parts(400)
    doubt = rng.uniform(0, 0.4, 400)
    table = table.assign(**{"class": "liver", "uncertainty": doubt, "dice": np.clip(1 - doubt * rng.uniform(0, 1, 400), 0, 1)})
    table = table.assign(size_true=rng.uniform(90, 110, 400), size_predicted=100.0)
    found = conformal(trust_of(tmp_path, table, TargetSpec("mask", ("liver",))))
    assert found["test"]["coverage"]["low"] <= 0.9 <= found["test"]["coverage"]["high"] + 0.03 and 1.05 < found["sizes"]["liver"]["factor"] < 1.15
    stored = Knowing.load(tmp_path)
    assert stored is not None and stored.least_dice(np.array([0.0]))[0] > stored.least_dice(np.array([0.3]))[0]
    assert Knowing("mask", 0.1, (1.0,), spread=0.05).cells_of_doubt(0.15) == {"least_dice": 0.8}
    assert Knowing("mask", 0.1, (float("inf"),), spread=0.05).cells_of_doubt(float("nan")) == {"least_dice": 0.0}


def test_boxes_get_a_threshold_that_misses_few(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = parts(240).drop(columns="label").assign(path="", shape="[64, 64]", spacing_mm="null")
    box = [10, 10, 20, 20]
    rows["truth"] = [json.dumps([{"box": box, "class": "cell", "ignored": False}])] * 240
    rows["found"] = [json.dumps([{"box": box, "class": "cell", "score": float(rng.beta(6, 2))}, {"box": [40, 40, 50, 50], "class": "cell", "score": 0.2}])
                     for _ in range(240)]
    (tmp_path / "metrics.json").write_text(json.dumps({"matching": {"rule": "iou"}}))
    found = conformal(trust_of(tmp_path, rows, TargetSpec("boxes", ("cell",))))
    assert 0.3 < found["threshold"] < 0.8 and found["test"]["missed"]["low"] <= 0.1 and found["test"]["false_per_image"] == 0
    assert found["sentences"][0]["code"] == "conformal-boxes"
    stored = Knowing.load(tmp_path)
    assert stored is not None and stored.kept_from == found["threshold"] and stored.facts == {"n_patients": found["n_patients"]}
    few = conformal(trust_of(tmp_path, rows[rows["patient"].isin(sorted(set(rows["patient"]))[:5])], TargetSpec("boxes", ("cell",))))
    unable = Knowing.load(tmp_path)
    assert few["threshold"] is None and unable is not None and unable.kind == "boxes" and unable.kept_from is None


@pytest.mark.parametrize(("p", "label", "held", "decided"), [([0.95, 0.05], "a", "a", "yes"), ([0.6, 0.4], "a", "a / b", "no")])
def test_a_finding_says_what_is_not_ruled_out(p: list[float], label: str, held: str, decided: str) -> None:
    finding = Finding("f", label, max(p), GRID, tuple(Score(name, value) for name, value in zip("ab", p, strict=True)))
    told = Knowing("binary", 0.1, (0.7, 0.7)).told(finding, TargetSpec("binary", ("a", "b")))
    assert cells_of(told) == {"set": held, "decided": decided} and cells_of(finding) == {}
    assert ("does not decide" in told.notes[-1].text) == (decided == "no")


def test_bounds_that_are_damaged_or_absent(tmp_path: Path) -> None:
    assert Knowing.load(tmp_path) is None
    (tmp_path / "conformal.json").write_text("{}")
    with pytest.raises(RunError, match="bounds of the model are damaged"):
        Knowing.load(tmp_path)
    Knowing("binary", 0.1, (0.5, float("inf"))).save(tmp_path)
    assert Knowing.load(tmp_path) == Knowing("binary", 0.1, (0.5, float("inf")))
    facts = json.loads((tmp_path / "conformal.json").read_text())
    (tmp_path / "conformal.json").write_text(json.dumps(facts | {"schema": 9}))
    with pytest.raises(RunError, match="have another schema"):
        Knowing.load(tmp_path)


def test_fewer_answers_make_fewer_mistakes(tmp_path: Path) -> None:
    found = selective(trust_of(tmp_path, classes(0, 2400, sharp=3.5), TargetSpec("multiclass", ("a", "b", "c"))))
    assert found["aurc_best"]["value"] <= found["aurc"]["value"] < found["aurc_chance"]
    able = [each for each in found["promises"] if each["threshold"] is not None]
    assert able and all(each["test"]["error"]["low"] <= each["error"] for each in able)
    kept = [each["test"]["coverage"]["value"] for each in able]
    assert kept == sorted(kept) and found["curve"]["coverage"][-1] == 1


def test_what_cannot_be_promised_is_said(tmp_path: Path) -> None:
    found = selective(trust_of(tmp_path, classes(0, 200, sharp=0.0), TargetSpec("multiclass", ("a", "b", "c"))))
    assert all(each["threshold"] is None for each in found["promises"]) and "No threshold can promise" in found["sentences"][0]["en"]
    assert selective(trust_of(tmp_path, classes(0, 20), TargetSpec("multiclass", ("a", "b", "c"))))["applies"] is False
    assert selective(trust_of(tmp_path, parts(20), TargetSpec("regression", ())))["applies"] is False


def test_members_that_disagree_are_told_from_hard_images(tmp_path: Path) -> None:
    table = classes(0, 200)
    table["label"] = np.array(["a", "b", "c"])[table["truth"]]
    output = SimpleNamespace(threshold=None, predict=lambda network, x: network(x), probabilities=lambda raw: softmax(raw, axis=1))
    nets = [lambda x: torch.tensor([[4.0, 0, 0]]), lambda x: torch.tensor([[0, 4.0, 0]])]
    mapping = SimpleNamespace(output=output, networks=nets, encode_array=lambda a: torch.zeros(1, 2, 2))
    trust = trust_of(tmp_path, table, TargetSpec("multiclass", ("a", "b", "c")), mapping)
    trust.images = np.zeros((200, 1, 2, 2), np.uint8)
    members = selective(trust)["members"]
    assert members["n"] == 2 and members["epistemic"]["mean"] > members["aleatoric"]["mean"]
