"""Engines, memory and air: faster or leaner, with the same labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.mapping import TiledMapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.tiled import engine
from vesalius.stages.tiled import quicken as module
from vesalius.stages.tiled.quicken import quicken, within_memory


def mapping(exclusive: bool = True) -> TiledMapping:
    output = output_for(TargetSpec("mask", ("a", "b"), values=((1,), (2,)), exclusive=exclusive))
    torch.manual_seed(0)
    network = build("unet", channels=1, n_out=output.n_out, size=(16, 16), width=4, depth=3)
    return TiledMapping(TileReads((16, 16)), [network], output, Plan())


def study(air: bool = False) -> Study:
    image = np.random.default_rng(0).normal(100, 20, (1, 60, 50)).astype(np.float32)
    if air:
        image[:, :, 20:] = -1000
    return Study(image, Grid.plain((60, 50)), bits=16)


def counted(made: TiledMapping) -> list[int]:
    """Counts the tiles that the mapping computes from now on."""
    calls: list[int] = []
    plain = made.mean_raw
    made.backend = lambda x: calls.append(len(x)) or plain(x)  # type: ignore[func-returns-value]
    return calls


def test_little_work_is_not_worth_a_contest() -> None:
    made = mapping()
    assert quicken(made, made.encode(study())[0], 1) == "" and made.backend is None


def test_much_work_gets_the_fastest_engine_that_decides_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    monkeypatch.setattr(module, "TRY_S", 2.0)
    made = mapping()
    before = made.segment(study()).labels
    said = quicken(made, made.encode(study())[0], 3)
    assert made.backend is not None and "tiles a study" in said and "torch" in said
    assert (made.segment(study()).labels == before).mean() >= 0.995


def test_reading_within_memory_marks_the_same_and_refuses_what_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = mapping()
    before = made.segment(study()).labels
    within_memory(made)
    assert np.array_equal(made.segment(study()).labels, before)
    monkeypatch.setattr(engine, "free_bytes", lambda: 10_000)
    with pytest.raises(DataError, match="memory"):
        made.segment(study())


@pytest.mark.parametrize("exclusive", [True, False])
def test_tiles_of_air_are_not_computed_and_hold_nothing(exclusive: bool) -> None:
    made = mapping(exclusive)
    every, few = counted(made), []
    made.segment(study())
    n = len(every)
    few = counted(made)
    labels = made.segment(study(air=True)).labels
    assert 0 < len(few) < 0.8 * n
    assert not labels[:, :, 40:].any() and labels[:, :, :20].any()
