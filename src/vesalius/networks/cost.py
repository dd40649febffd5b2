"""What a network costs: weights, arithmetic and memory, measured on one image without its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Cost of a network for one image.

    Parameters
    ----------
    params: number of weights that are trained.
    flops_per_image: multiplications and additions of one forward pass (a training step takes three times that).
    activation_bytes_per_image: outputs of all layers in float32: what a forward pass keeps for the backward one.
    """

    params: int
    flops_per_image: int
    activation_bytes_per_image: int


def cost(network: nn.Module, shape: Sequence[int]) -> Cost:
    """Count the cost of ``network`` for input of ``shape`` ``[B, C, (Z,) Y, X]``; figures are per image.

    Shapes alone are followed (no arithmetic is done, no memory taken), so a large volume costs nothing to plan.
    The network is left as it was: same mode, no hook.
    """
    held: list[int] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, torch.Tensor) and not any(_shares(output, each) for each in inputs):
            held.append(output.numel() * 4)

    hooks = [module.register_forward_hook(keep) for module in network.modules() if not any(module.children())]
    training = [module for module in network.modules() if module.training]
    try:
        flops = _flops(network.eval(), tuple(shape))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    batch = max(int(shape[0]), 1)
    params = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(params, flops // batch, sum(held) // batch)


def _shares(output: torch.Tensor, given: Any) -> bool:
    """Whether a layer's output lies in the memory of its input: a view, or computed in place."""
    return isinstance(given, torch.Tensor) and output.untyped_storage()._cdata == given.untyped_storage()._cdata


def _flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), counter:
        network(torch.zeros(shape, device=device))
    return int(counter.get_total_flops())
