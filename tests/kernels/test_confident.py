"""Confident learning finds planted flips, leaves clean labels alone, and needs no luck with edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.kernels.confident import agreement, doubts


def blobs(seed: int, flipped: int, n: int = 400, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of a good model, given labels and true ones."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    raw = 4 * np.eye(k)[true] + rng.normal(0, 1, (n, k))
    p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    given = true.copy()
    chosen = rng.permutation(n)[:flipped]
    given[chosen] = (given[chosen] + rng.integers(1, k, flipped)) % k
    return p, given, true


@pytest.mark.parametrize("seed", range(5))
def test_planted_flips_come_first_and_their_share_is_estimated(seed: int) -> None:
    p, given, true = blobs(seed, 20)
    found = doubts(p, given)
    first = found.order[:20]
    assert (given != true)[first].mean() >= 0.8
    assert (found.likelier[first] == true[first]).mean() >= 0.8
    assert found.share == pytest.approx(0.05, abs=0.03)
    assert found.joint.sum() == pytest.approx(1) and np.allclose(found.joint.sum(1), np.bincount(given, minlength=3) / len(given))


@pytest.mark.parametrize("seed", range(5))
def test_clean_labels_give_few_doubts(seed: int) -> None:
    p, given, _ = blobs(seed, 0)
    assert doubts(p, given).confident.mean() < 0.02


def test_thresholds_are_the_mean_self_confidence() -> None:
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert doubts(p, np.array([0, 0, 1])).thresholds.tolist() == pytest.approx([0.8, 0.8])


def test_a_class_without_cases_is_never_believed() -> None:
    found = doubts(np.array([[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]]), np.array([0, 1]))
    assert np.isnan(found.thresholds[2]) and not found.confident.any() and found.share == pytest.approx(0)


def test_neighbours_are_of_other_patients_and_the_nearest_first() -> None:
    features, labels, patients = np.array([[0.0], [0.1], [1.0], [3.0]]), np.array([0, 0, 1, 0]), np.array([0, 0, 1, 2])
    near, same = agreement(features, labels, patients, k=2)
    assert near.tolist() == [[2, 3], [2, 3], [1, 0], [2, 1]]
    assert same.tolist() == [0.5, 0.5, 0.0, 0.5]


def test_an_image_without_other_patients_has_no_neighbour() -> None:
    near, same = agreement(np.zeros((2, 1)), np.array([0, 1]), np.array([0, 0]), k=1)
    assert (near == -1).all() and np.isnan(same).all()
