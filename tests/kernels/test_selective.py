"""The promised error is kept nearly always; certainty and doubt are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.kernels.selective import certainty_of, decomposed, one_a_patient, select, upper_bound


@pytest.mark.parametrize("error", [0.05, 0.1])
def test_the_promise_is_kept_in_nineteen_of_twenty_calibrations(error: float) -> None:
    rng, kept, broken = np.random.default_rng(0), 0, 0
    for _ in range(200):
        certainty = rng.random(1000)
        made = select(certainty, (rng.random(1000) < 0.5 * (1 - certainty) ** 2).astype(float), error)
        if made is not None:
            kept += 1
            broken += (1 - made.threshold) ** 2 / 6 > error  # the mean of 0.5 (1 - c)^2 above the threshold
    assert kept > 150 and broken / kept <= 0.05


def test_a_hopeless_model_keeps_nothing() -> None:
    rng = np.random.default_rng(0)
    assert select(rng.random(200), np.ones(200), 0.1) is None and select(np.ones(1), np.zeros(1), 0.1) is None


def test_a_faultless_model_keeps_all() -> None:
    made = select(np.linspace(0.5, 1, 400), np.zeros(400), 0.05)
    assert made is not None and made.coverage == 1 and made.observed == 0 and made.bound <= 0.05


def test_bounds_of_graded_losses_are_kept() -> None:
    rng = np.random.default_rng(3)
    made = [upper_bound(rng.beta(1, 4, 60)) for _ in range(200)]
    assert np.mean(np.array(made) < 0.2) <= 0.05 and np.mean(made) < 0.4
    assert upper_bound(np.ones(5)) == 1.0 and upper_bound(np.zeros(0)) == 1.0


def test_certainty_grows_away_from_the_threshold() -> None:
    p = np.array([[0.8, 0.2], [0.75, 0.25], [0.0, 1.0], [1.0, 0.0]])
    assert certainty_of(p, 0.2).tolist() == pytest.approx([0.0, 0.0625, 1.0, 1.0])
    assert certainty_of(p).tolist() == [0.8, 0.75, 1.0, 1.0]


def test_doubt_of_members_that_disagree_is_of_the_model() -> None:
    agree = np.array([[[0.5, 0.5]], [[0.5, 0.5]]])
    differ = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    total, data, model = decomposed(agree)
    assert total == pytest.approx(np.log(2)) and data == pytest.approx(np.log(2)) and model == pytest.approx(0)
    total, data, model = decomposed(differ)
    assert total == pytest.approx(np.log(2)) and data == pytest.approx(0) and model == pytest.approx(np.log(2))


def test_one_image_of_each_patient_is_drawn() -> None:
    patients = np.array(list("aabbbc"))
    rows = one_a_patient(patients, 0)
    assert sorted(patients[rows]) == ["a", "b", "c"] and rows.tolist() == one_a_patient(patients, 0).tolist()
