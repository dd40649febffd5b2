"""Batches of tiles with boxes as a pure function of the step, so that a resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from vesalius.core.reads import TileReads
from vesalius.kernels.tiling import places
from vesalius.outputs import Batch
from vesalius.seed import generator
from vesalius.stages.boxed.store import BoxStore
from vesalius.stages.train.job import Job
from vesalius.transforms.boxaugment import cut_with_boxes, pasted, stacked
from vesalius.transforms.tileaugment import TileAugment

VALIDATION_TILES = 8
"""Of each validation case at most so many tiles are looked at while training, evenly chosen."""
SLACK = 0.15
"""A study that fits into the tile is moved by at most this share of its side."""
Tile = tuple[torch.Tensor, np.ndarray]


class BoxFeed:
    """Training tiles of a job with their boxes; ``rank`` and ``world`` share a batch among processes (see `Feed`).

    Each tile is of a case in shuffled order. Where a study is larger than the tile a stated share of the tiles (``train.foreground``) is about
    one of its boxes, each class as often as another. A stated share (``train.mosaic``) is put together of parts of four tiles
    (Bochkovskiy et al., *YOLOv4*, 2020); it falls to 0 over the last fifth of the training.
    """

    def __init__(self, job: Job, device: torch.device, rank: int = 0, world: int = 1) -> None:
        if not isinstance(job.reads, TileReads):
            raise TypeError("tiles need TileReads")
        self.job, self.device, self.rank, self.world, self.reads = job, device, rank, world, job.reads
        self.store = BoxStore(job.cache, (), job.reads)
        self.batch_size = int(job.plan["train.batch"])
        self.foreground, self.mosaic = float(job.plan["train.foreground"]), float(job.plan["train.mosaic"])
        self.augment = TileAugment.from_dict(job.plan["train.augment"])
        self._pass, self._order = -1, np.zeros(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The tiles of that step, augmented, on the device."""
        chosen = range(step * self.batch_size, (step + 1) * self.batch_size)[self.rank :: self.world]
        share = self.mosaic if step < 0.8 * self.job.total_steps else 0.0
        return self._stacked([self._tile(place, share) for place in chosen])

    def _tile(self, place: int, mosaic: float) -> Tile:
        """The tile at a place in the endless row of tiles; it depends on nothing else."""
        rng = generator(self.job.seed, "boxes", place)
        if mosaic and rng.random() < mosaic:
            rows = rng.integers(len(self.job.train_rows), size=3)
            parts = [self._one(self._row(place), rng), *(self._one(int(self.job.train_rows[r]), rng) for r in rows)]
            return pasted(parts, self.reads.size, rng)
        return self._one(self._row(place), rng)

    def _row(self, place: int) -> int:
        rows = self.job.train_rows
        return int(rows[self._shuffled(place // len(rows))[place % len(rows)]])

    def _one(self, row: int, rng: np.random.Generator) -> Tile:
        image, rows, size = self.store.image(row), np.asarray(self.store.rows(row)), self.reads.size
        matrix = self.augment.matrix(len(size), rng)
        x, found = cut_with_boxes(image, rows, self._centre(rows, image.shape[1:], rng), size, matrix)
        return self.augment.tone(x, rng), found

    def _centre(self, rows: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Near a box of a class that is there, or any place where the tile lies within the study."""
        d, whole = len(shape), np.array(shape)
        half = (np.array(self.reads.size) - 1) / 2
        low, high = np.minimum(half, (whole - 1) / 2), np.maximum(whole - 1 - half, (whole - 1) / 2)
        slack = np.where(high - low < SLACK * whole, SLACK * whole, 0.0)
        if len(rows) and rng.random() < self.foreground:
            mine = rows[rows[:, 2 * d] == rng.choice(np.unique(rows[:, 2 * d]))]
            box = mine[rng.integers(len(mine))]
            wanted = (box[:d] + box[d : 2 * d]) / 2 - 0.5 + rng.uniform(-0.4, 0.4, d) * self.reads.size
            return np.asarray(np.clip(wanted, low - slack, high + slack))
        return np.asarray(rng.uniform(low - slack, high + slack))

    def _shuffled(self, number: int) -> np.ndarray:
        if number != self._pass:
            self._pass, self._order = number, generator(self.job.seed, "order", number).permutation(len(self.job.train_rows))
        return self._order

    def validation(self, size: int) -> Iterator[Batch]:
        """Tiles of the validation cases, not augmented, always the same, in batches."""
        held: list[Tile] = []
        for row in self.job.validation_rows:
            held += self._regular(int(row))
            while len(held) >= size:
                yield self._stacked(held[:size])
                held = held[size:]
        if held:
            yield self._stacked(held)

    def _regular(self, row: int) -> list[Tile]:
        image, rows, size = self.store.image(row), np.asarray(self.store.rows(row)), self.reads.size
        every = list(product(*places(image.shape[1:], size, 0.0)))
        chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, VALIDATION_TILES).round().astype(int))]
        middles = [np.array(start) + (np.array(size) - 1) / 2 for start in chosen]
        return [cut_with_boxes(image, rows, middle, size, np.eye(len(size))) for middle in middles]

    def _stacked(self, tiles: list[Tile]) -> Batch:
        x, rows = zip(*tiles, strict=True)
        return Batch(torch.stack(x).to(self.device, non_blocking=True), stacked(list(rows), len(self.reads.size)).to(self.device))
