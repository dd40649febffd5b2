import numpy as np
import pytest
from scipy.stats import permutation_test

from vesalius.errors import DataError, OptionError
from vesalius.kernels.contrast import detectable, holm, needed, permutation_p
from vesalius.kernels.figures import Ranked, ratio
from vesalius.seed import generator


def mean_of(values):
    return lambda weights: ratio((weights * values[:, None]).sum(0), weights.sum(0))


def test_the_permutation_is_that_of_scipy():
    rng = generator(0, "contrast")
    values, inside = rng.normal(size=60), np.arange(60) < 20
    values[inside] += 0.8
    p = permutation_p(mean_of(values), np.arange(60), inside, n=4000)
    other = permutation_test((values[inside], values[~inside]), lambda a, b: a.mean() - b.mean(), permutation_type="independent", n_resamples=4000,
                             rng=np.random.default_rng(1))
    assert p == pytest.approx(other.pvalue, abs=0.02) and p < 0.3


def test_images_of_a_patient_move_together():
    """Many images of few patients say little, however many they are."""
    rng = generator(1, "contrast")
    own = rng.normal(size=8) + 0.5 * (np.arange(8) < 4)
    values, patients = np.repeat(own, 50), np.repeat(np.arange(8), 50)
    inside = patients < 4
    together, alone = (permutation_p(mean_of(values), units, inside, n=1000) for units in (patients, np.arange(400)))
    assert alone < 0.01 < 0.02 < together


def test_strata_keep_the_share_of_the_ill():
    """Groups that differ in prevalence alone have no gap of the accuracy of a constant answer within the truth."""
    truth = np.r_[np.ones(40), np.zeros(60), np.ones(10), np.zeros(90)]
    inside = np.arange(200) < 100
    right = mean_of(1 - truth)  # "healthy" for all
    assert permutation_p(right, np.arange(200), inside, n=500) < 0.01
    assert permutation_p(right, np.arange(200), inside, strata=truth, n=500) == 1


def test_prevalence_does_not_make_false_gaps():
    """AUC in groups of 50 % and 10 % ill patients, no gap: the test errs as often as it says."""
    false = 0
    for study in range(120):
        rng = generator(study, "prevalence")
        truth = (np.arange(160) % 10 < np.where(np.arange(160) < 80, 5, 1)).astype(float)
        score = rng.normal(size=160) + truth
        ranked = Ranked(score, truth)
        false += permutation_p(lambda w, ranked=ranked: ranked(w)["auc"], np.arange(160), np.arange(160) < 80, strata=truth, n=99, seed=study) < 0.05
    assert false <= 13  # 6 expected


def test_undefined_on_one_side_is_nan():
    truth = np.r_[np.ones(10), np.zeros(10)]
    ranked = Ranked(np.arange(20.0), truth)
    assert np.isnan(permutation_p(lambda w: ranked(w)["auc"], np.arange(20), truth == 1, n=50))


def test_what_cannot_be_permuted_is_refused():
    with pytest.raises(DataError, match="a patient lies inside and outside the group: expected whole patients, got 1 divided"):
        permutation_p(mean_of(np.arange(3.0)), ["a", "a", "b"], np.array([True, False, False]))
    with pytest.raises(DataError, match="units and groups do not fit"):
        permutation_p(mean_of(np.arange(3.0)), ["a", "a", "b"], np.array([True]))


def test_holm_is_that_of_the_paper():
    assert holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, 0.06, float("nan"), 0.06], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_what_would_have_been_needed():
    assert detectable(0.01) == pytest.approx(0.01 * (1.95996 + 0.84162), rel=1e-4) and detectable(0.01, 10) > detectable(0.01)
    n = needed(100, 0.05, 0.03)
    assert detectable(0.05 * (100 / n) ** 0.5) == pytest.approx(0.03, rel=0.01)
    with pytest.raises(OptionError, match="no number of patients shows a difference of nothing"):
        needed(100, 0.05, 0.0)
