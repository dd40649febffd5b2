import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from box_cases import cases, found_of, of, truth_of
from vesalius.errors import OptionError
from vesalius.kernels.boxscores import FALSE, TRUE, Responses, average_precision, match_centres
from vesalius.kernels.freeresponse import CPM_RATES, Counts, Cuts, Froc, risk_auc
from vesalius.kernels.stats import resample


def responses_of(scores, case, verdict, truth):
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    ranks, judged = np.zeros(len(order), int), np.asarray(verdict, np.int8)[None, order]
    return Responses(np.asarray(scores, float)[order], np.asarray(case, int)[order], judged, ranks, np.asarray(truth))


def luna16(verdict, scores, n_lesions, n_scans, rates):
    """The official evaluation's way: a ROC curve over marks, rescaled, read off by linear interpolation."""
    hits = (verdict == TRUE).astype(int)
    fpr, tpr, _ = roc_curve(hits, scores, drop_intermediate=False)
    false = fpr * (len(hits) - hits.sum()) / n_scans
    return np.interp(rates, false, tpr * hits.sum() / n_lesions)


@pytest.mark.parametrize("seed", range(6))
def test_froc_and_cpm_are_those_of_luna16(seed):
    rng = np.random.default_rng(seed)
    n, scans = 900, 37
    scores, verdict = rng.permutation(n) / n, rng.choice([TRUE, FALSE, FALSE, FALSE], n)
    truth = np.bincount(rng.integers(0, scans, (verdict == TRUE).sum() + 20), minlength=scans)
    froc = Froc(responses_of(scores, rng.integers(0, scans, n), verdict, truth))
    one = np.ones((scans, 1))
    assert froc(CPM_RATES, one)[:, 0] == pytest.approx(luna16(verdict, scores, truth.sum(), scans, CPM_RATES), abs=1e-12)
    assert froc.cpm(one)[0] == pytest.approx(np.mean(luna16(verdict, scores, truth.sum(), scans, CPM_RATES)), abs=1e-12)


def test_marks_that_meet_ignored_lesions_or_lesions_twice_are_not_false():
    truths = [truth_of([[0, 0, 0, 10, 10, 10], [20, 20, 20, 30, 30, 30]], ignored=[0, 1])]
    inside, again, spared, away = [2, 2, 2, 8, 8, 8], [3, 3, 3, 7, 7, 7], [22, 22, 22, 28, 28, 28], [50, 50, 50, 52, 52, 52]
    found = [found_of([spared, away, inside, again], [0.9, 0.8, 0.7, 0.6])]
    froc = Froc(Responses.of(found, truths, [match_centres(found[0], truths[0])]))
    assert froc((0.5, 1.0), np.ones((1, 1)))[:, 0].tolist() == [0.0, 1.0] and froc.most == 1.0


def test_a_tie_gains_nothing():
    kind = responses_of([0.5, 0.5], [0, 0], [TRUE, FALSE], [1])
    assert Froc(kind)((0.0, 1.0), np.ones((1, 1)))[:, 0].tolist() == [0.0, 1.0]


def test_weights_are_scans_that_are_there_so_many_times():
    rng = np.random.default_rng(1)
    n, scans = 300, 20
    scores, verdict, case, truth = rng.permutation(n) / n, rng.choice([TRUE, FALSE], n), rng.integers(0, scans, n), np.full(scans, 12)
    froc, times = Froc(responses_of(scores, case, verdict, truth)), rng.integers(0, 3, (scans, 5))
    for b in range(5):
        place = np.repeat(np.arange(scans), times[:, b])
        own = [np.flatnonzero(case == i) for i in place]
        parts = np.concatenate(own)
        again = Froc(responses_of(scores[parts], np.repeat(np.arange(len(place)), [len(each) for each in own]), verdict[parts], truth[place]))
        assert froc(CPM_RATES, times.astype(float))[:, b] == pytest.approx(again(CPM_RATES, np.ones((len(place), 1)))[:, 0])


def test_the_curve_has_a_band_about_it_and_none_without_a_lesion():
    found, truths = cases(4, ignored=0)
    froc = Froc(of(found, truths, 0))
    curve = froc.curve(np.arange(20), 200)
    low, value, high = (np.array(curve[name]) for name in ("low", "sensitivity", "high"))
    assert (low <= value).all() and (value <= high).all() and (low < high).any() and (np.diff(value) >= 0).all()
    assert set(CPM_RATES) <= {round(rate, 9) for rate in curve["fp_per_image"]}
    assert Froc(of([found[0]], [truth_of(np.zeros((0, 4)))], 0)).curve(np.arange(1)) == {}
    assert "low" not in froc.curve(np.arange(20), 10)


def test_counts_at_a_threshold_by_hand():
    kind = responses_of([0.9, 0.8, 0.7, 0.4], [0, 0, 1, 1], [TRUE, FALSE, TRUE, TRUE], [1, 3])
    counts = Counts.of(kind, 0.7)
    sensitivity, precision, f1, mae, bias = counts.figures(np.ones((2, 1)))[:, 0]
    assert (sensitivity, precision, f1) == pytest.approx((2 / 4, 2 / 3, 4 / 7)) and (mae, bias) == pytest.approx((1.5, -0.5))
    agreed = counts.agreement()
    half = 1.959964 * np.std([1, -2], ddof=1)
    assert (agreed["low"], agreed["high"]) == pytest.approx((-0.5 - half, -0.5 + half))
    assert (agreed["bias"], agreed["mae"], agreed["n"]) == (-0.5, 1.5, 2) and "low" not in Counts.of(responses_of([], [], [], [1]), 0.5).agreement()
    only_second = counts.figures(np.array([[0.0], [2.0]]))[:, 0]
    assert only_second[:3] == pytest.approx([1 / 3, 1, 1 / 2]) and only_second[3] == 2
    assert np.isnan(counts.figures(np.zeros((2, 1)))).all()


def test_thresholds_by_hand():
    cuts = Cuts.of(responses_of([0.9, 0.8, 0.6, 0.5, 0.2], [0, 0, 1, 1, 1], [TRUE, TRUE, FALSE, TRUE, FALSE], [2, 1]))
    assert cuts.f1 == pytest.approx([2 / 4, 4 / 5, 4 / 6, 6 / 7, 6 / 8]) and cuts.best() == pytest.approx(0.35)
    assert cuts.at_rate(0.5) == pytest.approx(0.35) and cuts.at_rate(0.0) == pytest.approx(0.7) and cuts.at_rate(9) == pytest.approx(0.1)
    assert Cuts.of(responses_of([0.9], [0], [FALSE], [1])).at_rate(0) == 1.0
    assert Cuts.of(responses_of([0.9], [0], [FALSE], [1])).best() == 0.5 == Cuts.of(responses_of([], [], [], [1])).at_rate(1)


def test_the_area_of_the_risk_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    risk, truth, case = rng.random(60), rng.random(60) < 0.4, rng.integers(0, 10, 60)
    weights = rng.integers(0, 3, (10, 4)).astype(float)
    expected = [roc_auc_score(truth, risk, sample_weight=weights[case, b]) for b in range(4)]
    assert risk_auc(risk, truth, case)(weights) == pytest.approx(expected)


def test_a_negative_rate_is_refused():
    with pytest.raises(OptionError, match="a rate of false positives cannot be negative: expected false positives an image, 0 or more, got -1"):
        Cuts.of(responses_of([0.9], [0], [TRUE], [1])).at_rate(-1)


def test_two_thousand_draws_take_seconds():
    found, truths = cases(0, n=72, extra=200)
    start = time.process_time()
    per_class = [of(found, truths, k) for k in range(3)]
    made = resample(lambda weights: np.concatenate([average_precision(each, weights) for each in per_class]), np.arange(72), 2000)
    assert made.draws.shape == (30, 2000) and time.process_time() - start < 10
