"""Looking through cases with a mapping that is right by construction; a classic rival; a faster engine; thresholds settled on validation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.mapping import BoxedMapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages import engines
from vesalius.stages.boxed import quicken as module
from vesalius.stages.boxed.evaluate import BoxJudge, case_row, found_list, judged_boxes, truth_list
from vesalius.stages.boxed.fit import MATCHING, _settled
from vesalius.stages.boxed.quicken import quicken_boxes
from vesalius.stages.boxed.rival import blob_cases
from vesalius.stages.boxed.tables import part_of

sys.path.insert(0, str(Path(__file__).parent))
from box_cases_on_disk import TARGET, frame_of, pictures, volumes

NAN = float("nan")


class Says(nn.Module):
    """A network that says the same boxes of everything, in samples of the tile."""

    multiple = 1

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows, self.calls = torch.nn.Parameter(torch.tensor(rows)), 0

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        return self.rows[None].expand(len(x), -1, -1) + 0 * x.mean()


def mapping(rows: list[list[float]], size: tuple[int, ...] = (48, 64)) -> BoxedMapping:
    return BoxedMapping(TileReads(size), [Says(rows)], output_for(TARGET), Plan())


DOT, BLOCK, NOTHING = [4.0, 6, 10, 12, 3, -9, -2], [20.0, 30, 36, 50, -9, 2, 2], [40.0, 2, 46, 8, -3.5, -9, 0]


def quiet(*_: object) -> None:
    """No progress."""


def test_a_row_holds_what_is_true_and_what_was_found(tmp_path: Path) -> None:
    cases = pictures(tmp_path)
    judge = BoxJudge({case.id: case for case in cases}, TARGET)
    rows = judged_boxes(mapping([DOT, BLOCK, NOTHING]), frame_of(cases), judge, tmp_path / "run", progress=quiet)
    assert list(rows["id"]) == [case.id for case in cases] and set(rows["fold"]) == {-1}
    first, last = (json.loads(rows["truth"].iloc[i]) for i in (0, 3))
    assert first[0] == {"box": [4, 6, 10, 12], "class": "dot", "ignored": False, "risk": 0}
    assert first[1] == {"box": [20, 30, 36, 50], "class": "block", "ignored": False, "risk": 1} and len(first) == 2
    assert last == [] and json.loads(rows["shape"].iloc[0]) == [48, 64] and json.loads(rows["spacing_mm"].iloc[0]) is None
    found = json.loads(rows["found"].iloc[0])
    assert [each["class"] for each in found] == ["dot", "block", "dot"] and [each["box"] for each in found] == [row[:4] for row in (DOT, BLOCK, NOTHING)]
    assert found[0]["score"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5) and found[1]["risk"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)
    part = part_of(rows, TARGET)
    assert part is not None and all(each.verdict[0].tolist()[:2] == [1, 1] for each in part.ruled[:3])


def test_what_was_looked_through_is_kept_until_the_model_or_its_task_changes(tmp_path: Path) -> None:
    cases, run = pictures(tmp_path), tmp_path / "run"
    judge, made = BoxJudge({case.id: case for case in cases}, TARGET), mapping([DOT, BLOCK])
    told: list[tuple[int, int, str]] = []
    first = judged_boxes(made, frame_of(cases), judge, run, progress=lambda *facts: told.append(facts), what="cases")
    assert told == [(i, 4, "cases") for i in (1, 2, 3, 4)] and made.network.calls == 4
    pd.testing.assert_frame_equal(judged_boxes(made, frame_of(cases), judge, run, progress=quiet), first)
    assert made.network.calls == 4
    judged_boxes(made, frame_of(cases)[:1], judge, run, fold=2, progress=quiet)
    made.output.facts["overlap"] = 0.3
    judged_boxes(made, frame_of(cases)[:2], judge, run, progress=quiet)
    assert made.network.calls == 7


def test_volumes_keep_their_spacing(tmp_path: Path) -> None:
    cases = volumes(tmp_path, 1)
    says = mapping([[2.0, 4, 6, 5, 8, 12, 3, -9, 0]], (16, 20, 30))
    row = judged_boxes(says, frame_of(cases), BoxJudge({case.id: case for case in cases}, TARGET), tmp_path / "run", progress=quiet).iloc[0]
    assert json.loads(row["spacing_mm"]) == [2, 1, 1] and len(json.loads(row["truth"])) == 2 and len(json.loads(row["found"])) == 1


def test_unknown_risks_are_null_and_numbers_are_short() -> None:
    truth = BoxTruth(np.array([[1.23456, 2, 3, 4]]), np.array([1]), np.array([True]), np.array([NAN]))
    assert truth_list(truth, TARGET) == [{"box": [1.235, 2, 3, 4], "class": "block", "ignored": True, "risk": None}]
    found = Detected(np.array([[0, 1, 2, 3.00004]]), np.array([0]), np.array([0.123456789]), np.array([NAN]))
    assert found_list(found, TARGET) == [{"box": [0, 1, 2, 3], "class": "dot", "score": 0.123457, "risk": None}]
    study = Study(np.zeros((1, 5, 6), np.uint8), Grid.plain((5, 6), (0.5, 0.5)))
    row = case_row({"id": "a", "path": "a.png", "patient": "p", "split": "test", "more": 1}, study, truth, Detected.empty(2), TARGET)
    assert json.loads(row["spacing_mm"]) == [0.5, 0.5] and row["found"] == "[]" and "more" not in row


def test_a_case_that_is_gone_is_named(tmp_path: Path) -> None:
    cases = pictures(tmp_path)
    Path(cases[1].source.path).unlink()
    with pytest.raises(DataError, match=r"i1\.png"):
        judged_boxes(mapping([DOT]), frame_of(cases), BoxJudge({case.id: case for case in cases}, TARGET), tmp_path / "run", progress=quiet)


@pytest.mark.parametrize("ndim", [2, 3])
def test_blobs_alone_find_bright_blocks_on_the_study_s_own_grid(tmp_path: Path, ndim: int) -> None:
    """The rival is given the same resolution; its boxes come back to the samples of the file."""
    cases = pictures(tmp_path, 8) if ndim == 2 else volumes(tmp_path, 6)
    used = frame_of(cases, *("train",) * (len(cases) - 2), "validation", "test")
    reads = TileReads((32, 32), longest=128) if ndim == 2 else TileReads((16, 16, 16), spacing_mm=(1.0, 1.0, 1.0))
    judge = BoxJudge({case.id: case for case in cases}, TARGET)
    rows = blob_cases(used, judge, reads, seed=0, progress=quiet)
    assert list(rows["split"]) == ["validation", "test"] and rows["id"].tolist() == used["id"].tolist()[-2:]
    found, truth = json.loads(rows["found"].iloc[0]), json.loads(rows["truth"].iloc[0])
    middles = [(np.array(each["box"][:ndim]) + each["box"][ndim:]) / 2 for each in [truth[1], *found[:10]]]
    assert found and min(np.abs(each - middles[0]).max() for each in middles[1:]) < 6
    assert blob_cases(used, judge, reads, seed=0, progress=quiet).equals(rows)


def settled(tmp_path: Path) -> tuple[BoxedMapping, pd.DataFrame, dict[str, object]]:
    cases = pictures(tmp_path, 12)
    judge, made = BoxJudge({case.id: case for case in cases}, TARGET), mapping([DOT, BLOCK, NOTHING])
    raw = judged_boxes(made, frame_of(cases, *("validation",) * 12), judge, tmp_path / "run", progress=quiet)
    return made, *_settled(made, raw, judge, "iou")


def test_operating_points_are_settled_on_validation_and_kept_by_the_mapping(tmp_path: Path) -> None:
    made, validation, facts = settled(tmp_path)
    thresholds = made.output.facts["thresholds"]
    assert set(thresholds) == {"dot", "block"} and facts["operating_point"]["dot"]["threshold"] == thresholds["dot"]  # type: ignore[index]
    scores = [sorted(each["score"] for each in json.loads(cell) if each["class"] == "dot") for cell in validation["found"]]
    assert all(low < thresholds["dot"] <= high for low, high in scores)  # between what is right and what is not


def test_what_was_above_the_operating_point_on_validation_is_so_in_a_finding(tmp_path: Path) -> None:
    """Though scores are kept with few digits: the box that the point was chosen at must not fall below it."""
    made, validation, _ = settled(tmp_path)
    point = made.output.facts["thresholds"]
    above = sum(each["score"] >= point[each["class"]] for each in json.loads(validation["found"].iloc[0]))
    study = Study(np.random.default_rng(0).integers(0, 40, (1, 48, 64)).astype(np.uint8), Grid.plain((48, 64)))
    counts = made(study).scores
    assert counts["dot.count"] + counts["block.count"] == above == 2


def test_pictures_are_matched_by_overlap_and_volumes_by_centre() -> None:
    assert MATCHING == {2: "iou", 3: "centre"}


def test_little_work_is_not_worth_a_contest() -> None:
    made = mapping([DOT], (16, 16))
    assert quicken_boxes(made, np.random.default_rng(0).normal(size=(1, 40, 40)).astype(np.float32), 1) == "" and made.backends == ()


def test_much_work_gets_an_engine_for_every_member_and_tiles_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = mapping([DOT], (16, 16)), []

    def engine(_network: nn.Module, **facts: object) -> SimpleNamespace:
        asked.append(facts)
        return SimpleNamespace(sentence="torch 1 ms a tile")

    monkeypatch.setattr(module, "WORTH_S", 0.0)
    monkeypatch.setattr(engines, "fastest", engine)
    made.networks, made.mirror = [*made.networks, Says([BLOCK])], (1,)
    said = quicken_boxes(made, np.random.default_rng(0).normal(size=(1, 16, 28)).astype(np.float32), float("inf"))
    assert len(made.backends) == 2 and made.batch == 1 and said.endswith("tiles a study; torch 1 ms a tile") and int(said.split()[0]) % 2 == 0
    assert all(facts["detects"] is True and facts["n_out"] == 3 and facts["probe"].shape == (1, 1, 16, 16) for facts in asked)  # type: ignore[attr-defined]


def test_on_another_device_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    made = mapping([DOT], (16, 16))
    made.device = "cuda"
    assert quicken_boxes(made, np.zeros((1, 20, 20), np.float32), 9) == "" and made.backends == ()
