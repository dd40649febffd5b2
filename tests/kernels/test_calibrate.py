import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from vesalius.errors import DataError, OptionError
from vesalius.kernels.calibrate import Calibrator, fit_calibrator, quality
from vesalius.seed import generator


def binary(n=2000, temperature=1.0, bias=0.0, seed=0):
    """Logits whose true probabilities are ``expit(d / temperature + bias)``."""
    rng = generator(seed, "binary")
    d = rng.normal(0, 3, n)
    truth = (rng.random(n) < expit(d / temperature + bias)).astype(int)
    return np.stack([-d / 2, d / 2], 1), truth


def classes(n=3000, temperature=3.0, seed=0):
    rng = generator(seed, "classes")
    raw = rng.normal(0, 4, (n, 3))
    p = softmax(raw / temperature, 1)
    return raw, (rng.random((n, 1)) > p.cumsum(1)).sum(1)


def test_the_planted_temperature_is_found():
    raw, truth = binary(temperature=2.5)
    fitted = fit_calibrator(raw, truth, "binary", method="temperature")
    assert fitted.parameters["temperature"][0] == pytest.approx(2.5, rel=0.12)
    raw, truth = classes(temperature=3.0)
    assert fit_calibrator(raw, truth, "multiclass").parameters["temperature"][0] == pytest.approx(3.0, rel=0.12)


def test_the_planted_bias_is_found_and_chosen():
    raw, truth = binary(temperature=2.0, bias=-1.0)
    fitted = fit_calibrator(raw, truth, "binary")
    assert fitted.method == "temperature+bias"
    assert fitted.parameters["bias"][0] == pytest.approx(-1.0, abs=0.2)


def test_a_calibrated_network_keeps_its_probabilities():
    raw, truth = binary(n=4000)
    fitted = fit_calibrator(raw, truth, "binary")
    assert fitted.method == "temperature"
    assert np.abs(fitted(raw) - softmax(raw, 1)).max() < 0.02


def test_calibration_helps_on_new_cases():
    raw, truth = binary(temperature=4.0)
    new_raw, new_truth = binary(temperature=4.0, seed=1)
    before = quality(new_truth, softmax(new_raw, 1), "binary")
    after = quality(new_truth, fit_calibrator(raw, truth, "binary")(new_raw), "binary")
    assert all(after[name] < before[name] for name in before)
    assert after["ece"] < 0.04 < before["ece"]


def test_isotonic_is_chosen_where_no_sigmoid_fits_and_keeps_the_order():
    rng = generator(0, "steps")
    d = rng.uniform(-4, 4, 4000)
    truth = (rng.random(4000) < np.select([d < -1, d < 2], [0.02, 0.5], 0.97)).astype(int)
    raw = np.stack([np.zeros(4000), d], 1)
    fitted = fit_calibrator(raw, truth, "binary")
    assert fitted.method == "isotonic"
    p = fitted(raw)[:, 1]
    assert roc_auc_score(truth, p) == roc_auc_score(truth, d)
    assert (np.diff(p[np.argsort(d)]) > 0).all()
    assert p[(d > -0.8) & (d < 1.8)].mean() == pytest.approx(0.5, abs=0.04)
    assert 0 < p.min() and p.max() < 1


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel"])
@pytest.mark.parametrize("method", ["none", "temperature", "temperature+bias", "isotonic"])
def test_every_method_gives_probabilities_and_survives_json(kind, method):
    if method == "isotonic" and kind in ("multiclass", "ordinal"):
        method = "temperature"
    raw, truth = binary(300) if kind == "binary" else classes(300)
    if kind == "multilabel":
        truth = (truth[:, None] == np.arange(3)).astype(float)
    fitted = fit_calibrator(raw, truth, kind, method=method)
    again = Calibrator.from_dict(json.loads(json.dumps(fitted.to_dict())))
    p = fitted(raw)
    assert p.shape == raw.shape and p.dtype == np.float64 and ((p >= 0) & (p <= 1)).all()
    assert np.array_equal(again(raw), p)
    assert np.array_equal(fitted(raw[:1]), p[:1])
    if kind != "multilabel":
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)


def test_separated_or_few_cases_do_not_give_certainty():
    raw = np.array([[5.0, -5.0]] * 6 + [[-5.0, 5.0]] * 6)
    truth = np.repeat([0, 1], 6)
    fitted = fit_calibrator(raw, truth, "binary")
    assert fitted.method == "temperature"
    assert fitted(raw)[-1, 1] == pytest.approx(7 / 8, abs=0.01)


def test_one_class_leaves_the_values_alone():
    raw, _ = binary(50)
    fitted = fit_calibrator(raw, np.ones(50, int), "binary")
    assert fitted.method == "none" and np.allclose(fitted(raw), softmax(raw, 1))
    assert fit_calibrator(raw[:0], np.zeros(0, int), "binary").method == "none"


def test_missing_truth_is_left_out():
    raw, truth = binary(400, temperature=2.0)
    more = np.concatenate([raw, np.full((50, 2), 9.0)])
    fitted = fit_calibrator(more, np.concatenate([truth, np.full(50, -1)]), "binary", method="temperature")
    assert fitted.parameters == fit_calibrator(raw, truth, "binary", method="temperature").parameters


def test_a_label_without_marks_is_left_alone():
    raw, truth = classes(500)
    marks = (truth[:, None] == np.arange(3)).astype(float)
    marks[:, 1] = np.nan
    for method in ("temperature", "isotonic"):
        p = fit_calibrator(raw, marks, "multilabel", method=method)(raw)
        assert np.isfinite(p).all() and (np.diff(p[np.argsort(raw[:, 1]), 1]) >= 0).all()
    assert fit_calibrator(raw, marks, "multilabel", method="temperature").parameters["temperature"][1] == 1.0


def test_a_regression_is_not_touched():
    values = np.array([[1.5], [-2.0]])
    fitted = fit_calibrator(values, np.array([1.0, np.nan]), "regression")
    assert np.array_equal(fitted(values), values)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from(["temperature", "temperature+bias", "isotonic"]))
def test_the_order_never_changes(seed, size, method):
    rng = generator(seed, "order")
    raw = rng.normal(0, size, (60, 2))
    truth = rng.integers(0, 2, 60)
    d = raw[:, 1] - raw[:, 0]
    p = fit_calibrator(raw, truth, "binary", method=method)(raw)[:, 1]
    assert (np.diff(p[np.argsort(d)]) >= 0).all()


def test_bad_input_is_refused_with_its_reason():
    raw, truth = binary(20)
    with pytest.raises(OptionError, match="unknown kind of target 'colour'"):
        fit_calibrator(raw, truth, "colour")
    with pytest.raises(OptionError, match="unknown calibration 'magic'"):
        fit_calibrator(raw, truth, "binary", method="magic")
    with pytest.raises(OptionError, match="isotonic calibration is for two classes"):
        fit_calibrator(raw, truth, "multiclass", method="isotonic")
    with pytest.raises(DataError, match="raw values and truth do not fit"):
        fit_calibrator(raw, truth[:5], "binary")
    with pytest.raises(DataError, match="NaN or infinity: got 1 of 20 cases"):
        fit_calibrator(np.where(np.arange(40).reshape(20, 2) == 3, np.nan, raw), truth, "binary")
    with pytest.raises(OptionError, match="unknown calibration: expected one of none"):
        Calibrator.from_dict({"kind": "binary", "method": "magic", "parameters": {}})
