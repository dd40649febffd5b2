"""The monitor: planted drift is found and named, an unchanged log is quiet, and bad input is one clear error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.fitfor.films import changed, film, mapping, model
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError, RunError
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import Door, UnfitError
from vesalius.stages.monitor import monitor
from vesalius.stages.report.monitorpage import monitor_page, monitor_text

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    model(folder)
    return folder.parent


def log(mapping: Mapping, path: Path, studies: list[Study], p: float | None = None) -> Path:
    """What predict writes of the studies."""
    door, rng = Door(mapping), np.random.default_rng(0)
    for i, study in enumerate(studies):
        try:
            door.asks(str(i), study)
            door.log[str(i)]["statistics"]["answer.ill"] = float(rng.random() if p is None else p)
        except UnfitError:
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model": mapping.hash, "fitness": door.log}))
    return path


def films(first: int, n: int, change: Change | None = None) -> list[Study]:
    return [film(seed) if change is None else changed(film(seed), change) for seed in range(first, first + n)]


def test_an_unchanged_log_is_quiet(run: Path, tmp_path: Path) -> None:
    record = monitor(run, [log(Mapping.load(run), tmp_path / "findings.json", films(7000, 60))], window=30)
    assert not any(each["alarm"] for each in (*record["windows"], record["whole"]))
    assert record["sentences"][0]["code"] == "no-drift" and record["n_studies"] == 60 and record["n_reference"] == 60
    assert record["expected_false_alarms"] == pytest.approx(0.03) and [each["n"] for each in record["windows"]] == [30, 30]


@pytest.mark.parametrize(("change", "name", "told"), [
    (lambda x: x * 0.75, "brightness", "brightness: lower"), (lambda x: x + np.random.default_rng(0).normal(0, 6, x.shape), "noise", "noise: higher"),
    (lambda x: np.repeat(np.repeat(x, 2, 1), 2, 2), "side", "shorter side in samples: higher"),
])
def test_planted_drift_is_found_in_its_window_and_named(run: Path, tmp_path: Path, change: Change, name: str, told: str) -> None:
    mixed = films(7100, 40) + films(7200, 40, change)
    record = monitor(run, [log(Mapping.load(run), tmp_path / "findings.json", mixed)], window=40, out=tmp_path / "out")
    assert [each["alarm"] for each in record["windows"]] == [False, True]
    assert name in {each["name"] for each in record["windows"][1]["shifted"]}
    assert any(told in each["en"] and "41 to 80" in each["en"] for each in record["sentences"])
    assert json.loads((tmp_path / "out" / "monitor.json").read_text())["windows"][1]["alarm"] is True
    text, page = monitor_text(record, "zh"), monitor_page(record, "en")
    assert "第 41 至 80 项检查" in text and told in page and 'lang="zh-Hans"' in page


def test_a_change_of_the_answers_alone_is_found(run: Path, tmp_path: Path) -> None:
    record = monitor(run, [log(Mapping.load(run), tmp_path / "findings.json", films(7300, 40), p=0.97)])
    assert [each["name"] for each in record["whole"]["shifted"]] == ["answer.ill"]
    assert "answers (ill): higher" in record["sentences"][0]["en"]


def test_folders_are_read_the_oldest_first(run: Path, tmp_path: Path) -> None:
    made = Mapping.load(run)
    for place, (name, change) in enumerate((("b", None), ("a", lambda x: x * 0.7))):
        path = log(made, tmp_path / name / "findings.json", films(7400 + 100 * place, 20, change))
        os.utime(path, (1000 + place, 1000 + place))
    record = monitor(run, [tmp_path], window=20)
    assert [each["alarm"] for each in record["windows"]] == [False, True]


def test_a_model_without_statistics_is_one_clear_error(tmp_path: Path) -> None:
    mapping().save(tmp_path)
    with pytest.raises(RunError, match="holds no statistics of its training images.*run 'vesalius fit' again"):
        monitor(tmp_path, [tmp_path])


@pytest.mark.parametrize(("content", "told"), [
    (None, "there is no prediction log"), ("{", "is damaged"), ([], "is damaged"), ({"model": "other"}, "is of another model"),
    ({}, "holds no statistics of its studies"),
    ({"fitness": {"a": {"statistics": {"brightness": 1.0}}}}, "the log is too short.*expected 8 studies or more, got 1"),
])
def test_a_log_that_cannot_be_used_is_one_clear_error(run: Path, tmp_path: Path, content: Any, told: str) -> None:
    path = tmp_path / "findings.json"
    if content is not None:
        facts = {"model": Mapping.load(run).hash} | content if isinstance(content, dict) else content
        path.write_text(content if isinstance(content, str) else json.dumps(facts))
    with pytest.raises(DataError, match=told):
        monitor(run, [path])


@pytest.mark.parametrize(("window", "rate"), [(5, 0.01), (50, 0.0), (50, 0.9)])
def test_an_impossible_window_or_rate_is_refused(run: Path, window: int, rate: float) -> None:
    with pytest.raises(OptionError, match="an impossible window or rate"):
        monitor(run, [run], window=window, rate=rate)
