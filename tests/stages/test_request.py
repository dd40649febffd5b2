"""Options of fit are checked before anything is done."""

import pytest

from vesalius.errors import OptionError
from vesalius.stages.request import Request, seconds_of


@pytest.mark.parametrize("text", ["10", "m", "-3m", "0m", "ten minutes", "5d"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(OptionError, match="--budget is not a time: expected a number with s, m or h"):
        seconds_of(text)


@pytest.mark.parametrize(("option", "value", "told"), [
    ("size", 0, "--size must be positive"), ("learning_rate", -1.0, "--learning-rate must be positive"), ("sensitivity", 1.5, "between 0 and 1"),
    ("lang", "fr", "expected en or zh, got fr"), ("precision", "int4", "unknown --precision"), ("devices", 0, "--devices must be positive"),
])
def test_impossible_options_are_refused(option, value, told):
    with pytest.raises(OptionError, match=told):
        Request(data="x", **{option: value})


def test_what_a_continued_run_must_agree_with(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    here, there = Request(data="data", jobs=1).remembered(), Request(data=str(tmp_path / "data"), jobs=2, lang="zh").remembered()
    assert here == there
    assert Request(data="medmnist:breastmnist").remembered()["data"] == "medmnist:breastmnist"
    assert here != Request(data="data", seed=1).remembered()


@pytest.mark.parametrize(("option", "value", "told"), [
    ("epochs", 3, "--epochs"), ("budget_s", 60.0, "--budget"), ("network", ("small-cnn",), "--network"), ("learning_rate", 1e-3, "--learning-rate"),
])
def test_what_a_plan_decides_is_not_given_beside_it(option, value, told):
    with pytest.raises(OptionError, match=f"--plan and {told} were both given: expected one of them: the plan has decided it, got"):
        Request(data="x", plan="run/plan.toml", **{option: value})
    assert Request(data="x", plan="run/plan.toml", seed=3, weights="w").seed == 3


def test_a_continued_run_must_agree_with_its_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Request(data="x", plan="plan.toml").remembered()["plan"] == str(tmp_path / "plan.toml")
    assert Request(data="x").remembered()["plan"] is None
