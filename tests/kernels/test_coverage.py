"""95 % intervals over few patients of several images hold the truth about 95 % of the time (in full: benchmarks/coverage.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vesalius.kernels.delong import delong_paired
from vesalius.kernels.figures import Ranked
from vesalius.kernels.stats import bootstrap
from vesalius.seed import generator

PEOPLE, STUDIES = 30, 300
Interval = tuple[float, float]


def levels(rng: np.random.Generator, who: np.ndarray) -> np.ndarray:
    return rng.normal(0, 0.7**0.5, PEOPLE)[who] + rng.normal(0, 0.3**0.5, len(who))


def share(rng: np.random.Generator, who: np.ndarray, unit: np.ndarray) -> Interval:
    """Of images that are right; true value .97."""
    right = (levels(rng, who) < 1.8808).astype(float)
    made = bootstrap(lambda w: (right @ w) / w.sum(0), unit, 30, method="score")
    assert made is not None
    return (made.low, made.high) if made.low < made.high else (0.0, 1.0)


def mean(rng: np.random.Generator, who: np.ndarray, unit: np.ndarray) -> Interval:
    values = levels(rng, who)
    made = bootstrap(lambda w: (values @ w) / w.sum(0), unit, 300)
    assert made is not None
    return made.low, made.high


def area(rng: np.random.Generator, who: np.ndarray, unit: np.ndarray) -> Interval:
    ill = (np.arange(PEOPLE) % 5 < 2)[who]
    ranked = Ranked(1.4 * ill + levels(rng, who), ill)
    made = bootstrap(lambda w: ranked(w)["auc"], unit, 30, method="score")
    assert made is not None
    return made.low, made.high


def gain(rng: np.random.Generator, who: np.ndarray, unit: np.ndarray) -> Interval:
    """The scores differ by something that a patient's images share."""
    ill = (np.arange(PEOPLE) % 5 < 2)[who]
    found = delong_paired(ill, 1.4 * ill + levels(rng, who), 1.4 * ill + levels(rng, who), patients=unit)
    return found.low, found.high


@pytest.mark.parametrize(("figure", "truth"), [(share, 0.97), (mean, 0.0), (area, 0.8389), (gain, 0.0)])
def test_the_patient_as_the_unit_covers_and_the_image_does_not(figure: Callable[..., Interval], truth: float) -> None:
    held = np.zeros(2)
    for number in range(STUDIES):
        who = np.repeat(np.arange(PEOPLE), generator(number, "images").integers(2, 5, PEOPLE))
        for k, unit in enumerate((who, np.arange(len(who)))):
            low, high = figure(generator(number, "coverage"), who, unit)
            held[k] += low <= truth <= high
    assert 0.91 <= held[0] / STUDIES <= 0.99  # three standard errors around .95 are .912 to .988
    assert held[1] / STUDIES < (0.97 if figure is share else 0.88)
