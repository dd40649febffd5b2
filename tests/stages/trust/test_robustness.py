"""Robustness: networks that look at one thing alone fail under the change of that thing, and no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.trust.runs import BINARY, finished
from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both
from vesalius.stages.report.trust_robustness import robustness as section
from vesalius.stages.trust._changes import FINE, PLACED, TONED, ZOOM, changes_for
from vesalius.stages.trust._robustwords import sentences_of
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.robustness import LEAST_IMAGES, _raw, _verdict, robustness

SIDE, N = 32, 300


class Counts(nn.Module):
    """The share of bright samples: how large the spot is in the picture."""

    def __init__(self, cut: float) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = torch.sigmoid((x - 0.5) * 40).flatten(1).mean(1)
        return torch.stack([torch.zeros_like(share), (share - self.cut) * 400], 1)


class Corner(nn.Module):
    """One sample that is not in the middle."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x[:, 0, SIDE // 2, 3]
        return torch.stack([torch.zeros_like(value), (value - 0.5) * 30], 1)


def spots(large: np.ndarray, seed: int = 0) -> np.ndarray:
    """``[N, 1, Y, X]`` uint8: a disc of radius about 6, or about 8 for the ill."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[0:SIDE, 0:SIDE]
    radii = np.where(large, 8.0, 6.0) + rng.normal(0, 0.3, len(large))
    far = np.hypot(y - SIDE / 2 + 0.5, x - SIDE / 2 + 0.5)
    return np.stack([np.where(far < r, 220, 40) for r in radii]).astype(np.uint8)[:, None]


def run_of(folder: Path, network: nn.Module, images: np.ndarray, labels: np.ndarray, modality: str = "unknown") -> Trust:
    trust = finished(folder, np.array(BINARY.classes)[labels].tolist(), np.arange(len(labels)), images)
    plan = Plan().decide("data.modality", modality, "test")
    trust.mapping = Mapping(Reads((SIDE, SIDE), mean=(0.0,), std=(1.0,)), [network], output_for(BINARY), plan)
    trust.mapping.output.threshold = 0.5
    (folder / "metrics.json").write_text(json.dumps({"primary": "auc", "operating_point": {"threshold": 0.5}}))
    return trust


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What is said of a network that reads the size of the spot: nearer is iller."""
    labels = np.random.default_rng(1).integers(0, 2, N)
    trust = run_of(tmp_path_factory.mktemp("counted"), Counts(7.0**2 * np.pi / SIDE**2), spots(labels == 1), labels)
    return robustness(trust)


def test_a_network_that_reads_size_loses_its_threshold_and_not_its_order_when_the_cut_is_closer(counted: dict) -> None:
    closer, plain = counted["changes"]["closer"], counted["plain"]
    assert plain["auc"]["value"] > 0.99 and plain["specificity"]["value"] > 0.9
    assert closer["verdict"] == "threshold" and closer["figures"]["auc"]["value"] > 0.97
    assert closer["figures"]["specificity"]["value"] < 0.6 and closer["figures"]["sensitivity"]["value"] > 0.99
    assert counted["changes"]["farther"]["verdict"] == "threshold" and counted["changes"]["farther"]["minus"]["sensitivity"]["value"] < -0.3


def test_what_does_not_change_the_size_of_the_spot_holds(counted: dict) -> None:
    told = {name: row["verdict"] for name, row in counted["changes"].items()}
    assert {name for name, verdict in told.items() if verdict != "holds"} == {"closer", "farther"}
    assert abs(counted["changes"]["turned"]["minus"]["auc"]["value"]) < 0.02


def test_the_sentence_names_the_worst_change_and_what_moved(counted: dict) -> None:
    (only,) = counted["sentences"]
    assert only["code"] == "fragile-threshold" and only["severity"] == "warning"
    assert "closer" in only["en"] and "wider" in only["en"] and "threshold does not" in only["en"] and "阈值" in only["zh"]
    several = sentences_of(counted, ("auc", "balanced_accuracy"))[0]
    assert "class that is named does not" in several["en"] and "threshold" not in several["en"] and "类别" in several["zh"]


def test_differences_are_paired_and_their_intervals_hold_them(counted: dict) -> None:
    for row in counted["changes"].values():
        for name, minus in row["minus"].items():
            assert minus["low"] <= minus["value"] <= minus["high"]
            assert minus["value"] == pytest.approx(row["figures"][name]["value"] - counted["plain"][name]["value"])
    assert counted["n_images"] == counted["of_images"] == counted["n_patients"] == N // 5


def test_a_network_that_reads_one_place_loses_its_order_when_the_picture_is_shifted(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, N)
    images = rng.integers(60, 190, (N, 1, SIDE, SIDE)).astype(np.uint8)
    images[:, 0, SIDE // 2, 3] = np.where(labels, 146, 108) + rng.integers(-20, 21, N)
    found = robustness(run_of(tmp_path, Corner(), images, labels))
    assert found["changes"]["shifted"]["verdict"] == "order" and found["changes"]["shifted"]["figures"]["auc"]["value"] < 0.75
    assert found["changes"]["brighter"]["verdict"] == "threshold" and found["changes"]["brighter"]["minus"]["auc"]["value"] > -0.02
    assert [row["code"] for row in found["sentences"]] == ["fragile-order", "fragile-threshold"]


def test_a_network_whose_answer_does_not_depend_on_the_cut_is_left_in_peace(tmp_path: Path) -> None:
    class Brightest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            top = x.flatten(1).topk(20, 1).values.mean(1) - x.flatten(1).median(1).values
            return torch.stack([torch.zeros_like(top), (top - 0.5) * 20], 1)

    labels = np.random.default_rng(3).integers(0, 2, N)
    images = spots(labels == 9)
    images[labels == 0] = (images[labels == 0] * 0.4).astype(np.uint8)
    found = robustness(run_of(tmp_path, Brightest(), images, labels))
    assert {row["verdict"] for row in found["changes"].values()} == {"holds"}
    assert [row["code"] for row in found["sentences"]] == ["robust"]


@pytest.mark.parametrize(("auc", "accuracy", "verdict"), [
    ((-0.01, -0.005), (-0.05, -0.02), "holds"),  # sure, and small
    ((-0.2, 0.01), (-0.3, 0.02), "holds"),  # large, and unsure
    ((-0.01, -0.005), (-0.2, -0.1), "threshold"), ((-0.2, -0.1), (-0.2, -0.1), "order"), ((0.2, 0.3), (0.2, 0.3), "holds"),
])
def test_a_fall_is_told_when_it_is_large_and_sure(auc: tuple[float, float], accuracy: tuple[float, float], verdict: str) -> None:
    minus = {name: {"value": value, "high": high} for name, (value, high) in (("auc", auc), ("balanced_accuracy", accuracy))}
    assert _verdict(minus, "auc") == verdict


def test_measured_grey_values_are_not_toned(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, N)
    found = robustness(run_of(tmp_path, Counts(0.1), spots(labels == 1), labels, modality="CT"))
    assert set(found["changes"]) == {*PLACED, *FINE} and not set(found["changes"]) & set(TONED)


def test_only_validation_is_looked_at_and_each_fold_by_the_network_that_has_not_seen_it(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, N)
    trust = run_of(tmp_path, Counts(7.0**2 * np.pi / SIDE**2), spots(labels == 1), labels)
    held = trust.frame["split"] != "test"
    fold = np.where(held, np.arange(N) % 2, -1)
    trust.predictions = pd.DataFrame({"id": trust.frame["id"], "split": trust.frame["split"].where(~held, "validation"), "fold": fold})
    wrong, right = Counts(1.0), Counts(7.0**2 * np.pi / SIDE**2)
    trust.mapping.networks = [right, wrong]
    found = robustness(trust)
    assert found["n_images"] == int(held.sum())
    assert 0.4 < found["plain"]["sensitivity"]["value"] < 0.6, "half of the ill are asked of the network that calls nobody ill"
    trust.mapping.networks = [right]
    assert robustness(trust)["applies"] is False


def test_few_patients_are_refused_and_little_time_takes_a_sample(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, N)
    trust = run_of(tmp_path, Counts(0.1), spots(labels == 1), labels)
    few = run_of(tmp_path, Counts(0.1), spots(labels == 1)[:60], labels[:60])
    assert robustness(few)["applies"] is False
    trust.deadline = 0.0
    found = robustness(trust)
    assert (found["n_images"], found["of_images"]) == (LEAST_IMAGES, N // 5)


def test_a_batch_is_answered_as_each_picture_alone(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, N)
    trust = run_of(tmp_path, Counts(0.1), spots(labels == 1), labels)
    mapping = trust.mapping = replace(trust.mapping, networks=[Counts(0.1), Corner()], mirror=(1,))
    x = torch.rand(5, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert np.allclose(_raw(mapping, x), np.stack([mapping.raw(each) for each in x]), atol=1e-5)


def test_volumes_and_numbers_have_it_too(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).mean(1, keepdim=True) * 100

    target, rng = TargetSpec("regression", (), name="age"), np.random.default_rng(0)
    value = rng.uniform(20, 80, N)
    images = np.broadcast_to((value * 2.55).astype(np.uint8)[:, None, None, None, None], (N, 1, 4, 8, 8)).copy()
    trust = finished(tmp_path, value.tolist(), np.arange(N), images, target)
    trust.mapping = Mapping(Reads((4, 8, 8), mean=(0.0,), std=(1.0,)), [Mean()], output_for(target), Plan())
    trust.mapping.output.facts = {"scale": 1.0, "centre": 0.0}
    (tmp_path / "metrics.json").write_text(json.dumps({"primary": "r2"}))
    found = robustness(trust)
    assert found["plain"]["r2"]["value"] > 0.99
    assert found["changes"]["closer"]["verdict"] == "holds" and found["changes"]["brighter"]["verdict"] == "order"


def test_the_section_has_a_row_a_change_in_both_languages(counted: dict, tmp_path: Path) -> None:
    made = section(RunFacts(tmp_path, {}, trust={"robustness": counted}))
    assert made is not None and len(made.tables[0].rows) == len(counted["changes"]) + 1
    without = section(RunFacts(tmp_path, {}, trust={"robustness": counted | {"threshold": None}}))
    assert without is not None and "named class lost" in [row[-1].text.en for row in without.tables[0].rows]
    assert Both("cut 15% closer", "取景放大 15%") in [row[0].text for row in made.tables[0].rows]


def test_closer_shows_the_middle_and_farther_repeats_the_border() -> None:
    x = torch.zeros(1, 1, 20, 20)
    x[..., 5:15, 5:15] = 1
    source = torch.Generator().manual_seed(0)
    area = {name: float(change(x, 1, source).mean()) for name, change in changes_for(False).items()}
    assert area["closer"] == pytest.approx(0.25 / (1 - ZOOM) ** 2, rel=0.06) and area["farther"] == pytest.approx(0.25 / (1 + ZOOM) ** 2, rel=0.06)
    assert area["turned"] == pytest.approx(0.25, rel=0.03) and area["shifted"] == pytest.approx(0.25, rel=0.01)
    assert area["darker"] < 0.25 < area["brighter"]
