"""A plan that is given is taken as it is, but for what belongs to this data and this machine."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError, RunError
from vesalius.plan import Plan
from vesalius.stages.givenplan import given_plan
from vesalius.stages.request import Request

TARGET = TargetSpec("binary", ("normal", "ill"))
USED = pd.DataFrame({"split": ["train"] * 5 + ["validation"] * 2 + ["test"] * 3})


def saved(folder: Path, **other: object) -> Path:
    decisions = {"data.target": "binary", "data.classes": ["normal", "ill"], "data.images": [90, 9, 9], "input.size": [32, 32], "network.name": "small-cnn",
                 "network.rivals": [], "train.epochs": 7, "train.channels_last": True, "machine.threads": 64, "machine.accelerator": "cpu",
                 "machine.nodes": 1, "split.seal": "old"} | other
    plan = Plan()
    for name, value in decisions.items():
        plan = plan.decide(name, value, "because")
    plan.save(folder / "plan.toml")
    return folder / "plan.toml"


def taken(path: Path, target: TargetSpec = TARGET, **options: object) -> Plan:
    return given_plan(Request(data="x", plan=str(path), **options), target, USED, path.parent)


def test_decisions_stay_and_what_is_of_this_run_is_new(tmp_path):
    plan = taken(saved(tmp_path))
    assert (plan["train.epochs"], plan["train.channels_last"], plan["machine.threads"]) == (7, True, 64)
    assert plan["data.images"] == [5, 2, 3]
    assert "split" not in plan.sections


def test_the_run_folder_may_be_given_for_its_plan(tmp_path):
    saved(tmp_path)
    assert taken(tmp_path)["train.epochs"] == 7


def test_networks_are_not_ranked_again(tmp_path):
    plan = taken(saved(tmp_path, **{"network.rivals": ["small-cnn", "vgg11"]}))
    assert plan["network.rivals"] == [] and "small-cnn won" in plan.reason("network.rivals")


def test_an_accelerator_that_is_not_here_is_replaced_and_said(tmp_path):
    plan = taken(saved(tmp_path, **{"machine.accelerator": "abacus", "machine.nodes": 3}))
    assert plan["machine.accelerator"] in ("cpu", "cuda", "mps") and "the plan says abacus" in plan.reason("machine.accelerator")
    assert plan["machine.nodes"] == 1
    assert taken(saved(tmp_path), accelerator="cpu").reason("machine.accelerator") == "because"


def test_a_plan_for_another_target_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"for another target \(.*plan.toml\): expected binary \(normal, ill\), got binary \(a, b\); leave out --plan"):
        taken(saved(tmp_path), TargetSpec("binary", ("a", "b")))


def test_what_is_no_plan_of_a_run_is_refused(tmp_path):
    Plan().decide("data.target", "binary", "x").save(tmp_path / "plan.toml")
    with pytest.raises(OptionError, match="the plan is not one of a run: expected a decision 'input.size'"):
        taken(tmp_path)
    with pytest.raises(RunError, match="there is no plan"):
        taken(tmp_path / "nowhere.toml")
