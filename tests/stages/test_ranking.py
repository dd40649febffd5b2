"""Networks that compete: their plans, their order, and a ranking that is killed and goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import box_job
from tile_job import TARGET, plan_of, store_in
from vesalius.core.reads import TileReads
from vesalius.errors import OptionError, RunError, TrainingError
from vesalius.plan import Plan
from vesalius.stages.ranking import RANKING, Contest, first_plan, ranked, settled_plan
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.stages.tiled.train import TileMaterial, train_rival
from vesalius.stages.train import Trained
from vesalius.stages.work import Work

INPUT = {"size": [32, 32], "spacing_mm": [], "schemes": ["none"], "low": [0.0], "high": [1.0], "mean": [0.0], "std": [1.0], "channels": 1, "overlap": 0.5}
RATES = {"good": 1e-2, "idle": 1e-7, "wild": 1e30}
"""Steps of three networks: one learns, one does not, and one runs away."""
Asked = tuple[Request, str | None, float]


def trained(loss: float, score: float) -> Trained:
    return Trained({}, loss, score, 1, 4, 2.5, "all planned epochs were done")


def contest_of(request: Request, listed: tuple[str, ...] = ("good", "idle"), asked: list[Asked] | None = None) -> Contest:
    def check(name: str) -> None:
        if name not in RATES:
            raise OptionError(f"unknown network '{name}'", expected="good, idle or wild")

    def make(request: Request, name: str | None, share: float) -> Plan:
        if asked is not None:
            asked.append((request, name, share))
        plan = plan_of(learning_rate=RATES[name or "good"], folds=request.folds or 0, members=request.members or 1, mirror=[], keep="last")
        for part, value in INPUT.items():
            plan = plan.decide(f"input.{part}", value, "test")
        return plan.decide("network.options", {"width": 4, "depth": 2}, "test").decide("data.share", share, "test")

    return Contest(request, lambda: listed, check, make, "Dice")


def work_in(folder: Path, request: Request) -> Work:
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.log.mkdir(exist_ok=True)
    run.audit.write_text(json.dumps({"split": {"seal": "0", "decisions": [], "notes": []}}))
    return Work(run, request, lambda *_: None, {})


def material_in(folder: Path) -> TileMaterial:
    run, n = RunFolder(folder), 12
    frame = pd.DataFrame({"id": [str(i) for i in range(n)], "patient": [str(i) for i in range(n)], "split": ["train"] * 9 + ["validation"] * 3})
    return TileMaterial(store_in(folder / "store", n, TileReads((32, 32))), frame, TARGET, run.checkpoints, run.log)


def test_the_names_are_those_asked_for_once_or_those_that_suit() -> None:
    assert contest_of(Request("data", network=("idle", "good", "idle"))).names() == ["idle", "good"]
    assert contest_of(Request("data", network=("all",))).names() == ["good", "idle"]
    assert contest_of(Request("data", network=("all",)), listed=("good",)).names() == contest_of(Request("data")).names() == []


def test_every_name_is_checked_before_anything_is_planned() -> None:
    asked: list[Asked] = []
    with pytest.raises(OptionError, match="unknown network 'bad': expected good, idle or wild"):
        contest_of(Request("data", network=("good", "bad")), asked=asked).first()
    assert not asked


def test_one_network_has_the_whole_budget_and_what_was_asked_for() -> None:
    plan = contest_of(Request("data", network=("idle",), folds=3)).first()
    assert plan["network.rivals"] == [] and plan["data.share"] == 1.0 and plan["train.folds"] == 3


def test_half_of_the_budget_is_for_the_ranking_in_equal_parts_and_half_for_the_winner(tmp_path: Path) -> None:
    asked: list[Asked] = []
    contest = contest_of(Request("data", network=("good", "idle"), folds=3, members=2), asked=asked)
    first = contest.first()
    assert (tmp_path / "ranking").exists() is False and first["network.rivals"] == ["good", "idle"]
    rival = contest.rival("idle", first, tmp_path)
    assert contest.rival("idle", first, tmp_path).hash == rival.hash and len(asked) == 2
    final = contest.final(first, pd.DataFrame({"network": ["idle", "good"]}))
    assert [(share, request.folds, request.members) for request, _, share in asked] == [(0.25, None, 1), (0.25, None, 1), (0.5, 3, 2)]
    assert final.reason("network.name") == "best Dice on validation of 2 networks under equal budget (log/ranking.csv)"
    assert final["network.rivals"] == ["good", "idle"] and final["train.folds"] == 3


def test_the_order_is_that_of_the_scores_and_the_lost_come_last() -> None:
    results = {"a": trained(0.1, 0.5), "b": trained(0.9, 0.8), "c": trained(0.2, 0.5), "d": trained(0.1, np.nan), "wild": TrainingError("the loss is nan")}

    def train(plan: Plan, name: str, progress: Callable[..., None]) -> Trained:
        found = results[name]
        if isinstance(found, TrainingError):
            raise found
        return found

    def plan_for(name: str) -> Plan:
        if name == "huge":
            raise RunError("one tile does not fit into the memory")
        return Plan()

    table = ranked(["huge", "wild", "d", "c", "b", "a"], plan_for, train, lambda *_: None)
    assert table["network"].tolist() == ["b", "a", "c", "d", "huge", "wild"]
    assert table["reason"].tolist() == ["", "", "", "", "one tile does not fit into the memory", "the loss is nan"]
    assert table["validation_score"].tolist()[:3] == [0.8, 0.5, 0.5] and table["epochs"].tolist()[-2:] == [0, 0]
    with pytest.raises(TrainingError, match="none of the networks could be trained: got .*does not fit"):
        ranked(["huge", "wild"], plan_for, train, lambda *_: None)


def test_the_one_that_learns_wins_the_one_that_runs_away_is_told_and_the_plan_is_the_winners(tmp_path: Path) -> None:
    request = Request("data", network=("wild", "idle", "good"), weights="pretrained.safetensors")
    work, material, contest = work_in(tmp_path / "run", request), material_in(tmp_path / "run"), contest_of(request)
    first = first_plan(work, contest, TARGET, material.frame)
    plan = settled_plan(work, contest, first, lambda rival, name, progress: train_rival(rival, material, request, name, progress))
    table = pd.read_csv(work.run.log / RANKING)
    assert table["network"].tolist() == ["good", "idle", "wild"] and table["validation_score"][0] > table["validation_score"][1]
    assert "the loss is" in table["reason"][2] and table["reason"][:2].isna().all() and np.isnan(table["validation_score"][2])
    assert plan["train.learning_rate"] == RATES["good"] and plan["data.share"] == 0.5 and Plan.load(work.run.plan).hash == plan.hash
    assert plan["split.seal"] == "0" and (work.run.log / "ranking" / "good" / "history.csv").is_file() and "train" in work.seconds
    assert settled_plan(work, contest, plan, lambda *_: pytest.fail("it is decided")).hash == plan.hash


@pytest.mark.slow
def test_networks_that_detect_are_ranked_by_what_they_find(tmp_path: Path) -> None:
    n = 12
    frame = pd.DataFrame({"id": [str(i) for i in range(n)], "patient": [str(i) for i in range(n)], "split": ["train"] * 8 + ["validation"] * 4})
    material = TileMaterial(box_job.store_in(tmp_path / "store", n, TileReads((48, 48))), frame, box_job.TARGET, tmp_path / "checkpoints", tmp_path / "log")

    def plan_for(name: str) -> Plan:
        plan = box_job.plan_of(learning_rate=RATES[name], epochs=3, steps_per_epoch=20, folds=0, members=1, mirror=[])
        for part, value in (INPUT | {"size": [48, 48]}).items():
            plan = plan.decide(f"input.{part}", value, "test")
        return plan

    names = ["wild", "idle", "good"]
    table = ranked(names, plan_for, lambda plan, name, progress: train_rival(plan, material, Request("data"), name, progress), lambda *_: None)
    assert table["network"].tolist() == ["good", "idle", "wild"] and table["validation_score"][0] > table["validation_score"][1] + 0.05
    assert (tmp_path / "checkpoints" / "rank-good").is_dir() and "loss" in table["reason"][2]


def test_a_killed_ranking_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    request = Request("data", network=("idle", "good"))
    work, material, contest = work_in(tmp_path / "run", request), material_in(tmp_path / "run"), contest_of(request)
    first = first_plan(work, contest, TARGET, material.frame)
    stopped: list[str] = []

    def train(rival: Plan, name: str, progress: Callable[..., None], stop: bool = False) -> Trained:
        if stop and name == "good" and not stopped:
            stopped.append(name)
            raise KeyboardInterrupt
        return train_rival(rival, material, request, name, progress)

    with pytest.raises(KeyboardInterrupt):
        settled_plan(work, contest, first, lambda *given: train(*given, stop=True))
    assert not (work.run.log / RANKING).is_file() and (work.run.checkpoints / "rank-idle").is_dir()
    plan = settled_plan(work, contest, first_plan(work, contest, TARGET, material.frame), train)
    table = pd.read_csv(work.run.log / RANKING)
    (work.run.log / RANKING).unlink()  # as if killed after the winner's plan was written
    assert settled_plan(work, contest, first_plan(work, contest, TARGET, material.frame), train).hash == plan.hash
    again = pd.read_csv(work.run.log / RANKING)
    assert table.equals(again) and table["network"][0] == "good"


def test_without_rivals_nothing_is_trained(tmp_path: Path) -> None:
    request = Request("data")
    work, contest = work_in(tmp_path / "run", request), contest_of(request)
    first = first_plan(work, contest, TARGET, pd.DataFrame())
    old = Plan({name: part for name, part in first.sections.items() if name != "network"})
    for plan in (first, old):
        assert settled_plan(work, contest, plan, lambda *_: pytest.fail("nothing competes")) is plan
