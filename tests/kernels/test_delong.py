import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vesalius.errors import TooFewError
from vesalius.kernels.delong import delong, delong_interval, delong_paired
from vesalius.seed import generator


def cases(n=80, seed=0):
    rng = generator(seed, "delong")
    truth = rng.integers(0, 2, n)
    common = rng.normal(0, 1, n)
    return truth, np.round(truth + common, 1), np.round(0.6 * truth + common + rng.normal(0, 0.7, n), 1)


def by_pairs(truth, first, second):
    """DeLong's covariance as it is written, over all pairs."""
    psi = [(s[truth == 1][:, None] > s[truth == 0]) + 0.5 * (s[truth == 1][:, None] == s[truth == 0]) for s in (first, second)]
    m, n = psi[0].shape
    return np.cov([x.mean(1) for x in psi]) / m + np.cov([x.mean(0) for x in psi]) / n


def test_area_and_variance_equal_the_definition_with_ties():
    truth, first, second = cases()
    covariance = by_pairs(truth, first, second)
    area, variance = delong(truth, first)
    assert area == pytest.approx(roc_auc_score(truth, first), abs=1e-12)
    assert variance == pytest.approx(covariance[0, 0], abs=1e-12)
    found = delong_paired(truth, first, second)
    half = 1.959964 * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.value, found.high - found.value) == pytest.approx((area - roc_auc_score(truth, second), half), abs=1e-6)
    assert found.low == pytest.approx(found.value - half, abs=1e-6)


def test_the_interval_stays_inside_and_the_p_is_symmetric():
    truth, first, second = cases()
    low, high = delong_interval(truth, first)
    assert 0 < low < roc_auc_score(truth, first) < high < 1
    assert delong_paired(truth, first, second).p == pytest.approx(delong_paired(truth, second, first).p)
    same = delong_paired(truth, first, 2 * first)
    assert (same.value, same.p) == (0, 1)
    assert delong_interval(truth, truth) == (1, 1)


def test_no_difference_is_rejected_one_time_in_twenty():
    rejected = 0
    for study in range(300):
        rng = generator(study, "null")
        truth = np.repeat([0, 1], 40)
        first, second = (truth + rng.normal(0, 1.2, 80) for _ in range(2))
        rejected += delong_paired(truth, first, second).p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


def test_one_case_of_a_class_has_no_variance():
    with pytest.raises(TooFewError, match="variance of an AUC is undefined: expected two cases of each class, got 1 positive and 3 negative"):
        delong(np.array([0, 0, 0, 1]), np.arange(4.0))
