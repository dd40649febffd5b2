"""Does a map depend on what the network has learnt? Adebayo et al., *Sanity checks for saliency maps*, NeurIPS 2018: cascading randomisation.

The weights are drawn anew from the last layer to the first. Each tensor keeps its own size, so that the numbers inside the network keep theirs and
a map does not vanish for that reason alone; the mean of a matrix or kernel is learnt too and becomes 0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vesalius.seed import stream_seed
from vesalius.stages.explain.base import undisturbed

LEVELS = (1 / 3, 2 / 3, 1.0)
"""Shares of the layers, from the last one on, whose weights are drawn anew."""


def randomised(network: nn.Module, x: torch.Tensor, levels: Sequence[float] = LEVELS, *, seed: int = 0) -> list[nn.Module]:
    """Copies of the network whose last layers forget what they learnt, one for each share in ``levels``; the network itself is left as it is.

    Parameters
    ----------
    x: an image ``[1, C, (Z,) Y, X]``; its way through the network gives the order of the layers. Parameters of layers that it does not
        pass (and those that belong to no layer, such as position codes) go with the first layer.
    """
    order = layers_in_order(network, x)
    made = []
    for share in levels:
        twin = copy.deepcopy(network).eval()
        count = max(1, round(share * len(order)))
        forget(twin, order[::-1][:count], all_of_it=count == len(order), seed=seed)
        made.append(twin)
    return made


def layers_in_order(network: nn.Module, x: torch.Tensor) -> list[str]:
    """Names of the layers with parameters of their own, in the order in which they compute first."""
    order: list[str] = []
    owners = {name: module for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))}

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            if name not in order:
                order.append(name)

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in owners.items()]
    try:
        with torch.no_grad(), undisturbed(network):
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return order


def forget(network: nn.Module, names: Sequence[str], *, all_of_it: bool, seed: int) -> None:
    """Draw the parameters of these layers (of the whole network with ``all_of_it``) anew, in place."""
    modules = dict(network.named_modules())
    chosen = list(network.named_parameters()) if all_of_it else [(f"{n}.{p}", t) for n in names for p, t in modules[n].named_parameters(recurse=False)]
    for name, tensor in chosen:
        generator = torch.Generator().manual_seed(stream_seed(seed, "forget", name))
        old = tensor.detach().float()
        mean = old.mean() if tensor.ndim < 2 else torch.zeros(())  # of scales and offsets the mean is no pattern, and 0 would end all signals
        spread = (old - mean.to(old)).square().mean().sqrt()
        with torch.no_grad():
            tensor.copy_(torch.randn(tensor.shape, generator=generator).to(old) * spread + mean.to(old))
