"""Drift: what was planted is found, nothing is reported without, and the false-alarm rate is the stated one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vesalius.errors import DataError
from vesalius.kernels.drift import drift


def studies(rng: np.random.Generator, n: int, shift: float = 0.0, scale: float = 1.0, mr: float = 0.2) -> dict[str, list[Any]]:
    """Eight correlated numbers, a skewed one, a word, one that is not always known, one that never varies."""
    shared = rng.normal(size=(n, 1))
    x = 0.7 * shared + rng.normal(size=(n, 8))
    made: dict[str, list[Any]] = {f"x{i}": list(x[:, i]) for i in range(8)}
    made["x0"] = list(x[:, 0] * scale + shift)
    made |= {"skewed": list(rng.exponential(size=n) ** 3), "modality": list(rng.choice(["CT", "MR"], n, p=[1 - mr, mr])), "constant": [1.0] * n}
    return made | {"sometimes": [value if known else None for value, known in zip(rng.normal(size=n), rng.random(n) < 0.5, strict=True)]}


def test_the_false_alarm_rate_of_a_window_is_the_stated_one() -> None:
    rng = np.random.default_rng(0)
    p = np.array([drift(studies(rng, 120), studies(rng, 30), permutations=199, seed=i).p for i in range(300)])
    assert 0.02 <= (p <= 0.05).mean() <= 0.085
    assert 0.4 <= (p <= 0.5).mean() <= 0.6


@pytest.mark.parametrize(("change", "name", "how", "direction"), [
    ({"shift": 1.5}, "x0", "place", 1), ({"shift": -1.5}, "x0", "place", -1), ({"scale": 4.0}, "x0", "spread", 1), ({"mr": 0.8}, "modality", "words", 0),
])
def test_what_was_planted_is_found_and_named(change: dict[str, float], name: str, how: str, direction: int) -> None:
    rng = np.random.default_rng(1)
    found = drift(studies(rng, 300), studies(rng, 50, **change))
    assert found.p <= 0.01 and min(found.each, key=lambda each: found.each[each]) == name
    assert (found.how[name], found.direction[name]) == (how, direction)
    assert sum(p <= 0.01 for p in found.each.values()) == 1


def test_a_statistic_that_is_no_longer_stated_is_a_change() -> None:
    rng = np.random.default_rng(2)
    window = studies(rng, 40)
    window["x3"] = [None] * 40
    found = drift(studies(rng, 200), window)
    assert found.each["x3"] <= 0.01 and found.how["x3"] == "words"


def test_a_window_like_the_reference_is_quiet_and_constants_say_nothing() -> None:
    rng = np.random.default_rng(3)
    assert drift(studies(rng, 200), studies(rng, 50)).p > 0.01
    assert drift({"a": [1.0] * 20}, {"a": [1.0] * 20}).p == 1.0


def test_too_few_studies_and_columns_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(DataError, match="cannot be compared.*8 studies on both sides.*50 and 7 studies"):
        drift(studies(rng, 50), studies(rng, 7))
    with pytest.raises(DataError, match="cannot be compared"):
        drift({"a": [1.0] * 9}, {"b": [1.0] * 9})
    with pytest.raises(DataError, match="do not fit"):
        drift({"a": [1.0] * 9, "b": [1.0] * 8}, {"a": [1.0] * 9, "b": [1.0] * 9})
