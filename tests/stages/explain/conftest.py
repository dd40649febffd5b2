"""Small networks of every build, and a mapping with the interface that explanations use."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vesalius.core.finding import Finding
from vesalius.core.target import TargetSpec

SIZES = {2: (28, 28), 3: (16, 20, 24)}


def cnn(ndim: int, n_out: int = 2) -> nn.Module:
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    pool = nn.MaxPool2d if ndim == 2 else nn.MaxPool3d
    last = nn.AdaptiveAvgPool2d(1) if ndim == 2 else nn.AdaptiveAvgPool3d(1)
    layers = [conv(1, 8, 3, padding=1), nn.ReLU(inplace=True), pool(2), conv(8, 8, 3, padding=1), nn.ReLU(inplace=True), last, nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(8, n_out))


class TinyViT(nn.Module):
    """Tokens with a class token; answers from the class token alone or from the mean of all."""

    def __init__(self, ndim: int, size: tuple[int, ...], pool: str = "class", n_out: int = 2, width: int = 16) -> None:
        super().__init__()
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.embed, self.pool = conv(1, width, 4, stride=4), pool
        count = int(np.prod([n // 4 for n in size]))
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.position = nn.Parameter(torch.randn(1, count + 1, width) * 0.1)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 2, 32, batch_first=True, norm_first=True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self.head(tokens[:, 0] if self.pool == "class" else tokens[:, 1:].mean(1))


class Bright(nn.Module):
    """Answers by how bright the image is in its most lit place; the truth of its explanation is known."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        conv, pool = (nn.Conv2d, nn.AvgPool2d) if ndim == 2 else (nn.Conv3d, nn.AvgPool3d)
        self.see, self.pool = conv(1, 1, 1, bias=False), pool(2)
        nn.init.constant_(self.see.weight, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lit = self.pool(F.relu(self.see(x))).flatten(2).square().mean(2)
        return torch.cat([-lit, lit], 1)


def make(name: str, ndim: int) -> nn.Module:
    torch.manual_seed(0)
    made = {"cnn": lambda: cnn(ndim), "vit-class": lambda: TinyViT(ndim, SIZES[ndim]), "vit-mean": lambda: TinyViT(ndim, SIZES[ndim], "mean")}
    return made[name]()


@dataclass
class FakeOutput:
    target: TargetSpec

    def explained(self, raw: torch.Tensor, index: int | None = None) -> torch.Tensor:
        return raw[:, index] if index is not None else raw.max(1).values


@dataclass
class FakeMapping:
    """Reads at half the resolution and turned by a quarter, so that `undo` has work to do."""

    network: nn.Module
    output: FakeOutput
    answers: list[str] = field(default_factory=list)

    def encode(self, study):
        image = torch.from_numpy(study.image.astype(np.float32))
        return image.transpose(-1, -2)[..., ::2, ::2].contiguous(), study.grid

    def undo(self, array, grid):
        big = torch.from_numpy(array)[None, None]
        turned = (*grid.shape[:-2], grid.shape[-1], grid.shape[-2])
        return F.interpolate(big, turned, mode="bilinear" if big.ndim == 4 else "trilinear")[0, 0].transpose(-1, -2).contiguous().numpy()

    def __call__(self, study):
        x, _ = self.encode(study)
        with torch.no_grad():
            index = int(self.network(x[None]).argmax())
        self.answers.append(self.output.target.classes[index])
        return Finding(study.source, self.answers[-1], 0.9, study.grid)


@pytest.fixture
def network_of():
    """A factory: (name, ndim) to a network with seeded weights."""
    return make


@pytest.fixture
def bright_of():
    return Bright


@pytest.fixture
def mapping_of():
    """A factory: network and classes to a fake mapping."""
    return lambda network, classes=("healthy", "ill"): FakeMapping(network, FakeOutput(TargetSpec("binary", classes)))


@pytest.fixture
def spot_of():
    """A factory: ndim to an image ``[1, 1, (Z,) Y, X]`` with one bright block, and the mask of the block."""

    def make_spot(ndim):
        x = torch.zeros(1, 1, *SIZES[ndim])
        mask = torch.zeros(SIZES[ndim], dtype=torch.bool)
        mask[(slice(4, 10),) * ndim] = True
        x[0, 0][mask] = 1.0
        return x, mask

    return make_spot
