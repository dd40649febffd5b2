"""What each file is, gathered in one pass over all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from vesalius.core.cohort import Case, Cohort, Source
from vesalius.core.study import Study
from vesalius.errors import DataError, FormatError
from vesalius.formats import content_hash, open_study
from vesalius.kernels.fingerprint import fingerprint

Progress = Callable[[int, int, str], None]
CHUNK = 64
PATIENCE_S = 8.0  # work that this process would finish sooner does not pay for the start of others (2-4 s)


@dataclass(frozen=True)
class Fact:
    """One image as it was read.

    ``problem`` is None, ``empty``, ``truncated``, ``unreadable``, ``constant`` or ``no_numbers``; ``told`` is the sentence for it.
    ``shape`` is ``((Z,) Y, X)``; ``nan`` counts samples that are not finite; ``axes`` are the grid's (LPS letters)
    where the file states them; ``low``/``high`` bound the samples; ``print`` is the fingerprint (None when unreadable).
    """

    id: str
    hash: str = ""
    problem: str | None = None
    told: str = ""
    shape: tuple[int, ...] = ()
    colour: bool = False
    bits: int = 0
    modality: str | None = None
    axes: str = ""
    nan: int = 0
    low: float = 0.0
    high: float = 0.0
    n_bytes: int = 0
    suffix: str = ""
    print: np.ndarray | None = None


def gather(cohort: Cohort, *, jobs: int | None = None, progress: Progress | None = None) -> list[Fact]:
    """A fact per case, in the cohort's order. Files that cannot be read are facts too.

    Parameters
    ----------
    jobs: processes; None takes the cores this process may use. Small sets are read in this process.
    progress: called with (images done, all, "reading").

    Raises
    ------
    DataError: a worker process died (usually: out of memory).
    """
    chunks = [cohort.cases[i : i + CHUNK] for i in range(0, len(cohort), CHUNK)]
    found: list[Fact] = []
    for part in _read(chunks, jobs or _cores()):
        found += part
        if progress:
            progress(len(found), len(cohort), "reading")
    return found


def fact_of(case: Case) -> Fact:
    """Read one image, hash it and take its fingerprint."""
    known = Fact(case.id, suffix=_suffix(case.source), n_bytes=_size(case.source))
    digest = ""
    try:
        digest = content_hash(case.source)
        study = open_study(case.source)
    except FormatError as error:
        return _with(known, hash=digest, problem=_kind(known, error), told=str(error))
    return _seen(_with(known, hash=digest), study)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(chunks: Sequence[Sequence[Case]], workers: int) -> Iterator[list[Fact]]:
    """The first chunk here, to see how long one takes; the rest here too when that is soon done, else in other processes."""
    for first in chunks[:1]:
        start = time.perf_counter()
        yield _chunk(first)
        left = (time.perf_counter() - start) * (len(chunks) - 1)
        yield from map(_chunk, chunks[1:]) if workers == 1 or left < PATIENCE_S else _apart(chunks[1:], min(workers, len(chunks) - 1))


def _apart(chunks: Sequence[Sequence[Case]], workers: int) -> Iterator[list[Fact]]:
    # loky starts fresh interpreters (safe with threads, no import of the caller's script) with one BLAS thread each
    return _watched(Parallel(workers, return_as="generator", max_nbytes=None)(delayed(_chunk)(chunk) for chunk in chunks))


def _watched(parts: Iterable[list[Fact]]) -> Iterator[list[Fact]]:
    try:
        yield from parts
    except TerminatedWorkerError as error:
        advice = "use fewer processes (--jobs 1), which also shows the file that did it"
        raise DataError("a process that read images died", got="no answer from it (most often: not enough memory)", do=advice) from error


def _chunk(cases: Sequence[Case]) -> list[Fact]:
    return [fact_of(case) for case in cases]


def _with(fact: Fact, **changes: object) -> Fact:
    return Fact(**{**vars(fact), **changes})


def _seen(known: Fact, study: Study) -> Fact:
    image = study.image
    nan = int(study.meta.get("nan", 0))
    low, high = _bounds(image, nan)
    problem, told = None, ""
    if nan == image.size:
        problem, told = "no_numbers", f"no sample is a number ({known.id})"
    elif low == high:
        problem, told = "constant", f"every sample is {low:g} ({known.id})"
    axes = study.grid.axes if study.grid.spacing_known and study.ndim == 3 else ""
    return _with(
        known, problem=problem, told=told, shape=tuple(map(int, image.shape[1:])), colour=_colour(image), bits=study.bits, modality=study.modality,
        axes=axes, nan=nan, low=low, high=high, print=fingerprint(image),
    )


def _bounds(image: np.ndarray, nan: int) -> tuple[float, float]:
    if nan:
        image = image[np.isfinite(image)]
    return (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)


def _colour(image: np.ndarray) -> bool:
    """Whether the channels differ anywhere that a JPEG would not: grey stored as RGB is grey."""
    if image.shape[0] < 3:
        return False
    seen = image[:3, ..., ::3, ::3].astype(np.float32)
    spread = float(image.max()) - float(image.min()) or 1.0
    return bool((np.abs(seen[0] - seen[1]) + np.abs(seen[1] - seen[2])).mean() > 0.02 * spread)


def _kind(known: Fact, error: FormatError) -> str:
    if known.n_bytes == 0 and "empty" in error.what:
        return "empty"
    return "truncated" if "truncated" in error.what else "unreadable"


def _suffix(source: Source) -> str:
    name = Path(source.path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _size(source: Source) -> int:
    if source.member and not source.files:
        return 0
    return sum(Path(name).stat().st_size for name in (source.files or (source.path,)) if Path(name).is_file())
