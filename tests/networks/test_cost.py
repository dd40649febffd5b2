"""Counted without computing."""

from __future__ import annotations

import torch
from torch import nn

from vesalius.networks import build
from vesalius.networks.cost import cost


def test_a_layer_known_by_heart() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 2))
    figures = cost(network, (5, 1, 8, 8))
    assert figures.params == 4 * 9 + 4 + 512 + 2
    assert figures.flops_per_image == 2 * (64 * 4 * 9 + 256 * 2)
    assert figures.activation_bytes_per_image == 4 * (256 + 2)  # the rectifier works in place, a flat view takes nothing


def test_the_network_is_left_as_it_was() -> None:
    network = build("small-resnet", channels=1, n_out=2, size=(28, 28)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost(network, (2, 1, 28, 28))
    assert network.training and network.dropout.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_frozen_weights_are_not_counted_and_each_mode_is_kept() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    network[0].requires_grad_(False)
    network.train()
    network[1].eval()
    assert cost(network, (1, 4)).params == 0
    assert network[0].training and not network[1].training


def test_a_large_volume_is_planned_in_no_memory() -> None:
    network = build("small-resnet", channels=1, n_out=2, size=(512, 512, 512))
    assert cost(network, (1, 1, 512, 512, 512)).activation_bytes_per_image > 2**30
