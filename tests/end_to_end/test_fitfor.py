"""As a user sees it: films of the same kind are read, others refused with the reason, ``--force`` is recorded, and the log can be watched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesalius.stages.fitfor import RECORD

pytestmark = pytest.mark.slow


def kept(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name)
    return folder


def some_film(pictures: Path) -> np.ndarray:
    return np.array(Image.open(sorted(pictures.rglob("*.png"))[3]))


def test_a_photograph_and_an_inverted_film_are_refused_and_a_film_is_read(cli, run: Path, pictures: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    film = some_film(pictures)
    colours = np.random.default_rng(0).integers(0, 255, (*film.shape[:2], 3), np.uint8)
    folder = kept(kept(kept(tmp_path / "in", "a-film.png", film), "b-inverted.png", 255 - film), "c-photo.png", colours)
    told = cli("predict", run, folder, "--out", tmp_path / "out", "--pictures", "0")
    assert told.returncode == 0, told.stderr
    assert "1 studies read, 2 refused" in told.stdout and "Black and white look exchanged" in told.stdout and "colour picture" in told.stdout
    record = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert [Path(finding["source"]).name for finding in record["findings"]] == ["a-film.png"]
    judged = {Path(name).name: entry for name, entry in record["fitness"].items()}
    assert [judged[name]["refused"] for name in sorted(judged)] == [False, True, True]
    assert "answer.effusion" in judged["a-film.png"]["statistics"] and judged["b-inverted.png"]["reasons"][0]["zh"]


def test_what_is_refused_is_one_sentence_and_force_reads_it(cli, run: Path, pictures: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = kept(tmp_path / "in", "inverted.png", 255 - some_film(pictures))
    told = cli("predict", run, folder, "--out", tmp_path / "out", "--pictures", "0")
    assert told.returncode == 2 and "this model should not be used on what was given" in told.stderr and "--force" in told.stderr and "黑白" in told.stderr
    assert json.loads((tmp_path / "out" / "findings.json").read_text())["findings"] == []
    forced = cli("predict", run, folder, "--out", tmp_path / "forced", "--pictures", "0", "--force")
    assert forced.returncode == 0, forced.stderr
    record = json.loads((tmp_path / "forced" / "findings.json").read_text())
    assert next(iter(record["fitness"].values()))["forced"] is True
    assert [note["code"] for note in record["findings"][0]["notes"] if note["code"] == "forced"] == ["forced"]


def test_a_model_without_statistics_reads_with_a_warning(cli, run: Path, pictures: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = tmp_path / "model"
    model.mkdir()
    for path in (run / "model").iterdir():
        if path.name != RECORD:
            (model / path.name).write_bytes(path.read_bytes())
    told = cli("predict", model, kept(tmp_path / "in", "inverted.png", 255 - some_film(pictures)), "--out", tmp_path / "out", "--pictures", "0")
    assert told.returncode == 0 and told.stdout.count("holds no statistics of its training images") == 1


def test_a_log_is_watched(cli, run: Path, pictures: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for i, path in enumerate(sorted(pictures.rglob("*.png"))[:40]):
        darker = (np.array(Image.open(path)).astype(float) * 0.8).astype(np.uint8)
        kept(tmp_path / "dark", f"{i}.png", darker)
    assert cli("predict", run, tmp_path / "dark", "--out", tmp_path / "log", "--pictures", "0", "--force").returncode == 0
    told = cli("monitor", run, tmp_path / "log", "--out", tmp_path / "watched", "--window", "20", "--rate", "0.01")
    assert told.returncode == 0, told.stderr
    assert "differ from the training data" in told.stdout and (tmp_path / "watched" / "monitor.html").is_file()
    assert json.loads((tmp_path / "watched" / "monitor.json").read_text())["whole"]["alarm"] is True
