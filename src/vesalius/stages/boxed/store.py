"""Cases prepared for detection: decoded once, kept as memory-mapped arrays.

    CACHE/<key>/<row>.image.npy   float16 [C, (Z,) Y, X]: as it is read, numbers near 0 and 1
                <row>.rows.npy    float32 [N, 2 * ndim + 3]: low..., high..., label, ignored, risk, in samples of the image; written last
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesalius.core.cohort import Case
from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.formats.boxes import open_boxes
from vesalius.formats.cases import open_case
from vesalius.stages.prepare import Progress, quiet
from vesalius.stages.tiled.store import each_row, mapped, store_key, write_array
from vesalius.transforms.boxaugment import rows_of
from vesalius.transforms.boxtiles import boxes_in
from vesalius.transforms.tiles import prepare_tiles


@dataclass(frozen=True)
class BoxStore:
    """The prepared cases of a run; row i is ``ids[i]``."""

    path: Path
    ids: tuple[str, ...]
    reads: TileReads

    def image(self, row: int) -> np.ndarray:
        """``[C, (Z,) Y, X]`` float16, mapped from disk."""
        return mapped(self.path / f"{row}.image.npy")

    def rows(self, row: int) -> np.ndarray:
        """``[N, 2 * ndim + 3]``, see `transforms.boxaugment.rows_of`."""
        return mapped(self.path / f"{row}.rows.npy")


def prepare_boxes(
    cases: Sequence[Case], hashes: Sequence[str], target: TargetSpec, reads: TileReads, folder: Path, *,
    jobs: int | None = None, progress: Progress = quiet,
) -> BoxStore:
    """Decode every case that is not in the cache yet.

    Raises
    ------
    DataError: a case can no longer be read. RunError: the disk has no room.
    """
    store = BoxStore(folder / store_key(reads, target, hashes), tuple(case.id for case in cases), reads)
    each_row(store.path, len(cases), "rows", lambda row: _prepare_one(cases[row], target, store, row), jobs, progress)
    return store


def _prepare_one(case: Case, target: TargetSpec, store: BoxStore, row: int) -> None:
    study = open_case(case)
    truth = open_boxes(case, target, study)
    image, trace = prepare_tiles(study, store.reads)
    rows = rows_of(boxes_in(truth.boxes, trace), truth.labels, truth.ignored, truth.risk)
    write_array(store.path / f"{row}.image.npy", image.astype(np.float16))
    write_array(store.path / f"{row}.rows.npy", rows)
