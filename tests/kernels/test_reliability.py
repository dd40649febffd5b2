import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from vesalius.errors import OptionError, TooFewError
from vesalius.kernels.reliability import brier, ece, nll, operating_point, reliability
from vesalius.seed import generator

RNG = generator(0, "reliability")
P1 = RNG.random(300)
BINARY = np.stack([1 - P1, P1], 1)
TRUTH = (RNG.random(300) < P1).astype(int)
MANY = RNG.dirichlet([1, 1, 1], 300)
TRUTH3 = RNG.integers(0, 3, 300)


def test_brier_and_log_loss_equal_scikit_learn():
    assert brier(TRUTH, BINARY, "binary") == pytest.approx(brier_score_loss(TRUTH, P1), abs=1e-12)
    assert brier(TRUTH3, MANY, "multiclass") == pytest.approx(np.square(MANY - np.eye(3)[TRUTH3]).sum(1).mean(), abs=1e-12)
    assert nll(TRUTH, BINARY, "binary") == pytest.approx(log_loss(TRUTH, BINARY), abs=1e-9)
    assert nll(TRUTH3, MANY, "multiclass") == pytest.approx(log_loss(TRUTH3, MANY), abs=1e-9)


def test_ece_by_hand():
    p = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    truth = np.array([1, 1, 1, 0, 0, 0])
    pair = np.stack([1 - p, p], 1)
    assert ece(truth, pair, "binary") == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert ece(truth, pair, "multiclass") == pytest.approx(abs(5.4 - 5) / 6)
    assert np.isnan(ece(truth[:0], pair[:0], "binary"))


def test_perfect_confidence_has_no_error_and_the_bins_hold_everybody():
    certain = np.eye(3)[TRUTH3]
    assert ece(TRUTH3, certain, "multiclass") == 0 and brier(TRUTH3, certain, "multiclass") == 0
    found = reliability(TRUTH, BINARY, "binary")
    assert sum(found["n"]) == 300 and len(found["n"]) == len(found["confidence"]) == len(found["observed"])
    assert np.average(found["observed"], weights=found["n"]) == pytest.approx(TRUTH.mean())


def test_multilabel_leaves_missing_marks_out():
    marks = np.array([[1, np.nan], [0, 1], [np.nan, 0]])
    p = np.array([[0.8, 0.5], [0.3, 0.6], [0.9, 0.1]])
    assert brier(marks, p, "multilabel") == pytest.approx(((0.04 + 0.09) / 2 + (0.16 + 0.01) / 2) / 2)
    assert nll(marks, p, "multilabel") == pytest.approx((-np.log(0.8) + (-np.log(0.7) - np.log(0.6)) / 2 - np.log(0.9)) / 3)
    assert sum(reliability(marks, p, "multilabel")["n"]) == 4


def test_operating_points_by_hand():
    p = np.array([0.1, 0.2, 0.4, 0.6, 0.8, 0.9])
    truth = np.array([0, 0, 1, 0, 1, 1])
    tied = operating_point(p, truth)
    assert tied["threshold"] == pytest.approx(0.7) and (tied["sensitivity"], tied["specificity"]) == (pytest.approx(2 / 3), 1.0)
    high = operating_point(p, truth, ("sensitivity", 0.95))
    assert high["threshold"] == pytest.approx(0.3) and high["sensitivity"] == 1.0 and high["rule"] == "sensitivity>=0.95"
    sure = operating_point(p, truth, ("specificity", 1.0))
    assert sure["threshold"] == pytest.approx(0.7) and sure["sensitivity"] == pytest.approx(2 / 3)


def test_the_accuracy_rule_is_the_best_cut():
    found = operating_point(P1, TRUTH, "accuracy")["threshold"]
    cuts = np.concatenate([[0], np.sort(P1), [1.1]])
    best = max(((P1 >= c) == TRUTH).mean() for c in cuts)
    assert ((P1 >= found) == TRUTH).mean() == best


def test_weights_count_a_case_several_times():
    weights = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    rows = np.repeat(np.arange(300), weights.astype(int))
    assert operating_point(P1, TRUTH, "youden", weights) == pytest.approx(operating_point(P1[rows], TRUTH[rows]))


def test_the_stated_sensitivity_and_specificity_are_those_of_the_threshold():
    for rule in ("youden", "accuracy", ("sensitivity", 0.9), ("specificity", 0.8)):
        point = operating_point(P1, TRUTH, rule)
        called = P1 >= point["threshold"]
        assert point["sensitivity"] == pytest.approx(called[TRUTH == 1].mean())
        assert point["specificity"] == pytest.approx((~called)[TRUTH == 0].mean())


def test_bad_rules_and_one_class_are_refused():
    with pytest.raises(TooFewError, match="no operating point can be chosen"):
        operating_point(P1, np.ones(300, int))
    for rule in ("best", ("sensitivity", 1.5), ("speed", 0.5)):
        with pytest.raises(OptionError, match="unknown rule for the operating point"):
            operating_point(P1, TRUTH, rule)
