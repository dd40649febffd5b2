"""The plan for masks follows the data, the machine and what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError, RunError
from vesalius.mapping import network_of
from vesalius.plan import Plan
from vesalius.stages.design.machine import Machine
from vesalius.stages.design.probe import Speed
from vesalius.stages.request import Request
from vesalius.stages.tiled import design as module
from vesalius.stages.tiled.design import check_gives_masks, design_tiles, mask_rivals, tile_reads_of
from vesalius.stages.tiled.facts import TileFacts

MACHINE = Machine(2, 24 * 2**30, 20 * 2**30, 10**12, "cpu", 1, "test")
TARGET = TargetSpec("mask", ("head", "tail"), values=((1,), (2,)))
FACTS = TileFacts(
    n_train=100, n_validation=20, n_test=20, n_patients=100, target=TARGET, side_matters=False, ndim=3, shape=(36, 50, 35), spacing_mm=(1.0, 1.0, 1.0),
    finest_mm=(1.0, 1.0, 1.0), channels=1, colour=False, bits=16, whole_numbers=True, modality=None, modality_stated=False, low=(5.0,), high=(900.0,),
    mean=(300.0,), std=(90.0,), all_mean=(0.3,), all_std=(0.1,), shares={"head": 0.02, "tail": 0.01}, sizes={"head": 900.0, "tail": 500.0},
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "probe", lambda *_, **__: Speed(0.5, "32-true", True, (("32-true", True, 0.5),)))


def plan_for(machine: Machine = MACHINE, request: Request | None = None, **facts: object) -> Plan:
    return design_tiles(replace(FACTS, **facts), machine, request or Request("data", budget_s=600.0))  # type: ignore[arg-type]


def test_a_small_study_is_one_tile() -> None:
    plan = plan_for()
    assert plan["input.size"] == [40, 56, 40] and "whole" in plan.reason("input.size")
    assert plan["input.schemes"] == ["zscore"] and plan["train.loss"] == "dice+ce"


def test_every_decision_has_a_reason_and_the_plan_survives_its_file() -> None:
    plan = plan_for()
    assert all(decision.reason for part in plan.sections.values() for decision in part.values())
    assert tile_reads_of(Plan.from_toml(plan.to_toml())) == tile_reads_of(plan)


def test_a_large_study_is_cut_and_more_so_on_a_processor() -> None:
    large = {"shape": (300, 400, 400)}
    here, there = plan_for(**large)["input.size"], plan_for(replace(MACHINE, accelerator="cuda", device_ram_bytes=80 * 2**30), **large)["input.size"]
    assert here[0] * here[1] * here[2] <= 60**3 < there[0] * there[1] * there[2] and all(n % 8 == 0 for n in here + there)


def test_coarse_slices_keep_fine_series_and_are_not_halved() -> None:
    plan = plan_for(spacing_mm=(5.0, 0.8, 0.8), finest_mm=(3.0, 0.7, 0.7), shape=(20, 300, 300))
    assert plan["input.spacing_mm"] == [3.0, 0.8, 0.8]
    gpu = replace(MACHINE, accelerator="cuda", device_ram_bytes=80 * 2**30)
    fast = plan_for(gpu, spacing_mm=(5.0, 0.8, 0.8), finest_mm=(3.0, 0.7, 0.7), shape=(20, 300, 300))
    assert plan["network.name"] == "small-unet" and fast["network.name"] == "unet" and fast["network.options"]["strides"][1] == [1, 2, 2]
    assert plan["network.options"]["stem_stride"] == [1, 2, 2] and plan["train.augment"]["flat"] is True


def test_ct_pictures_and_mr_are_read_by_their_own_rules() -> None:
    ct = plan_for(modality="CT", modality_stated=True)
    assert ct["input.schemes"] == ["ct"] and (ct["input.low"], ct["input.high"]) == ([5.0], [900.0])
    colour = plan_for(ndim=2, shape=(300, 300), spacing_mm=None, finest_mm=None, colour=True, channels=3, bits=8, low=(0.0,) * 3, high=(255.0,) * 3,
                      mean=(1.0,) * 3, std=(1.0,) * 3, all_mean=(127.5,) * 3, all_std=(51.0,) * 3)
    assert colour["input.schemes"] == ["full"] * 3 and colour["input.mean"] == [0.5] * 3 and colour["input.spacing_mm"] == []
    assert colour["train.mirror"] == [0, 1] and colour["train.augment"]["rotate_deg"] == 180


def test_volumes_that_are_seen_often_are_moved_more() -> None:
    short, long = plan_for(), plan_for(request=Request("data", epochs=60))
    assert short["train.augment"]["spatial_share"] == 0.4 and short["train.augment"]["rotate_deg"] == 15
    assert long["train.augment"]["spatial_share"] == 0.7 and long["train.augment"]["rotate_deg"] == 20 and "seen often" in long.reason("train.augment")
    picture = {"ndim": 2, "shape": (300, 300), "spacing_mm": None, "finest_mm": None}
    assert plan_for(request=Request("data", epochs=400), **picture)["train.augment"]["spatial_share"] == 0.4


def test_small_structures_get_another_loss() -> None:
    assert plan_for(shares={"head": 0.02, "tail": 2e-4})["train.loss"] == "focal-tversky+ce"
    tiny = plan_for(shares={"head": 0.02, "tail": 2e-5})
    assert tiny["train.loss"] == "dice+ce+boundary" and "'tail'" in tiny.reason("train.loss")


def test_no_mirroring_where_a_class_speaks_of_a_side() -> None:
    plan = plan_for(side_matters=True)
    assert plan["train.mirror"] == [] and plan["train.augment"]["flip_axes"] == []


def test_folds_share_the_budget_and_nothing_is_chosen_by_the_cases_that_judge() -> None:
    one, five = plan_for(request=Request("data", budget_s=3600.0)), plan_for(request=Request("data", budget_s=3600.0, folds=5))
    steps = [int(plan["train.epochs"]) * int(plan["train.steps_per_epoch"]) for plan in (one, five)]
    assert steps[0] == pytest.approx(3600 / (0.5 * module.OVERHEAD), rel=0.03) and steps[1] == pytest.approx(steps[0] / 5, rel=0.05)
    assert five["train.keep"] == one["train.keep"] == "last"


def test_what_was_asked_for_is_done() -> None:
    plan = plan_for(request=Request("data", size=32, batch=3, epochs=7, learning_rate=0.01, members=2))
    assert plan["input.size"] == [32, 32, 32] and plan["train.batch"] == 3 and plan["train.epochs"] == 7
    assert plan["train.learning_rate"] == 0.01 and plan["train.members"] == 2


def test_a_network_for_whole_images_is_refused() -> None:
    with pytest.raises(OptionError, match="'resnet18' gives no masks.*unet"):
        design_tiles(FACTS, MACHINE, Request("data"), "resnet18")


def test_the_planned_network_can_be_built_for_any_tile() -> None:
    for facts in ({}, {"shape": (20, 300, 300), "spacing_mm": (5.0, 0.8, 0.8), "finest_mm": (5.0, 0.8, 0.8)}, {"shape": (9, 12, 11)}):
        plan = plan_for(**facts)
        reads = tile_reads_of(plan)
        assert network_of(plan, reads, 3).eval()(torch.zeros(1, 1, *reads.size)).shape == (1, 3, *reads.size)


def test_time_for_many_steps_buys_a_network_at_full_size_on_a_processor() -> None:
    long = Request("data", budget_s=7200.0)
    plan = plan_for(request=long)
    assert plan["network.name"] == "unet" and plan["network.options"]["width"] == 16 and "stem_stride" not in plan["network.options"]
    assert plan["network.options"]["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    reads = tile_reads_of(plan)
    assert network_of(plan, reads, 3).eval()(torch.zeros(1, 1, *reads.size)).shape == (1, 3, *reads.size)
    for request in (Request("data", budget_s=600.0), replace(long, folds=5), replace(long, members=8), replace(long, epochs=50)):
        assert plan_for(request=request)["network.name"] == "small-unet"
    assert design_tiles(FACTS, MACHINE, long, share=0.2)["network.name"] == "small-unet" == design_tiles(FACTS, MACHINE, long, "small-unet")["network.name"]


def test_a_share_of_the_budget_buys_that_share_of_the_steps() -> None:
    request = Request("data", budget_s=3600.0)
    steps = [plan["train.epochs"] * plan["train.steps_per_epoch"] for plan in (design_tiles(FACTS, MACHINE, request, share=s) for s in (1.0, 0.25))]
    assert steps[0] == pytest.approx(4 * steps[1], rel=0.05)


def test_all_rivals_read_the_same_input_and_only_the_default_network_is_planned_in_detail() -> None:
    request = Request("data", network=("small-unet", "unet", "segresnet"))
    plans = {name: design_tiles(FACTS, MACHINE, request, name, 0.2) for name in request.network}
    assert len({tile_reads_of(plan) for plan in plans.values()}) == 1
    assert plans["small-unet"]["network.options"] == plan_for()["network.options"] and plans["unet"]["network.options"] == {}
    assert design_tiles(FACTS, MACHINE, Request("data", network=("small-unet",)), "small-unet")["network.options"] == {}


def test_the_networks_worth_comparing_suit_the_data_and_the_machine() -> None:
    cuda = replace(MACHINE, accelerator="cuda", device_ram_bytes=80 * 2**30)
    few, many = FACTS, replace(FACTS, n_train=600, shape=(64, 80, 80))
    listed = [mask_rivals(facts, machine, Request("data", network=("all",))) for facts, machine in ((few, MACHINE), (many, MACHINE), (many, cuda))]
    assert listed[0] == ["small-unet", "unet", "residual-unet", "segresnet", "attention-unet"] == listed[1]
    assert listed[2] == [*listed[1], "swin-unetr"]
    assert "segresnet" not in mask_rivals(replace(FACTS, shape=(8, 300, 300)), MACHINE, Request("data"))


def test_a_network_that_gives_no_masks_is_refused_by_name() -> None:
    check_gives_masks("unet")
    with pytest.raises(OptionError, match="'yolo-like' gives no masks"):
        check_gives_masks("yolo-like")
    with pytest.raises(OptionError, match="unknown network 'unett': expected one of .*unet"):
        check_gives_masks("unett")


def test_too_little_memory_is_said_before_anything_starts() -> None:
    with pytest.raises(RunError, match="one tile does not fit into the memory"):
        plan_for(replace(MACHINE, free_ram_bytes=2**20))
