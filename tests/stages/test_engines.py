"""Engines that were measured once: kept beside the model, used again for the same weights, and measured anew when anything differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.mapping import BoxedMapping, TiledMapping
from vesalius.networks import build
from vesalius.networks.backends import Backend, built
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages import engines
from vesalius.stages.boxed import quicken as boxed
from vesalius.stages.tiled import quicken as tiled

EXPORTED = "onnxruntime"


@pytest.fixture(autouse=True)
def contests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every contest that is held; the same engine wins each."""
    held: list[str] = []

    def fastest(network: nn.Module, *, file: Path | None = None, detects: bool = False, **options: Any) -> Backend:
        held.append("contest")
        facts = {name: options[name] for name in ("channels", "size", "n_out")}
        made = built(EXPORTED, network, file=file, detects=detects, sentence="it won", **facts)
        return replace(made, seconds={EXPORTED: 0.001, "torch": 60.0})

    monkeypatch.setattr(engines, "fastest", fastest)
    for module in (tiled, boxed):
        monkeypatch.setattr(module, "WORTH_S", 0.0)
        monkeypatch.setattr(module, "PAYS_S", 0.0)
    return held


def marks(seed: int = 0) -> TiledMapping:
    output = output_for(TargetSpec("mask", ("a", "b"), values=((1,), (2,))))
    torch.manual_seed(seed)
    network = build("unet", channels=1, n_out=output.n_out, size=(16, 16), width=4, depth=3)
    plan = Plan().decide("network.name", "unet", "").decide("network.options", {"width": 4, "depth": 3}, "")
    return TiledMapping(TileReads((16, 16)), [network], output, plan)


def study() -> Study:
    return Study(np.random.default_rng(0).normal(100, 20, (1, 40, 40)).astype(np.float32), Grid.plain((40, 40)), bits=16)


def saved(folder: Path, seed: int = 0) -> TiledMapping:
    marks(seed).save(folder)
    return TiledMapping.load(folder)  # type: ignore[return-value]


def quickened(folder: Path) -> tuple[TiledMapping, str]:
    made = TiledMapping.load(folder)
    assert isinstance(made, TiledMapping)
    return made, tiled.quicken(made, made.encode(study())[0], 1)


def records(folder: Path) -> list[Path]:
    return [path for path in (folder / engines.FOLDER).glob("*.json") if path.name != "about.json"]


def test_a_second_process_does_not_measure_again_and_marks_the_same(tmp_path: Path, contests: list[str]) -> None:
    saved(tmp_path)
    first, said = quickened(tmp_path)
    again, repeated = quickened(tmp_path)
    assert contests == ["contest"]
    assert "kept beside the model" in repeated and "kept" not in said
    assert np.array_equal(first.segment(study()).labels, again.segment(study()).labels)
    assert len(records(tmp_path)) == 1 and len(list((tmp_path / engines.FOLDER).glob("*.onnx"))) == 1


def test_other_weights_threads_or_a_damaged_file_are_measured_anew(tmp_path: Path, contests: list[str]) -> None:
    saved(tmp_path)
    quickened(tmp_path)
    saved(tmp_path, seed=1)
    quickened(tmp_path)
    assert len(contests) == 2
    torch.set_num_threads(torch.get_num_threads() + 1)
    try:
        quickened(tmp_path)
    finally:
        torch.set_num_threads(torch.get_num_threads() - 1)
    assert len(contests) == 3
    for path in (tmp_path / engines.FOLDER).glob("*.onnx"):
        path.write_bytes(path.read_bytes()[:-1])
    quickened(tmp_path)
    assert len(contests) == 4
    quickened(tmp_path)
    assert len(contests) == 4


@pytest.mark.parametrize("text", ["", "{", json.dumps({"name": "torch"}), json.dumps([1])])
def test_a_damaged_record_is_measured_anew(tmp_path: Path, contests: list[str], text: str) -> None:
    saved(tmp_path)
    quickened(tmp_path)
    records(tmp_path)[0].write_text(text)
    quickened(tmp_path)
    assert len(contests) == 2


def test_an_engine_that_no_longer_decides_alike_is_measured_anew(tmp_path: Path, contests: list[str]) -> None:
    """Its file was exchanged, and the record with it: the hash of the weights says nothing of that."""
    saved(tmp_path / "other", seed=5)
    quickened(tmp_path / "other")
    saved(tmp_path / "own")
    quickened(tmp_path / "own")
    (record,), (foreign,) = records(tmp_path / "own"), records(tmp_path / "other")
    for suffix in (".json", ".onnx"):
        record.with_suffix(suffix).write_bytes(foreign.with_suffix(suffix).read_bytes())
    assert "kept" not in quickened(tmp_path / "own")[1] and len(contests) == 3
    assert "kept" in quickened(tmp_path / "own")[1] and len(contests) == 3


def test_a_folder_that_takes_no_files_costs_time_only(tmp_path: Path, contests: list[str]) -> None:
    saved(tmp_path)
    (tmp_path / engines.FOLDER).write_text("in the way")
    assert "tiles a study" in quickened(tmp_path)[1]
    assert "tiles a study" in quickened(tmp_path)[1] and len(contests) == 2


def test_a_mapping_that_was_never_saved_is_measured_each_time(contests: list[str]) -> None:
    for _ in range(2):
        made = marks()
        tiled.quicken(made, made.encode(study())[0], 1)
    assert len(contests) == 2


def test_a_known_engine_is_not_built_for_little_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    quickened(tmp_path)
    monkeypatch.setattr(tiled, "PAYS_S", 1e9)
    made, said = quickened(tmp_path)
    assert said == "" and made.backend is None


def test_boxes_keep_theirs_too(tmp_path: Path, contests: list[str]) -> None:
    output = output_for(TargetSpec("boxes", ("a", "b")))
    torch.manual_seed(0)
    network = build("yolo-like", channels=1, n_out=output.n_out, size=(64, 64), width=8)
    plan = Plan().decide("network.name", "yolo-like", "").decide("network.options", {"width": 8}, "")
    BoxedMapping(TileReads((64, 64)), [network], output, plan).save(tmp_path)
    answers = []
    for _ in range(2):
        made = BoxedMapping.load(tmp_path)
        assert isinstance(made, BoxedMapping)
        assert "tiles a study" in boxed.quicken_boxes(made, np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32), 1)
        answers.append(made.backends[0](torch.ones(1, 1, 64, 64)))
    assert len(contests) == 1 and torch.equal(*answers)
