"""The plan for boxes follows the objects, the machine and what was asked for; every decision has its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError, RunError
from vesalius.mapping import network_of
from vesalius.networks.cost import Cost
from vesalius.plan import Plan
from vesalius.stages.boxed import design as module
from vesalius.stages.boxed.design import box_rivals, design_boxes, likely_truth, prepared_shape
from vesalius.stages.boxed.facts import BoxFacts
from vesalius.stages.design.machine import Machine
from vesalius.stages.design.probe import Speed
from vesalius.stages.request import Request
from vesalius.stages.tiled.design import tile_reads_of
from vesalius.stages.tiled.facts import TileFacts

COUNTED = module._cost
MACHINE = Machine(2, 24 * 2**30, 20 * 2**30, 10**12, "cpu", 1, "test")
CARD = replace(MACHINE, accelerator="cuda", device_ram_bytes=80 * 2**30)
TARGET = TargetSpec("boxes", ("cell", "clump"), name="kind")
TILES = TileFacts(
    n_train=100, n_validation=20, n_test=20, n_patients=90, target=TARGET, side_matters=False, ndim=2, shape=(300, 400), spacing_mm=None, finest_mm=None,
    channels=3, colour=True, bits=8, whole_numbers=True, modality=None, modality_stated=False, low=(5.0,) * 3, high=(250.0,) * 3, mean=(120.0,) * 3,
    std=(40.0,) * 3, all_mean=(127.5,) * 3, all_std=(51.0,) * 3, shares={"cell": 0.02, "clump": 0.01}, sizes={"cell": 900.0, "clump": 500.0},
)
CELLS = BoxFacts(TILES, small=30.0, large=90.0, longest=400.0, counts={"cell": 500, "clump": 80}, most=20.0)
LUNG = BoxFacts(
    replace(TILES, ndim=3, shape=(200, 300, 300), spacing_mm=(1.5, 1.0, 1.0), finest_mm=(1.0, 0.8, 0.8), channels=1, colour=False, bits=16, modality="CT",
            modality_stated=True, low=(-900.0,), high=(200.0,), mean=(-100.0,), std=(300.0,), all_mean=(0.3,), all_std=(0.1,)),
    small=6.0, large=25.0, longest=300.0, counts={"cell": 60, "clump": 9}, most=4.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is timed, and what a network costs is not counted again for every plan."""
    monkeypatch.setattr(module, "probe", lambda *_, **__: Speed(0.5, "32-true", True, (("32-true", True, 0.5),)))
    monkeypatch.setattr(module, "_cost", lambda *_: Cost(10**6, 10**9, 2 * 10**7))


def plan_for(facts: BoxFacts = CELLS, machine: Machine = MACHINE, request: Request | None = None, network: str | None = None, **changed: object) -> Plan:
    """With some of the facts changed, of the boxes or of the images."""
    own = {name: value for name, value in changed.items() if name in BoxFacts.__dataclass_fields__}
    tiles = {name: value for name, value in changed.items() if name not in own}
    made = replace(facts, tiles=replace(facts.tiles, **tiles), **own)  # type: ignore[arg-type]
    return design_boxes(made, machine, request or Request("data"), network)


@pytest.mark.parametrize("facts", [CELLS, LUNG], ids=["2d", "3d"])
@pytest.mark.parametrize("machine", [MACHINE, CARD], ids=["cpu", "cuda"])
def test_every_decision_has_a_reason_and_the_plan_survives_its_file(facts: BoxFacts, machine: Machine) -> None:
    plan = plan_for(facts, machine)
    assert all(decision.reason for part in plan.sections.values() for decision in part.values())
    again = Plan.from_toml(plan.to_toml())
    assert tile_reads_of(again) == tile_reads_of(plan) and again.hash == plan.hash
    names = {"data.classes", "data.risk", "input.size", "input.overlap", "input.longest", "network.name", "network.options", "train.batch", "train.epochs",
             "train.mosaic", "train.foreground", "machine.predicted_memory_mb", "machine.predicted_disk_mb"}
    assert all(plan.get(name) is not None for name in names)
    assert plan["data.images"] == [100, 20, 20] and "500 cell, 80 clump" in plan.reason("data.classes") or facts is LUNG


def test_a_picture_of_large_enough_objects_is_made_smaller_and_read_as_a_whole() -> None:
    plan = plan_for()
    assert plan["input.spacing_mm"] == [] and plan["input.longest"] == 192  # 400 x 15 / 30, in steps of 32
    assert plan["input.size"] == [160, 192] and "whole" in plan.reason("input.size")
    assert "30 covers about 14" in plan.reason("input.longest") and tile_reads_of(plan).longest == 192


def test_objects_that_are_just_seen_leave_the_picture_as_it_is() -> None:
    plan = plan_for(small=10.0)
    assert plan["input.longest"] == 400 and plan["input.size"] == [320, 416]


def test_tiny_objects_enlarge_the_picture_at_most_twice() -> None:
    assert plan_for(small=6.0)["input.longest"] == 800
    plan = plan_for(small=1.0)
    assert plan["input.longest"] == 800 and plan["network.options"]["finest"] == 4


def test_a_large_picture_is_tiled_and_a_card_takes_larger_tiles() -> None:
    plan = plan_for(shape=(3000, 4000), longest=4000.0, small=15.0, large=60.0)
    side, other = plan["input.size"]
    assert side * other <= 1.2 * 416**2 and min(side, other) >= 320 and side % 32 == other % 32 == 0
    assert "3000 x 4000" in plan.reason("input.size") and plan["input.longest"] == 4000
    assert 60 / min(side, other) - 0.001 <= plan["input.overlap"] <= 0.5 and "60 samples" in plan.reason("input.overlap")
    card = plan_for(machine=CARD, shape=(3000, 4000), longest=4000.0, small=15.0)
    assert card["input.size"][0] * card["input.size"][1] > 4 * side * other and card["train.batch"] > plan["train.batch"]


def test_tiles_overlap_as_much_as_a_large_object_is_long() -> None:
    small = plan_for(shape=(3000, 4000), longest=4000.0, small=15.0, large=20.0)
    huge = plan_for(shape=(3000, 4000), longest=4000.0, small=15.0, large=900.0)
    assert small["input.overlap"] == 0.15 and huge["input.overlap"] == 0.5


def test_a_volume_is_resampled_so_that_small_nodules_cover_enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.ENOUGH, 3, 4.0)
    plan = plan_for(LUNG)
    assert plan["input.spacing_mm"] == [1.5, 1.5, 1.5] and plan["input.longest"] == 0 and "6.0 mm, covers about 4" in plan.reason("input.spacing_mm")
    assert prepared_shape(plan, LUNG) == (200, 200, 200)
    size = plan["input.size"]
    assert size[0] * size[1] * size[2] <= 1.5 * 80**3 and all(n % 16 == 0 for n in size)
    assert plan["input.schemes"] == ["ct"] and plan["train.mosaic"] == 0 and plan["data.modality"] == "CT"


def test_tiny_nodules_do_not_make_samples_finer_than_half_the_file_s() -> None:
    plan = plan_for(LUNG, small=1.0)
    assert plan["input.spacing_mm"] == [0.75, 0.5, 0.5] and plan["network.options"]["finest"] == 2


@pytest.mark.parametrize("network", ["yolo-like", *(pytest.param(name, marks=pytest.mark.slow) for name in ("retinanet", "faster-rcnn"))])
@pytest.mark.parametrize("facts", [CELLS, LUNG, replace(LUNG, tiles=replace(LUNG.tiles, shape=(12, 200, 180))),
                                   replace(CELLS, tiles=replace(TILES, shape=(20, 400)))], ids=["2d", "3d", "thin", "strip"])
def test_the_planned_network_can_be_built_and_reads_its_tile(facts: BoxFacts, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if facts.tiles.ndim == 3 and network == "faster-rcnn":
        pytest.skip("not in 3-D")
    monkeypatch.setattr(module, "_cost", COUNTED)
    plan = plan_for(facts, request=Request("data", size=64), network=network)
    made, reads = network_of(plan, tile_reads_of(plan), 2).eval(), tile_reads_of(plan)
    assert all(n % made.multiple == 0 for n in reads.size)
    with torch.no_grad():
        assert made(torch.zeros(1, *reads.shape)).shape[2] == 2 * reads.ndim + 2


def test_another_name_of_the_network_gets_the_same_plan() -> None:
    assert plan_for(network="yolo")["network.options"] == plan_for()["network.options"] and plan_for(network="yolo")["network.name"] == "yolo-like"


def test_a_second_label_is_learnt() -> None:
    plan = plan_for(LUNG, target=TargetSpec("boxes", ("cell", "clump"), risk="malignant"))
    assert plan["data.risk"] == "malignant" and plan["network.options"]["risk"] is True
    assert plan_for()["data.risk"] == "" and "risk" not in plan_for()["network.options"]
    assert plan_for(network="retinanet", target=replace(TARGET, risk="bad"))["network.options"] == {"risk": True}


def test_what_was_asked_for_is_done() -> None:
    plan = plan_for(request=Request("data", size=96, batch=3, epochs=7, learning_rate=0.01, members=2, precision="32-true"))
    assert plan["input.size"] == [96, 96] and plan["train.batch"] == 3 and plan["train.epochs"] == 7
    assert plan["train.learning_rate"] == 0.01 and plan["train.members"] == 2 and plan.reason("train.learning_rate") == "asked for with --learning-rate"


def test_other_libraries_networks_take_smaller_steps() -> None:
    assert plan_for()["train.learning_rate"] > plan_for(network="faster-rcnn")["train.learning_rate"]


def test_pictures_in_colour_are_turned_any_way_and_put_together_and_coarse_slices_only_in_their_plane() -> None:
    free, grey = plan_for()["train.augment"], plan_for(colour=False, channels=1, low=(0.0,), high=(1.0,), mean=(0.5,), std=(1.0,), all_mean=(0.5,),
                                                       all_std=(0.2,))
    assert free["rotate_deg"] == 180 and plan_for()["train.mosaic"] == 0.3 and grey["train.augment"]["rotate_deg"] == 15
    flat = plan_for(LUNG, spacing_mm=(5.0, 0.7, 0.7), finest_mm=(5.0, 0.7, 0.7), small=3.0)
    assert flat["train.augment"]["flat"] is True and plan_for(LUNG)["train.augment"]["flat"] is False
    assert plan_for(side_matters=True)["train.augment"]["flip_axes"] == [] and plan_for()["train.mirror"] == []


def test_too_little_memory_is_said_and_little_makes_the_batch_smaller() -> None:
    with pytest.raises(RunError, match=r"one tile does not fit into the memory: expected .* GB free, got 0.0 GB; choose a smaller --size or --network"):
        plan_for(machine=replace(MACHINE, free_ram_bytes=2**20))
    least = next(n for n in range(20, 40) if fits(2**n))
    plan = plan_for(machine=replace(MACHINE, free_ram_bytes=2**least))
    assert plan["train.batch"] < plan_for()["train.batch"] and "as many as fit" in plan.reason("train.batch")


def fits(free: int) -> bool:
    try:
        plan_for(machine=replace(MACHINE, free_ram_bytes=free))
    except RunError:
        return False
    return True


def test_the_networks_worth_comparing_exist_in_so_many_axes() -> None:
    request = Request("data", network=("all",))
    assert box_rivals(CELLS, MACHINE, request) == ["yolo-like", "retinanet", "faster-rcnn"] and box_rivals(LUNG, MACHINE, request) == ["yolo-like", "retinanet"]


def test_rivals_read_the_same_input_and_share_the_budget() -> None:
    request = Request("data", network=("yolo-like", "retinanet"), budget_s=3600.0)
    one, two = (design_boxes(CELLS, MACHINE, request, name, 0.25) for name in request.network)
    assert tile_reads_of(one) == tile_reads_of(two) and one["train.learning_rate"] != two["train.learning_rate"]
    whole = design_boxes(CELLS, MACHINE, request, "yolo-like")
    steps = [plan["train.epochs"] * plan["train.steps_per_epoch"] for plan in (whole, one)]
    assert steps[0] == pytest.approx(4 * steps[1], rel=0.05)


@pytest.mark.parametrize("name", ["unet", "resnet18"])
def test_a_network_without_boxes_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' gives no boxes: expected a network that detects.*choose another --network"):
        plan_for(network=name)


def test_a_network_for_pictures_cannot_read_volumes() -> None:
    with pytest.raises(OptionError, match="'faster-rcnn' does not exist in 3-D: expected yolo-like or retinanet"):
        plan_for(LUNG, network="faster-rcnn")


def test_processes_share_the_batch_evenly() -> None:
    assert plan_for(request=Request("data", devices=3))["train.batch"] == 6


@pytest.mark.parametrize("size", [(64, 96), (32, 48, 48)])
def test_a_step_is_measured_with_as_many_boxes_as_a_study_holds(size: tuple[int, ...]) -> None:
    made, d = likely_truth(CELLS, size, 3), len(size)
    assert made.shape == (3, 20, 2 * d + 3) and torch.equal(made, likely_truth(CELLS, size, 3))
    assert (made[..., d : 2 * d] > made[..., :d]).all() and (made[..., d : 2 * d] <= torch.tensor(size)).all() and (made[..., 2 * d :] == 0).all()
    assert likely_truth(replace(CELLS, most=0.0), size, 1).shape[1] == 1
