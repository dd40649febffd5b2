"""The plan follows from the facts and the machine, and says why."""

import dataclasses
import importlib

import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError, RunError
from vesalius.stages.compete import Planner
from vesalius.stages.design import Facts, Machine, complete, design, reads_of, this_machine
from vesalius.stages.design.probe import Speed, probe
from vesalius.stages.request import Request

DESIGN, TRAINING = (importlib.import_module(f"vesalius.stages.design.{name}") for name in ("design", "training"))
BINARY = TargetSpec("binary", ("normal", "ill"))
FACTS = Facts(2000, 300, 300, 1500, BINARY, {"normal": 1000, "ill": 1000}, False, 2, (128, 128), None, False, 8, True, None, 0.0, 0.0, 255.0)
MACHINE = Machine(2, 8 * 2**30, 6 * 2**30, 100 * 2**30, "cpu", 1, "test")


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """A machine whose speed is known: 1 microsecond a sample of input, a tenth for a small-cnn."""

    def measured(name, options, *, size, batch, precision=None, **_):
        seconds = 1e-6 * np.prod(size) * batch * {"small-cnn": 0.1}.get(name, 1.0) * options.get("width", 32) / 32
        return Speed(float(seconds), precision or "32-true", True, (("32-true", True, float(seconds)),))

    monkeypatch.setattr(DESIGN, "probe", measured)
    monkeypatch.setattr(TRAINING, "probe", measured)


def plan_for(request: dict | None = None, machine: Machine = MACHINE, **facts: object):
    return design(dataclasses.replace(FACTS, **facts), machine, Request(data="x", **(request or {})))


def test_small_pictures_are_read_as_they_are_and_large_ones_as_the_budget_allows():
    assert plan_for(shape=(28, 28))["input.size"] == [28, 28]
    assert plan_for({"budget_s": 3000.0}, shape=(1024, 900))["input.size"] == [224, 224]
    assert plan_for({"budget_s": 600.0}, shape=(1024, 900))["input.size"] == [96, 96]
    assert plan_for({"size": 200}, shape=(1024, 900))["input.size"] == [200, 200]


def test_a_budget_is_used_and_not_exceeded():
    plan = plan_for({"budget_s": 600.0}, shape=(28, 28))
    assert 0 < plan["train.predicted_seconds"] <= 600
    long = plan_for({"budget_s": 3600.0}, shape=(128, 128))
    assert 0.8 * 3600 < long["train.predicted_seconds"] <= 3600


def test_a_long_budget_trains_more_passes_first_and_members_then():
    assert plan_for({"budget_s": 200.0}, shape=(28, 28))["train.members"] == 1
    assert plan_for({"budget_s": 7200.0}, shape=(28, 28))["train.members"] == 3


def test_a_short_budget_takes_a_lighter_network_and_says_so():
    usual, short, shortest = (plan_for({"budget_s": seconds}, shape=(64, 64)) for seconds in (200.0, 70.0, 5.0))
    assert (usual["network.name"], usual["network.options"]) == ("small-resnet", {})
    assert (short["network.name"], short["network.options"]) == ("small-resnet", {"width": 16})
    assert shortest["network.name"] == "small-cnn" and "fewer than 15 times" in shortest.reason("network.name")
    assert plan_for({"budget_s": 5.0, "network": ("small-resnet",)}, shape=(64, 64))["network.name"] == "small-resnet"


def test_numbers_are_kept_as_the_kind_of_image_wants():
    ct = plan_for(ndim=3, shape=(40, 64, 64), bits=16, modality="CT", low=-990.4, high=1200.2, spacing_mm=(2.0, 1.0, 1.0))
    assert (ct["input.window"], ct["input.low"], ct["input.high"], ct["input.levels"]) == ("fixed", -991, 1201, 65535)
    assert ct["train.augment"]["tone"]["gamma"] == 0
    assert plan_for(bits=16)["input.window"] == "percentile" and plan_for(bits=12, window_share=1.0)["input.window"] == "voi"
    assert plan_for()["input.window"] == "full" and plan_for()["input.levels"] == 255
    assert plan_for(colour=True)["input.channels"] == 3
    assert plan_for(shape=(200, 400))["input.letterbox"] is True


def test_no_mirroring_where_the_side_matters_or_left_is_unknown():
    assert plan_for()["train.mirror"] == [1]
    assert plan_for(side_matters=True)["train.mirror"] == [] and plan_for(side_matters=True)["train.augment"]["affine"]["flip_axes"] == []
    assert plan_for(ndim=3, shape=(28, 28, 28))["train.mirror"] == []
    assert plan_for(ndim=3, shape=(28, 28, 28), spacing_mm=(1.0, 1.0, 1.0))["train.mirror"] == [2]


@pytest.mark.parametrize(("counts", "sampling", "weighted", "focal"), [
    ((1000, 1000), "even", False, 0.0), ((1600, 400), "even", True, 0.0), ((1900, 100), "balanced", False, 0.0), ((1980, 20), "balanced", False, 1.0),
])
def test_imbalance_is_met_as_it_grows(counts, sampling, weighted, focal):
    plan = plan_for(class_counts=dict(zip(BINARY.classes, counts, strict=True)))
    assert (plan["train.sampling"], bool(plan["train.class_weights"]), plan["train.focal"]) == (sampling, weighted, focal)
    if weighted:
        weights = np.array(plan["train.class_weights"])
        assert weights[1] / weights[0] == pytest.approx(4, rel=0.01) and (weights * counts).sum() / sum(counts) == pytest.approx(1, rel=0.01)


def test_rare_findings_of_many_weigh_more():
    target = TargetSpec("multilabel", ("rare", "usual"))
    weights = plan_for(target=target, class_counts={"rare": 20, "usual": 1000})["train.class_weights"]
    assert weights[0] > 5 * weights[1] == 5.0


def test_the_batch_fits_the_memory_and_nothing_fits_into_none():
    large = plan_for({"size": 224}, shape=(224, 224))["train.batch"]
    small = plan_for({"size": 224}, dataclasses.replace(MACHINE, free_ram_bytes=400 * 2**20), shape=(224, 224))
    assert large == 64 and small["train.batch"] < 32 and "memory" in small.reason("train.batch")
    with pytest.raises(RunError, match="one image does not fit into the memory.*smaller --size"):
        plan_for({"size": 224}, dataclasses.replace(MACHINE, free_ram_bytes=2**20), shape=(224, 224))


def test_what_the_user_asks_is_done_and_said():
    plan = plan_for({"epochs": 7, "batch": 10, "learning_rate": 0.5, "precision": "bf16-mixed", "members": 2, "sensitivity": 0.9, "devices": 2})
    assert [plan[f"train.{n}"] for n in ("epochs", "batch", "learning_rate", "precision", "members")] == [7, 10, 0.5, "bf16-mixed", 2]
    assert plan["output.operating_point"] == "sensitivity 0.9" and plan["machine.devices"] == 2
    assert all("asked for" in plan.reason(f"train.{n}") for n in ("epochs", "batch", "learning_rate", "precision", "members"))


def test_memory_time_and_disk_are_predicted():
    plan = plan_for()
    assert plan["machine.predicted_memory_mb"] > 900 and plan["machine.predicted_disk_mb"] > 40 and plan["train.predicted_seconds"] > 0


def test_mean_and_deviation_come_from_the_training_images_alone():
    images = np.zeros((6, 1, 28, 28), np.uint8)
    images[:4, :, :14] = 51
    images[4:] = 255
    plan = complete(plan_for(shape=(28, 28)), images, np.arange(4))
    assert reads_of(plan).mean == pytest.approx((0.1,)) and reads_of(plan).std == pytest.approx((0.1,))


def test_an_accelerator_that_is_not_here_is_refused(tmp_path):
    assert this_machine(tmp_path / "not" / "yet", "cpu").accelerator == "cpu"
    with pytest.raises(OptionError, match="this accelerator is not here: expected auto or one of .*cpu, got tpu"):
        this_machine(tmp_path, "tpu")


def test_the_real_probe_measures_every_choice_and_takes_the_quickest(monkeypatch):
    monkeypatch.undo()
    speed = probe("small-cnn", {}, channels=1, n_out=2, size=(16, 16), batch=4, accelerator="cpu")
    assert 0 < speed.seconds <= min(s for _, _, s in speed.tried) * 1.1 + 1e-9 and len(speed.tried) >= 2
    assert all(f"{1000 * s:.0f} ms" in speed.sentence for _, _, s in speed.tried)


def test_folds_divide_the_budget_and_are_said():
    one, five = (plan_for({"budget_s": 3600.0} | more, shape=(64, 64)) for more in ({"members": 1}, {"folds": 5}))
    assert (one["train.folds"], five["train.folds"], five["train.members"]) == (0, 5, 1) and "--folds" in one.reason("train.folds")
    assert five["train.predicted_seconds"] <= 3600
    assert plan_for({"budget_s": 100.0, "folds": 5}, shape=(64, 64)).reason("train.epochs").endswith("as many as fit into 20 s a fold")
    assert five["machine.predicted_disk_mb"] > one["machine.predicted_disk_mb"]
    both = plan_for({"budget_s": 3600.0, "folds": 5, "members": 2, "epochs": 4})
    single = plan_for({"budget_s": 3600.0, "folds": 5, "epochs": 4})
    assert both["train.predicted_seconds"] == pytest.approx(2 * single["train.predicted_seconds"], abs=2)


def test_an_epoch_of_a_fold_is_a_pass_through_what_it_learns_from():
    plan = plan_for({"folds": 10, "batch": 10})
    assert plan["train.steps_per_epoch"] == round(2300 * 9 / 10 / 10)
    assert plan_for({"batch": 10})["train.steps_per_epoch"] == 200


def test_networks_are_ranked_on_the_ordinary_split_and_the_winner_has_the_folds(tmp_path):
    planner = Planner(Request(data="x", network=("small-cnn", "small-resnet"), folds=4, budget_s=1200.0), MACHINE, lambda: FACTS)
    first = planner.first()
    rivals = planner.rival_plans(first, tmp_path)
    assert [plan["train.folds"] for plan in (first, *rivals)] == [0, 0, 0]
    final = planner.final(first, pd.DataFrame({"network": ["small-resnet", "small-cnn"]}))
    assert final["train.folds"] == 4 and final["network.name"] == "small-resnet" and final["input.size"] == first["input.size"]
    assert final["train.predicted_seconds"] <= 600
