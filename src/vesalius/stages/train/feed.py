"""Batches as a pure function of the step, so that a resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch

from vesalius.core.reads import Reads
from vesalius.outputs import Batch
from vesalius.seed import generator
from vesalius.stages.train.job import Job
from vesalius.transforms.augment import Augment
from vesalius.transforms.reading import standardise, unit

IN_MEMORY_SHARE = 0.25
"""A cache that fits into this share of the machine's memory is read into it; a larger one stays on disk."""


class Feed:
    """Training batches of a job, one share of each for every process.

    Parameters
    ----------
    rank, world: this process and how many there are; each takes every ``world``-th case of a batch, and all
        draw the augmentation of the whole batch, so that together they compute what one process would.
    """

    def __init__(self, job: Job, device: torch.device, rank: int = 0, world: int = 1) -> None:
        if not isinstance(job.reads, Reads):
            raise TypeError("whole images need Reads")
        self.job, self.device, self.rank, self.world, self.reads = job, device, rank, world, job.reads
        self.images = open_images(job)
        self.batch_size = int(job.plan["train.batch"])
        self.augment = Augment.from_dict(job.plan["train.augment"])
        self.truth = torch.from_numpy(job.train_truth)
        self.chances = _chances(job) if job.plan["train.sampling"] == "balanced" else None
        self._pass, self._order = -1, np.zeros(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The batch of that step, augmented and standardised, on the device."""
        chosen = self.chosen(step)[self.rank :: self.world]
        x = unit(self.images[self.job.train_rows[chosen]], self.reads).to(self.device, non_blocking=True)
        x = self.augment(x, self.job.seed, step, share=(self.rank, self.world))
        return Batch(standardise(x, self.reads), self.truth[chosen].to(self.device, non_blocking=True))

    def chosen(self, step: int) -> np.ndarray:
        """Which training cases form the batch of that step."""
        if self.chances is not None:
            return generator(self.job.seed, "balanced", step).choice(len(self.chances), self.batch_size, p=self.chances)
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        n = len(self.job.train_rows)
        return np.array([self._shuffled(int(place // n))[place % n] for place in places])

    def validation(self, size: int) -> Iterator[Batch]:
        """The validation cases in their order, standardised, not augmented."""
        rows, truth = self.job.validation_rows, torch.from_numpy(self.job.validation_truth)
        batches = plain_batches(self.images, rows, self.reads, size, self.device)
        for start, x in zip(range(0, len(rows), size), batches, strict=True):
            yield Batch(x, truth[start : start + size])

    def _shuffled(self, number: int) -> np.ndarray:
        """The order of the cases in the pass of that number through the data."""
        if number != self._pass:
            self._pass, self._order = number, generator(self.job.seed, "order", number).permutation(len(self.job.train_rows))
        return self._order


def open_images(job: Job) -> np.ndarray:
    """The cache, in memory when it is small against the machine."""
    mapped = np.load(job.cache, mmap_mode="r")
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return np.array(mapped) if mapped.nbytes < IN_MEMORY_SHARE * room else mapped


def _chances(job: Job) -> np.ndarray:
    """Sampling chances that give every class the same share (multilabel: by the rarest finding present)."""
    truth = job.train_truth
    if truth.ndim == 2:
        rare = 1 / np.maximum(np.nansum(truth, 0), 1)
        weight = np.nanmax(np.nan_to_num(truth) * rare, 1)
        weight = np.where(weight == 0, 1 / max(int((weight == 0).sum()), 1), weight)
    else:
        weight = (1 / np.maximum(np.bincount(truth.astype(np.int64)), 1))[truth.astype(np.int64)]
    return weight / weight.sum()


def plain_batches(images: np.ndarray, rows: np.ndarray, reads: Reads, size: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Batches of the given rows in their order, standardised, not augmented."""
    for start in range(0, len(rows), size):
        yield standardise(unit(images[rows[start : start + size]], reads).to(device), reads)
