"""The main job for masks as a user calls it: volumes with two structures, pictures with a field of view."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from vesalius import load
from vesalius.core.finding import Mask
from vesalius.phantoms import make_phantom
from vesalius.plan import Plan

from .conftest import Command, again, environment

SMALL = ("--network", "small-unet", "--precision", "32-true", "--batch", "4", "--size", "24")
PROMISED = ("plan.toml", "cohort.parquet", "audit.json", "metrics.json", "predictions.parquet", "report.html", "environment.json", "model/plan.toml",
            "model/weights.safetensors", "model/card.md", "explain/cases.json", "log/history.csv", "log/looks.jsonl")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_phantom("organs", tmp_path_factory.mktemp("organs") / "p", seed=2, n=14, size=40).data)


@pytest.fixture(scope="module")
def run(cli: Command, volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folds, so that every part of the way is gone."""
    out = tmp_path_factory.mktemp("run") / "run"
    told = cli("fit", volumes, "--out", out, *SMALL, "--epochs", 2, "--folds", 2)
    assert told.returncode == 0, told.stderr
    assert "doctor decides" in told.stdout
    return out


def test_the_run_folder_holds_what_was_promised(run: Path) -> None:
    assert [name for name in PROMISED if not (run / name).is_file()] == []
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["primary"] == "dice" and metrics["looks_at_test"] == 1 and metrics["target"]["classes"] == ["head", "tail"]
    assert {"dice", "iou", "nsd"} <= metrics["test"].keys() and {"head", "tail"} <= metrics["per_class"]["test"].keys()
    for figure in metrics["test"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_folds_and_their_ensemble_are_kept_apart(run: Path) -> None:
    metrics, table = json.loads((run / "metrics.json").read_text()), pd.read_parquet(run / "predictions.parquet")
    cohort = pd.read_parquet(run / "cohort.parquet").set_index("id")
    held = table[table["fold"] >= 0]
    assert set(held["fold"]) == {0, 1} and (held["split"] == "validation").all() and (table.loc[table["split"] == "test", "fold"] == -1).all()
    assert set(held["id"]) == set(cohort.index[cohort["split"].isin(["train", "validation"])])
    assert held.groupby("patient")["fold"].nunique().max() == 1
    assert metrics["cross_validation"]["dice"]["n_images"] == held["id"].nunique()
    assert len(load(run).networks) == 2


def test_masks_of_every_judged_case_are_kept_and_are_what_was_scored(run: Path, volumes: Path) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    kept = sorted((run / "masks").rglob("*.npz"))
    assert len(kept) == table["id"].nunique()
    mapping, row = load(run), table[(table["split"] == "test") & (table["class"] == "head")].iloc[0]
    finding = mapping(Path(row["path"]))
    mask = next(item for item in finding.items if isinstance(item, Mask))
    truth = np.asarray(nib.load(str(row["path"]).replace("imagesTr", "labelsTr")).dataobj).transpose(2, 1, 0)
    assert mask.array.shape == truth.shape
    both = 2 * ((mask.array == 1) & (truth == 1)).sum() / max((mask.array == 1).sum() + (truth == 1).sum(), 1)
    assert both == pytest.approx(row["dice"], abs=1e-6)


def test_the_same_command_again_changes_nothing_and_looks_no_second_time(cli: Command, run: Path, volumes: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("metrics.json", "model/weights.safetensors", "log/looks.jsonl")}
    told = cli("fit", volumes, "--out", run, *SMALL, "--epochs", 2, "--folds", 2)
    assert told.returncode == 0 and "looked at 1 times" in told.stdout
    assert before == {name: (run / name).read_bytes() for name in before}


def test_predict_writes_masks_on_the_original_grid(cli: Command, run: Path, volumes: Path, tmp_path: Path) -> None:
    image = sorted((volumes / "imagesTr").glob("*.nii.gz"))[0]
    told = cli("predict", run, image, "--out", tmp_path / "out", "--write", "nifti,png")
    assert told.returncode == 0, told.stderr
    table = pd.read_csv(tmp_path / "out" / "findings.csv")
    made, given = nib.load(tmp_path / "out" / table["nifti"].iloc[0]), nib.load(image)
    assert made.shape == given.shape and np.allclose(made.affine, given.affine, atol=1e-4)
    count = int((np.asarray(made.dataobj) == 1).sum())
    assert table["head.volume_mm3"].iloc[0] == pytest.approx(count * abs(np.linalg.det(given.affine[:3, :3])), rel=1e-4)
    assert (tmp_path / "out" / table["png"].iloc[0]).is_file()


def test_a_baseline_is_judged_as_the_network_is_and_in_the_same_look(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    table, network = (pd.read_parquet(run / f"{name}.parquet") for name in ("baselines", "predictions"))
    test = table[table["split"] == "test"]
    assert set(table["model"]) == {"boosted"} and set(test["id"]) == set(network.loc[network["split"] == "test", "id"]) and metrics["looks_at_test"] == 1
    found = metrics["baselines"]["boosted"]["test"]["dice"]["value"]
    assert found == pytest.approx(test.groupby("class")["dice"].mean().mean()) and found > 0.5
    assert metrics["gain"]["over"] == "boosted" and metrics["gain"]["value"] == pytest.approx(metrics["test"]["dice"]["value"] - found)
    page = (run / "report.html").read_text("utf-8")
    assert 'id="baselines"' in page and "boosted trees on filters" in page and "滤波特征 + 梯度提升树" in page


@pytest.mark.slow
def test_several_networks_are_ranked(cli: Command, tmp_path: Path) -> None:
    """Of pictures: the way is that of volumes, where the large network takes minutes."""
    data = make_phantom("vessels", tmp_path / "p", seed=1, n=12, size=96).data
    told = cli("fit", data, "--out", tmp_path / "run", *SMALL[2:], "--size", 48, "--epochs", 1, "--network", "small-unet,unet")
    assert told.returncode == 0, told.stderr
    table, plan = pd.read_csv(tmp_path / "run" / "log" / "ranking.csv"), Plan.load(tmp_path / "run" / "plan.toml")
    assert set(table["network"]) == {"small-unet", "unet"} and table["validation_score"].is_monotonic_decreasing
    assert plan["network.name"] == table["network"][0] and plan["network.rivals"] == ["small-unet", "unet"] and "best Dice" in plan.reason("network.name")
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert 'id="ranking"' in page and "相同预算下 2 个网络中验证集 Dice 最高" in page


def test_a_name_that_gives_no_masks_is_refused_before_anything_is_trained(cli: Command, volumes: Path, tmp_path: Path) -> None:
    told = cli("fit", volumes, "--out", tmp_path / "run", "--network", "small-unet,resnet18")
    assert told.returncode == 2 and "'resnet18' gives no masks" in told.stderr and not (tmp_path / "run" / "plan.toml").exists()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_the_same(volumes: Path, run: Path, tmp_path: Path) -> None:
    """kill -9 several times, then left alone: the same weights and figures as the run that was never killed.

    Both follow one plan: the faster memory layout is measured while a plan is made, and on a busy machine another one may win.
    """
    words = again(volumes, tmp_path / "run", run / "plan.toml")
    rng = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(8, 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, env=environment(), capture_output=True, timeout=600).returncode == 0
    first, second = (load_file(each / "model" / "weights.safetensors") for each in (run, tmp_path / "run"))
    assert all((first[name] == second[name]).all() for name in first)
    one, two = (json.loads((each / "metrics.json").read_text())["test"]["dice"] for each in (run, tmp_path / "run"))
    assert one == two


@pytest.mark.slow
def test_pictures_with_a_field_of_view_go_the_whole_way(cli: Command, tmp_path: Path) -> None:
    data = make_phantom("vessels", tmp_path / "p", seed=1, n=12, size=96).data
    told = cli("fit", data, "--out", tmp_path / "run", "--network", "small-unet", "--epochs", 6, "--size", 48, "--batch", 8, "--precision", "32-true")
    assert told.returncode == 0, told.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["dice"]["value"] > 0.5 and metrics["test"]["auc"]["value"] > 0.85
    assert metrics["operating_point"]["chosen_on"] == "validation"
