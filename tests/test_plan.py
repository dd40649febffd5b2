"""The plan as data."""

import pytest

from vesalius.errors import RunError
from vesalius.plan import Plan


def sample() -> Plan:
    plan = Plan().decide("train.epochs", 20, "fits the budget").decide("input.size", [28, 28], "read as they are")
    return plan.decide("train.augment", {"tone": {"gamma": 0.2}, "flip": [1]}, "machines differ").decide("train.weights", None, "no \"reason\"\nneeded")


def test_toml_round_trip_keeps_values_reasons_and_hash():
    again = Plan.from_toml(sample().to_toml())
    assert again["train.epochs"] == 20 and again["input.size"] == [28, 28] and again["train.augment"]["tone"]["gamma"] == 0.2
    assert again.reason("train.epochs") == "fits the budget" and again.reason("train.weights") == "no \"reason\"\nneeded"
    assert Plan.from_toml(again.to_toml()).hash == again.hash


def test_a_better_wording_is_the_same_plan_and_another_value_another():
    plan = sample()
    assert plan.decide("train.epochs", 20, "said better").hash == plan.hash
    assert plan.decide("train.epochs", 21, "fits the budget").hash != plan.hash


def test_a_decision_makes_a_new_plan_and_leaves_the_old_one():
    plan = sample()
    plan.decide("train.epochs", 99, "")
    assert plan["train.epochs"] == 20


def test_missing_decision_missing_file_other_schema_and_damage_are_told(tmp_path):
    with pytest.raises(RunError, match="no decision 'train.nothing'"):
        sample()["train.nothing"]
    with pytest.raises(RunError, match="there is no plan"):
        Plan.load(tmp_path / "plan.toml")
    with pytest.raises(RunError, match="another schema .*expected 1, got 7"):
        Plan.from_toml("schema = 7")
    with pytest.raises(RunError, match="the plan is damaged"):
        Plan.from_toml("schema = ")


def test_saved_plan_is_read_back(tmp_path):
    sample().save(tmp_path / "plan.toml")
    assert Plan.load(tmp_path / "plan.toml").hash == Plan.from_toml(sample().to_toml()).hash
