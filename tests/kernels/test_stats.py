import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binomtest

from vesalius.errors import DataError, OptionError
from vesalius.kernels.stats import Estimate, Resampled, bootstrap, paired, resample, wilson
from vesalius.seed import generator


def mean_of(values):
    return lambda weights: (values @ weights) / weights.sum(0)


def test_wilson_equals_scipy_and_the_known_example():
    for k, n in [(0, 10), (12, 13), (50, 100), (10, 10)]:
        reference = binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert wilson(12, 13) == pytest.approx((0.667, 0.986), abs=5e-4)
    assert np.isnan(wilson(0, 0)).all()


@pytest.mark.parametrize("method", ["bca", "percentile", "centred"])
def test_the_interval_of_a_mean_has_the_right_width(method):
    values = generator(0, "mean").normal(3, 2, 400)
    found = bootstrap(mean_of(values), np.arange(400), 3000, method=method)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.07)


def test_few_patients_have_wider_intervals():
    values = generator(0, "few").normal(3, 2, 12)
    found, known = resample(mean_of(values), np.arange(12), 4000), stdtrit(11, 0.975) * values.std(ddof=1) / np.sqrt(12)
    low, high = found.interval(0, "percentile")
    assert (high - low) / 2 == pytest.approx(known, rel=0.06)
    many = Resampled(found.value, found.draws, found.left_out).interval(0, "percentile")
    assert low < many[0] < many[1] < high


def test_the_score_interval_is_wilsons_where_images_are_independent_and_wider_where_they_are_not():
    right = (generator(0, "share").random(4000) < 0.9).astype(float)
    found = bootstrap(mean_of(right), np.arange(4000), 100, method="score")
    assert (found.low, found.high) == pytest.approx(wilson(right.sum(), 4000), abs=2e-4) and "effective number" in found.method
    alike = bootstrap(mean_of(np.repeat(right[:1000], 4)), np.repeat(np.arange(1000), 4), 100, method="score")
    assert (alike.low, alike.high) == pytest.approx(wilson(right[:1000].sum(), 1000), abs=2e-3)
    assert (bootstrap(mean_of(np.ones(9)), np.arange(9), 100, method="score").low) == 1


def test_bca_equals_scipy():
    from scipy.stats import bootstrap as reference

    values = generator(0, "skewed").exponential(1, 60)
    expected = reference((values,), np.mean, n_resamples=9000, method="BCa", rng=1).confidence_interval
    made = resample(mean_of(values), np.arange(60), 9000)
    assert Resampled(made.value, made.draws, made.left_out).interval() == pytest.approx((expected.low, expected.high), abs=0.02)


def test_patients_are_drawn_whole():
    values = np.repeat([0.0, 1.0], 50)
    seen = resample(mean_of(values), np.repeat(["a", "b"], 50), 200, jackknife=False).draws[0]
    assert set(np.unique(seen)) == {0.0, 0.5, 1.0}


def test_intervals_cover_what_they_promise():
    """95 % intervals of an AUC with clustered patients; 200 studies, so that 91-98.5 % is within three standard errors."""
    from vesalius.kernels.figures import Ranked

    held, truth_auc = 0, 0.7602
    for study in range(200):
        rng = generator(study, "coverage")
        ill = np.repeat(rng.random(60) < 0.5, 2)
        score = ill + np.repeat(rng.normal(0, 0.8, 60), 2) + rng.normal(0, 0.6, 120)
        areas = Ranked(score, ill)
        found = bootstrap(lambda w, areas=areas: areas(w)["auc"], np.repeat(np.arange(60), 2), 300, seed=study)
        held += found.low <= truth_auc <= found.high
    assert 0.91 <= held / 200 <= 0.985


def test_a_difference_is_resampled_together():
    rng = generator(0, "paired")
    hard = rng.normal(0, 5, 200)
    first, second = hard + rng.normal(0.3, 0.5, 200), hard
    found, p = paired(mean_of(first), mean_of(second), np.arange(200))
    half = 1.96 * (first - second).std() / np.sqrt(200)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.01)
    assert p < 0.01
    found, p = paired(mean_of(hard), mean_of(hard), np.arange(200))
    assert (found.value, found.low, found.high, p) == (0, 0, 0, 1)


def test_an_undefined_figure_is_none_and_rare_ones_are_noted():
    def of_ill(weights):
        n = weights[:2].sum(0)
        return np.divide(weights[0], n, out=np.full(n.shape, np.nan), where=n > 0)

    assert bootstrap(lambda w: np.full(w.shape[1], np.nan), np.arange(5), 100) is None
    found = bootstrap(of_ill, np.arange(6), 500)
    assert "undefined in" in found.note and found.to_dict()["note"] == found.note


def test_the_result_does_not_hang_on_the_chunk_size(monkeypatch):
    values = generator(0, "chunk").normal(0, 1, 50)
    first = bootstrap(mean_of(values), np.arange(50), 100)
    monkeypatch.setattr("vesalius.kernels.stats.CHUNK", 50 * 200)
    assert bootstrap(mean_of(values), np.arange(50), 100) == first


def test_plain_values():
    assert Estimate(0.5, 0.4, 0.6, 3, 4, "wilson").to_dict() == {
        "value": 0.5, "low": 0.4, "high": 0.6, "n_patients": 3, "n_images": 4, "method": "wilson",
    }


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="a figure needs at least one image"):
        bootstrap(mean_of(np.zeros(0)), [])
    with pytest.raises(OptionError, match="unknown interval 'wald': expected bca, percentile, centred or score"):
        bootstrap(mean_of(np.zeros(3)), list("abc"), method="wald")


def test_two_patients_have_the_widest_interval_and_no_error() -> None:
    values = np.array([0.2, 0.4, 0.9, 0.8])
    found = resample(lambda weights: (values @ weights / weights.sum(0))[None], ["a", "a", "b", "b"], 200, 0)
    low, high = found.interval(0, "bca")
    assert low == pytest.approx(found.draws.min()) and high == pytest.approx(found.draws.max())
