"""Counterfactual nearest cases: what the most similar training image of each class looks like, as the network sees likeness.

Distances are in the space of the numbers that the network's last linear layer reads (as in deep k-nearest neighbours, Papernot and McDaniel 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import undisturbed

LEAST_SPREAD = 1e-6


def features_of(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """What the last linear layer reads of images ``[B, C, (Z,) Y, X]``: ``[B, D]`` float32. The network is left as it was.

    Raises
    ------
    OptionError: the network has no linear layer that reads one vector an image.
    """
    seen: list[torch.Tensor] = []

    def note(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if given[0].ndim == 2 and len(given[0]) == len(x):
            seen.append(given[0].detach())

    hooks = [module.register_forward_pre_hook(note) for module in network.modules() if isinstance(module, nn.Linear)]
    try:
        with torch.no_grad(), undisturbed(network):
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise OptionError("this network has no features to compare images by", expected="a linear layer at its end", do="choose another network")
    return seen[-1].float().cpu().numpy()


@dataclass(frozen=True)
class Near:
    """The nearest training image of a class: its row among those compared, the class, and the distance (1: the median of all to all)."""

    row: int
    name: str
    distance: float


@dataclass(frozen=True)
class Space:
    """Features of training images ``[N, D]``, each with mean 0 and spread 1, and their classes.

    ``unit`` is the median distance between two of them.
    """

    features: np.ndarray
    labels: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    unit: float

    @classmethod
    def of(cls, features: np.ndarray, labels: Sequence[str]) -> Space:
        """Numbers that do not vary say nothing and do not count."""
        mean, spread = features.mean(0), features.std(0)
        spread = np.where(spread > LEAST_SPREAD, spread, np.inf)
        each = (features - mean) / spread
        some = each[:: max(1, len(each) // 200)]
        apart = np.linalg.norm(some[:, None] - some[None], axis=2)[np.triu_indices(len(some), 1)]
        unit = float(np.median(apart)) if len(apart) else 1.0
        return cls(each, tuple(map(str, labels)), mean, spread, unit or 1.0)

    def nearest(self, features: np.ndarray, classes: Iterable[str]) -> list[Near]:
        """The nearest image of each class that there is, for features ``[D]``; in the order of ``classes``."""
        apart = np.linalg.norm(self.features - (features - self.mean) / self.spread, axis=1) / self.unit
        held = np.array(self.labels)
        found = []
        for name in classes:
            rows = np.flatnonzero(held == name)
            if len(rows):
                best = int(rows[apart[rows].argmin()])
                found.append(Near(best, name, float(apart[best])))
        return found
