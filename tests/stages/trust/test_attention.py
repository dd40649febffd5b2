"""Where the network looks: a network that looks at the corner is caught, one that looks at the disease is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.trust.runs import BINARY, finished
from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.outputs import output_for
from vesalius.phantoms.anatomy import Findings, chest_film, draw_person, draw_pose, expose, stamp
from vesalius.plan import Plan
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_attention import attention as section
from vesalius.stages.trust.attention import attention, looks, positive_cases, shares
from vesalius.stages.trust.base import Trust

SIDE = 64


class LooksAt(nn.Module):
    """Answers from the brightness of one part of the picture."""

    def __init__(self, where: tuple[slice, slice]) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.map.weight)
        self.register_buffer("mask", torch.zeros(1, 1, SIDE, SIDE))
        self.mask[..., where[0], where[1]] = 1
        self.held = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = self.held(self.map(x).relu() * self.mask).mean((1, 2, 3))
        return torch.stack([-value, value], 1)


class Blind(nn.Module):
    """Keeps no place of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(SIDE * SIDE, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x.flatten(1))


def run_of(folder: Path, network: nn.Module, n: int = 120) -> Trust:
    rng = np.random.default_rng(0)
    films = [stamp(expose(chest_film(draw_person(rng), draw_pose(rng), Findings(), SIDE), rng), "AP", "upper-left") for _ in range(n)]
    labels = np.array(["normal", "ill"])[np.arange(n) % 2]
    trust = finished(folder, labels, np.arange(n), np.stack(films)[:, None], BINARY)
    trust.mapping = Mapping(Reads((SIDE, SIDE), mean=(0.0,), std=(1.0,)), [network], output_for(BINARY), Plan())
    return trust


CORNER, HEART = (slice(0, 18), slice(0, 26)), (slice(24, 44), slice(20, 44))


def test_a_network_that_reads_the_marker_is_caught(tmp_path: Path) -> None:
    found = attention(run_of(tmp_path, LooksAt(CORNER)))
    assert found["on_marker"]["value"] > 0.8 and found["n_cases"] == 12 and found["marked"] >= 10
    row = next(row for row in found["sentences"] if row["code"] == "attention-on_marker")
    assert row["severity"] == "warning" and "marker or letters" in row["en"] and "标记" in row["zh"]


def test_a_network_that_reads_the_chest_is_left_in_peace(tmp_path: Path) -> None:
    found = attention(run_of(tmp_path, LooksAt(HEART)))
    assert found["on_marker"]["value"] == 0 and found["outside"]["value"] == 0 and found["heat_outside"] < 0.05
    assert {row["severity"] for row in found["sentences"]} == {"ok"}
    shown = section(RunFacts(tmp_path, trust={"attention": found}))
    assert shown is not None and len(shown.tables[0].rows) == 2 and section(RunFacts(tmp_path)) is None


def test_when_the_time_is_over_the_least_is_done(tmp_path: Path) -> None:
    trust = run_of(tmp_path, LooksAt(HEART))
    trust.deadline = 0.0
    found = attention(trust)
    assert found["n_cases"] == 8 and found["of_cases"] == 12


def test_where_it_has_no_meaning_it_says_so(tmp_path: Path) -> None:
    blind = attention(run_of(tmp_path, Blind()))
    assert blind["applies"] is False and "Grad-CAM does not fit" in blind["why"]["en"]
    few = attention(run_of(tmp_path, LooksAt(HEART), 20))
    assert few["applies"] is False and "fewer than 8" in few["why"]["en"]
    masks = attention(finished(tmp_path, ["a"] * 30, np.arange(30), None, TargetSpec("mask", ("a",))))
    assert masks["applies"] is False and "place by place" in masks["why"]["en"]
    shown = section(RunFacts(tmp_path, trust={"attention": few}))
    assert shown is not None and not shown.tables


def test_one_image_a_patient_and_positive_ones_only(tmp_path: Path) -> None:
    labels = np.repeat(["normal", "ill"], 40)
    trust = finished(tmp_path, labels, np.arange(80) // 2, np.zeros((80, 1, 8, 8), np.uint8))
    rows = positive_cases(trust)
    assert len(rows) == trust.frame.iloc[rows]["patient"].nunique() == 4
    assert set(trust.frame.iloc[rows]["label"]) == {"ill"} and set(trust.frame.iloc[rows]["split"]) == {"test"}


@pytest.mark.parametrize("ndim", [2, 3])
def test_heat_is_counted_where_it_lies(ndim: int) -> None:
    picture = np.zeros((20,) * ndim)
    picture[(slice(5, 15),) * ndim] = 1
    heat = np.zeros_like(picture)
    heat[(10,) * ndim], heat[(1,) * ndim] = 1.0, 0.5
    assert np.isclose(looks(picture, heat)["outside"], 1 / 3)  # type: ignore[arg-type]
    assert looks(picture, heat * 0)["outside"] is None and looks(picture * 0, heat)["outside"] is None


def test_shares_of_few_cases_are_not_given() -> None:
    case: dict[str, float | None] = {"outside": 0.9, "marker": None, "body": 0.1}
    assert shares([case] * 5)["outside"] is None
    found = shares([case] * 10 + [case | {"outside": 0.1}] * 10)
    assert found["outside"]["value"] == 0.5 and found["outside"]["low"] < 0.5 < found["outside"]["high"] and found["on_marker"] is None
