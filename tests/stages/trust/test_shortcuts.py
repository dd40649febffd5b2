"""Shortcuts: what is planted beside the lesion is found and named, and a clean task is left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.trust.runs import blobs, finished
from vesalius.core.target import TargetSpec
from vesalius.kernels.crossridge import products
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_shortcuts import shortcuts as section
from vesalius.stages.trust import _views
from vesalius.stages.trust._chance import crossed_with_chance, dealt
from vesalius.stages.trust._filefacts import columns_of, most_telling
from vesalius.stages.trust._small import Small
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.shortcuts import holm, levelled, shortcuts

NAMES = np.array(["normal", "ill"])
N = 120


def run_of(folder: Path, plant: str = "none", target: TargetSpec | None = None, disease: float = 60) -> Trust:
    """One picture a patient; the plant is on nine of ten of the ill and one of ten of the others."""
    rng = np.random.default_rng(3)
    label = rng.permutation(np.arange(N) % 2)
    bears = label ^ (rng.random(N) < 0.1)
    images = blobs(label, np.arange(N), seed=3, disease=disease, side=64)
    for i in np.flatnonzero(bears):
        if plant == "marker":
            images[i, 0, 1:4, 2:8] = 255
        elif plant == "dark":
            images[i] = images[i] // 2
    given: list[str] = NAMES[label].tolist() if target is None else ["spot" if each else "" for each in label]
    trust = finished(folder, given, np.arange(N), images if target is None else None, *([] if target is None else [target]))
    for i, case in enumerate(trust.cases.values()):
        side = 70 if plant == "size" and bears[i] else 64
        Image.fromarray(np.asarray(Image.fromarray(images[i, 0]).resize((side, side)))).save(case.source.path)
    return trust


def verdicts(found: dict[str, object]) -> dict[str, str]:
    views: dict[str, dict[str, str]] = found["views"]  # type: ignore[assignment]
    return {name: view.get("verdict") or view["why"] for name, view in views.items()}


def test_a_clean_task_is_left_in_peace(tmp_path: Path) -> None:
    found = shortcuts(run_of(tmp_path))
    assert found["whole"]["value"] > 0.8 and found["network"] is None
    told = verdicts(found)
    assert told["border"] == told["centre_out"] == "no" and told["metadata"] == "files-alike"
    assert [row["code"] for row in found["sentences"] if row["code"].startswith("shortcut") if row["severity"] != "info"] == []
    assert "no-shortcut" in [row["code"] for row in found["sentences"]]


def test_a_marker_at_the_rim_is_named(tmp_path: Path) -> None:
    found = shortcuts(run_of(tmp_path, "marker"))
    assert verdicts(found)["border"] == "solves" and found["views"]["border"]["figure"]["value"] > 0.8
    row = next(row for row in found["sentences"] if row["code"] == "shortcut-border")
    assert row["severity"] == "warning" and "can be solved without the lesion" in row["en"] and "无需看病灶" in row["zh"]
    assert "no-shortcut" not in [row["code"] for row in found["sentences"]]


def test_the_size_of_the_files_is_named(tmp_path: Path) -> None:
    found = shortcuts(run_of(tmp_path, "size"))
    assert verdicts(found)["metadata"] == "solves" and found["views"]["metadata"]["told_by"] in ("height", "width")
    assert verdicts(found)["border"] == "no"
    assert any("(most: height)" in row["en"] or "(most: width)" in row["en"] for row in found["sentences"])


def test_exposure_is_told_but_is_no_proof(tmp_path: Path) -> None:
    found = shortcuts(run_of(tmp_path, "dark"))
    row = next(row for row in found["sentences"] if row["code"] == "shortcut-intensities")
    assert row["severity"] == "info" and "exposure or machine" in row["en"]


def test_the_network_is_compared_on_the_test_images_alone(tmp_path: Path) -> None:
    trust = run_of(tmp_path)
    truth = (trust.frame["label"] == "ill").to_numpy(float)
    p = np.clip(truth * 0.6 + np.random.default_rng(0).random(N) * 0.4, 0, 1)
    trust.predictions = pd.DataFrame({"id": trust.frame["id"], "split": trust.frame["split"], "p_normal": 1 - p, "p_ill": p})
    found = shortcuts(trust)
    assert found["network"]["value"] == 1.0 and found["network"]["n_images"] == 24
    border = found["views"]["border"]
    assert border["network_minus"]["low"] > 0 and border["network_minus"]["n_images"] == 24
    shown = section(RunFacts(tmp_path, trust={"shortcuts": found}))
    assert shown is not None and len(shown.tables[0].rows) == 1 + len(found["views"]) and shown.tables[0].rows[0][0].text.en == "the whole picture"
    assert any("files say the same" in cell.text.en for row in shown.tables[0].rows for cell in row)


def test_masks_are_asked_whether_a_structure_is_there(tmp_path: Path) -> None:
    found = shortcuts(run_of(tmp_path, "size", TargetSpec("mask", ("spot",))))
    assert found["of"] == "presence" and verdicts(found)["metadata"] == "solves" and verdicts(found)["border"] == "marked"
    shown = section(RunFacts(tmp_path, trust={"shortcuts": found}))
    assert shown is not None and "which structures are there" in shown.lead[-1].en


def test_too_few_patients(tmp_path: Path) -> None:
    found = shortcuts(finished(tmp_path, NAMES[np.arange(10) % 2], np.arange(10), blobs(np.arange(10) % 2, np.arange(10))))
    assert found["applies"] is False and "too few patients" in found["why"]["en"]
    shown = section(RunFacts(tmp_path, trust={"shortcuts": found}))
    assert shown is not None and "too few patients" in shown.lead[0].en and section(RunFacts(tmp_path)) is None


def test_a_value_is_a_task_too(tmp_path: Path) -> None:
    trust = run_of(tmp_path, "marker")
    value = (trust.frame["label"] == "ill") * 2.0 + np.random.default_rng(0).normal(0, 0.3, N)
    trust.frame["label"], trust.target = value, TargetSpec("regression", (), "size")
    found = shortcuts(trust)
    assert found["metric"] == "r2" and verdicts(found)["border"] == "solves" and "R²" in found["sentences"][0]["en"]


@pytest.mark.parametrize("shape", [(40, 40), (20, 20, 20)])
def test_views_take_away_what_they_say(shape: tuple[int, ...]) -> None:
    pictures = np.ones((3, *shape), np.float32)
    middle = tuple(n // 2 for n in shape)
    border, out = _views.border_only(pictures), _views.centre_out(pictures)
    assert border[(0, *middle)] == out[(0, *middle)] == 0 and border[(0,) + (0,) * len(shape)] == 1
    assert border.sum() < out.sum() < pictures.sum()
    assert _views.low_resolution(pictures).shape == (3, 8 ** len(shape)) and np.allclose(_views.low_resolution(pictures), 1)
    assert _views.background_only(pictures) is None
    body = np.zeros((3, *shape), np.float32)
    body[(slice(None), *(slice(n // 4, 3 * n // 4) for n in shape))] = np.arange(1, 4, dtype=np.float32).reshape(3, *(1,) * len(shape))
    background = _views.background_only(body)
    assert background is not None and background.max() == 0


def test_intensities_know_no_place() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((1, 32, 32), 0.4, np.float32)
    grainy = flat + rng.normal(0, 0.05, flat.shape).astype(np.float32)
    assert _views.intensities(flat).shape == (1, 35) and _views.intensities(grainy)[0, -1] > _views.intensities(flat)[0, -1] + 0.01
    assert np.allclose(_views.intensities(np.flip(grainy, 1)), _views.intensities(grainy), atol=1e-5)


def test_facts_become_columns_and_the_telling_one_is_named() -> None:
    n = 60
    label = (np.arange(n) % 2)[:, None].astype(float)
    facts = pd.DataFrame({"bits": 8, "manufacturer": np.where(label[:, 0] > 0, "A", "B"), "width": np.arange(n), "station": [f"s{i}" for i in range(n)]})
    columns = columns_of(facts)
    assert set(columns) == {"manufacturer", "width"} and most_telling(columns, label) == "manufacturer"


def test_levels_of_folds_are_taken_away_and_p_values_adjusted() -> None:
    truth, fold = np.array([[0.0], [0], [1], [1]]), np.array([0, 0, 1, 1])
    assert levelled(np.array([[1.0], [1], [0], [0]]), truth, fold).ravel().tolist() == [0.5] * 4
    assert holm({"a": 0.9}) == {"a": 0.9}


def test_labels_are_dealt_out_by_patient_within_the_fold() -> None:
    groups, fold = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) % 5, 2)
    given = dealt(groups, fold, 0, 3)
    assert (fold[given] == fold).all() and (groups[given][::2] == groups[given][1::2]).all() and (given != np.arange(40)).any()
    assert sorted(given) == list(range(40)) and (dealt(groups, fold, 0, 4) != given).any()


def test_chance_is_called_chance_as_often_as_stated() -> None:
    rng, n = np.random.default_rng(0), 60
    fold = np.arange(n) % 5
    truth = (np.arange(n) // 5 % 2)[:, None].astype(float)
    small = Small(np.arange(n), np.zeros((n, 1, 1)), truth, ("ill",), np.arange(n).astype(str), np.arange(n), "auc", n)
    p = [crossed_with_chance(products(rng.normal(size=(n, 40))), small, fold, seed, 39)[1] for seed in range(40)]
    assert 0.0 < np.mean(np.array(p) <= 0.2) < 0.4 and np.mean(np.array(p) <= 0.05) < 0.16
    found = crossed_with_chance(products(truth + rng.normal(size=(n, 3)) * 0.3), small, fold, 0, 39)[1]
    assert found == 1 / 40
