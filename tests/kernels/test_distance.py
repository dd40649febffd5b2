"""Distances from many rows, directions between groups, bounds that are rarely exceeded."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import DataError
from vesalius.kernels.distance import Gaussian, direction_between, projection, rarely_beyond


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Correlated: the third is nearly the sum of the first two."""
    x = np.random.default_rng(seed).normal(size=(n, 2)) * (1.0, 5.0)
    return np.column_stack([x, x.sum(1) + 0.1 * np.random.default_rng(seed + 1).normal(size=n)])


def test_what_breaks_the_correlation_is_far_though_each_number_is_usual() -> None:
    made = Gaussian.of(rows(2000))
    usual, odd = np.array([1.0, 5.0, 6.0]), np.array([1.0, 5.0, -6.0])
    assert made.distance(usual) < 1.5 and made.distance(odd) > 10
    plain = Gaussian.of(rows(2000)[:, :2])
    assert np.cov(plain.white(rows(2000)[:, :2]).T) == pytest.approx(np.eye(2), abs=0.1)
    assert np.sqrt((plain.distance(rows(2000, 7)[:, :2]) ** 2).mean()) == pytest.approx(1, abs=0.1)


def test_units_do_not_matter_and_what_never_varied_has_a_floor() -> None:
    x = rows(500)
    assert Gaussian.of(x).distance(x) == pytest.approx(Gaussian.of(x * (1000, 10, 3)).distance(x * (1000, 10, 3)), rel=1e-6)
    constant = np.column_stack([x[:, :1], np.full(len(x), 2.0)])
    assert Gaussian.of(constant).distance(np.array([0.0, 2.001])) < 1 < 10 < Gaussian.of(constant).distance(np.array([0.0, 3.0]))


def test_more_features_than_rows_still_give_a_finite_distance() -> None:
    x = np.random.default_rng(0).normal(size=(20, 60))
    found = Gaussian.of(x).distance(np.random.default_rng(1).normal(size=(50, 60)))
    assert np.isfinite(found).all() and 0.5 < np.median(found) < 3


@pytest.mark.parametrize("bad", [np.zeros((3, 2)), np.full((9, 2), np.nan)])
def test_too_few_rows_or_no_numbers_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="no spread can be told from these rows"):
        Gaussian.of(bad)


def test_the_direction_between_two_groups_tells_them_apart_better_than_any_number_alone() -> None:
    own, other = rows(400), rows(400, 5) + (0, 0, 1.0)
    direction = direction_between(own, other)
    gap = (other @ direction).mean() - (own @ direction).mean()
    assert gap / (own @ direction).std() > 5
    with pytest.raises(DataError, match="too few rows to tell two groups apart"):
        direction_between(own[:3], other)


@pytest.mark.parametrize(("n", "share"), [(10, 0.01), (30, 0.002), (300, 0.01), (2000, 0.002)])
def test_a_bound_is_exceeded_as_rarely_as_stated(n: int, share: float) -> None:
    rng = np.random.default_rng(0)
    beyond = [float((rng.normal(size=1000) > rarely_beyond(rng.normal(size=n), share)).mean()) for _ in range(300)]
    assert np.mean(beyond) <= 1.3 * share
    assert np.mean(beyond) >= 0.2 * share


def test_a_bound_of_skewed_values_holds_where_there_are_many() -> None:
    rng = np.random.default_rng(1)
    beyond = [float((rng.exponential(size=1000) > rarely_beyond(rng.exponential(size=500), 0.01)).mean()) for _ in range(100)]
    assert np.mean(beyond) <= 0.012
    with pytest.raises(DataError, match="too few values for a bound"):
        rarely_beyond(np.arange(3.0), 0.01)


def test_a_projection_keeps_lengths_in_proportion() -> None:
    made = projection(500, 100)
    x = np.random.default_rng(0).normal(size=(50, 500))
    assert made.T @ made == pytest.approx(np.eye(100), abs=1e-9)
    assert np.linalg.norm(x @ made, axis=1) / np.linalg.norm(x, axis=1) == pytest.approx(np.sqrt(0.2), rel=0.25)
    assert (projection(4, 9) == np.eye(4)).all() and (projection(500, 100) == made).all()
