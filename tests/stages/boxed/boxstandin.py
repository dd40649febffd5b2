"""A mapping whose answer is known: class 0 where a place is bright, class 1 where it is dark, each cell with a box of a set size."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.transforms.tiles import TileTrace, prepare_tiles

TARGET = TargetSpec("boxes", ("bright", "dark"))


class Blobs(nn.Module):
    """Features at half, then at a quarter of the resolution; a logit and a box of side ``side`` a cell."""

    multiple = 4

    def __init__(self, ndim: int, side: float, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.ndim, self.side = ndim, side
        self.fine, self.coarse, self.answer = conv(1, 2, 2, 2), conv(2, 2, 3, 2, 1), conv(2, 2, 3, 1, 1)
        with torch.no_grad():
            for part in (self.fine, self.coarse, self.answer):
                part.weight.zero_()
                part.bias.zero_()  # type: ignore[union-attr]
            for k, sign in enumerate((1.0, -1.0)):
                self.fine.weight[k, 0] = sign / 2**ndim
                self.coarse.weight[k, k] = 1 / 3**ndim
                self.answer.weight[k, k] = 6 / 3**ndim
            self.answer.bias.fill_(-3.0)  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.answer(F.relu(self.coarse(F.relu(self.fine(x)))))
        axes = [(torch.arange(n, device=x.device) + 0.5) * 4 for n in raw.shape[2:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, self.ndim).expand(len(x), -1, -1)
        return torch.cat([places - self.side / 2, places + self.side / 2, raw.flatten(2).transpose(1, 2)], -1)


@dataclass
class StandIn:
    """What `stages.boxed.explain` asks of a mapping, and no more."""

    reads: TileReads
    networks: list[nn.Module]
    thresholds: dict[str, float] = field(default_factory=lambda: {"bright": 0.5, "dark": 0.5})
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def output(self) -> SimpleNamespace:
        return SimpleNamespace(target=TARGET, facts={"thresholds": self.thresholds})

    def encode(self, study: Study) -> tuple[np.ndarray, TileTrace]:
        return prepare_tiles(study, self.reads)

    def candidates(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.stack([network(x) for network in self.networks]).mean(0)


def standin(ndim: int = 2, side: float = 16.0, tile: int = 96, seed: int = 0, spacing: tuple[float, ...] | None = None) -> StandIn:
    return StandIn(TileReads((tile,) * ndim, 1, spacing, schemes=("zscore",)), [Blobs(ndim, side, seed).eval()])


def study_of(
    shape: tuple[int, ...], blobs: list[tuple[tuple[float, ...], float]], side: float, spacing: tuple[float, ...] | None = None, seed: int = 0,
) -> Study:
    """Noise with cubes of ``side`` samples about the given centres, each with its brightness."""
    image = np.random.default_rng(seed).normal(0, 0.15, shape).astype(np.float32)
    for centre, value in blobs:
        image[tuple(slice(round(c - side / 2), round(c + side / 2)) for c in centre)] += value
    return Study(image[None], Grid.plain(shape, spacing) if spacing else Grid.plain(shape))


def box_at(centre: tuple[float, ...], side: float) -> tuple[float, ...]:
    return (*(c - side / 2 for c in centre), *(c + side / 2 for c in centre))
