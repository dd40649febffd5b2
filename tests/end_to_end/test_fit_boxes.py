"""The main job for boxes as a user calls it: pictures of cells, volumes with nodules."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file

from serving import model_in
from vesalius import load
from vesalius.core.finding import Boxes
from vesalius.phantoms import make_phantom
from vesalius.plan import Plan

from .conftest import Command, again, environment

SMALL = ("--precision", "32-true", "--batch", "4", "--epochs", "4")
PROMISED = ("plan.toml", "cohort.parquet", "audit.json", "metrics.json", "cases.parquet", "detections.parquet", "report.html", "environment.json",
            "model/plan.toml", "model/weights.safetensors", "model/card.md", "explain/cases.json", "log/history.csv", "log/looks.jsonl")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_phantom("cells", tmp_path_factory.mktemp("cells") / "p", seed=2, n=30, size=96, layout="coco").data)


@pytest.fixture(scope="module")
def run(cli: Command, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    told = cli("fit", cells, "--out", out, *SMALL)
    assert told.returncode == 0, told.stderr
    assert "doctor decides" in told.stdout
    return out


def test_the_run_folder_holds_what_was_promised(run: Path) -> None:
    assert [name for name in PROMISED if not (run / name).is_file()] == []
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["primary"] == "map50" and metrics["looks_at_test"] == 1 and set(metrics["target"]["classes"]) == {"RBC", "WBC", "Platelets"}
    assert {"map50", "map", "count_mae"} <= metrics["test"].keys() and metrics["matching"]["rule"].startswith("IoU")
    for figure in metrics["test"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert metrics["operating_point"]["RBC"]["chosen_on"] == "validation" and "blobs" in metrics["baselines"]


def test_it_learnt_what_was_planted(run: Path) -> None:
    """A few seconds of training find most red cells; what blobs alone find stands beside it."""
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["per_class"]["test"]["RBC"]["ap50"]["value"] > 0.5
    assert metrics["gain"]["over"] == "blobs" and metrics["gain"]["low"] <= metrics["gain"]["value"] <= metrics["gain"]["high"]


def test_what_the_model_says_of_a_picture_is_what_was_scored(run: Path) -> None:
    cases = pd.read_parquet(run / "cases.parquet")
    row = cases[cases["split"] == "test"].iloc[0]
    mapping = load(run)
    finding = mapping(Path(row["path"]))
    boxes = next(item for item in finding.items if isinstance(item, Boxes))
    thresholds = mapping.output.facts["thresholds"]
    kept = [each for each in json.loads(row["found"]) if each["score"] >= thresholds[each["class"]]]
    assert len(kept) == len(boxes.labels) > 0
    assert np.allclose(sorted(each["score"] for each in kept), sorted(boxes.scores), atol=1e-5)


def test_the_same_command_again_changes_nothing_and_looks_no_second_time(cli: Command, run: Path, cells: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("metrics.json", "model/weights.safetensors", "log/looks.jsonl")}
    told = cli("fit", cells, "--out", run, *SMALL)
    assert told.returncode == 0
    assert before == {name: (run / name).read_bytes() for name in before}


def test_predict_writes_boxes_that_can_be_read(cli: Command, run: Path, cells: Path, tmp_path: Path) -> None:
    told = cli("predict", run, cells / "images", "--out", tmp_path / "out", "--write", "coco,csv,png")
    assert told.returncode == 0, told.stderr
    table = pd.read_csv(tmp_path / "out" / "boxes.csv")
    facts = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(table) == len(facts["annotations"]) > 0 and len(facts["images"]) == 30
    assert (tmp_path / "out" / pd.read_csv(tmp_path / "out" / "findings.csv")["png"].iloc[0]).is_file()


def test_a_stream_of_frames_keeps_ids_and_says_how_long_it_took(cli: Command, run: Path, tmp_path: Path) -> None:
    clip = Path(make_phantom("clip", tmp_path / "clip", seed=1, n=12).data)
    told = cli("predict", run, clip / "frames" if (clip / "frames").is_dir() else clip, "--out", tmp_path / "out", "--stream", "--limit", 10)
    assert told.returncode == 0, told.stderr
    record = json.loads((tmp_path / "out" / "stream.json").read_text())
    assert record["frames"] == 10 and record["latency_ms"]["end_to_end"]["p50"] <= record["latency_ms"]["end_to_end"]["p95"]
    assert {"prepare", "network", "suppress"} <= record["latency_ms"].keys()


def test_a_stream_needs_a_model_of_boxes(cli: Command, tmp_path: Path) -> None:
    model_in(tmp_path / "other")
    told = cli("predict", tmp_path / "other", tmp_path, "--out", tmp_path / "out", "--stream")
    assert told.returncode == 2 and "does not read streams" in told.stderr


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_the_same(cells: Path, run: Path, tmp_path: Path) -> None:
    """kill -9 several times, then left alone: the same weights and figures as the run that was never killed."""
    words = again(cells, tmp_path / "run", run / "plan.toml")
    rng = random.Random(1)
    for _ in range(3):
        process = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(8, 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, env=environment(), capture_output=True, timeout=600).returncode == 0
    first, second = (load_file(each / "model" / "weights.safetensors") for each in (run, tmp_path / "run"))
    assert all((first[name] == second[name]).all() for name in first)
    one, two = (json.loads((each / "metrics.json").read_text())["test"]["map50"] for each in (run, tmp_path / "run"))
    assert one == two


@pytest.mark.slow
def test_volumes_go_the_whole_way(cli: Command, tmp_path: Path) -> None:
    data = Path(make_phantom("nodules", tmp_path / "p", seed=1, n=14, extent_mm=72).data)
    told = cli("fit", data, "--out", tmp_path / "run", *SMALL[:-1], 2, "--size", 48)
    assert told.returncode == 0, told.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["primary"] == "cpm" and "LUNA16" in metrics["matching"]["rule"]
    volume = sorted((data / "images").glob("*.nii.gz"))[0]
    told = cli("predict", tmp_path / "run", volume, "--out", tmp_path / "out")
    assert told.returncode == 0, told.stderr
    assert json.loads((tmp_path / "out" / "findings.json").read_text())["findings"]


@pytest.mark.slow
def test_folds_are_fused(cli: Command, cells: Path, tmp_path: Path) -> None:
    told = cli("fit", cells, "--out", tmp_path / "run", "--precision", "32-true", "--batch", 4, "--epochs", 1, "--folds", 2)
    assert told.returncode == 0, told.stderr
    cases = pd.read_parquet(tmp_path / "run" / "cases.parquet")
    assert set(cases.loc[cases["split"] == "validation", "fold"]) == {0, 1} and len(load(tmp_path / "run").networks) == 2
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["cross_validated"] == 2 and "cross-validated" in {note["code"] for note in metrics["notes"]}
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Cross-validation" in page and "交叉验证" in page and "Cross-validation (another figure" in told.stderr + told.stdout


@pytest.mark.slow
def test_several_networks_are_ranked(cli: Command, tmp_path: Path) -> None:
    """One network by both of its names: the way is the same, and the others take minutes."""
    data = Path(make_phantom("cells", tmp_path / "p", seed=2, n=14, size=96, layout="coco").data)
    told = cli("fit", data, "--out", tmp_path / "run", "--precision", "32-true", "--batch", 4, "--size", 64, "--epochs", 1, "--network", "yolo,yolo-like")
    assert told.returncode == 0, told.stderr
    table, plan = pd.read_csv(tmp_path / "run" / "log" / "ranking.csv"), Plan.load(tmp_path / "run" / "plan.toml")
    assert set(table["network"]) == {"yolo", "yolo-like"} and table["validation_loss"][0] == table["validation_loss"][1]
    assert plan["network.name"] == "yolo-like" and plan["network.rivals"] == ["yolo", "yolo-like"] and "best mAP50" in plan.reason("network.name")
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert 'id="ranking"' in page and "相同预算下 2 个网络中验证集 mAP50 最高" in page


def test_a_name_that_gives_no_boxes_is_refused_before_anything_is_trained(cli: Command, cells: Path, tmp_path: Path) -> None:
    told = cli("fit", cells, "--out", tmp_path / "other", "--network", "yolo-like,small-unet")
    assert told.returncode == 2 and "'small-unet' gives no boxes" in told.stderr and not (tmp_path / "other" / "plan.toml").exists()
    told = cli("fit", cells, "--out", tmp_path / "third", "--network", "yolo-like,yoloo")
    assert told.returncode == 2 and "unknown network 'yoloo'" in told.stderr


def test_only_pictures_without_a_box_are_refused(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "data" / f"{i}.png")
    facts = {"images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 40} for i in range(8)], "annotations": [],
             "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "data" / "instances.json").write_text(json.dumps(facts))
    told = cli("fit", tmp_path / "data", "--out", tmp_path / "run")
    assert told.returncode == 2 and "box" in told.stderr
