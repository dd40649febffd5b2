"""Every study is decoded once, into one memory-mapped array.

    CACHE/<key>.npy    [N, C, (Z,) Y, X] uint8 or uint16
          <key>.done   one byte per study: 0 to do, 1 done, 2 unreadable
          <key>.json   ids and the reasons of what was unreadable

The key covers how studies are read and what they contain (content hashes), so that a changed file or another
size makes another cache. A study is marked done after its samples are on the map: a killed run goes on.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing as mp
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesalius.core.cohort import Source
from vesalius.core.reads import Reads
from vesalius.errors import DataError, RunError
from vesalius.formats import open_study
from vesalius.storage import atomic_json
from vesalius.transforms.reading import prepare

Progress = Callable[[int, int, str], None]
CHUNK = 64
PAYS_S = 4.0
"""Worker processes cost about this long to start; below it they do not pay."""
TO_DO, DONE, UNREADABLE = 0, 1, 2
SPARE_BYTES = 256 * 2**20


def quiet(done: int, total: int, what: str) -> None:
    """The progress of a caller that wants none."""


@dataclass(frozen=True)
class Prepared:
    """The prepared images, row i for ``ids[i]``; ``unreadable`` gives the reason for rows that stayed empty."""

    path: Path
    ids: tuple[str, ...]
    reads: Reads
    unreadable: dict[str, str]

    @property
    def images(self) -> np.ndarray:
        """``[N, C, (Z,) Y, X]``, mapped from disk, read-only."""
        return np.load(self.path, mmap_mode="r")


def cache_key(reads: Reads, hashes: Sequence[str]) -> str:
    """Name of the cache: what decides its bytes (not the mean and deviation, which are applied later)."""
    facts = {k: v for k, v in reads.to_dict().items() if k not in ("mean", "std")}
    return hashlib.sha256(json.dumps([facts, list(hashes)]).encode()).hexdigest()[:16]


def cache_bytes(reads: Reads, n: int) -> int:
    """Size of the cache on disk."""
    return n * int(np.prod(reads.shape)) * (1 if reads.levels == 255 else 2)


def prepare_all(
    ids: Sequence[str], sources: Sequence[Source], hashes: Sequence[str], reads: Reads, folder: Path, *,
    jobs: int | None = None, progress: Progress = quiet,
) -> Prepared:
    """Decode every study that is not in the cache yet.

    Raises
    ------
    RunError: the disk has no room; a worker process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{cache_key(reads, hashes)}.npy"
    images, state = _open_map(path, reads, len(ids)), _open_state(path.with_suffix(".done"), len(ids))
    reasons = _reasons(path.with_suffix(".json"))
    todo = np.flatnonzero(state == TO_DO)
    done = len(ids) - len(todo)
    for rows, arrays in _decode(todo, sources, reads, jobs or cores()):
        for row, array in zip(rows, arrays, strict=True):
            if isinstance(array, str):
                reasons[ids[row]] = array
            else:
                images[row] = array
        _settle(images, state, rows, arrays, reasons, path)
        done += len(rows)
        progress(done, len(ids), "images prepared")
    return Prepared(path, tuple(ids), reads, reasons)


def _settle(images: np.memmap, state: np.memmap, rows: np.ndarray, arrays: list[np.ndarray | str], reasons: dict[str, str], path: Path) -> None:
    """Samples first, then reasons, then marks: a kill in between costs one chunk, never a wrong row."""
    images.flush()
    if any(isinstance(array, str) for array in arrays):
        atomic_json(path.with_suffix(".json"), reasons)
    state[rows] = [UNREADABLE if isinstance(array, str) else DONE for array in arrays]
    state.flush()


def _open_map(path: Path, reads: Reads, n: int) -> np.memmap:
    kind = np.uint8 if reads.levels == 255 else np.uint16
    if path.is_file():
        return np.lib.format.open_memmap(path, mode="r+")
    _make_room(path.parent, cache_bytes(reads, n))
    draft = path.with_suffix(".draft")
    np.lib.format.open_memmap(draft, mode="w+", dtype=kind, shape=(n, *reads.shape)).flush()
    _reserve(draft)
    path.with_suffix(".done").unlink(missing_ok=True)
    os.replace(draft, path)
    return np.lib.format.open_memmap(path, mode="r+")


def _make_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise RunError(
            "the disk has no room for the prepared images", where=folder, expected=f"{needed / 2**30:.1f} GB free",
            got=f"{free / 2**30:.1f} GB", do="free some space, choose a smaller --size, or put --out on another disk",
        )


def _reserve(path: Path) -> None:
    """Take the disk's blocks now: a full disk under a memory map would kill the process later."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, path.stat().st_size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise RunError(
                "the disk has no room for the prepared images", where=path.parent, got=error.strerror, do="free some space; the same command goes on",
            ) from error


def _open_state(path: Path, n: int) -> np.memmap:
    if not path.is_file() or path.stat().st_size != n:
        np.zeros(n, np.uint8).tofile(path)
    return np.memmap(path, np.uint8, "r+", shape=(n,))


def _reasons(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(todo: np.ndarray, sources: Sequence[Source], reads: Reads, jobs: int) -> Iterator[tuple[np.ndarray, list[np.ndarray | str]]]:
    """Chunks of rows with their arrays (or the reason why there is none); in this process until workers pay."""
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    start = time.perf_counter()
    for n, rows in enumerate(chunks):
        yield rows, decode_chunk([sources[row] for row in rows], reads)
        left = (time.perf_counter() - start) / (n + 1) * (len(chunks) - n - 1)
        if jobs > 1 and left > PAYS_S:
            yield from _decode_in_workers(chunks[n + 1 :], sources, reads, jobs)
            return


def _decode_in_workers(
    chunks: list[np.ndarray], sources: Sequence[Source], reads: Reads, jobs: int,
) -> Iterator[tuple[np.ndarray, list[np.ndarray | str]]]:
    with ProcessPoolExecutor(jobs, mp_context=mp.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(decode_chunk, [sources[row] for row in rows], reads) for rows in chunks]
        try:
            for rows, future in zip(chunks, futures, strict=True):
                yield rows, future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process died while decoding images", do="give the machine more memory or fewer --jobs; the same command goes on",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def decode_chunk(sources: Sequence[Source], reads: Reads) -> list[np.ndarray | str]:
    """Prepared arrays, or the reason why a study could not be read."""
    return [_decode_one(source, reads) for source in sources]


def _decode_one(source: Source, reads: Reads) -> np.ndarray | str:
    try:
        return prepare(open_study(source), reads)[0]
    except DataError as error:
        return str(error)
