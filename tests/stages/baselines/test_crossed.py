"""Baselines on the folds of a run."""

import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.kernels.calibrate import Calibrator
from vesalius.seed import generator
from vesalius.stages.baselines import run_baselines, run_crossed

BINARY = TargetSpec("binary", ("no", "yes"))


def material(n=90, target=BINARY):
    truth = np.arange(n) % 2
    images = (generator(0, "crossed").normal(110, 20, (n, 1, 16, 16)) + 20 * truth[:, None, None, None]).clip(0, 255).astype(np.uint8)
    label = truth * 2.0 if target.kind == "regression" else [target.classes[k] for k in truth]
    facts = {"id": [f"i{i}" for i in range(n)], "path": "x", "patient": [f"p{i}" for i in range(n)], "label": label}
    frame = pd.DataFrame(facts | {"split": np.array(["train", "train", "validation", "test"])[np.arange(n) // 2 % 4]})
    inner = np.flatnonzero(frame["split"] != "test")
    return images, frame, [inner[k::3] for k in range(3)]


def alone(images, frame, rows, target=BINARY):
    """The baselines of one fold."""
    parts = np.where(frame["split"] == "test", "test", np.where(frame.index.isin(rows), "validation", "train"))
    return run_baselines(images, frame.assign(split=parts), target, seed=0)


def test_each_image_is_predicted_by_the_fold_that_has_not_seen_it():
    images, frame, held = material()
    table = run_crossed(images, frame, BINARY, held, seed=0)
    inner, test = table[table["split"] == "validation"], table[table["split"] == "test"]
    assert len(inner) == 3 * (frame["split"] != "test").sum() and not inner.duplicated(["model", "id"]).any() and (test["fold"] == -1).all()
    expected = alone(images, frame, held[1])
    expected = expected[expected["split"] == "validation"]
    pd.testing.assert_frame_equal(inner[inner["fold"] == 1].drop(columns="fold").reset_index(drop=True), expected.reset_index(drop=True))


@pytest.mark.parametrize("target", [BINARY, TargetSpec("regression", (), "age")])
def test_the_test_set_is_judged_by_the_mean_of_the_folds(target):
    images, frame, held = material(target=target)
    table = run_crossed(images, frame, target, held, seed=0)
    test = table[(table["split"] == "test") & (table["model"] == "hog")]
    each = [alone(images, frame, rows, target) for rows in held]
    raw = [name for name in table if name.startswith("raw_")]
    mean = np.mean([part[(part["split"] == "test") & (part["model"] == "hog")].set_index("id").loc[test["id"], raw] for part in each], axis=0)
    np.testing.assert_allclose(test[raw], mean, rtol=1e-6)
    said = ["value"] if target.kind == "regression" else ["p_no", "p_yes"]
    np.testing.assert_allclose(test[said], Calibrator(target.kind)(test[raw].to_numpy()), rtol=1e-6)
    assert set(test["id"]) == set(frame.loc[frame["split"] == "test", "id"]) and len(test) == test["id"].nunique()


def test_a_baseline_that_does_not_apply_to_some_fold_is_absent(monkeypatch):
    images, frame, held = material()
    first = alone(images, frame, held[0])
    made = iter([first, first[first["model"] != "histogram"], first])
    monkeypatch.setattr("vesalius.stages.baselines.crossed.run_baselines", lambda *_, **__: next(made))
    assert set(run_crossed(images, frame, BINARY, held, seed=0)["model"]) == {"majority", "hog"}
