"""Nearest training cases in the network's own space, and the importance of clinical columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.networks import build
from vesalius.stages.baselines.base import Task
from vesalius.stages.baselines.clinical import clinical, clinical_model
from vesalius.stages.explain.columns import column_importance, loss_each
from vesalius.stages.explain.nearest import Space, features_of


@pytest.mark.parametrize(("name", "size"), [("small-cnn", (32, 32)), ("vit-tiny", (32, 32)), ("small-resnet", (16, 16, 16))])
def test_features_are_what_the_last_layer_reads(name: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build(name, channels=1, n_out=3, size=size).train()
    x = torch.randn(2, 1, *size)
    found = features_of(network, x)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        assert torch.allclose(last(torch.from_numpy(found)), network.eval()(x), atol=1e-5)
    assert found.shape[0] == 2 and not any(module._forward_pre_hooks for module in network.modules())


def test_a_network_without_a_linear_end_has_no_features() -> None:
    with pytest.raises(OptionError, match="no features to compare images by: expected a linear layer at its end"):
        features_of(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 8, 8))


def test_the_nearest_of_each_class_and_the_unit_of_distance() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (40, 5)), rng.normal(6, 1, (40, 5))])
    features[:, 4] = 3.0
    space = Space.of(features, ["a"] * 40 + ["b"] * 40)
    found = {near.name: near for near in space.nearest(features[7] + 1e-3, ("a", "b", "c"))}
    assert set(found) == {"a", "b"} and found["a"].row == 7 and found["a"].distance < 0.01 and 0.8 < found["b"].distance < 3
    assert np.isfinite(space.nearest(features[0] + [0, 0, 0, 0, 9], ("a",))[0].distance), "a number that never varied says nothing"


def task_of(kind: str, n: int = 160) -> Task:
    """Age tells the label, the hospital a little, the shoe size nothing."""
    rng = np.random.default_rng(0)
    ill = np.arange(n) // 4 % 2
    age, site = 50 + 12 * ill + rng.normal(0, 7, n), np.where(rng.random(n) < 0.5 + 0.2 * ill, "north", "south")
    labels = {"binary": np.array(["no", "yes"])[ill], "regression": age / 10 + rng.normal(0, 0.3, n), "multilabel": np.array(["", "p"])[ill]}
    frame = pd.DataFrame({"patient": [f"p{i // 2}" for i in range(n)], "label": labels[kind], "age": age, "site": site, "shoe": rng.normal(40, 2, n)})
    frame["split"] = np.where(np.arange(n) // 2 % 8 < 5, "train", "test")
    classes = {"binary": ("no", "yes"), "regression": (), "multilabel": ("p", "q")}[kind]
    return Task(np.zeros((n, 1, 1, 1), np.uint8), frame, TargetSpec(kind, classes), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["binary", "regression", "multilabel"])
def test_the_column_that_tells_comes_first_and_the_one_that_does_not_is_not_above_zero(kind: str) -> None:
    found = column_importance(task_of(kind))
    assert found is not None and found[0]["column"] == "age" and found[0]["low"] > 0 and {row["column"] for row in found} == {"age", "site", "shoe"}
    shoe = next(row for row in found if row["column"] == "shoe")
    assert shoe["low"] <= 0 < found[0]["value"] and abs(shoe["value"]) < found[0]["value"] / 4 and found[0]["n_images"] == 60
    assert column_importance(task_of(kind)) == found


def test_without_columns_or_images_there_is_none() -> None:
    task = task_of("binary")
    bare = Task(task.images, task.frame.drop(columns=["age", "site", "shoe"]), task.target, 0)
    assert column_importance(bare) is None and column_importance(task_of("binary", 40)) is None and clinical(bare) is None


def test_the_clinical_model_is_the_clinical_baseline() -> None:
    task = task_of("binary")
    made = clinical_model(task)
    assert made is not None and np.array_equal(made[1](made[0]), clinical(task))  # type: ignore[arg-type]


def test_losses_are_those_of_their_kind() -> None:
    p = np.array([[0.25, 0.75]])
    assert loss_each(np.log(p), np.array([0]), TargetSpec("binary", ("a", "b"))) == pytest.approx([-np.log(0.25)])
    assert loss_each(np.array([[3.0]]), np.array([1.0]), TargetSpec("regression", ())) == pytest.approx([4.0])
    assert loss_each(np.zeros((1, 2)), np.array([[1.0, 0.0]]), TargetSpec("multilabel", ("a", "b"))) == pytest.approx([np.log(2)])
