"""Frames of a stream: judged as often as there is time for, and what does not fit is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.fitfor.films import changed, film, mapping, model
from vesalius.stages.fitfor import FrameJudge, judge
from vesalius.stages.fitfor import frames as module


class Clock:
    """A second a look; ``judging`` of them while a frame is judged."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_every_frame_is_judged_where_that_costs_little(tmp_path: Path) -> None:
    judged = FrameJudge(model(tmp_path))
    judged.began -= 1e6
    good, bad = film(1), changed(film(2), lambda x: 255 - x)
    assert [judged.fits(i, bad if i in (2, 3) else good) for i in range(6)] == [True, True, False, False, True, True]
    facts = judged.facts()
    assert facts["judged"] == 6 and facts["unfit"] == 2 and facts["unfit_by_neighbour"] == 0 and set(facts["frames"]) == {2, 3}
    assert "Black and white look exchanged" in facts["frames"][2] and facts["ms_a_frame"] > 0


def test_between_two_judged_frames_the_last_judgement_holds(tmp_path: Path) -> None:
    clock = Clock()
    judged = FrameJudge(model(tmp_path), clock)
    bad = changed(film(2), lambda x: 255 - x)
    assert judged.fits(0, bad) is False and judged.seconds == 1.0
    told = [judged.fits(i, film(1)) for i in range(1, 40)]
    first = told.index(True)
    assert 10 <= first <= 20 and all(told[first:]) and judged.held == first  # two judgements of one second fit into a tenth of twenty
    assert judged.judged <= 4 and judged.facts()["unfit"] == 1


def test_only_so_many_frames_are_named(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr(module, "NAMED", 3)  # type: ignore[attr-defined]
    judged = FrameJudge(model(tmp_path))
    judged.began -= 1e6
    bad = changed(film(2), lambda x: 255 - x)
    assert not any(judged.fits(i, bad) for i in range(5)) and len(judged.facts()["frames"]) == 3 and judged.facts()["unfit"] == 5


def test_a_model_that_remembers_nothing_judges_nothing() -> None:
    judged = FrameJudge(mapping())
    assert judged.facts() == {"judged": 0, "why": "no frame was read"}
    assert judged.fits(0, film(1)) is None and judged.fits(1, film(1)) is None and not judged.known
    assert judged.facts() == {"judged": 0, "why": "the model holds no statistics of its training images"}


def test_the_network_is_not_asked_for_a_frame(tmp_path: Path) -> None:
    made = model(tmp_path)
    plain = judge(made, film(1), network=False)
    assert "distance_network" in judge(made, film(1)).statistics and "distance_network" not in plain.statistics and not plain.refused
    assert judge(made, changed(film(1), lambda x: np.rot90(x, 1, (1, 2))), network=False).refused
