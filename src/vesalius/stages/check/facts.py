"""What each file is, gathered in one pass over all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from vesalius.core.boxes import BoxTruth
from vesalius.core.cohort import Case, Cohort, Source
from vesalius.core.study import Study
from vesalius.core.target import MARKED, TargetSpec
from vesalius.errors import DataError, FormatError
from vesalius.formats import case_hash, image_hash, open_case
from vesalius.formats.boxes import Checked, checked_boxes
from vesalius.kernels.fingerprint import fingerprint
from vesalius.stages.check.marks import Marks, box_problem_of, marks_of, print_inside, problem_of

Progress = Callable[[int, int, str], None]
CHUNK = 64
CHUNK_MASKS = 4  # cases with masks are larger, and a chunk is what progress counts in
PATIENCE_S = 8.0  # work that this process would finish sooner does not pay for the start of others (2-4 s)


@dataclass(frozen=True)
class Fact:
    """One image as it was read.

    ``problem`` is None, ``empty``, ``truncated``, ``unreadable``, ``constant``, ``no_numbers``, ``channel_grids``, or concerns the
    masks or boxes (`marks.problem_of`, `marks.box_problem_of`); ``told`` is the sentence for it.
    ``shape`` is ``((Z,) Y, X)``; ``nan`` counts samples that are not finite; ``axes`` are the grid's (LPS letters)
    where the file states them, ``spacing_mm`` likewise (empty otherwise); ``marks`` is what the masks hold (None: there are none, or
    they cannot be used), ``boxes`` likewise the boxes; ``hash`` is of the image, ``sealed`` of image and masks or boxes ("" without);
    ``low``/``high`` bound the samples; ``print`` is the fingerprint (None when unreadable).
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
    channels: int = 0
    spacing_mm: tuple[float, ...] = ()
    marks: Marks | None = None
    boxes: Checked | None = None
    sealed: str = ""


@dataclass(frozen=True)
class Chunk:
    """Cases that one process reads in a row, one at a time in memory."""

    cases: tuple[Case, ...]
    target: TargetSpec


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
    size = CHUNK_MASKS if cohort.target.kind == "mask" or (cohort.target.kind == "boxes" and cohort.ndim == 3) else CHUNK
    chunks = [Chunk(cohort.cases[i : i + size], cohort.target) for i in range(0, len(cohort), size)]
    found: list[Fact] = []
    for part in _read(chunks, jobs or _cores()):
        found += part
        if progress:
            progress(len(found), len(cohort), "reading")
    return found


def fact_of(case: Case, target: TargetSpec | None = None) -> Fact:
    """Read one image, hash it and take its fingerprint; for a target of masks or boxes open these too."""
    known = Fact(case.id, suffix=_suffix(case.source), n_bytes=_size(case.source))
    digest = ""
    try:
        digest = image_hash(case)
        study = open_case(case)
    except DataError as error:
        return _with(known, hash=digest, problem=_kind(known, error), told=str(error))
    fact = _seen(_with(known, hash=digest), study, joined=bool(case.channels))
    if target is None or target.kind not in MARKED or fact.problem is not None:
        return fact
    return (_marked if target.kind == "mask" else _boxed)(fact, case, target, study)


def _marked(fact: Fact, case: Case, target: TargetSpec, study: Study) -> Fact:
    try:
        inside = print_inside(case, study)
        return _with(fact, marks=marks_of(case, target, study), sealed=case_hash(case, fact.hash), print=fact.print if inside is None else inside)
    except DataError as error:
        return _with(fact, problem=problem_of(error), told=str(error))


def _boxed(fact: Fact, case: Case, target: TargetSpec, study: Study) -> Fact:
    try:
        return _with(fact, boxes=checked_boxes(case, target, study), sealed=case_hash(case, fact.hash))
    except DataError as error:
        return _with(fact, problem=box_problem_of(error, case), told=str(error))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(chunks: Sequence[Chunk], workers: int) -> Iterator[list[Fact]]:
    """The first chunk here, to see how long one takes; the rest here too when that is soon done, else in other processes."""
    for first in chunks[:1]:
        start = time.perf_counter()
        yield _chunk(first)
        left = (time.perf_counter() - start) * (len(chunks) - 1)
        yield from map(_chunk, chunks[1:]) if workers == 1 or left < PATIENCE_S else _apart(chunks[1:], min(workers, len(chunks) - 1))


def _apart(chunks: Sequence[Chunk], workers: int) -> Iterator[list[Fact]]:
    # loky starts fresh interpreters (safe with threads, no import of the caller's script) with one BLAS thread each
    return _watched(Parallel(workers, return_as="generator", max_nbytes=None)(delayed(_chunk)(chunk) for chunk in chunks))


def _watched(parts: Iterable[list[Fact]]) -> Iterator[list[Fact]]:
    try:
        yield from parts
    except TerminatedWorkerError as error:
        advice = "use fewer processes (--jobs 1), which also shows the file that did it"
        raise DataError("a process that read images died", got="no answer from it (most often: not enough memory)", do=advice) from error


def _chunk(chunk: Chunk) -> list[Fact]:
    return [fact_of(case, chunk.target) for case in chunk.cases]


def _with(fact: Fact, **changes: object) -> Fact:
    return Fact(**{**vars(fact), **changes})


def _seen(known: Fact, study: Study, *, joined: bool = False) -> Fact:
    """``joined``: the channels are files of their own, so that three of them are no colours."""
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
        known, problem=problem, told=told, shape=tuple(map(int, image.shape[1:])), colour=study.channels == 3 and not joined and _colour(image),
        bits=study.bits, modality=study.modality, axes=axes, nan=nan, low=low, high=high, print=fingerprint(image), channels=study.channels,
        spacing_mm=study.grid.spacing_mm if study.grid.spacing_known else (),
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


def _kind(known: Fact, error: DataError) -> str:
    if not isinstance(error, FormatError):
        return "channel_grids"
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


def structures(cohort: Cohort, facts: Sequence[Fact]) -> dict[str, dict[str, Any]]:
    """For each structure: in how many cases it is, its median size there with the unit, and its median number of parts."""
    known = all(fact.spacing_mm for fact in facts if fact.marks)
    unit = f"mm{cohort.ndim}" if known else "samples"
    table: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(cohort.target.classes):
        mine = [fact for fact in facts if fact.marks and fact.marks.sizes[k]]
        sizes = [fact.marks.sizes[k] * (float(np.prod(fact.spacing_mm)) if known else 1.0) for fact in mine if fact.marks]
        parts = [fact.marks.parts[k] for fact in mine if fact.marks]
        table[name] = {"n_cases": len(mine), "median_size": float(np.median(sizes)) if sizes else None, "unit": unit,
                       "median_parts": float(np.median(parts)) if parts else None}
    return table


def boxes_of(cohort: Cohort, facts: Sequence[Fact]) -> dict[str, dict[str, Any]]:
    """For each class: boxes that are judged (``n``), images with one (``images``), and the median over boxes of their size (the root of the
    area, the cube root of the volume) in ``unit``: mm where every image states its spacing, else pixel.
    """
    seen = [fact for fact in facts if fact.boxes]
    known = bool(seen) and all(fact.spacing_mm for fact in seen)
    table = {}
    for k, name in enumerate(cohort.target.classes):
        sizes = [_sizes(fact, k, known) for fact in seen]
        every = np.concatenate([*sizes, np.zeros(0)])
        table[name] = {"n": len(every), "images": sum(len(each) > 0 for each in sizes), "median_size": float(np.median(every)) if len(every) else None,
                       "unit": "mm" if known else "pixel"}
    return table


def _sizes(fact: Fact, k: int, in_mm: bool) -> np.ndarray:
    """Geometric mean of the sides of each judged box of a class."""
    truth = truth_of(fact)
    sides = sides_of(truth)[(truth.labels == k) & ~truth.ignored] * (np.array(fact.spacing_mm) if in_mm else 1.0)
    return np.asarray(sides.prod(1) ** (1 / max(1, sides.shape[1])))


def truth_of(fact: Fact) -> BoxTruth:
    """The boxes of one image that can be used; none where they could not be read."""
    return fact.boxes.truth if fact.boxes else BoxTruth.empty(max(1, len(fact.shape)))


def sides_of(truth: BoxTruth) -> np.ndarray:
    """Extents ``[N, ndim]`` in samples."""
    n = truth.boxes.shape[1] // 2
    return truth.boxes[:, n:] - truth.boxes[:, :n]
