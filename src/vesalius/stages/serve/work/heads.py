"""A network with two answers in one pass: raw values, and the features by which a study's fitness is judged (`stages.fitfor`).

Judging a study asks what the network makes of it. In a service that pass is the one that reads the study, for all studies of a batch at once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from vesalius.outputs import Output

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Head(nn.Module):
    """A copy of a network as its output reads it: ``[B, C, *size] -> [B, n_out]``, or ``[B, n_out + D]`` with features.

    Parameters
    ----------
    network: is copied, so that whoever watches its layers sees nothing of ours and leaves us alone.
    layer: name of the module whose input, averaged over its places, are the features; None for raw values alone.
    """

    def __init__(self, network: nn.Module, output: Output, layer: str | None = None) -> None:
        super().__init__()
        self.network, self.output = copy.deepcopy(network).eval(), output
        self._seen: list[torch.Tensor] = []
        if layer is not None:
            self.network.get_submodule(layer).register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        self._seen.append(given[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One pass; a head is used by one thread at a time."""
        self._seen.clear()
        raw = self.output.predict(self.network, x)
        return torch.cat([raw, pooled(self._seen[-1])], 1) if self._seen else raw


def pooled(tensor: torch.Tensor) -> torch.Tensor:
    """``[B, D]``, ``[B, tokens, D]`` or ``[B, D, *grid]`` to ``[B, D]``: the mean over the places.

    >>> [tuple(pooled(torch.zeros(shape)).shape) for shape in ((2, 5), (2, 7, 5), (2, 5, 3, 3))]
    [(2, 5), (2, 5), (2, 5)]
    """
    tensor = tensor.float()
    return tensor if tensor.ndim == 2 else tensor.mean(1) if tensor.ndim == 3 else tensor.flatten(2).mean(2)


def last_layer(network: nn.Module, output: Output, x: torch.Tensor) -> tuple[str | None, int]:
    """The linear or convolutional layer that is passed last, by name, and the length of its pooled input; None and 0 where there is none.

    x: ``[1, C, *size]``. The same choice as `stages.fitfor.features.network_features`.
    """
    watched, passed = copy.deepcopy(network).eval(), []
    for name, module in watched.named_modules():
        if isinstance(module, KINDS):
            module.register_forward_pre_hook(lambda _, given, name=name: passed.append((name, given[0])))
    with torch.inference_mode():
        output.predict(watched, x)
    return (passed[-1][0], pooled(passed[-1][1]).shape[1]) if passed else (None, 0)
