"""Small films of one kind, a network that looks at them, and what is remembered of them: learnt once, in a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.fitfor import FitFor, learn

TARGET = TargetSpec("binary", ("healthy", "ill"))
SIDE = 48


def film(seed: int, *, modality: str | None = "CR", body_part: str = "CHEST", side: int = SIDE, spacing: float | None = 0.5) -> Study:
    """Two dark lungs of which one is smaller, a bright heart, a diaphragm below; every seed another patient."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    dy, dx, s = rng.normal(0, 0.015, 2).tolist() + [float(rng.uniform(0.93, 1.07))]
    image = 0.55 + 0.1 * y
    for cx, cy, rx, ry, depth in ((0.3, 0.45, 0.13, 0.28, -0.35), (0.7, 0.42, 0.16, 0.3, -0.35), (0.58, 0.65, 0.1, 0.12, 0.25)):
        image = image + depth / (1 + np.exp(np.minimum(50, 12 * (((x - cx - dx) / (rx * s)) ** 2 + ((y - cy - dy) / (ry * s)) ** 2 - 1))))
    image = image + 0.25 * (y > 0.85) + rng.normal(0, 0.015, image.shape) + rng.normal(0, 0.03)
    array = np.clip(image * rng.uniform(0.9, 1.1) * 255, 0, 255).astype(np.uint8)[None]
    grid = Grid.plain((side, side), None if spacing is None else (spacing, spacing))
    return Study(array, grid, modality, source=f"film-{seed}", meta={"body_part": body_part} if body_part else {})


def changed(study: Study, change: Callable[[np.ndarray], np.ndarray], **facts: object) -> Study:
    """The same film with other samples."""
    image = np.ascontiguousarray(np.clip(change(study.image.astype(float)), 0, 255).astype(np.uint8))
    grid = Grid.plain(image.shape[1:], study.grid.spacing_mm if study.grid.spacing_known else None)
    return Study(**{**vars(study), "image": image, "grid": grid, **facts})  # type: ignore[arg-type]


def mapping() -> Mapping:
    torch.manual_seed(0)
    reads = Reads((32, 32), mean=(0.5,), std=(0.2,))
    plan = Plan().decide("network.name", "small-cnn", "a test").decide("network.options", {}, "a test")
    network: nn.Module = build("small-cnn", channels=1, n_out=2, size=(32, 32))
    return Mapping(reads, [network], output_for(TARGET), plan)


def opened(seeds: range) -> list[Callable[[], Study]]:
    return [lambda seed=seed: film(seed) for seed in seeds]  # type: ignore[misc]


@cache
def learnt() -> FitFor:
    """Of 120 training films and 60 that were held out."""
    answers = [{"answer.ill": float(p)} for p in np.random.default_rng(0).random(60)]
    return learn(mapping(), opened(range(120)), opened(range(1000, 1060)), answers=answers)


def model(folder: Path) -> Mapping:
    """A saved model that remembers its films, read from its folder."""
    mapping().save(folder)
    learnt().save(folder)
    return Mapping.load(folder)
