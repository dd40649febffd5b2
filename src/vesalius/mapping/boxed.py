"""A mapping that reads a study tile by tile and answers with boxes on the study's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations, product
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from vesalius.core.boxes import Detected
from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.errors import RunError
from vesalius.formats import open_study
from vesalius.kernels.boxes import clipped, fused, joined, mirrored
from vesalius.kernels.tiling import places
from vesalius.mapping.whole import READINGS, Mapping, one_source
from vesalius.outputs.detect import FLOOR, MOST, Detect
from vesalius.transforms.boxtiles import boxes_out
from vesalius.transforms.tiles import TileTrace, prepare_tiles

Predict = Callable[[torch.Tensor], torch.Tensor]
FUSE_ABOVE = 0.55
"""IoU from which boxes of several members or mirror images are one (Solovyev 2021)."""
LEAST_SCORE = 0.05
"""Boxes below are not given unless asked for."""
EMPTY_STD = 1e-3
"""A tile whose samples vary less shows nothing."""


@dataclass
class BoxedMapping(Mapping):
    """A `Mapping` whose ``reads`` are `TileReads` and whose networks detect.

    ``mirror`` axes: boxes of all combinations of mirror images are fused, as those of several members are. ``backends`` run the networks where
    they are set, one for each (see `networks.backends`): a tile batch ``[B, C, *size]`` to candidates. ``took``: seconds of the parts of the
    last `detect`: ``prepare``, ``network``, ``suppress``.
    """

    reads: TileReads  # type: ignore[assignment]
    backends: Sequence[Predict] = field(default=())
    batch: int = 4
    took: dict[str, float] = field(default_factory=dict)

    reading: ClassVar[type[Reads] | type[TileReads]] = TileReads

    def encode(self, study: Study) -> tuple[np.ndarray, TileTrace]:  # type: ignore[override]
        """The whole study as it is read, float32 ``[C, (Z,) Y, X]``, and the way back."""
        return prepare_tiles(study, self.reads)

    @property
    def task(self) -> Detect:
        """The output, which gives boxes."""
        if not isinstance(self.output, Detect):
            raise RunError("this model gives no boxes", expected="a model with a target of boxes", got=self.output.target.kind)
        return self.output

    def candidates(self, x: torch.Tensor) -> torch.Tensor:
        """Candidates of the first member for tiles ``[B, C, *size]``: ``[B, M, 2 * ndim + n_out]``; gradients pass."""
        return self.output.predict(self.network, x.to(self.device))

    def detect(self, study: Study, floor: float | None = None) -> Detected:
        """The boxes of a study whose score is at least ``floor`` (`LEAST_SCORE`, or the lowest operating point), on its own grid.

        Raises
        ------
        DataError: the study has another number of axes or channels than the model reads.
        """
        start = time.perf_counter()
        x, trace = self.encode(study)
        self.took = {"prepare": time.perf_counter() - start, "network": 0.0}
        least = min(LEAST_SCORE, float(self.task.thresholds().min(initial=1.0))) if floor is None else floor
        found = self.task.calibrated(self.detect_prepared(x, self.task.floor_of(least)))
        found = replace(found, boxes=clipped(boxes_out(found.boxes, trace), study.grid.shape))
        solid = (found.boxes[:, study.ndim :] > found.boxes[:, : study.ndim]).all(1)
        made = found.kept(solid & (found.scores >= least))
        self.took["suppress"] = time.perf_counter() - start - sum(self.took.values())
        return made

    def detect_prepared(self, x: np.ndarray, floor: float = FLOOR) -> Detected:
        """The boxes of a prepared study ``[C, (Z,) Y, X]`` in its samples, not calibrated and from a score of ``floor`` on: tiles joined, members and
        mirror images fused."""
        views = list(self._views(x.ndim - 1))
        parts: dict[tuple[int, tuple[int, ...]], list[tuple[tuple[int, ...], Detected]]] = {}
        for starts, tiles in self._tiles(x):
            for (member, predict), axes in product(enumerate(self._runners()), views):
                for place, found in zip(starts, self._found(predict, tiles, axes, floor), strict=True):
                    parts.setdefault((member, axes), []).append((place, found))
        each = [self._joined(part, x.shape[1:]) for part in parts.values()]
        return each[0] if len(each) == 1 else fused(each, threshold=FUSE_ABOVE) if each else Detected.empty(x.ndim - 1)

    def _joined(self, part: list[tuple[tuple[int, ...], Detected]], shape: Sequence[int]) -> Detected:
        return joined(part, self.reads.size, shape, threshold=self.task.overlap, most=MOST)

    def _views(self, ndim: int) -> Iterator[tuple[int, ...]]:
        """All combinations of the mirror axes."""
        yield from chain.from_iterable(combinations(self.mirror, n) for n in range(len(self.mirror) + 1))

    def _runners(self) -> list[Predict]:
        return list(self.backends) or [lambda x, network=network: self.output.predict(network, x.to(self.device)) for network in self.networks]  # type: ignore[misc]

    def _found(self, predict: Predict, tiles: torch.Tensor, axes: tuple[int, ...], floor: float) -> list[Detected]:
        """What one member finds in mirrored tiles, turned back."""
        dims = [2 + axis for axis in axes]
        start = time.perf_counter()
        with torch.inference_mode():
            raw = predict(tiles.flip(dims) if dims else tiles).float().cpu().numpy()
        self.took["network"] = self.took.get("network", 0.0) + time.perf_counter() - start
        ndim = tiles.ndim - 2
        found = [self.task.candidates(each, ndim, floor) for each in raw]
        return [replace(each, boxes=mirrored(each.boxes, axes, self.reads.size)) for each in found] if axes else found

    def _tiles(self, x: np.ndarray) -> Iterator[tuple[list[tuple[int, ...]], torch.Tensor]]:
        """Batches of tiles with their first samples; tiles in which nothing varies are left out, unless there is no other."""
        size = self.reads.size
        starts = list(product(*places(x.shape[1:], size, self.reads.overlap)))
        held: list[tuple[tuple[int, ...], torch.Tensor]] = []
        for start in starts:
            tile = tile_at(x, start, size)
            if len(starts) == 1 or float(tile.std()) > EMPTY_STD:
                held.append((start, tile))
            if len(held) == self.batch:
                yield [place for place, _ in held], torch.stack([each for _, each in held])
                held = []
        if held:
            yield [place for place, _ in held], torch.stack([each for _, each in held])

    def __call__(self, study: Study | Source | str | Path) -> Finding:
        """The finding for a study, or for the one study that a file or folder holds."""
        opened = study if isinstance(study, Study) else open_study(one_source(study))
        return self.task.finding(self.detect(opened, 0.0), opened)


READINGS["boxes"] = BoxedMapping


def tile_at(x: np.ndarray, start: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """The tile of a prepared study that begins there, ``[C, *size]`` float32; outside the study it is 0."""
    tile = np.zeros((len(x), *size), np.float32)
    source = tuple(slice(max(s, 0), min(s + n, whole)) for s, n, whole in zip(start, size, x.shape[1:], strict=True))
    target = tuple(slice(part.start - s, part.stop - s) for part, s in zip(source, start, strict=True))
    tile[(slice(None), *target)] = x[(slice(None), *source)]
    return torch.from_numpy(tile)
