from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vesalius.kernels.riskcoverage import RiskCoverage, curve
from vesalius.seed import generator

EXACT = 1e-9


def once(uncertainty, risk, weights=None):
    weights = np.ones(len(risk)) if weights is None else np.asarray(weights, float)
    return float(RiskCoverage(np.asarray(uncertainty, float), np.asarray(risk, float))(weights[:, None])[0])


def by_definition(uncertainty, risk):
    """The mean, over all orders of equal uncertainties, of the mean selective risk."""
    areas = []
    for order in permutations(range(len(risk))):
        if (np.diff(np.asarray(uncertainty)[list(order)]) >= 0).all():
            areas.append((np.cumsum(np.asarray(risk)[list(order)]) / np.arange(1, len(risk) + 1)).mean())
    return np.mean(areas)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int8, 6, elements=st.integers(0, 3)), arrays(np.float64, 6, elements=st.floats(0, 1)))
def test_it_is_the_mean_over_all_orders_of_equals(uncertainty, risk):
    assert once(uncertainty, risk) == pytest.approx(by_definition(uncertainty, risk), abs=EXACT)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int8, 5, elements=st.integers(0, 4)), arrays(np.float64, 5, elements=st.floats(0, 1)), arrays(np.int8, 5, elements=st.integers(0, 3)))
def test_a_weight_is_a_number_of_copies(uncertainty, risk, weights):
    if weights.sum() == 0:
        assert np.isnan(once(uncertainty, risk, weights))
    else:
        assert once(uncertainty, risk, weights) == pytest.approx(once(np.repeat(uncertainty, weights), np.repeat(risk, weights)), abs=EXACT)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, 8, elements=st.floats(0, 1)), arrays(np.float64, 8, elements=st.floats(0, 1)))
def test_nothing_is_better_than_the_risk_itself_and_a_constant_is_chance(uncertainty, risk):
    best, chance, found = once(risk, risk), once(np.zeros(8), risk), once(uncertainty, risk)
    assert best - EXACT <= found and best <= chance + EXACT and chance == pytest.approx(risk.mean(), abs=EXACT)
    assert found <= once(-risk, risk) + EXACT


def test_by_hand():
    assert once([1, 2, 3], [0.0, 0.5, 1.0]) == pytest.approx((0 + 0.25 + 0.5) / 3)
    assert once([3, 2, 1], [0.0, 0.5, 1.0]) == pytest.approx((1 + 0.75 + 0.5) / 3)


def test_the_area_is_the_mean_of_the_curve():
    rng = generator(0, "curve")
    doubt, risk = rng.random(50), rng.random(50)
    coverage, selective = curve(doubt, risk)
    assert once(doubt, risk) == pytest.approx(selective.mean()) and selective[-1] == pytest.approx(risk.mean())
    assert coverage[[0, -1]].tolist() == [0.02, 1.0] and selective[0] == risk[doubt.argmin()]
