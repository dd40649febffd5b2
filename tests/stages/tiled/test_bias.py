"""The threshold with the best mean Dice on validation."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.stages.tiled.bias import best_threshold, bias_of, curves

RNG = np.random.default_rng(0)


def case(shift: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right at a threshold of 1 / (1 + exp(-shift))."""
    raw = RNG.normal(0, 2, n)
    return 1 / (1 + np.exp(-(raw + shift))), raw + RNG.normal(0, 0.3, n) > 0


def test_one_half_stays_when_it_is_as_good() -> None:
    threshold, best, half = best_threshold([curves(*case(0.0)) for _ in range(5)])
    assert threshold == 0.5 and best == half > 0.9


def test_a_shifted_network_gets_its_own_border() -> None:
    cases = [case(-1.5) for _ in range(5)]
    threshold, best, half = best_threshold([curves(*each) for each in cases])
    assert threshold == pytest.approx(1 / (1 + np.exp(1.5)), abs=0.04) and best > half + 0.05
    dice = np.mean([2 * ((p >= threshold) & t).sum() / ((p >= threshold).sum() + t.sum()) for p, t in cases])
    assert dice == pytest.approx(best, abs=2e-3)


def test_without_any_structure_nothing_is_chosen() -> None:
    threshold, best, _ = best_threshold([curves(np.array([0.2, 0.9]), np.zeros(2, bool))])
    assert threshold == 0.5 and np.isnan(best)


def test_the_bias_puts_the_border_where_the_threshold_is() -> None:
    shift = bias_of(0.3, True)
    assert shift[0] == 0 and 1 / (1 + np.exp(shift[1])) == pytest.approx(0.3)
    assert bias_of(0.5, False) == [0.0]
