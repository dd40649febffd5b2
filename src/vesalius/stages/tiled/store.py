"""Cases prepared for tiles: decoded once, kept as memory-mapped arrays, so that a tile costs a few page reads.

    CACHE/<key>/<row>.image.npy   float16 [C, (Z,) Y, X]: at the spacing of the plan, numbers near 0 and 1
                <row>.truth.npy   uint8 [L, (Z,) Y, X]; 255 where nobody judged or outside the field of view
                <row>.places.npy  int32 [n, 1 + axes]: class and index of some samples of every class; written last

The key covers how studies are read and what they contain, so that a changed file or spacing makes another cache.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vesalius.core.cohort import Case
from vesalius.core.reads import TileReads
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.formats.cases import open_case, open_truth, open_view
from vesalius.outputs.segment import judged_only
from vesalius.seed import generator
from vesalius.stages.prepare import cores, quiet
from vesalius.storage import atomic_write
from vesalius.transforms.tiles import prepare_mask, prepare_tiles

Progress = Callable[[int, int, str], None]
PLACES = 2000
"""Samples of each class of a case whose index is kept, for tiles that must hold the class."""
NOT_IN_BYTES = ("size", "overlap")
"""What the prepared arrays do not depend on."""


@dataclass(frozen=True)
class TileStore:
    """The prepared cases of a run; row i is ``ids[i]``."""

    path: Path
    ids: tuple[str, ...]
    reads: TileReads

    def image(self, row: int) -> np.ndarray:
        """``[C, (Z,) Y, X]`` float16, mapped from disk."""
        return mapped(self.path / f"{row}.image.npy")

    def truth(self, row: int) -> np.ndarray:
        """``[L, (Z,) Y, X]`` uint8, mapped from disk."""
        return mapped(self.path / f"{row}.truth.npy")

    def places(self, row: int) -> np.ndarray:
        """``[n, 1 + axes]``: class (from 1) and index."""
        return mapped(self.path / f"{row}.places.npy")


@lru_cache(maxsize=512)
def mapped(path: Path) -> np.ndarray:
    """The array of a file, read from disk as it is used."""
    return np.load(path, mmap_mode="r")


def store_key(reads: TileReads, target: TargetSpec, hashes: Sequence[str]) -> str:
    """Name of the cache: what decides its bytes."""
    facts = {name: value for name, value in reads.to_dict().items() if name not in NOT_IN_BYTES}
    return hashlib.sha256(json.dumps([facts, target.to_dict(), list(hashes)]).encode()).hexdigest()[:16]


def prepare_cases(
    cases: Sequence[Case], hashes: Sequence[str], target: TargetSpec, reads: TileReads, folder: Path, *,
    seed: int = 0, jobs: int | None = None, progress: Progress = quiet,
) -> TileStore:
    """Decode every case that is not in the cache yet.

    Raises
    ------
    DataError: a case can no longer be read. RunError: the disk has no room.
    """
    store = TileStore(folder / store_key(reads, target, hashes), tuple(case.id for case in cases), reads)
    each_row(store.path, len(cases), "places", lambda row: _prepare_one(cases[row], target, store, row, seed), jobs, progress)
    return store


def each_row(path: Path, n: int, last: str, one: Callable[[int], None], jobs: int | None, progress: Progress) -> None:
    """Prepare the rows whose ``<row>.<last>.npy``, which is written last, is not there yet."""
    path.mkdir(parents=True, exist_ok=True)
    todo = [row for row in range(n) if not (path / f"{row}.{last}.npy").is_file()]
    with ThreadPoolExecutor(jobs or cores()) as pool:
        for done, _ in enumerate(pool.map(one, todo), n - len(todo) + 1):
            progress(done, n, "cases prepared")


def _prepare_one(case: Case, target: TargetSpec, store: TileStore, row: int, seed: int) -> None:
    study = open_case(case)
    truth = judged_only(open_truth(case, target, study), open_view(case, study))
    image, trace = prepare_tiles(study, store.reads)
    mask = prepare_mask(truth, trace)
    if image.shape[1:] != mask.shape[1:]:
        raise DataError("the mask does not lie on the image", where=case.id, expected=image.shape[1:], got=mask.shape[1:])
    places = places_of(mask, target, generator(seed, "places", case.id))
    for name, array in (("image", image.astype(np.float16)), ("truth", mask), ("places", places)):
        write_array(store.path / f"{row}.{name}.npy", array)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    atomic_write(path, buffer.getvalue())


def places_of(mask: np.ndarray, target: TargetSpec, rng: np.random.Generator) -> np.ndarray:
    """Class (from 1) and index of at most `PLACES` random samples of every class, int32 ``[n, 1 + axes]``."""
    found = []
    for k in range(1, len(target.classes) + 1):
        held = np.argwhere(mask[0] == k) if target.exclusive else np.argwhere(mask[k - 1] == 1)
        if len(held) > PLACES:
            held = held[rng.choice(len(held), PLACES, replace=False)]
        found.append(np.column_stack([np.full(len(held), k), held]))
    return np.concatenate(found).astype(np.int32) if found else np.zeros((0, 1 + mask.ndim - 1), np.int32)


def class_shares(mask: np.ndarray, target: TargetSpec) -> np.ndarray:
    """Share of the judged samples that each class holds, ``[K]``."""
    judged = max(int((mask[0] != IGNORED).sum()), 1)
    held = [mask[0] == k + 1 if target.exclusive else mask[k] == 1 for k in range(len(target.classes))]
    return np.array([each.sum() / judged for each in held])
