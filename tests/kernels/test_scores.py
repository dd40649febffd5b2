import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.kernels.curves import curves, thin
from vesalius.kernels.scores import assess, confusion, predicted, scores
from vesalius.seed import generator

BINARY = TargetSpec("binary", ("healthy", "ill"))
FOUR = ("a", "b", "c", "d")
EXACT = 1e-9


def draw(n=240, k=4, seed=0):
    rng = generator(seed, "scores")
    truth = rng.integers(0, k, n)
    p = rng.dirichlet(np.ones(k), n)
    p[np.arange(n), truth] += 0.4
    p = np.round(p / p.sum(1, keepdims=True), 2)
    return truth, p, np.arange(n)


def binary(n=200, seed=0):
    truth, p, patients = draw(n, 2, seed)
    return truth, np.stack([1 - p[:, 1], p[:, 1]], 1), patients


def values(found):
    return {name: made.value for name, made in found.items()}


def same(found, expected):
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=EXACT)


def test_binary_figures_equal_scikit_learn():
    truth, p, patients = binary()
    called = (p[:, 1] >= 0.6).astype(int)
    found = values(scores(BINARY, truth, p, patients, threshold=0.6, n_boot=50))
    same(found, {
        "auc": sk.roc_auc_score(truth, p[:, 1]), "ap": sk.average_precision_score(truth, p[:, 1]), "accuracy": sk.accuracy_score(truth, called),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, called), "f1": sk.f1_score(truth, called), "sensitivity": sk.recall_score(truth, called),
        "specificity": sk.recall_score(truth, called, pos_label=0), "ppv": sk.precision_score(truth, called),
        "npv": sk.precision_score(truth, called, pos_label=0), "kappa": sk.cohen_kappa_score(truth, called), "brier": sk.brier_score_loss(truth, p[:, 1]),
    })
    assert set(found) == {"auc", "ap", "accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity", "ppv", "npv", "kappa", "brier", "ece"}


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_figures_of_several_classes_equal_scikit_learn(kind):
    truth, p, patients = draw()
    called, p_sum = p.argmax(1), p / p.sum(1, keepdims=True)
    found = assess(TargetSpec(kind, FOUR), truth, p, patients, n_boot=50)
    same(values(found.overall), {
        "auc": np.mean([sk.roc_auc_score(truth == k, p[:, k]) for k in range(4)]),
        "ap": np.mean([sk.average_precision_score(truth == k, p[:, k]) for k in range(4)]),
        "accuracy": sk.accuracy_score(truth, called), "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
        "f1": sk.f1_score(truth, called, average="macro"), "sensitivity": sk.recall_score(truth, called, average="macro"),
        "ppv": sk.precision_score(truth, called, average="macro"),
        "kappa": sk.cohen_kappa_score(truth, called, weights="quadratic" if kind == "ordinal" else None),
    })
    exact = assess(TargetSpec(kind, FOUR), truth, p_sum, patients, n_boot=30).overall
    assert exact["auc"].value == pytest.approx(sk.roc_auc_score(truth, p_sum, multi_class="ovr"), abs=EXACT)
    assert exact["brier"].value == pytest.approx(np.square(p_sum - np.eye(4)[truth]).sum(1).mean(), abs=EXACT)
    ill = values(found.per_class["b"])
    same(ill, {"auc": sk.roc_auc_score(truth == 1, p[:, 1]), "f1": sk.f1_score(truth == 1, called == 1), "ppv": sk.precision_score(truth == 1, called == 1)})
    assert set(found.per_class) == set(FOUR)


def test_multilabel_figures_equal_scikit_learn_and_leave_missing_marks_out():
    rng = generator(0, "labels")
    truth = (rng.random((150, 3)) < 0.4).astype(float)
    p = np.clip(truth * 0.3 + rng.random((150, 3)) * 0.7, 0, 1)
    target = TargetSpec("multilabel", ("a", "b", "c"))
    found = assess(target, truth, p, np.arange(150), n_boot=50)
    same(values(found.overall), {
        "auc": sk.roc_auc_score(truth, p), "ap": sk.average_precision_score(truth, p), "f1": sk.f1_score(truth, p >= 0.5, average="macro"),
        "accuracy": 1 - sk.hamming_loss(truth, p >= 0.5), "kappa": np.mean([sk.cohen_kappa_score(truth[:, k], p[:, k] >= 0.5) for k in range(3)]),
    })
    truth[:40, 1] = np.nan
    some = assess(target, truth, p, np.arange(150), n_boot=50)
    assert some.per_class["b"]["auc"].value == pytest.approx(sk.roc_auc_score(truth[40:, 1], p[40:, 1]), abs=EXACT)
    assert some.per_class["b"]["accuracy"].n_images == 110
    assert some.per_class["a"]["auc"].value == found.per_class["a"]["auc"].value


def test_regression_figures_equal_scikit_learn():
    rng = generator(0, "values")
    truth = np.round(rng.normal(50, 10, 120), 0)
    value = np.round(truth + rng.normal(0, 6, 120), 0)
    found = values(scores(TargetSpec("regression", ()), truth, value[:, None], np.arange(120), n_boot=50))
    same(found, {
        "mae": sk.mean_absolute_error(truth, value), "rmse": np.sqrt(sk.mean_squared_error(truth, value)), "r2": sk.r2_score(truth, value),
        "spearman": spearmanr(truth, value).statistic,
    })


def test_a_proportion_of_patients_has_wilsons_interval_with_its_own_denominator():
    truth, p, patients = binary(60)
    found = scores(BINARY, truth, p, patients, n_boot=50)["sensitivity"]
    ill = int(truth.sum())
    assert (found.method, found.n_patients, found.n_images) == ("wilson", ill, ill)
    assert found.low < found.value < found.high


def test_several_images_of_a_patient_widen_the_interval():
    truth, p, _ = binary(60)
    alone = scores(BINARY, truth, p, np.arange(60), n_boot=400)
    many = [np.repeat(part, 5, axis=0) for part in (truth, p, np.arange(60))]
    grouped, fooled = scores(BINARY, *many, n_boot=400), scores(BINARY, many[0], many[1], np.arange(300), n_boot=400)
    for name in ("auc", "accuracy", "sensitivity"):
        width = {k: found[name].high - found[name].low for k, found in (("alone", alone), ("grouped", grouped), ("fooled", fooled))}
        assert width["grouped"] == pytest.approx(width["alone"], rel=0.01 if name == "auc" else 0.3)
        assert width["fooled"] < 0.7 * width["alone"]
    assert (grouped["auc"].n_patients, grouped["auc"].n_images) == (60, 300)


def test_the_interval_of_the_average_precision_of_few_patients_holds_the_truth():
    """Simulated studies of 30 patients with one to four images; the truth is that of 300,000 patients (bootstrap intervals held it in .87)."""
    truth, held = 0.9578, []
    for study in range(300):
        rng = generator(study, "average precision")
        who = np.repeat(np.arange(30), rng.integers(1, 5, 30))
        ill = (rng.random(30) < 0.4).astype(int)
        ill[:4] = 0, 1, 0, 1
        score = 2.66 * (ill[who] - 0.5) + rng.normal(0, 0.7**0.5, 30)[who] + rng.normal(0, 0.3**0.5, len(who))
        p = 1 / (1 + np.exp(-score))
        found = scores(TargetSpec("binary", ("healthy", "ill")), ill[who], np.stack([1 - p, p], 1), who, threshold=0.5, n_boot=100)["ap"]
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) > 0.91


def test_a_faultless_figure_does_not_promise_certainty():
    truth = np.repeat([0, 1], 8)
    p = np.stack([1.0 - truth, truth], 1)
    found = scores(BINARY, truth, p, np.arange(16), n_boot=200)
    for name in ("auc", "ap", "f1", "balanced_accuracy", "kappa"):
        assert found[name].value == 1 and 0.5 < found[name].low < 0.8, name
    assert found["auc"].method == "wilson bound of a faultless figure"
    clustered = scores(BINARY, np.repeat(truth, 3), np.repeat(p, 3, axis=0), np.repeat(np.arange(16), 3), n_boot=200)
    assert clustered["accuracy"].low == pytest.approx(found["accuracy"].low)


def test_an_undefined_figure_is_absent():
    truth, p, patients = binary(30)
    found = assess(BINARY, np.zeros(30, int), p, patients, n_boot=50)
    assert not {"auc", "ap", "sensitivity", "balanced_accuracy"} & set(found.overall)
    assert "specificity" in found.overall and "sensitivity" not in found.per_class["ill"]
    found = assess(TargetSpec("multiclass", FOUR), *draw(50, 3)[:1], np.pad(draw(50, 3)[1], ((0, 0), (0, 1))), patients=np.arange(50), n_boot=50)
    assert "auc" in found.overall and "auc" not in found.per_class["d"]


def test_the_same_seed_gives_the_same_interval():
    truth, p, patients = binary()
    assert scores(BINARY, truth, p, patients, n_boot=100, seed=3) == scores(BINARY, truth, p, patients, n_boot=100, seed=3)
    assert scores(BINARY, truth, p, patients, n_boot=100, seed=3)["f1"] != scores(BINARY, truth, p, patients, n_boot=100, seed=4)["f1"]


def test_images_without_truth_are_left_out():
    truth, p, patients = binary(80)
    holed = np.where(np.arange(80) < 20, -1, truth)
    assert scores(BINARY, holed, p, patients, n_boot=50) == scores(BINARY, truth[20:], p[20:], patients[20:], n_boot=50)


def test_the_call_follows_the_threshold_and_the_table_counts_it():
    p = np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    assert predicted(BINARY, p, 0.3).tolist() == [0, 1, 1]
    assert predicted(BINARY, p).tolist() == [0, 0, 1]
    assert confusion(BINARY, np.array([0, 0, 1]), p, 0.3) == [[1, 1], [0, 1]]
    truth, p, _ = draw()
    assert confusion(TargetSpec("multiclass", FOUR), truth, p) == sk.confusion_matrix(truth, p.argmax(1)).tolist()
    assert confusion(TargetSpec("regression", ()), truth, p) == []


def test_curves_are_thinned_but_keep_their_area():
    truth, p, _ = binary(3000)
    p[:, 1] += generator(1, "noise").normal(0, 0.01, 3000)
    drawn = curves(BINARY, truth, p.clip(0, 1))
    roc = drawn["roc"]["ill"]
    assert list(drawn["roc"]) == ["ill"] and len(roc["x"]) <= 200
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(sk.roc_auc_score(truth, p[:, 1].clip(0, 1)), abs=0.003)
    assert len(drawn["pr"]["ill"]["x"]) <= 200 and sum(drawn["reliability"]["n"]) == 3000
    assert curves(TargetSpec("regression", ()), truth, p) == {}
    assert thin(np.arange(3.0), np.arange(3.0))["x"] == [0, 1, 2]


def test_what_does_not_fit_is_refused():
    truth, p, patients = binary(20)
    with pytest.raises(DataError, match=r"truth, predictions and patients do not fit: expected \[N\], \[N, 2\] and \[N\]"):
        scores(BINARY, truth, p[:5], patients)
    with pytest.raises(DataError, match="no image has a truth to be judged by"):
        scores(BINARY, np.full(20, -1), p, patients)
    with pytest.raises(DataError, match="predictions hold NaN or infinity: got 20 of 20 images"):
        scores(BINARY, truth, p * np.nan, patients)
