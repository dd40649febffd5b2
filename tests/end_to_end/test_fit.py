"""The main job as a user calls it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from vesalius.plan import Plan

from .conftest import SHORT, Command, again, command, environment

PROMISED = ("plan.toml", "cohort.parquet", "audit.json", "metrics.json", "predictions.parquet", "baselines.parquet", "report.html", "environment.json",
            "model/plan.toml", "model/weights.safetensors", "model/card.md", "explain/cases.json", "log/history.csv", "log/datasize.csv", "log/looks.jsonl")


def test_the_run_folder_holds_what_was_promised(run: Path) -> None:
    assert [name for name in PROMISED if not (run / name).is_file()] == []
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["looks_at_test"] == 1
    assert {"majority", "histogram", "hog"} <= metrics["baselines"].keys()
    for name in ("auc", "accuracy", "sensitivity", "specificity", "brier", "ece"):
        figure = metrics["test"][name]
        assert figure["low"] <= figure["value"] <= figure["high"] and figure["n_patients"] <= figure["n_images"]


def test_no_patient_is_in_two_parts(run: Path) -> None:
    frame = pd.read_parquet(run / "cohort.parquet")
    used = frame[frame["split"] != "excluded"]
    assert used.groupby("patient")["split"].nunique().max() == 1
    assert used["patient"].nunique() < len(used)
    clusters = used[used["duplicate_cluster"] >= 0]
    assert clusters.empty or clusters.groupby("duplicate_cluster")["split"].nunique().max() == 1


def test_every_decision_has_its_reason(run: Path) -> None:
    plan = Plan.load(run / "plan.toml")
    reasons = {f"{s}.{n}": d.reason for s, part in plan.sections.items() for n, d in part.items()}
    assert {"input.size", "train.epochs", "machine.predicted_memory_mb", "split.seal", "train.predicted_seconds"} <= reasons.keys()
    assert [name for name, reason in reasons.items() if not reason] == []


def test_the_report_stands_alone_in_both_languages(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "doctor decides" in page and "医生" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page and "<link" not in page


def test_the_same_command_again_changes_nothing_and_looks_no_second_time(cli: Command, run: Path, pictures: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("metrics.json", "model/weights.safetensors", "log/looks.jsonl")}
    told = cli("fit", pictures, "--out", run, *SHORT)
    assert told.returncode == 0 and "looked at 1 times" in told.stdout
    assert before == {name: (run / name).read_bytes() for name in before}


def test_another_request_in_the_same_folder_is_refused(cli: Command, run: Path, pictures: Path) -> None:
    told = cli("fit", pictures, "--out", run, *SHORT, "--seed", "9")
    assert told.returncode == 2 and "expected seed = 0 as when it was started, got 9" in told.stderr


@pytest.mark.slow
def test_killed_again_and_again_the_same_command_ends_with_the_same_bits(run: Path, pictures: Path, tmp_path: Path) -> None:
    out, dice = tmp_path / "killed", random.Random(4)
    kills = 0
    for _ in range(40):
        child = subprocess.Popen(again(pictures, out, run / "plan.toml"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        try:
            child.wait(timeout=dice.uniform(4, 14) + kills)  # a busy machine gets further each time
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
    assert child.returncode == 0, child.stderr.read()
    assert kills > 0
    ours, theirs = load_file(out / "model" / "weights.safetensors"), load_file(run / "model" / "weights.safetensors")
    assert ours.keys() == theirs.keys() and all(bool((ours[k] == theirs[k]).all()) for k in ours)
    figures = [json.loads((each / "metrics.json").read_text()) for each in (out, run)]
    assert figures[0]["test"] == figures[1]["test"] and figures[0]["baselines"] == figures[1]["baselines"]


def test_interruption_says_that_nothing_is_lost(pictures: Path, tmp_path: Path) -> None:
    words = command("fit", pictures, "--out", tmp_path / "run", *SHORT)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child started by a job in the background would ignore it
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    signal.signal(signal.SIGINT, before)
    while not (tmp_path / "run" / "environment.json").is_file():
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=120)
    assert child.returncode == 130 and "nothing is lost, the same command goes on" in told
    assert "Traceback" not in told


def test_ranking_networks_keeps_the_winner(cli: Command, pictures: Path, tmp_path: Path) -> None:
    told = cli("fit", pictures, "--out", tmp_path / "run", "--network", "small-cnn,small-resnet", "--epochs", "2", "--size", "32")
    assert told.returncode == 0, told.stderr
    table = pd.read_csv(tmp_path / "run" / "log" / "ranking.csv")
    assert set(table["network"]) == {"small-cnn", "small-resnet"} and table["validation_loss"].is_monotonic_increasing
    plan = Plan.load(tmp_path / "run" / "plan.toml")
    assert plan["network.name"] == table["network"][0] and "lowest validation loss of 2" in plan.reason("network.name")
    (tmp_path / "run" / "log" / "ranking.csv").unlink()  # as if killed after the winner's plan was written
    told = cli("fit", pictures, "--out", tmp_path / "run", "--network", "small-cnn,small-resnet", "--epochs", "2", "--size", "32")
    assert told.returncode == 0, told.stderr
    assert pd.read_csv(tmp_path / "run" / "log" / "ranking.csv").equals(table), "the rivals are not trained again"
    assert Plan.load(tmp_path / "run" / "plan.toml")["network.name"] == table["network"][0]


def test_splitting_by_image_is_shown_in_red(cli: Command, pictures: Path, tmp_path: Path) -> None:
    told = cli("fit", pictures, "--out", tmp_path / "run", *SHORT, "--split-by-image")
    assert told.returncode == 0, told.stderr
    notes = json.loads((tmp_path / "run" / "metrics.json").read_text())["notes"]
    assert any("by image" in note["en"] for note in notes)
    assert Plan.load(tmp_path / "run" / "plan.toml")["split.by"] == "image"


def test_predict_writes_findings_and_pictures(cli: Command, run: Path, pictures: Path, tmp_path: Path) -> None:
    some = sorted(pictures.rglob("*.png"))[:5]
    for i, path in enumerate(some):
        shutil.copy(path, tmp_path / f"新 film {i}.png")
    (tmp_path / "broken.png").write_bytes(some[0].read_bytes()[:200])
    told = cli("predict", run, tmp_path, "--out", tmp_path / "out", "--pictures", "2")
    assert told.returncode == 0 and "5 studies read, 1 refused" in told.stdout, told.stderr
    table = pd.read_csv(tmp_path / "out" / "findings.csv")
    record = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert len(table) == 6 and len(record["findings"]) == 5 and len(record["refused"]) == 1
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 2
    alone = cli("predict", run, some[0], "--out", tmp_path / "alone", "--pictures", "0")
    assert alone.returncode == 0
    assert json.loads((tmp_path / "alone" / "findings.json").read_text())["findings"][0]["scores"] == record["findings"][0]["scores"]


@pytest.mark.parametrize("kind", ["multilabel", "ordinal", "regression", "volumes"])
def test_every_kind_of_target_goes_the_whole_way(kind: str, cli: Command, tmp_path: Path) -> None:
    from vesalius.phantoms import make_phantom

    truth = make_phantom(kind, tmp_path / "phantom", seed=2, n=60)
    label = ("--label", truth.target) if kind == "regression" else ()
    size = "16" if kind == "volumes" else "24"
    told = cli("fit", truth.data, "--out", tmp_path / "run", "--epochs", "2", "--size", size, "--network", "small-cnn", *label)
    assert told.returncode == 0, told.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["primary"] in metrics["test"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 20_000
