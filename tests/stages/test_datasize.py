import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.seed import generator
from vesalius.stages.datasize import COLUMNS, data_size_curve
from vesalius.stages.notes import more_patients

BINARY = TargetSpec("binary", ("no", "yes"))
KEYS = set(COLUMNS)


def data(n=400, noise=60, target=BINARY, images=2):
    """Stripes across or along under noise: easy with little noise, slow to learn with much."""
    k = max(len(target.classes), 2)
    rng, truth = generator(0, "data size"), np.repeat(generator(0, "truth").integers(0, k, n // images), images)
    y, x = np.mgrid[:16, :16]
    ways = np.stack([y, x, (x + y) * 0.7])[truth]
    made = (127 + 40 * np.sin(ways * 0.9) + rng.normal(0, noise, (n, 16, 16))).clip(0, 255).astype(np.uint8)[:, None]
    label = truth.astype(float) if target.kind == "regression" else [target.classes[t] for t in truth]
    frame = pd.DataFrame({"id": range(n), "path": "x", "patient": np.arange(n) // images, "label": label})
    frame["split"] = np.array(["train", "train", "validation", "test"])[np.arange(n) // images % 4]
    return made, frame


def test_the_curve_has_nested_parts_by_patient_and_true_counts():
    images, frame = data()
    curve = data_size_curve(images, frame, BINARY, seed=0)
    assert [row["n_patients"] for row in curve] == [12, 25, 50, 100]
    assert [row["n_images"] for row in curve] == [24, 50, 100, 200]
    assert all(set(row) == KEYS and row["metric"] == "auc" for row in curve)
    assert all(row["low"] <= row["value"] <= row["high"] for row in curve)
    assert np.isfinite([[row[key] for key in KEYS - {"metric"}] for row in curve]).all()
    assert curve[1]["gain"] == pytest.approx(curve[1]["value"] - curve[0]["value"]) and curve[0]["gain"] == pytest.approx(curve[0]["value"] - 0.5)


def test_more_patients_are_said_to_help_where_they_do_and_not_where_all_is_learnt():
    hard = data_size_curve(*data(1600, noise=90, images=1), BINARY, seed=0)
    assert hard[-1]["value"] > hard[0]["value"] + 0.05
    assert more_patients(hard)["code"] == "more-patients-help"
    easy = data_size_curve(*data(400, noise=10), BINARY, seed=0)
    assert easy[-1]["value"] > 0.99 and more_patients(easy)["code"] == "more-patients-flat"


def test_the_test_set_is_not_looked_at():
    images, frame = data()
    other = images.copy()
    other[frame["split"] == "test"] = 0
    relabelled = frame.assign(label=np.where(frame["split"] == "test", "no", frame["label"]))
    assert data_size_curve(images, frame, BINARY, seed=0) == data_size_curve(other, relabelled, BINARY, seed=0)


@pytest.mark.parametrize(("kind", "metric"), [("multiclass", "auc"), ("ordinal", "kappa"), ("multilabel", "auc"), ("regression", "r2")])
def test_other_targets_have_their_own_figure(kind, metric):
    target = TargetSpec(kind, () if kind == "regression" else ("a", "b", "c"))
    curve = data_size_curve(*data(240, 20, target), target, seed=0)
    assert curve[-1]["metric"] == metric and curve[-1]["value"] > 0.7


def test_too_little_gives_no_curve():
    images, frame = data()
    assert data_size_curve(images, frame[frame["split"] != "validation"].assign(split="train").reindex(frame.index, method="nearest"), BINARY, seed=0) == []
    few = np.flatnonzero((frame["split"] != "train") | (frame["patient"] < 10))
    assert data_size_curve(images[few], frame.iloc[few], BINARY, seed=0) == []
    one_class = frame.assign(label=np.where(frame["split"] == "validation", "no", frame["label"]))
    assert data_size_curve(images, one_class, BINARY, seed=0)[-1]["metric"] == "accuracy"


def test_progress_is_told():
    seen = []
    data_size_curve(*data(), BINARY, seed=0, progress=lambda done, total, what: seen.append((done, total, what)))
    assert seen[-1][0] == seen[-1][1] == 16
