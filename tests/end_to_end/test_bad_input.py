"""Bad input as a user gives it: one clear sentence, a code other than 0, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from .conftest import SHORT, Command, environment


def film(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(level).integers(0, 200, (40, 40)).astype(np.uint8)
    Image.fromarray(array).save(path)
    return path


def refused(told, *words: str) -> None:
    """One sentence on the error stream that says all the words; no traceback; code 2."""
    sentence = told.stderr.strip().splitlines()[-1] if told.stderr.strip() else ""
    assert told.returncode == 2, (told.stdout, told.stderr)
    assert sentence.startswith("vesalius: ") and "Traceback" not in told.stderr
    missing = [word for word in words if word not in sentence]
    assert not missing, (missing, sentence)


def test_a_folder_that_is_not_there(cli: Command, tmp_path: Path) -> None:
    refused(cli("fit", tmp_path / "nowhere", "--out", tmp_path / "run"), "nowhere")


def test_an_empty_folder(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run"), str(tmp_path / "data"))


def test_one_class_only(cli: Command, tmp_path: Path) -> None:
    for i in range(12):
        film(tmp_path / "data" / "ill" / f"p{i}_1.png", i)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run", *SHORT), "class")


def test_one_patient_only(cli: Command, tmp_path: Path) -> None:
    rows = [{"image": film(tmp_path / "data" / f"{i}.png", i).name, "label": ("ill", "well")[i % 2], "patient": "A"} for i in range(20)]
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "table.csv", index=False)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run", *SHORT), "patient")


def test_three_images(cli: Command, tmp_path: Path) -> None:
    for i in range(3):
        film(tmp_path / "data" / ("ill", "well")[i % 2] / f"{i}.png", i)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run", *SHORT), "3")


def test_labels_without_any_image(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pd.DataFrame({"image": ["a.png", "b.png"], "label": ["ill", "well"]}).to_csv(tmp_path / "data" / "table.csv", index=False)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run"), "image")


def test_images_without_any_label(cli: Command, tmp_path: Path) -> None:
    for i in range(8):
        film(tmp_path / "data" / f"{i}.png", i)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run"), "label")


def test_a_misspelt_column_names_the_nearest(cli: Command, tmp_path: Path) -> None:
    rows = [{"image": film(tmp_path / "data" / f"{i}.png", i).name, "diagnosis": ("ill", "well")[i % 2]} for i in range(8)]
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "table.csv", index=False)
    refused(cli("fit", tmp_path / "data", "--out", tmp_path / "run", "--label", "diagnosys"), "diagnosys", "diagnosis")


def test_a_network_that_nobody_knows_names_the_nearest(cli: Command, pictures: Path, tmp_path: Path) -> None:
    refused(cli("fit", pictures, "--out", tmp_path / "run", "--network", "resnet81"), "resnet81", "resnet18")


def test_a_read_only_run_folder(cli: Command, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(cli("fit", pictures, "--out", tmp_path / "file" / "run"), "the run folder cannot be written")


def test_an_option_without_sense_is_refused_before_anything_is_read(cli: Command, pictures: Path, tmp_path: Path) -> None:
    refused(cli("fit", pictures, "--out", tmp_path / "run", "--budget", "soon"), "--budget is not a time")
    assert not (tmp_path / "run").exists()


def test_broken_files_are_named_and_the_rest_goes_on(cli: Command, pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "数据 with spaces"
    shutil.copytree(pictures, data)
    some = sorted(data.rglob("*.png"))
    some[0].write_bytes(b"")
    some[1].write_bytes(some[1].read_bytes()[:100])
    told = cli("fit", data, "--out", tmp_path / "run", *SHORT)
    assert told.returncode == 0, told.stderr
    frame = pd.read_parquet(tmp_path / "run" / "cohort.parquet")
    excluded = frame[frame["split"] == "excluded"]
    assert set(excluded["id"]) == {p.relative_to(data).as_posix() for p in some[:2]} and excluded["excluded_because"].notna().all()


def test_data_that_changed_under_a_run_is_told(cli: Command, pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    assert cli("fit", data, "--out", tmp_path / "run", *SHORT).returncode == 0
    sorted(data.rglob("*.png"))[0].unlink()
    refused(cli("fit", data, "--out", tmp_path / "run", *SHORT), "the data has changed since this run was started", "1 images more or fewer")


def test_predicting_without_a_model_or_an_image(cli: Command, run: Path, tmp_path: Path) -> None:
    refused(cli("predict", tmp_path, tmp_path, "--out", tmp_path / "out"), "there is no plan")
    (tmp_path / "empty").mkdir()
    refused(cli("predict", run, tmp_path / "empty", "--out", tmp_path / "out"), "empty")


@pytest.mark.slow
def test_two_hundred_thousand_names(cli: Command, tmp_path: Path) -> None:
    """A folder that large is listed and refused or read in reasonable time; here the files are empty, so none can be read."""
    for i in range(200_000):
        folder = tmp_path / "data" / f"{i % 2}"
        if i < 2:
            folder.mkdir(parents=True)
        (folder / f"p{i}.txt").touch()
    refused(cli("check", tmp_path / "data"), "data")


@pytest.mark.parametrize(("what", "slow"), [
    ("cli", ("torch", "pandas", "numpy", "sklearn", "monai")),
    ("stages.predict", ("lightning_fabric", "torch._dynamo", "torchvision", "tensorboard", "monai", "timm", "sklearn.ensemble")),
    ("stages.fit", ("lightning_fabric", "torch._dynamo", "torchvision", "tensorboard", "monai", "timm")),
])
def test_nothing_is_loaded_that_is_not_needed_yet(what: str, slow: tuple[str, ...]) -> None:
    """Help answers at once; bad input is told, and a study read, without what only a training needs."""
    code = f"import sys, vesalius.{what}; print([m for m in {slow} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert told.stdout.strip() == "[]"
