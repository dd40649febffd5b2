import numpy as np
import pytest
from scipy.special import stdtrit
from sklearn.metrics import roc_auc_score

from vesalius.errors import DataError, TooFewError
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
    half = stdtrit(min(truth.sum(), (1 - truth).sum()) - 1, 0.975) * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
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


def test_patients_of_one_image_change_nothing_and_copies_carry_no_weight():
    truth, first, second = cases()
    names = [f"p{i}" for i in range(len(truth))]
    assert delong(truth, first, names) == pytest.approx(delong(truth, first), abs=1e-12)
    copied = [np.repeat(x, 3) for x in (truth, first, second, np.arange(len(truth)))]
    assert delong(copied[0], copied[1], copied[3]) == pytest.approx(delong(truth, first), abs=1e-12)
    assert delong(copied[0], copied[1])[1] < 0.4 * delong(truth, first)[1]
    ours, plain = delong_paired(*copied[:3], patients=copied[3]), delong_paired(truth, first, second)
    assert (ours.value, ours.low, ours.high, ours.p) == pytest.approx((plain.value, plain.low, plain.high, plain.p))
    assert delong_interval(*copied[:2], patients=copied[3]) == pytest.approx(delong_interval(truth, first))


def test_the_clustered_variance_is_obuchowskis_and_that_of_the_area_over_many_studies():
    areas, variances = [], []
    for study in range(400):
        rng = generator(study, "clustered")
        who = np.repeat(np.arange(40), 4)  # of each patient's images some are positive
        truth = (rng.random(160) < 0.4).astype(int)
        area, variance = delong(truth, truth + rng.normal(0, 1, 40)[who] + rng.normal(0, 0.5, 160), who)
        areas.append(area)
        variances.append(variance)
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="truth, scores and patients do not fit: expected as many of each, got 4, 4 and 3"):
        delong(np.array([0, 0, 1, 1]), np.arange(4.0), list("abc"))
    with pytest.raises(TooFewError, match="expected two patients of each class, got 1 positive and 2 negative"):
        delong(np.array([0, 0, 1, 1]), np.arange(4.0), list("abcc"))


def test_one_case_of_a_class_has_no_variance():
    with pytest.raises(TooFewError, match="variance of an AUC is undefined: expected two cases of each class, got 1 positive and 3 negative"):
        delong(np.array([0, 0, 0, 1]), np.arange(4.0))
