"""A re-run from the record: what is compared, what is said, and what is refused before anything is trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from vesalius.errors import DataError, OptionError, RunError
from vesalius.phantoms import make_phantom
from vesalius.plan import Plan
from vesalius.stages.fit import cohort_of
from vesalius.stages.prepare import quiet
from vesalius.stages.reproduce import Change, Compared, Reproduced, Version, Weights, compare, reproduce
from vesalius.stages.reproduce import run as module
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.stages.work import Work, data_hash, used_of

FIGURES = {"test": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}, "accuracy": {"value": 0.85, "low": 0.75, "high": 0.92}},
           "validation": {"auc": {"value": 0.88, "low": 0.8, "high": 0.93}}}


def finished(folder: Path, metrics: dict, shift: float = 0.0) -> None:
    """Weights and figures as a fit leaves them."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "log").mkdir(exist_ok=True)
    save_file({"0.w": torch.ones(3, 4) + shift, "0.b": torch.zeros(4)}, folder / "model" / "weights.safetensors", {"vesalius": "{}"})
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_phantom("binary-folders", tmp_path_factory.mktemp("films") / "p", seed=3, n=60).data)


@pytest.fixture(scope="module")
def template(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record whose check and split are real, and whose training is not."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    request = Request(data=str(films), seed=4, epochs=2, network=("small-cnn",))
    with RunFolder(folder).claimed(request) as run:
        _, frame = cohort_of(Work(run, request, quiet, {}))
    Plan().decide("machine.accelerator", "cpu", "an abacus").save(folder / "plan.toml")
    finished(folder, FIGURES)
    facts = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(facts | {"data_hash": data_hash(used_of(frame))}))
    return folder


@pytest.fixture()
def run(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "run"))


@pytest.fixture()
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What fit was called with; instead of training it leaves ``figures`` and ``shift``."""
    seen: dict = {"figures": FIGURES, "shift": 0.0}

    def fit(data, out, **options):
        seen["options"] = options | {"data": data}
        finished(Path(out), seen["figures"], seen["shift"])
        return out

    monkeypatch.setattr(module, "fit", fit)
    return seen


def changed(**values: float) -> dict:
    made = json.loads(json.dumps(FIGURES))
    for name, value in values.items():
        made["test"][name]["value"] = value
    return made


def test_the_same_data_and_plan_give_the_same(run, asked, tmp_path):
    made = reproduce(run, tmp_path / "again")
    assert (made.verdict, made.exit_code, made.changes) == ("same", 0, ())
    assert "all 16 weights have the same bits and all 3 figures are equal" in made.text() and "逐位相同" in made.text("zh")
    options = asked["options"]
    assert options["seed"] == 4 and options["plan"] == str(run / "plan.toml") and options["progress"] is quiet
    assert options["epochs"] is None and options["network"] == ()
    for folder in (tmp_path / "again", run / "log"):
        assert json.loads((folder / "reproduced.json").read_text())["verdict"] == "same"


def test_the_new_folder_lies_beside_the_old_one_and_has_its_split(run, asked):
    made = reproduce(run)
    assert made.out == run.with_name("run-again")
    ours, theirs = (pd.read_parquet(folder / "cohort.parquet").set_index("id")["split"] for folder in (made.out, run))
    assert ours.equals(theirs)


@pytest.mark.parametrize(("figures", "shift", "verdict", "code", "told"), [
    (FIGURES, 1e-4, "same figures", 0, "differ by at most 0.0001"),
    (changed(auc=0.91), 0.5, "inside", 3, "AUC (test): 0.9, now 0.91; the interval was 0.8 to 0.95"),
    (changed(auc=0.99), 0.5, "different", 1, "1 of the figures lie outside"),
])
def test_what_came_out_otherwise_is_said_with_its_interval(figures, shift, verdict, code, told, run, asked):
    asked |= {"figures": figures, "shift": shift}
    made = reproduce(run)
    assert (made.verdict, made.exit_code) == (verdict, code)
    assert told in made.text()


def test_a_changed_label_is_refused_by_name_before_training_and_leaves_no_folder(run, asked, films, tmp_path):
    data = Path(shutil.copytree(films, tmp_path / "data"))
    one = sorted((data / "normal").iterdir())[0]
    one.rename(data / "effusion" / one.name)
    with pytest.raises(DataError, match=rf"1 changed: normal/{one.name} was 'normal' and is 'effusion'; restore them, or use --anyway"):
        reproduce(run, data=data)
    assert "options" not in asked and not run.with_name("run-again").exists()
    made = reproduce(run, data=data, anyway=True)
    assert made.changes[0] == Change("label", f"normal/{one.name}", "normal", "effusion")
    assert made.exit_code == 1 and "The data are not the same" in made.text() and "由“normal”变为“effusion”" in made.text("zh")
    assert asked["options"]["data"] == str(data)


def test_changed_content_and_lost_images_are_named(run, asked, films, tmp_path):
    data = Path(shutil.copytree(films, tmp_path / "data"))
    first, second = sorted((data / "normal").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=f"the content of normal/{first.name} is another"):
        reproduce(run, data=data)
    shutil.rmtree(data / "normal")
    shutil.copytree(films / "normal", data / "normal")
    second.unlink()
    with pytest.raises(DataError, match=f"normal/{second.name} is gone"):
        reproduce(run, data=data)


def test_another_split_of_the_same_data_is_told_apart(run, asked):
    frame = pd.read_parquet(run / "cohort.parquet")
    frame.loc[frame["split"] == "test", "split"] = "validation"
    frame.to_parquet(run / "cohort.parquet")
    with pytest.raises(RunError, match="the same data were split differently .*was in validation and is in test; use the versions"):
        reproduce(run)


def test_data_that_are_not_where_they_were(run, asked, films):
    facts = json.loads((run / "environment.json").read_text())
    facts["request"]["data"] = "/nowhere/at/all"
    (run / "environment.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="the data of the run are not where they were .*expected /nowhere/at/all, got nothing there; .*--data"):
        reproduce(run)
    assert reproduce(run, data=films).verdict == "same"


@pytest.mark.parametrize("name", ["metrics.json", "plan.toml", "cohort.parquet", "environment.json", "model/weights.safetensors"])
def test_a_record_that_lacks_a_file_is_refused(name, run, asked):
    (run / name).unlink()
    with pytest.raises(RunError, match=f"the record of the run is incomplete .*expected {name}, got nothing; let 'vesalius fit' finish"):
        reproduce(run)


def test_a_record_that_lacks_a_fact_contradicts_itself_or_is_of_another_version(run, asked):
    path = run / "environment.json"
    facts = json.loads(path.read_text())
    for wrong, told in (
        ({k: v for k, v in facts.items() if k != "data_hash"}, "expected 'data_hash' in environment.json"),
        (facts | {"data_hash": "0123"}, "contradicts itself .*expected the data hash 0123"),
        (facts | {"request": facts["request"] | {"wings": 2}}, "of another version .*got wings"),
        (facts | {"request": {"seed": 1}}, "of another version .*got no 'data'"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(RunError, match=told):
            reproduce(run)


def test_the_new_run_is_not_the_old_one_and_takes_no_option_of_the_plan(run, asked):
    for inside in (run, run / "again"):
        with pytest.raises(OptionError, match="the new run would lie in the old one: expected another folder"):
            reproduce(run, inside)
    with pytest.raises(OptionError, match="'epochs' cannot be given to reproduce: expected one of jobs, lang"):
        reproduce(run, epochs=3)
    assert reproduce(run, jobs=1).verdict == "same" and asked["options"]["jobs"] == 1


def test_other_versions_and_machines_are_named(run, asked):
    facts = json.loads((run / "environment.json").read_text())
    facts["versions"]["torch"] = "1.0.0"
    (run / "environment.json").write_text(json.dumps(facts))
    made = reproduce(run)
    assert {each.name for each in made.versions} == {"torch", "machine"}
    assert "torch " in made.text() and "(was 1.0.0)" in made.text() and "(was an abacus)" in made.text()


def test_an_image_that_went_to_another_folder_without_another_label_is_gone_and_new():
    before = pd.DataFrame([{"id": "a/1", "hash": "x", "label": "ill", "patient": "p", "split": "train"}])
    assert [each.kind for each in compare.changes(before, before.assign(id="b/1"))] == ["gone", "new"]
    assert [each.kind for each in compare.changes(before, before.assign(patient="q"))] == ["patient"]


def test_networks_of_other_tensors_have_no_difference(tmp_path):
    for name, size in (("a", 3), ("b", 4)):
        (tmp_path / name / "model").mkdir(parents=True)
        save_file({"w": torch.ones(size)}, tmp_path / name / "model" / "weights.safetensors", {"vesalius": "{}"})
    assert compare.weights(tmp_path / "a", tmp_path / "b") == Weights(False, None, 3)


def answer(*figures: Compared, weights: Weights = Weights(True, 0.0, 9)) -> Reproduced:  # noqa: B008
    return Reproduced(Path("run"), Path("out"), "abc", 10, (), (Version("torch", "1", "2"),), weights, figures)


def test_verdicts_by_their_states():
    equal, bare = Compared("test", "auc", 0.5, 0.5, None, None), Compared("test", "auc", 0.5, 0.6, None, None)
    assert equal.state == "equal" and bare.state == "unbounded" and replace(bare, now=None).state == "absent"
    assert answer(equal).verdict == "same" and answer(equal, bare).verdict == "different"
    told = answer(equal, bare, weights=Weights(False, None, 9))
    assert "AUC (test): 0.5, now 0.6." in told.text() and "other tensors" in told.text()
    assert told.to_dict()["versions"] == [{"name": "torch", "before": "1", "now": "2"}]
