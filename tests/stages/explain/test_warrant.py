"""Warrants: a map that follows the network passes, planted bad ones are caught, each by the test that is meant for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vesalius.stages.explain import warrant
from vesalius.stages.explain.erased import Erasing, moved
from vesalius.stages.explain.questions import Question, map_of, method_of
from vesalius.stages.explain.randomised import layers_in_order, randomised
from vesalius.stages.explain.warrant import LEAST_CASES, warrants_of

SEED = 2
"""A network of 77 weights is sometimes as good when they are drawn; with this seed no draw is."""
SIDES = {2: (48, 48), 3: (24, 24, 24)}


class Finds(nn.Module):
    """Sees bright blobs and not what is dark; two layers, so that a cascade has a way to go."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.first, self.second = conv(1, 4, 3, padding=1), conv(4, 1, 3, padding=1)
        torch.manual_seed(3)
        nn.init.constant_(self.first.weight, 3.0**-ndim)
        nn.init.constant_(self.first.bias, -0.5)
        nn.init.constant_(self.second.weight, 3.0**-ndim)
        nn.init.zeros_(self.second.bias)
        with torch.no_grad():
            for weight in (self.first.weight, self.second.weight):
                weight.mul_(1 + 0.3 * torch.randn_like(weight))
        self.held = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lit = self.held(self.second(self.first(x).relu())).flatten(2).mean(2)
        return torch.cat([0 * lit, 300 * lit - 1], 1)


def questions(n: int = 16, ndim: int = 2, marked: bool = True) -> list[Question]:
    """A bright blob that is the lesion, and a dark one far from it that draws the eye as much."""
    rng, made, size = np.random.default_rng(0), [], SIDES[ndim]
    for i in range(n):
        x, region = torch.from_numpy(rng.normal(0, 0.02, (1, 1, *size)).astype(np.float32)), np.zeros(size, bool)
        at = rng.integers(4, size[0] - 12, ndim)
        region[tuple(slice(a, a + 6) for a in at)] = True
        x[0, 0][torch.from_numpy(region)] += 1.5
        x[0, 0][torch.from_numpy(np.roll(region, size[0] // 2, 0))] -= 1.5
        made.append(Question(str(i), str(i), x, lambda raw: raw[:, 1], lambda raw: raw.softmax(1)[:, 1], region if marked else None))
    return made


def edges(_: nn.Module, question: Question) -> torch.Tensor:
    """A map of the image's edges: it pleases the eye and knows nothing of the network."""
    x = question.x[0, 0]
    steps = sum((x - x.roll(1, axis)).abs() for axis in range(x.ndim))
    return steps / steps.max()


def elsewhere(network: nn.Module, question: Question) -> torch.Tensor:
    """A map that depends on the weights but lies in the wrong place."""
    return method_of("gradcam")(network, question).roll(question.x.shape[2] // 2, 0)


def nothing(_: nn.Module, question: Question) -> torch.Tensor:
    return torch.zeros_like(question.x[0, 0])


@pytest.mark.parametrize("ndim", [2, 3])
def test_honest_maps_pass_and_planted_bad_ones_are_caught(ndim: int) -> None:
    methods = {"gradcam": method_of("gradcam"), "edges": edges, "elsewhere": elsewhere, "nothing": nothing, "rollout": method_of("attention-rollout")}
    found = warrants_of(Finds(ndim), questions(ndim=ndim), methods, seed=SEED, limit_s=1000)
    good = found["gradcam"]
    assert good["shown"] and good["why"] == [] and good["n_cases"] in (*warrant.LOOKS, 16)
    assert good["pointing"]["hits"]["value"] > 0.8 and good["pointing"]["randomised"]["value"] < 0.7 and 0 < good["pointing"]["chance"] < 0.3
    assert good["erased"]["over_moved"]["low"] > 0.1 and good["erased"]["over_random"]["low"] > 0.1
    assert good["erased"]["deletion"]["value"] < min(good["erased"][kind]["deletion"] for kind in ("random", "moved"))
    assert good["erased"]["insertion"]["value"] > max(good["erased"][kind]["insertion"] for kind in ("random", "moved"))
    cascade = good["randomised"]["cascade"]
    assert [round(step["share"], 2) for step in cascade] == [0.33, 0.67, 1.0] and cascade[0]["rank"] > cascade[-1]["rank"]
    assert not found["edges"]["shown"] and "same" in found["edges"]["why"] and found["edges"]["randomised"]["rank"]["value"] == 1
    assert not found["elsewhere"]["shown"] and {"erasing", "pointing"} <= set(found["elsewhere"]["why"]) and "same" not in found["elsewhere"]["why"]
    assert found["nothing"]["why"] == ["empty"] and found["nothing"]["empty"] == 16 and not found["nothing"]["shown"]
    assert found["rollout"]["why"] == ["unfit"] and not found["rollout"]["shown"]


def test_a_clear_verdict_ends_the_test_and_stays_what_it_is_with_all_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"gradcam": method_of("gradcam"), "edges": edges, "elsewhere": elsewhere}
    soon = warrants_of(Finds(2), questions(), methods, seed=SEED, limit_s=1000)
    monkeypatch.setattr(warrant, "LOOKS", ())
    late = warrants_of(Finds(2), questions(), methods, seed=SEED, limit_s=1000)
    assert {name: each["shown"] for name, each in soon.items()} == {name: each["shown"] for name, each in late.items()}
    assert all(each["n_cases"] == 16 and each["stopped"] == "all" for each in late.values())
    assert soon["edges"]["n_cases"] == LEAST_CASES and soon["edges"]["stopped"] == "clear"


def test_a_map_that_nobody_sees_unasked_is_tested_only_with_time_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warrant, "FLOOR_S", 1000.0)
    methods = {"gradcam": method_of("gradcam"), "occlusion": method_of("occlusion")}
    found = warrants_of(Finds(2), questions(), methods, seed=SEED, limit_s=1e-6, spare=["occlusion"])
    assert found["gradcam"]["tested"] and found["gradcam"]["stopped"] == "time" and (found["occlusion"]["why"], found["occlusion"]["n_cases"]) == (["time"], 0)


def test_without_marks_there_is_no_pointing_game() -> None:
    found = warrants_of(Finds(2), questions(marked=False), {"gradcam": method_of("gradcam")}, seed=SEED, limit_s=1000)["gradcam"]
    assert found["shown"] and found["pointing"] is None


def test_too_few_cases_and_too_little_time_leave_a_map_untested_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    gradcam = {"gradcam": method_of("gradcam")}
    assert warrants_of(Finds(2), questions(LEAST_CASES - 1), gradcam)["gradcam"] == {"n_cases": 7, "tested": False, "shown": True, "why": ["few"]}
    monkeypatch.setattr(warrant, "FLOOR_S", 0.0)
    assert warrants_of(Finds(2), questions(), gradcam, limit_s=1e-6)["gradcam"]["why"] == ["time"]
    monkeypatch.setattr(warrant, "FLOOR_S", 1000.0)
    assert warrants_of(Finds(2), questions(), gradcam, limit_s=1e-6)["gradcam"]["n_cases"] == LEAST_CASES


def test_the_same_seed_gives_the_same_warrant_and_leaves_the_network_alone() -> None:
    network, told = Finds(2), []
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = [warrants_of(network, questions(8), {"gradcam": method_of("gradcam")}, seed=5, limit_s=1000, progress=lambda *a: told.append(a)) for _ in range(2)]
    assert made[0] == made[1] and told[0] == (0, 1, "explanations tested (gradcam)")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()) and network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_layers_forget_from_the_last_to_the_first() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    network.extra = nn.Parameter(torch.randn(3))
    x = torch.randn(1, 1, 8, 8)
    assert layers_in_order(network, x) == ["", "0", "1", "4"], "what belongs to no layer comes first, so that it is forgotten last"
    changed = [[not torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True)] for twin in randomised(network, x)]
    names = [name for name, _ in network.named_parameters()]
    last, two, all_of_it = ({name for name, other in zip(names, row, strict=True) if other} for row in changed)
    assert last == {"4.weight", "4.bias"} and two == last | {"0.weight", "0.bias"} and all_of_it == {"0.weight", "0.bias", "4.weight", "4.bias", "extra"}
    twin = randomised(network, x)[-1]
    assert float(twin[4].weight.detach().std()) == pytest.approx(float(network[4].weight.detach().std()), rel=0.15), "the numbers inside keep their size"


def test_a_perfect_order_has_the_best_areas() -> None:
    network, question = Finds(2), questions(1)[0]
    erasing = Erasing.of(network.eval(), question)
    best, worst = (erasing.of_map(heat) for heat in (question.region.astype(float), -question.region.astype(float)))
    chance = erasing.of_random(0)
    assert best.deletion < chance.deletion < worst.deletion and best.insertion > chance.insertion > worst.insertion
    here, there = question.region, moved(question.region, np.random.default_rng(1))
    assert here.sum() == there.sum() and not (here & there).any() and erasing.of_moved(here.astype(float), 0).between < best.between
    assert best.between == pytest.approx(best.insertion - best.deletion) and all(0 <= area <= 1 for area in (best.deletion, best.insertion))


def test_a_method_that_does_not_fit_gives_no_map() -> None:
    assert map_of(method_of("attention-rollout"), Finds(2), questions(1)[0]) is None
