"""Batches of tiles as a pure function of the step, so that a resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vesalius.core.reads import TileReads
from vesalius.kernels.tiling import places
from vesalius.outputs import Batch
from vesalius.seed import generator
from vesalius.stages.tiled.store import TileStore
from vesalius.stages.train.job import Job
from vesalius.transforms.tileaugment import TileAugment, cut, smooth_field

VALIDATION_TILES = 8
"""Of each validation case at most so many tiles are looked at while training, evenly chosen."""


class TileFeed:
    """Training tiles of a job; ``rank`` and ``world`` share a batch among processes (see `Feed`).

    Each tile of a batch is of a case in shuffled order. A stated share of the tiles (``train.foreground``) is centred on
    a sample of a class that the case holds, each class as often as another, so that small structures are seen.
    """

    def __init__(self, job: Job, device: torch.device, rank: int = 0, world: int = 1) -> None:
        if not isinstance(job.reads, TileReads):
            raise TypeError("tiles need TileReads")
        self.job, self.device, self.rank, self.world, self.reads = job, device, rank, world, job.reads
        self.store = TileStore(job.cache, (), job.reads)
        self.batch_size = int(job.plan["train.batch"])
        self.foreground = float(job.plan["train.foreground"])
        self.augment = TileAugment.from_dict(job.plan["train.augment"])
        self._pass, self._order = -1, np.zeros(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The tiles of that step, augmented, on the device."""
        chosen = range(step * self.batch_size, (step + 1) * self.batch_size)[self.rank :: self.world]
        tiles = [self._tile(place) for place in chosen]
        x, y = (torch.stack(part).to(self.device, non_blocking=True) for part in zip(*tiles, strict=True))
        return Batch(x, y)

    def _tile(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The tile at a place in the endless row of tiles; it depends on nothing else."""
        rows = self.job.train_rows
        row = int(rows[self._shuffled(place // len(rows))[place % len(rows)]])
        rng = generator(self.job.seed, "tile", place)
        size, augment = self.reads.size, self.augment
        image, truth = self.store.image(row), self.store.truth(row)
        centre = self._centre(row, image.shape[1:], rng)
        matrix = augment.matrix(len(size), rng)
        bent = augment.bend and rng.random() < augment.spatial_share
        x, y = cut(image, truth, centre, size, matrix, smooth_field(size, augment.bend, rng) if bent else None)
        return augment.tone(x, rng), y

    def _centre(self, row: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """A sample of a class that is there, or any place where the tile lies within the study."""
        known = self.store.places(row)
        half = (np.array(self.reads.size) - 1) / 2
        low, high = np.minimum(half, (np.array(shape) - 1) / 2), np.maximum(np.array(shape) - 1 - half, (np.array(shape) - 1) / 2)
        if len(known) and rng.random() < self.foreground:
            mine = known[known[:, 0] == rng.choice(np.unique(known[:, 0]))]
            wanted = mine[rng.integers(len(mine)), 1:] + rng.uniform(-0.25, 0.25, len(shape)) * self.reads.size
            return np.clip(wanted, low, high)
        return rng.uniform(low, high)

    def _shuffled(self, number: int) -> np.ndarray:
        if number != self._pass:
            self._pass, self._order = number, generator(self.job.seed, "order", number).permutation(len(self.job.train_rows))
        return self._order

    def validation(self, size: int) -> Iterator[Batch]:
        """Tiles of the validation cases, not augmented, always the same, in batches."""
        held: list[tuple[torch.Tensor, torch.Tensor]] = []
        for row in self.job.validation_rows:
            held += self._regular(int(row))
            while len(held) >= size:
                yield self._stacked(held[:size])
                held = held[size:]
        if held:
            yield self._stacked(held)

    def _regular(self, row: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        image, truth = self.store.image(row), self.store.truth(row)
        size = self.reads.size
        starts = places(image.shape[1:], size, 0.0)
        every = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(size))
        chosen = every[np.unique(np.linspace(0, len(every) - 1, VALIDATION_TILES).round().astype(int))]
        return [cut(image, truth, self._middle(start, image.shape[1:]), size, np.eye(len(size))) for start in chosen]

    def _middle(self, start: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Centre of the tile that starts there; a study smaller than the tile lies in its middle."""
        size, full = np.array(self.reads.size), np.array(shape)
        return np.where(full < size, (full - 1) / 2, start + (size - 1) / 2)

    def _stacked(self, tiles: list[tuple[torch.Tensor, torch.Tensor]]) -> Batch:
        x, y = (torch.stack(part).to(self.device) for part in zip(*tiles, strict=True))
        return Batch(x, y)
