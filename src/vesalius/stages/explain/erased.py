"""Does the answer rest on the hot places? Deletion and insertion (Petsiuk et al., BMVC 2018), against chance.

Places are hidden (shown) cell by cell, the hottest first; what is hidden is blurred. A good map makes the answer fall early (rise early). Chance is twofold:
a random order of the cells, and the same map laid elsewhere. The second is the harder one: a lesion that lies in several cells goes at once in any map that
is in one piece, and bit by bit in a random order, so that a smooth map beats that wherever it points. Single samples would be noise, which destroys
the answer for a reason of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vesalius.kernels.saliency import cells_of, order_of
from vesalius.seed import generator
from vesalius.stages.explain.occlusion import PATCH, blurred
from vesalius.stages.explain.questions import Question, worths

CELLS = {2: 14, 3: 7}
"""Of an image along each axis."""
STEPS = 8
"""Shares of the cells that are hidden, between none and all."""
RANDOM = 2
"""Random orders and misplaced maps that a map is compared with."""
FAR = (0.25, 0.75)
"""A misplaced map is moved by so much of each side, round the image."""


@dataclass(frozen=True)
class Areas:
    """Areas under both curves, 0 to 1 for a probability."""

    deletion: float
    insertion: float

    @property
    def between(self) -> float:
        """Insertion minus deletion: the larger, the better."""
        return self.insertion - self.deletion


@dataclass(frozen=True)
class Erasing:
    """One image that can be hidden cell by cell."""

    network: nn.Module
    question: Question
    place: np.ndarray
    hidden: torch.Tensor
    ends: tuple[float, float]

    @classmethod
    def of(cls, network: nn.Module, question: Question) -> Erasing:
        ndim = question.x.ndim - 2
        hidden = blurred(question.x, PATCH[ndim])
        whole, none = worths(network, question, torch.cat([question.x, hidden]))
        return cls(network, question, cells_of(tuple(question.x.shape[2:]), CELLS[ndim]), hidden, (float(whole), float(none)))

    def areas(self, order: np.ndarray) -> Areas:
        """Areas of an order of cells."""
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        steps = np.round(np.linspace(0, len(order), STEPS + 1)[1:-1]).astype(int)
        gone = torch.from_numpy(np.stack([rank[self.place] < step for step in steps]))[:, None].to(self.hidden.device)
        images = torch.cat([torch.where(gone, self.hidden, self.question.x), torch.where(gone, self.question.x, self.hidden)])
        found = worths(self.network, self.question, images)
        whole, none = self.ends
        down, up = np.array([whole, *found[: len(steps)], none]), np.array([none, *found[len(steps) :], whole])
        return Areas(float(np.trapezoid(down) / STEPS), float(np.trapezoid(up) / STEPS))

    def of_map(self, heat: np.ndarray) -> Areas:
        return self.areas(order_of(heat, self.place))

    def of_random(self, seed: int) -> Areas:
        """The mean over `RANDOM` random orders of the cells."""
        n = int(self.place.max()) + 1
        return _mean([self.areas(generator(seed, "erased", self.question.id, i).permutation(n)) for i in range(RANDOM)])

    def of_moved(self, heat: np.ndarray, seed: int) -> Areas:
        """The mean over `RANDOM` copies of the map that lie elsewhere."""
        return _mean([self.of_map(moved(heat, generator(seed, "moved", self.question.id, i))) for i in range(RANDOM)])


def moved(heat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The map mirrored along drawn axes and moved far round the image."""
    axes = [axis for axis in range(heat.ndim) if rng.random() < 0.5]
    shift = [int(rng.uniform(*FAR) * n) for n in heat.shape]
    return np.roll(np.flip(heat, tuple(axes)) if axes else heat, shift, tuple(range(heat.ndim)))


def _mean(found: list[Areas]) -> Areas:
    return Areas(float(np.mean([each.deletion for each in found])), float(np.mean([each.insertion for each in found])))
