"""Robustness of masks and boxes: the truth moves with the picture, and what a model cannot bear is named."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.cohort import Cohort
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.formats import recognise
from vesalius.mapping import TiledMapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_robustness import robustness as section
from vesalius.stages.run import RunFolder
from vesalius.stages.trust._moved import Way, ends_of, moved_mask, moved_truth, shown, ways_for
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.robustness import robustness

FULL = TileReads((32, 32), schemes=("full",), mean=(0.0,), std=(1.0,))
N = 14


def study_of(image: np.ndarray, spacing: tuple[float, ...] | None = None) -> Study:
    return Study(image[None], Grid.plain(image.shape, spacing))


@pytest.mark.parametrize("way", [Way(0.8), Way(1.3), Way(turn_deg=25.0)])
@pytest.mark.parametrize("shape", [(40, 60), (12, 40, 60)])
def test_the_mask_goes_where_the_picture_goes(way: Way, shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    image[..., 12:30, 15:28] = 200
    study, source = study_of(image, (3.0, 1.0, 2.0)[-len(shape) :]), torch.Generator()
    made = shown(study, way, [(0.0, 255.0)], 1, source)
    mask = moved_mask((study.image > 100).astype(np.uint8), way, study.grid, 1)
    assert made.image.dtype == np.float32 and made.grid is study.grid and mask.dtype == np.uint8
    agree = (made.image[0] > 100) == mask[0]
    assert agree.mean() > 0.98 and not np.array_equal(mask[0], image > 100) and mask.any()


def test_a_turn_is_one_in_millimetres() -> None:
    """A line along x on a grid of long samples lies, turned by 90 degrees, along y: as many mm of it."""
    image = np.zeros((84, 33), np.uint8)
    image[40:44, 4:29] = 200
    study = study_of(image, (1.0, 2.0))
    mask = moved_mask((study.image > 0).astype(np.uint8), Way(turn_deg=90.0), study.grid, 1)[0]
    tall, wide = (np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (1, 0))
    assert tall == pytest.approx(50, abs=2) and wide * 2 == pytest.approx(4, abs=2.1)


def test_what_is_no_number_is_the_lowest_one_as_where_it_is_read() -> None:
    hu = np.full((8, 8), 100.0, np.float32)
    hu[0, :3] = np.nan, np.inf, -np.inf
    made = shown(study_of(hu), Way(), [(-100.0, 300.0)], 1, torch.Generator()).image[0]
    assert made[0, :3].tolist() == [-100.0] * 3 and np.allclose(made[1:], 100.0, atol=1e-3)


def test_numbers_of_structures_are_not_mixed() -> None:
    mask = np.zeros((1, 30, 40), np.uint8)
    mask[0, 5:15, 5:20], mask[0, 5:15, 20:30], mask[0, 20:25] = 1, 3, 255
    for way in (Way(0.77), Way(1.2), Way(turn_deg=13.0)):
        assert set(np.unique(moved_mask(mask, way, Grid.plain((30, 40)), 1))) == {0, 1, 3, 255}


def test_boxes_go_where_the_picture_goes_and_what_leaves_it_is_not_asked_for() -> None:
    image = np.zeros((60, 80), np.uint8)
    image[10:20, 50:70] = 200
    study = study_of(image)
    truth = BoxTruth(np.array([[10, 50, 20, 70], [0, 0, 4, 12], [20, 70, 40, 79]], np.float32), np.array([0, 1, 0]), np.zeros(3, bool), np.zeros(3, np.float32))
    made = shown(study, Way(0.8), ends_of(study, FULL), 1, torch.Generator()).image[0] > 100
    rows, columns = np.flatnonzero(made.any(1)), np.flatnonzero(made.any(0))
    moved = moved_truth(truth, Way(0.8), study.grid)
    assert len(moved) == 2 and moved.labels.tolist() == [0, 0]  # the second has left the picture
    assert np.allclose(moved.boxes[0], [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], atol=1.0)
    assert moved.ignored.tolist() == [False, True], "less than half of the last one is left"
    assert moved_truth(truth, Way(tone=lambda x, sign, source: x), study.grid) is truth


def test_what_is_asked_depends_on_how_the_model_reads() -> None:
    assert "turned" in ways_for(FULL, False, boxes=False) and "turned" not in ways_for(FULL, False, boxes=True)
    assert {"closer", "farther", "darker", "middle_up"} <= set(ways_for(FULL, False, boxes=False))
    own = ways_for(TileReads((8, 8, 8), schemes=("zscore",)), False, boxes=False)
    assert {"larger", "smaller", "middle_up"} <= set(own) and not {"closer", "darker", "harder"} & set(own)
    assert set(ways_for(TileReads((8, 8), schemes=("ct",)), True, boxes=True)) == {"closer", "farther", "softer", "noisier"}


def test_grey_values_come_back_in_the_studys_own_numbers() -> None:
    hu = np.linspace(-1000, 2000, 64 * 64, dtype=np.float32).reshape(64, 64)
    reads = TileReads((32, 32), schemes=("ct",), low=(-100.0,), high=(300.0,))
    ends = ends_of(study_of(hu), reads)
    made = shown(study_of(hu), Way(), ends, 1, torch.Generator()).image[0]
    assert np.allclose(made, hu.clip(-100, 300), atol=0.1)
    noisy = shown(study_of(hu), ways_for(reads, True, boxes=False)["noisier"], ends, 1, torch.Generator().manual_seed(1)).image[0]
    own = ends_of(study_of(np.linspace(5, 905, 1000, dtype=np.float32).reshape(20, 50)), TileReads((8, 8), schemes=("zscore",)))
    assert own[0] == pytest.approx((5.9, 904.1), abs=0.2), "a study without a scale of its own: its percentiles"
    inside = (hu > 0) & (hu < 200)
    assert np.std((noisy - hu)[inside]) == pytest.approx(0.03 * 400, rel=0.15)


class Bright(nn.Module):
    """Marks what is brighter than a fixed share of the range: cannot bear another exposure, and no cut or turn matters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), (x - 0.485) * 60], 1)


def discs(folder: Path) -> Cohort:
    """Pictures with a grey disc on dark, and masks of it."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:48, :64]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(N):
        inside = np.hypot(y - rng.uniform(20, 28), x - rng.uniform(25, 39)) < rng.uniform(8, 12)
        Image.fromarray(np.where(inside, 150, 90).astype(np.uint8)).save(folder / "images" / f"p{i:02d}.png")
        Image.fromarray(inside.astype(np.uint8) * 255).save(folder / "masks" / f"p{i:02d}.png")
    return recognise(folder)


def trust_of(folder: Path, cohort: Cohort, mapping: object, metrics: dict) -> Trust:
    ids = [case.id for case in cohort.cases]
    table = pd.DataFrame({"id": ids, "path": ids, "patient": ids, "split": ["validation"] * (len(ids) - 2) + ["test"] * 2, "fold": -1})
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return Trust(RunFolder(folder), mapping, table, None, table, cohort.target, {case.id: case for case in cohort.cases})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trust, dict]:
    folder = tmp_path_factory.mktemp("discs")
    cohort = discs(folder / "data")
    plan = Plan().decide("data.modality", "unknown", "test").decide("output.tolerance", 2.0, "test")
    mapping = TiledMapping(FULL, [Bright()], output_for(cohort.target), plan)
    trust = trust_of(folder / "run", cohort, mapping, {"primary": "dice"})
    return trust, robustness(trust)


def test_masks_of_a_network_that_reads_brightness_fit_less_in_the_dark_and_nowhere_else(masked: tuple[Trust, dict]) -> None:
    found = masked[1]
    told = {name: row["verdict"] for name, row in found["changes"].items()}
    assert found["metric"] == "dice" and found["plain"]["dice"]["value"] > 0.98 and found["n_images"] == found["of_images"] == N - 2
    assert "worse" in {told["darker"], told["middle_down"]} and found["changes"]["middle_down"]["figures"]["dice"]["value"] < 0.5
    assert {told[name] for name in ("closer", "farther", "turned", "noisier", "softer")} == {"holds"}
    for row in found["changes"].values():
        assert row["minus"]["dice"]["low"] <= row["minus"]["dice"]["value"] <= row["minus"]["dice"]["high"]
    (only,) = found["sentences"]
    assert only["code"] == "fragile-marks" and "fits less when the picture is dark" in only["en"] and "标记" in only["zh"]


def test_the_report_shows_a_row_a_change(masked: tuple[Trust, dict]) -> None:
    facts = RunFacts(masked[0].run.path, metrics={"target": {"kind": "mask", "classes": ["disc"]}}, trust={"robustness": masked[1]})
    made = section(facts)
    assert made is not None and len(made.tables[0].rows) == 1 + len(masked[1]["changes"])
    assert len(made.lead) == 3 and masked[1]["unasked"] == []
    assert "true masks and boxes moved" in made.tables[0].caption.en and "真实掩膜" in made.tables[0].caption.zh


def test_what_there_was_no_time_for_is_named(masked: tuple[Trust, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.stages.trust._robustmarked.affordable", lambda ways, *_: {name: ways[name] for name in ("closer", "turned", "noisier")})
    found = robustness(masked[0])
    assert set(found["changes"]) == {"closer", "turned", "noisier"} and ["brighter", "变亮"] in [list(each) for each in found["unasked"]]
    made = section(RunFacts(masked[0].run.path, metrics={"target": {"kind": "mask", "classes": ["disc"]}}, trust={"robustness": found}))
    assert made is not None and "no time for images that are cut 15% wider" in made.lead[-1].en and "变亮" in made.lead[-1].zh


def test_with_folds_each_case_is_asked_of_the_network_that_has_not_seen_it(masked: tuple[Trust, dict]) -> None:
    """The network of the second fold marks nothing: its four cases have a Dice of 0, and no other has."""
    trust = masked[0]
    never = Bright()
    never.forward = lambda x: torch.cat([torch.zeros_like(x), torch.full_like(x, -9.0)], 1)  # type: ignore[method-assign]
    table = trust.predictions.assign(fold=[0] * (N - 6) + [1] * 4 + [-1] * 2)
    mapping = replace(trust.mapping, networks=[Bright(), never])
    found = robustness(replace(trust, mapping=mapping, predictions=table))
    assert found["plain"]["dice"]["value"] == pytest.approx((N - 6) / (N - 2), abs=0.01) and found["n_images"] == N - 2


def test_too_few_patients_and_too_little_time_are_said(masked: tuple[Trust, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    trust = masked[0]
    few = robustness(Trust(trust.run, trust.mapping, trust.frame, None, trust.predictions[:5], trust.target, trust.cases))
    assert few["applies"] is False and "10 patients" in few["why"]["en"]
    left = chain([60.0], repeat(0.0))
    monkeypatch.setattr(Trust, "left_s", property(lambda self: next(left)))
    assert robustness(trust)["n_images"] == 10, "what was allowed counts, though to try it took all of it"
    monkeypatch.setattr(Trust, "left_s", 0.0)
    slow = robustness(trust)
    assert slow["applies"] is False and "too few for 10 studies under 3 changes" in slow["why"]["en"] and "10" in slow["why"]["zh"]


class Blobs:
    """Finds what is bright, if it is not too large for it."""

    plan = Plan().decide("data.modality", "unknown", "test")
    reads, networks = FULL, [nn.Identity()]

    def detect(self, study: Study, floor: float) -> Detected:
        places = [s for s in ndimage.find_objects(ndimage.label(study.image[0] > 100)[0]) if s[0].stop - s[0].start < 12]
        boxes = np.array([[*(e.start for e in s), *(e.stop for e in s)] for s in places], np.float32).reshape(-1, 4)
        n = len(boxes)
        return Detected(boxes, np.zeros(n, np.int64), np.full(n, 0.9, np.float32), np.full(n, np.nan, np.float32))


def test_boxes_of_a_model_that_finds_small_things_alone_are_lost_when_the_cut_is_closer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    facts: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    for i in range(N):
        image = np.full((60, 80), 40, np.uint8)
        for k, (y, x) in enumerate([(rng.integers(12, 20), rng.integers(14, 24)), (rng.integers(30, 38), rng.integers(44, 54))]):
            image[y : y + 10, x : x + 10] = 220
            facts["annotations"].append({"id": 10 * i + k, "image_id": i, "category_id": 1, "bbox": [int(x), int(y), 10, 10], "area": 100, "iscrowd": 0})
        Image.fromarray(image).save(tmp_path / "images" / f"p{i:02d}.png")
        facts["images"].append({"id": i, "file_name": f"p{i:02d}.png", "width": 80, "height": 60})
    (tmp_path / "instances.json").write_text(json.dumps(facts))
    cohort = recognise(tmp_path)
    found = robustness(trust_of(tmp_path / "run", cohort, Blobs(), {"primary": "map50", "operating_point": {"cell": {"threshold": 0.5}}}))
    told = {name: row["verdict"] for name, row in found["changes"].items()}
    assert found["plain"]["map50"]["value"] == 1.0 and told["closer"] == "worse" and found["changes"]["closer"]["figures"]["map50"]["value"] < 0.2
    assert {told[name] for name in ("farther", "noisier", "darker")} == {"holds"} and "turned" not in told
    assert "closer" in found["sentences"][0]["en"] and "mAP50" in found["sentences"][0]["en"]
