import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError, TooFewError
from vesalius.seed import generator
from vesalius.stages.baselines import BASELINES, Task, run_baselines
from vesalius.stages.baselines.clinical import clinical_features
from vesalius.stages.baselines.histogram import intensity_features
from vesalius.stages.baselines.hog import descriptors, hog_features, shrunk
from vesalius.stages.baselines.linear import best_strength, capped, folds, standardised

BINARY = TargetSpec("binary", ("no", "yes"))
MANY = TargetSpec("multiclass", ("a", "b", "c"))


def stripes(n, angle_of, size=28, seed=0):
    """Images whose only sign is the direction of their stripes: 0 across, 1 along, 2 diagonal; same brightness."""
    rng = generator(seed, "stripes")
    y, x = np.mgrid[:size, :size]
    ways = np.stack([y, x, (x + y) * 0.7])[angle_of]
    phase = rng.uniform(0, 6, (n, 1, 1))
    return (127 + 60 * np.sin(ways * 0.9 + phase) + rng.normal(0, 40, (n, size, size))).clip(0, 255).astype(np.uint8)[:, None]


def cohort(n=180, target=MANY, images=1, seed=0):
    k = max(len(target.classes), 2)
    truth = generator(seed, "truth").integers(0, k, n)
    if target.kind == "regression":
        label = [float(value) * 10 for value in truth]
    elif target.kind == "multilabel":
        label = ["|".join(name for j, name in enumerate(target.classes) if value >= j) for value in truth]
    else:
        label = [target.classes[value] for value in truth]
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "path": "x.png", "patient": [f"p{i // images}" for i in range(n)], "label": label})
    frame["split"] = np.array(["train", "train", "train", "validation", "test"])[np.arange(n) // images % 5]
    return truth, frame


def auc(table, model, split="test", name="p_yes"):
    part = table[(table["model"] == model) & (table["split"] == split)]
    return roc_auc_score(part["truth"] == 1, part[name])


def test_the_table_has_the_promised_columns_and_rows():
    truth, frame = cohort()
    table = run_baselines(stripes(180, truth), frame, MANY, seed=0)
    assert list(table.columns) == ["id", "path", "patient", "split", "label", "truth", "raw_a", "raw_b", "raw_c", "p_a", "p_b", "p_c", "model"]
    assert list(table["model"].unique()) == ["majority", "histogram", "hog"]
    assert len(table) == 3 * (frame["split"] != "train").sum() and set(table["split"]) == {"validation", "test"}
    np.testing.assert_allclose(table[["p_a", "p_b", "p_c"]].sum(axis=1), 1)
    assert (table["truth"] == [MANY.classes.index(label) for label in table["label"]]).all()


def test_hog_sees_shape_and_the_histogram_does_not():
    truth, frame = cohort(300, BINARY)
    table = run_baselines(stripes(300, truth), frame, BINARY, seed=0)
    assert auc(table, "hog") > 0.95
    assert 0.2 < auc(table, "histogram") < 0.8
    assert auc(table, "majority") == 0.5


def test_the_histogram_sees_brightness():
    truth, frame = cohort(200, BINARY)
    images = generator(0, "bright").integers(0, 200, (200, 1, 20, 20)) + 25 * truth[:, None, None, None]
    assert auc(run_baselines(images.astype(np.uint8), frame, BINARY, seed=0), "histogram") > 0.95


def test_the_majority_is_the_share_in_training():
    truth, frame = cohort(100, BINARY)
    table = run_baselines(stripes(100, truth), frame, BINARY, seed=0)
    share = (truth[frame["split"] == "train"].sum() + 1) / ((frame["split"] == "train").sum() + 2)
    assert table[table["model"] == "majority"]["p_yes"].to_numpy() == pytest.approx(share)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel", "regression"])
def test_every_kind_of_target_is_learnt(kind):
    target = TargetSpec(kind, {"binary": ("no", "yes"), "regression": ()}.get(kind, ("a", "b", "c")))
    truth, frame = cohort(240, target)
    frame["age"] = truth * 10 + generator(0, "age").normal(0, 3, 240)
    table = run_baselines(stripes(240, truth), frame, target, seed=0)
    assert list(table["model"].unique()) == ["majority", "clinical", "histogram", "hog"]
    test = table[(table["split"] == "test")].set_index("model")
    for model, least in (("clinical", 0.85), ("hog", 0.85)):
        rows = test.loc[model]
        if kind == "regression":
            assert np.corrcoef(rows["truth"], rows["value"])[0, 1] > 0.8
            assert (rows["raw_value"] == rows["value"]).all()
        elif kind == "multilabel":
            assert roc_auc_score(rows["truth_b"], rows["p_b"]) > least
        else:
            assert (rows[[f"p_{name}" for name in target.classes]].to_numpy().argmax(1) == rows["truth"]).mean() > least


def test_only_the_training_rows_teach():
    truth, frame = cohort(150, BINARY)
    frame["age"] = truth + generator(0, "age").normal(0, 1, 150)
    images = stripes(150, truth)
    before = run_baselines(images, frame, BINARY, seed=0)
    changed, other = images.copy(), frame.copy()
    others = (frame["split"] == "test").to_numpy()
    changed[others] = 255 - changed[others] // 3
    other.loc[others, "label"] = "yes"
    other.loc[others, "age"] = 500
    after = run_baselines(changed, other, BINARY, seed=0)
    kept = before["split"] == "validation"
    pd.testing.assert_frame_equal(before[kept], after[kept])


def test_the_same_seed_gives_the_same_table():
    truth, frame = cohort(120, BINARY)
    images = stripes(120, truth)
    pd.testing.assert_frame_equal(run_baselines(images, frame, BINARY, seed=1), run_baselines(images, frame, BINARY, seed=1))


def test_images_without_label_are_not_learnt_from():
    truth, frame = cohort(150, BINARY)
    frame.loc[:20, "label"] = None
    table = run_baselines(stripes(150, truth), frame, BINARY, seed=0)
    assert auc(table[table["truth"] >= 0], "hog") > 0.9
    with pytest.raises(TooFewError, match="there is nothing to learn from: expected labelled images in the training split"):
        run_baselines(stripes(150, truth), frame.assign(label=None), BINARY, seed=0)
    with pytest.raises(DataError, match="images and table do not fit: expected one row per image, got 10 images and 150 rows"):
        run_baselines(stripes(150, truth)[:10], frame, BINARY, seed=0)


def test_a_class_that_training_lacks_does_no_harm():
    truth, frame = cohort(120)
    frame.loc[(frame["split"] == "train") & (frame["label"] == "c"), "label"] = "a"
    table = run_baselines(stripes(120, truth), frame, MANY, seed=0)
    assert np.isfinite(table[["raw_a", "raw_b", "raw_c"]]).all(axis=None) and table[table["model"] == "hog"]["p_c"].max() < 1e-3
    only = frame.assign(label=np.where(frame["split"] == "train", "a", frame["label"]))
    assert run_baselines(stripes(120, truth), only, MANY, seed=0)["p_a"].min() > 0.9


@pytest.mark.parametrize(("shape", "kind"), [((3, 30, 40), np.uint8), ((1, 12, 20, 16), np.uint16), ((1, 6, 6), np.uint8), ((2, 3, 40, 40), np.uint8)])
def test_colour_volumes_sixteen_bits_and_tiny_images_are_described(shape, kind):
    images = generator(0, "shapes").integers(0, np.iinfo(kind).max, (12, *shape)).astype(kind)
    frame = cohort(12, BINARY)[1]
    task = Task(images, frame, BINARY)
    described, bright = hog_features(task), intensity_features(task)
    assert len(described) == 12 and np.isfinite(described).all() and np.isfinite(bright).all()
    assert bright.shape == (12, shape[0] * 34)
    assert (hog_features(Task(images[::-1], frame, BINARY))[::-1] == described).all()


def test_a_volume_is_seen_from_three_sides():
    truth, frame = cohort(120, BINARY)
    volumes = np.repeat(stripes(120, truth, 24), 8, axis=1)[:, None]
    assert auc(run_baselines(volumes, frame, BINARY, seed=0), "hog") > 0.9


def test_processes_give_what_one_process_gives():
    images = generator(0, "many").integers(0, 255, (600, 1, 120, 130)).astype(np.uint8)
    frame = cohort(600, BINARY)[1]
    seen = []
    several = hog_features(Task(images, frame, BINARY, jobs=2, progress=lambda done, total, what: seen.append((done, total))))
    assert seen[-1] == (600, 600)
    assert np.array_equal(several, hog_features(Task(images, frame, BINARY, jobs=1)))


def test_five_thousand_small_images_are_described_within_seconds():
    images = generator(0, "fast").integers(0, 255, (500, 1, 28, 28)).astype(np.uint8)
    start = time.process_time()
    descriptors(shrunk(images))
    assert time.process_time() - start < 2.5


def test_which_clinical_columns_are_used():
    n, train = 100, np.arange(60)
    rng = generator(0, "columns")
    table = pd.DataFrame({
        "id": range(n), "path": "a", "hash": "x", "patient": range(n), "label": "no", "split": "train", "StudyInstanceUID": rng.integers(0, 9, n),
        "file": "f", "Unnamed: 0": range(n), "patient_id": range(n), "age": [*map(str, rng.integers(20, 90, n - 1)), None], "sex": rng.choice(["M", "F"], n),
        "site": "one", "remark": [f"text {i}" for i in range(n)], "smoker": rng.choice([True, False], n), "side": [*["left", None] * 50],
    })
    used = clinical_features(table, train)
    assert list(used.columns) == ["age", "sex=F", "sex=M", "smoker", "side=missing", "side=left"]
    assert np.isnan(used["age"].iloc[-1]) and used["side=missing"].sum() == 50
    assert clinical_features(table[["id", "patient", "label", "site"]], train).empty


def test_trees_are_taken_where_a_line_cannot_tell():
    truth, frame = cohort(900, BINARY)
    rng = generator(0, "xor")
    frame["a"] = rng.integers(0, 2, 900).astype(float)
    frame["b"] = np.where(truth == 1, 1 - frame["a"], frame["a"]) + rng.normal(0, 0.1, 900)
    frame.loc[::10, "a"] = np.nan
    table = run_baselines(np.zeros((900, 1, 8, 8), np.uint8), frame, BINARY, seed=0)
    assert auc(table, "clinical") > 0.9


def test_folds_keep_patients_whole_and_deal_classes_evenly():
    truth, frame = cohort(300, BINARY, images=3)
    truth = np.repeat(truth[::3], 3)
    fold = folds(frame["patient"].to_numpy(str), truth, 0)
    assert pd.Series(fold).groupby(frame["patient"]).nunique().max() == 1
    shares = [truth[fold == k].mean() for k in range(3)]
    assert max(shares) - min(shares) < 0.05 and np.bincount(fold).tolist() == [102, 99, 99]


def test_a_cap_takes_whole_patients():
    patients = np.repeat(np.arange(40), 5)
    kept = capped(patients, 52, 0)
    assert len(kept) == 50 and (np.bincount(patients[kept])[np.unique(patients[kept])] == 5).all()
    assert capped(patients, 1000, 0).tolist() == list(range(200)) and len(capped(np.zeros(9), 3, 0)) == 9


def test_noise_is_fitted_strictly_and_features_are_standardised_on_training():
    rng = generator(0, "noise")
    features = rng.normal(5, 3, (200, 50)).astype(np.float32)
    features[:, 7] = 1
    scaled = standardised(features, np.arange(100))
    assert scaled.dtype == np.float32 and np.abs(scaled[:100].mean(0)).max() < 1e-5 and (scaled[:, 7] == 0).all()
    strength, loss = best_strength(scaled, rng.integers(0, 2, 200), np.arange(200).astype(str), BINARY, 0)
    assert strength == pytest.approx(0.01 * 30 / 50) and loss == pytest.approx(np.log(2), abs=0.1)


def test_unknown_baselines_are_named():
    assert BASELINES.names() == ["clinical", "histogram", "hog", "majority"]
    with pytest.raises(OptionError, match="unknown baseline 'hogg': expected one of hog"):
        BASELINES.get("hogg")


@pytest.mark.realdata
def test_pneumoniamnist_hog_reaches_what_hog_is_known_to_reach(shared_data):
    data = np.load(shared_data / "pneumoniamnist" / "pneumoniamnist.npz")
    part = {"train": slice(0, 1500), "val": slice(None), "test": slice(None)}
    images = np.concatenate([data[f"{name}_images"][rows] for name, rows in part.items()])[:, None]
    truth = np.concatenate([data[f"{name}_labels"][rows] for name, rows in part.items()]).ravel()
    frame = pd.DataFrame({"id": range(len(truth)), "path": "x", "patient": range(len(truth)), "label": np.array(["no", "yes"])[truth]})
    frame["split"] = np.repeat(["train", "validation", "test"], [1500, 524, 624])
    table = run_baselines(images, frame, BINARY, seed=0)
    assert auc(table, "hog") > 0.92 and auc(table, "hog", "validation") > 0.97 and auc(table, "histogram") > 0.8
