from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.stages.explain import cases, choose_cases, explain_cases

BINARY = TargetSpec("binary", ("healthy", "ill"))


def table(p_ill, truth, patients=None, split="test"):
    names = [f"i{k}" for k in range(len(truth))]
    columns = {"id": names, "patient": patients or names, "split": split, "truth": truth, "p_ill": p_ill, "p_healthy": 1 - np.array(p_ill)}
    return pd.DataFrame(columns)


def roles(chosen):
    return {role: [case for case, r in chosen if r == role] for role in ("best", "worst", "uncertain")}


def test_best_worst_and_uncertain():
    predictions = table([0.99, 0.02, 0.97, 0.05, 0.51, 0.9, 0.1], [1, 0, 0, 1, 1, 1, 0])
    got = roles(choose_cases(predictions, BINARY, n=2))
    assert got["worst"] == ["i2", "i3"]
    assert got["uncertain"][0] == "i4"
    assert set(got["best"]) == {"i1", "i0"}, "one of each class"


def test_each_patient_once_and_only_the_test_set():
    predictions = pd.concat([table([0.9, 0.8, 0.6], [0, 0, 1], ["a", "a", "b"]), table([1.0], [0], ["c"], "validation").assign(id="v")])
    chosen = choose_cases(predictions, BINARY, n=3)
    assert sorted(case for case, _ in chosen) == ["i0", "i2"]


def test_order_of_rows_does_not_matter():
    predictions = table([0.5] * 6, [0, 1] * 3)
    assert choose_cases(predictions, BINARY) == choose_cases(predictions.sample(frac=1, random_state=1), BINARY)


def test_regression_has_no_uncertain_case():
    predictions = pd.DataFrame({"id": ["a", "b", "c"], "patient": ["a", "b", "c"], "split": "test", "truth": [1.0, 2.0, 3.0], "value": [1.0, 9.0, 3.5]})
    assert roles(choose_cases(predictions, TargetSpec("regression", ()), n=1)) == {"best": ["a"], "worst": ["b"], "uncertain": []}


def test_multilabel():
    columns = {"id": ["a", "b", "c"], "patient": ["a", "b", "c"], "split": "test", "truth_x": [1, 0, 1], "truth_y": [0, 0, 1]}
    predictions = pd.DataFrame(columns | {"p_x": [0.95, 0.9, 0.8], "p_y": [0.05, 0.9, 0.52]})
    assert roles(choose_cases(predictions, TargetSpec("multilabel", ("x", "y")), n=1)) == {"best": ["a"], "worst": ["b"], "uncertain": ["c"]}


def test_missing_column_is_named():
    with pytest.raises(DataError, match="the predictions lack a column: expected p_ill, got .*evaluate the run again"):
        choose_cases(table([0.5], [1]).drop(columns="p_ill"), BINARY)


@pytest.mark.parametrize("ndim", [2, 3])
def test_cases_are_written_with_pictures(tmp_path, ndim, network_of, mapping_of, monkeypatch):
    torch.set_num_threads(1)
    shape = (8, 24, 24)[-ndim:]
    image = np.random.default_rng(0).integers(0, 255, (1, *shape), dtype=np.uint8)
    seen, opened = [], []
    monkeypatch.setattr(cases, "open_study", lambda source: opened.append(source.path) or Study(image, Grid.plain(shape), source=source.path))
    predictions = table([0.9, 0.9], [1, 0]).assign(id=["病人/一.png", "b"], label=["ill", "healthy"])
    sources = {case: Source("raster", f"/data/{case}") for case in predictions["id"]}
    folder = tmp_path / "explain"
    path = explain_cases(mapping_of(network_of("cnn", ndim)), predictions, sources, folder, n=1, progress=lambda *facts: seen.append(facts))
    rows = json.loads(path.read_text("utf-8"))
    assert path == folder / "cases.json"
    assert {(row["id"], row["role"], row["label"]) for row in rows} == {("病人/一.png", "uncertain", "ill"), ("b", "worst", "healthy")}
    assert opened == [f"/data/{row['id']}" for row in rows]
    assert rows[0].keys() == {"id", "role", "label", "predicted", "probability", "image", "maps"}
    assert [shown["method"] for shown in rows[0]["maps"]] == ["gradcam", "occlusion"]
    files = [rows[1]["image"], *(shown["file"] for shown in rows[1]["maps"])]
    assert all(Image.open(folder / file).size == (256, 256) for file in files)
    assert seen[-1] == (2, 2, "explain")
