"""Laws of every explanation: it depends on the weights, and it leaves the network as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.stages.explain import EXPLANATIONS, explain_study

from .conftest import make_mapping, make_study

METHODS = EXPLANATIONS.names()
NETWORKS = ["small-cnn", "small-resnet", "vit-tiny"]
LARGEST_LIKENESS = 0.95
PAIRS = [(method, network) for method in METHODS for network in NETWORKS if method != "attention-rollout" or network.startswith("vit")]
"""What has no attention has none to roll out."""
QUICK = {"rise": {"masks": 40}}
"""Options under which a slow method is quick."""


@pytest.mark.parametrize(("method", "network"), PAIRS)
def test_the_map_changes_when_the_weights_are_drawn_anew(method: str, network: str) -> None:
    """Sanity check of Adebayo et al. 2018: a map that stays is a picture of the image, not of the model."""
    mapping, study = make_mapping(network=network, size=(32, 32)), make_study(shape=(32, 32))
    before = explain_study(mapping, study, method=method, target=1, **QUICK.get(method, {})).array
    torch.manual_seed(7)
    for parameter in mapping.network.parameters():
        torch.nn.init.normal_(parameter.detach(), std=0.2)
    after = explain_study(mapping, study, method=method, target=1, **QUICK.get(method, {})).array
    flat = not before.std() or not after.std()
    assert flat or np.corrcoef(before.ravel(), after.ravel())[0, 1] < LARGEST_LIKENESS
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(("method", "network"), PAIRS)
def test_the_network_is_left_as_it_was(method: str, network: str) -> None:
    mapping, study = make_mapping(network=network, size=(32, 32)), make_study(shape=(32, 32))
    modules = list(mapping.network.modules())
    modes = [module.training for module in modules]
    state = {name: value.clone() for name, value in mapping.network.state_dict().items()}
    answer = mapping(study).to_dict()
    explain_study(mapping, study, method=method, **QUICK.get(method, {}))
    assert not any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks for module in modules)
    assert [module.training for module in modules] == modes
    assert all(torch.equal(value, state[name]) for name, value in mapping.network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in mapping.network.parameters())
    assert mapping(study).to_dict() == answer


@pytest.mark.parametrize("method", METHODS)
def test_every_task_can_be_explained(method: str, kind: str) -> None:
    study = make_study()
    picture = explain_study(make_mapping(kind, "vit-tiny" if method == "attention-rollout" else "small-cnn"), study, method=method, **QUICK.get(method, {}))
    assert picture.array.shape == study.grid.shape and np.isfinite(picture.array).all()
