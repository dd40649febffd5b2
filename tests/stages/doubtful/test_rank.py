"""Planted wrong labels come first; clean ones are hardly named; values far off are found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.target import TargetSpec
from vesalius.stages.doubtful.rank import Question, judge, outliers
from vesalius.stages.trust.doubtful import doubtful

sys.path.insert(0, str(Path(__file__).parent))
from standin import trust_on

BINARY = TargetSpec("binary", ("well", "ill"))


def question(seed: int, flipped: int, n: int = 300, apart: float = 1.2) -> tuple[Question, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, n)
    features = (rng.normal(0, 1, (n, 8)) + apart * (2 * true[:, None] - 1)).astype(np.float32)
    given = true.copy()
    wrong = rng.permutation(n)[:flipped]
    given[wrong] = 1 - given[wrong]
    return Question(features, given, np.arange(n).astype(str), np.full((n, 2), np.nan), BINARY), given != true


@pytest.mark.parametrize("seed", range(3))
def test_planted_labels_are_the_first_names(seed: int) -> None:
    asked, wrong = question(seed, 15)
    found = judge(asked, seed)
    assert wrong[found.order[:15]].mean() >= 0.8 and wrong[found.convinced].mean() >= 0.8 and found.convinced.sum() >= 8
    assert found.self_test is not None and found.self_test["found"] >= 0.8 and found.self_test["planted"] == 15


def test_clean_labels_are_hardly_named() -> None:
    named = [judge(question(seed, 0)[0], seed).convinced.sum() for seed in range(3)]
    assert max(named) <= 2


def test_labels_that_cannot_be_learnt_are_never_named_with_conviction() -> None:
    found = judge(question(0, 0, apart=0.0)[0], 0)
    assert found.self_test is not None and found.self_test["found"] < 0.5 and not found.convinced.any()


def test_the_network_judges_what_it_has_not_learnt_where_it_is_better() -> None:
    asked, wrong = question(1, 15, apart=0.1)
    network = np.full((300, 2), np.nan)
    true = np.where(wrong, 1 - asked.labels, asked.labels)
    network[200:] = np.where(np.eye(2)[true[200:]] > 0, 0.97, 0.03)
    found = judge(Question(asked.features, asked.labels, asked.patients, network, BINARY), 0)
    assert found.by_network.tolist() == [False] * 200 + [True] * 100
    assert set(np.flatnonzero(wrong[200:])) == set(np.flatnonzero(found.confident[200:]))


def test_a_value_far_off_is_found() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 4))
    values = features[:, 0] * 5 + rng.normal(0, 0.2, 200)
    values[[3, 50]] += (40, -40)
    found = outliers(features, values, np.arange(200).astype(str), np.full(200, np.nan), TargetSpec("regression", ()), 0)
    assert set(found.order[:2]) == {3, 50} == set(np.flatnonzero(found.convinced))


def test_a_run_gets_a_page_and_a_record(tmp_path: Path) -> None:
    trust, truth = trust_on(tmp_path, "binary-folders", n=160, mislabelled=0.05, size=64)
    found = doubtful(trust)
    planted = set(truth.planted["mislabelled"])
    assert (tmp_path / "run" / found["page"]).is_file() and found["n_judged"] == 160
    assert np.mean([case["id"] in planted for case in found["cases"][: len(planted)]]) >= 0.6
    assert found["sentences"][0]["code"] == "doubtful" and {"en", "zh"} <= found["sentences"][0].keys()


def test_too_few_images_are_said(tmp_path: Path) -> None:
    trust, _ = trust_on(tmp_path, "binary-folders", n=20, size=32)
    assert doubtful(trust)["applies"] is False
