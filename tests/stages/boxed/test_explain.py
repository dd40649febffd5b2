"""What boxes rest on: the maps lie where the network looked, on the study's own grid, and the pictures are written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stages.boxed.boxstandin import StandIn, box_at, standin, study_of
from vesalius.core.boxes import BoxTruth
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.stages.boxed.drawing import View
from vesalius.stages.boxed.explain import FEWEST, affordable, explain_box, explain_boxes, maps_of, prepared, window_at
from vesalius.stages.explain.drise import MASKS

SIDE = 16.0


def share(heat: np.ndarray, centre: tuple[float, ...], side: float) -> float:
    """Part of a map's sum that lies in a cube."""
    return float(heat[tuple(slice(round(c - side / 2), round(c + side / 2)) for c in centre)].sum() / heat.sum())


@pytest.mark.parametrize("method", ["drise", "gradcam"])
@pytest.mark.parametrize(("k", "value"), [(0, 3.0), (1, -3.0)])
def test_the_map_lies_on_the_blob_that_the_box_is_of(method: str, k: int, value: float) -> None:
    study = study_of((120, 160), [((60, 50), value), ((60, 120), value), ((20, 90), -value)], SIDE)
    heat = explain_box(standin(), study, box_at((60, 50), SIDE), k, method=method, masks=200)
    assert heat.name == method and heat.array.shape == (120, 160) and heat.array.dtype == np.float32 and heat.grid == study.grid
    assert 0 <= heat.array.min() and heat.array.max() <= 1 and share(heat.array, (60, 50), 2 * SIDE) > 0.8
    assert share(heat.array, (60, 120), SIDE) < 0.02, "another object of the class is not what this box rests on"


@pytest.mark.parametrize("method", ["drise", "gradcam"])
def test_the_map_of_a_turned_volume_lies_where_its_blob_is(method: str) -> None:
    plain = study_of((24, 40, 48), [((12, 14, 30), 3.0)], 8, (1.0, 1.0, 1.0))
    affine = np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 39], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    turned = Study(np.ascontiguousarray(np.flip(plain.image.transpose(0, 3, 2, 1), 2)), Grid((48, 40, 24), (1.0, 1.0, 1.0), affine))
    heats = []
    for study, centre in ((plain, (12, 14, 30)), (turned, (30, 26, 12))):
        heats.append(explain_box(standin(3, 8.0, 32), study, box_at(centre, 8), 0, method=method, masks=150).array)
        assert heats[-1].shape == study.grid.shape and share(heats[-1], centre, 14) > 0.6
    assert np.allclose(heats[1], np.flip(heats[0].transpose(2, 1, 0), 1), atol=1e-5)


def test_a_study_that_is_resampled_is_explained_on_its_own_grid() -> None:
    study = study_of((80, 100), [((30, 70), 3.0)], 8, (2.0, 2.0))
    heat = explain_box(standin(spacing=(1.0, 1.0)), study, box_at((30, 70), 8), 0, masks=200).array
    assert heat.shape == (80, 100) and share(heat, (30, 70), 16) > 0.8


@pytest.mark.parametrize("method", ["drise", "gradcam"])
def test_random_weights_change_the_map(method: str) -> None:
    study, box = study_of((96, 96), [((48, 48), 3.0)], SIDE), box_at((48, 48), SIDE)
    right, wild = standin(), standin()
    for weight in wild.networks[0].parameters():
        torch.nn.init.normal_(weight, 0, 0.5)
    maps = [explain_box(each, study, box, 0, method=method, masks=200).array for each in (right, wild)]
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] < 0.7


def test_the_network_is_left_as_it_was() -> None:
    mapping, study = standin(), study_of((96, 96), [((48, 48), 3.0)], SIDE)
    network = mapping.networks[0].train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps_of(mapping, study, box_at((48, 48), SIDE), 0, masks=20)
    assert network.training and not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()) and all(p.grad is None for p in network.parameters())


def test_a_missed_box_shows_what_speaks_for_it_and_nothing_gives_no_map() -> None:
    mapping = standin()
    faint = study_of((96, 160), [((48, 48), 1.2), ((48, 120), 4.0)], SIDE)
    heat = explain_box(mapping, faint, box_at((48, 48), SIDE), 0, masks=300).array
    assert share(heat, (48, 48), 2 * SIDE) > 0.6
    mapping.candidates = lambda x: torch.full((len(x), 3, 6), -50.0)  # type: ignore[method-assign]
    assert "drise" not in maps_of(mapping, faint, box_at((48, 48), SIDE), 0, masks=20)
    assert not explain_box(mapping, faint, box_at((48, 48), SIDE), 0, masks=20).array.any()


def test_the_same_seed_gives_the_same_map() -> None:
    study, box = study_of((96, 96), [((48, 48), 3.0)], SIDE), box_at((48, 48), SIDE)
    first, second, other = (maps_of(standin(), study, box, 0, methods=("drise",), masks=60, seed=s)["drise"].heat for s in (0, 0, 1))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_without_a_gradient_there_is_drise_alone() -> None:
    mapping, study = standin(), study_of((96, 96), [((48, 48), 3.0)], SIDE)
    network = mapping.networks[0]
    whole = network.forward
    network.forward = lambda x: whole(x).detach()  # type: ignore[method-assign]
    assert set(maps_of(mapping, study, box_at((48, 48), SIDE), 0, masks=60)) == {"drise"}


def test_errors_name_what_was_wrong() -> None:
    mapping, study = standin(), study_of((96, 96), [((48, 48), 3.0)], SIDE)
    with pytest.raises(OptionError, match=r"unknown explanation 'lime' of a box: expected drise or gradcam or .*rise, got lime"):
        explain_box(mapping, study, box_at((48, 48), SIDE), 0, method="lime")
    with pytest.raises(OptionError, match=r"there is no such class to explain: expected a number from 0 to 1, got 2"):
        explain_box(mapping, study, box_at((48, 48), SIDE), 2)


def test_a_slow_network_is_shown_fewer_masks() -> None:
    mapping = standin()
    assert affordable(mapping) == MASKS
    quick = mapping.candidates

    def slow(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.6)
        return quick(x)

    mapping.candidates = slow  # type: ignore[method-assign]
    assert affordable(mapping) == FEWEST


def counted(mapping: StandIn) -> list[int]:
    """How many pictures the network is asked about, from now on."""
    asked, quick = [0], mapping.candidates

    def count(x: torch.Tensor) -> torch.Tensor:
        asked[0] += len(x)
        return quick(x)

    mapping.candidates = count  # type: ignore[method-assign]
    return asked


def test_a_short_training_is_followed_by_a_short_explanation(tmp_path: Path) -> None:
    """Without time the boxes have the fewest masks, with time all of them."""
    asked = []
    for within in (0.0, 1e9):
        mapping, cases, studies, out = run_of(tmp_path / str(within))
        out.mkdir(parents=True)
        asked.append(counted(mapping))
        explain_boxes(mapping, cases, studies.__getitem__, out, within_s=within)
    assert 3 * FEWEST <= asked[0][0] < 3 * FEWEST + 50 and 3 * MASKS <= asked[1][0] < 3 * MASKS + 50


def test_windows_are_multiples_and_lie_in_the_image_as_far_as_it_reaches() -> None:
    x = np.arange(2 * 100 * 300, dtype=np.float32).reshape(2, 100, 300)
    window, start = window_at(x, np.array([80.0, 280.0]), np.array([98.0, 299.0]), (256, 256), 32)
    assert window.shape == (2, 96, 96) and start == (4, 204) and np.array_equal(window, x[:, 4:, 204:])
    large, start = window_at(x, np.array([0.0, 0.0]), np.array([100.0, 299.0]), (128, 128), 32)
    assert large.shape == (2, 128, 128) and start == (0, 86) and np.array_equal(large[:, :100], x[:, :, 86:214]) and not large[:, 100:].any()


def test_points_go_the_way_that_boxes_go() -> None:
    study = study_of((24, 40, 48), [], 8, (3.0, 1.0, 1.0))
    mapping = standin(3, 8.0, 32, spacing=(1.5, 1.0, 2.0))
    _, trace = mapping.encode(study)
    assert prepared(np.array([[4.0], [10.0], [20.0]]), trace)[:, 0].tolist() == [8.0, 10.0, 10.0]


def run_of(tmp_path: Path) -> tuple[StandIn, pd.DataFrame, dict[str, tuple[Study, BoxTruth]], Path]:
    """Two images: one with an object that was missed and one that was found, one with a false box."""
    spots = {"a.png": [((40, 40), 3.0), ((60, 120), 0.8)], "b.png": [((50, 60), 3.0)]}
    studies = {name: study_of((110, 170), blobs, SIDE, seed=i) for i, (name, blobs) in enumerate(spots.items())}
    boxes = {"a.png": [box_at((40, 40), SIDE), box_at((60, 120), SIDE)], "b.png": []}
    made = {name: BoxTruth(np.array(b, np.float32).reshape(-1, 4), *(np.zeros(len(b), kind) for kind in (int, bool, float))) for name, b in boxes.items()}
    found = {"a.png": [(box_at((41, 40), SIDE), 0.9), (box_at((60, 121), SIDE), 0.2)], "b.png": [(box_at((50, 60), SIDE), 0.8)]}
    rows = [{"id": n, "path": n, "patient": n, "split": "test", "shape": "[110, 170]", "spacing_mm": "null",
             "truth": json.dumps([{"box": b, "class": "bright", "ignored": False, "risk": None} for b in boxes[n]]),
             "found": json.dumps([{"box": b, "class": "bright", "score": s, "risk": None} for b, s in found[n]])} for n in spots]
    return standin(), pd.DataFrame(rows), {n: (studies[n], made[n]) for n in spots}, tmp_path / "explain"


def test_explain_boxes_writes_cases_and_pictures(tmp_path: Path) -> None:
    mapping, cases, studies, out = run_of(tmp_path)
    out.mkdir()
    seen = []
    explain_boxes(mapping, cases, studies.__getitem__, out, progress=lambda *facts: seen.append(facts), masks=80)
    rows = json.loads((out / "cases.json").read_text("utf-8"))
    assert [(r["id"], r["role"], r["class"], r["score"]) for r in rows] == [("a.png", "missed", "bright", 0.2), ("b.png", "false", "bright", 0.8),
                                                                           ("a.png", "found", "bright", 0.9)]
    assert seen == [(i, 3, "explain") for i in (1, 2, 3)]
    assert all([m["method"] for m in row["maps"]] == ["drise", "gradcam", "whole"] for row in rows)
    files = {row[key] for row in rows for key in ("image", "overlay")} | {m["file"] for row in rows for m in row["maps"]}
    assert files == {path.name for path in out.glob("*.png")} and len(files) == 15
    study = studies["b.png"][0]
    shown = np.asarray(Image.open(out / rows[1]["maps"][0]["file"]).convert("RGB")).astype(int)
    plain = View.about(study, box_at((50, 60), SIDE)).picture().astype(int)
    changed = np.abs(shown - plain).sum(-1)
    height, width = changed.shape
    assert changed[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3].mean() > 4 * changed[: height // 6].mean() + 10


def test_no_box_at_all_is_an_empty_list(tmp_path: Path) -> None:
    mapping, cases, studies, out = run_of(tmp_path)
    out.mkdir()
    explain_boxes(mapping, cases.assign(truth="[]", found="[]"), studies.__getitem__, out)
    assert json.loads((out / "cases.json").read_text()) == []
