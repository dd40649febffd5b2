"""Every task learns its phantom to a stated score in seconds, and does not learn shuffled labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.core.target import KINDS
from vesalius.mapping import Mapping
from vesalius.outputs.base import Batch, Output

from .conftest import make_boxed, make_mapping, make_tiled

N, TRAINED, EPOCHS, SIDE = 240, 160, 14, 28
LEARNT = {"binary": 0.9, "multiclass": 0.9, "multilabel": 0.85, "ordinal": 0.85, "regression": 0.7, "mask": 0.85, "boxes": 0.8}
"""Area under the curve on images that were not trained on; for a regression the share of variance explained, for masks the Dice, for boxes the mAP50."""
CHANCE = {"binary": 0.7, "multiclass": 0.7, "multilabel": 0.7, "ordinal": 0.7, "regression": 0.25, "mask": 0.5, "boxes": 0.25}


def disc(radius: float, centre: np.ndarray, side: int = SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return 1 / (1 + np.exp(np.hypot(y - centre[0], x - centre[1]) - radius))


def bar(at: float, down: bool) -> np.ndarray:
    place = np.arange(SIDE) - at
    band = np.exp(-np.square(place / 1.5))[:, None] * np.ones(SIDE)
    return band if down else band.T


def phantom(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 1, 28, 28]`` of discs and bars under noise whose brightness says nothing, and their truth."""
    images, truth = [], []
    for _ in range(N):
        centre, at = rng.uniform(9, 19, 2), float(rng.uniform(6, 22))
        marks = rng.integers(0, 2, 3)
        grade = int(rng.integers(0, 4 if kind == "ordinal" else 3 if kind == "multiclass" else 2))
        value = float(rng.uniform(2, 8))
        shapes = {
            "binary": lambda g=grade, c=centre, a=at: disc(4, c) if g else bar(a, True),
            "multiclass": lambda g=grade, c=centre, a=at: [disc(4, c), bar(a, True), bar(a, False)][g],
            "multilabel": lambda m=marks, c=centre, a=at: m[0] * disc(4, c) + m[1] * bar(a, True) + m[2] * bar(a, False),
            "ordinal": lambda g=grade, c=centre: disc(2 + 2 * g, c),
            "regression": lambda v=value, c=centre: disc(v, c),
        }
        image = 1.5 * shapes[kind]() + rng.normal(0, 0.3, (SIDE, SIDE)) + rng.uniform(-0.3, 0.3)
        images.append(image[None])
        truth.append({"multilabel": marks, "regression": value}.get(kind, grade))
    target = np.array(truth, np.int64 if kind in ("binary", "multiclass", "ordinal") else np.float32)
    return np.stack(images).astype(np.float32), target


def marked(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images with a disc and a bar, and masks ``[N, 1, 28, 28]`` that tell them apart."""
    images, truth = [], []
    for _ in range(N):
        round_, long = disc(4, rng.uniform(9, 19, 2)), bar(float(rng.uniform(6, 22)), True)
        images.append((1.5 * np.maximum(round_, long) + rng.normal(0, 0.3, (SIDE, SIDE)) + rng.uniform(-0.3, 0.3))[None])
        truth.append(np.where(round_ > 0.5, 1, np.where(long > 0.5, 2, 0))[None])
    return np.stack(images).astype(np.float32), np.stack(truth).astype(np.uint8)


def boxed(rng: np.random.Generator, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 1, 48, 48]`` with a large and a small disc, each a class; rows ``[N, 2, 7]`` of their boxes."""
    images, truth = [], []
    for _ in range(N):
        image, rows = rng.normal(0, 0.3, (side, side)) + rng.uniform(-0.3, 0.3), []
        for label, radius in enumerate((rng.uniform(6, 8), rng.uniform(3, 4))):
            centre = rng.uniform(9, side - 10, 2)
            image += 1.5 * disc(radius, centre, side)
            rows.append([*(centre + 0.5 - radius), *(centre + 0.5 + radius), label, 0, np.nan])
        images.append(image[None])
        truth.append(rows)
    return np.stack(images).astype(np.float32), np.array(truth, np.float32)


def score(kind: str, shuffled: bool) -> float:
    """Train a small network for a few seconds; the task's own score on the images that were left out."""
    rng = np.random.default_rng(3)
    images, truth = marked(rng) if kind == "mask" else boxed(rng) if kind == "boxes" else phantom(kind, rng)
    if shuffled:
        truth = truth[rng.permutation(N)]
    mapping = mapping_for(kind)
    network, output = mapping.network, mapping.output
    output.settle(truth[:TRAINED])
    train(network, output, torch.from_numpy(images[:TRAINED]), torch.from_numpy(truth[:TRAINED]))
    network.eval()
    with torch.inference_mode():
        raw = output.predict(network, torch.from_numpy(images[TRAINED:])).numpy()
    return output.figure(truth[TRAINED:], raw)["score"]


def mapping_for(kind: str) -> Mapping:
    if kind == "boxes":
        return make_boxed(2, size=(48, 48), width=8, finest=4, levels=2)
    return make_tiled(2, size=(SIDE, SIDE), width=8, depth=3) if kind == "mask" else make_mapping(kind, "small-cnn", size=(SIDE, SIDE))


def train(network: torch.nn.Module, output: Output, x: torch.Tensor, truth: torch.Tensor) -> None:
    network.train()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(16):
            loss = output.loss(network, Batch(x[rows], truth[rows]))
            assert loss.shape == (len(rows),)
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_learns_its_phantom(kind: str) -> None:
    assert score(kind, shuffled=False) >= LEARNT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_does_not_learn_shuffled_labels(kind: str) -> None:
    assert score(kind, shuffled=True) <= CHANCE[kind]
