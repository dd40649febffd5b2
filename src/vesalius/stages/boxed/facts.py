"""The fingerprint of a data set with boxes: what `stages.tiled.facts` sees, and how large and how many the boxes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vesalius.core.boxes import BoxTruth, sizes_mm
from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.formats.boxes import open_boxes
from vesalius.stages.prepare import Progress, quiet
from vesalius.stages.tiled.facts import TileFacts, gather_tiles


@dataclass(frozen=True)
class BoxFacts:
    """Of a sample of training cases; ignored boxes do not count.

    Parameters
    ----------
    tiles: sizes, spacings, numbers; ``shares`` and ``sizes`` are of the area within boxes.
    small: 10th percentile of the shortest edge of a box, of the class whose boxes are smallest: in mm where all studies state a spacing, else in
        samples. large: 95th percentile of the longest edge of all boxes in samples. longest: median longest side of a study in samples.
    counts: boxes of each class in the sample. most: 95th percentile of the boxes of a study.
    """

    tiles: TileFacts
    small: float
    large: float
    longest: float
    counts: Mapping[str, int]
    most: float


def gather_boxes(
    frame: pd.DataFrame, cases: Mapping[str, Case], target: TargetSpec, *, side_matters: bool, ndim: int, progress: Progress = quiet,
) -> BoxFacts:
    """Look at a sample of the training cases and their boxes; nothing of the test set is opened.

    Raises
    ------
    DataError: no training case can be read, or none has a box.
    """
    seen: list[tuple[BoxTruth, np.ndarray, tuple[int, ...], bool]] = []

    def marked(case: Case, target: TargetSpec, study: Study) -> np.ndarray:
        truth = judged(open_boxes(case, target, study))
        if study.ndim == ndim:
            seen.append((truth, sizes_mm(truth.boxes, study.grid), study.grid.shape, study.grid.spacing_known))
        return painted(truth, study)

    tiles = gather_tiles(frame, cases, target, side_matters=side_matters, ndim=ndim, marked=marked, progress=progress)
    labels = np.concatenate([truth.labels for truth, *_ in seen])
    if not len(labels):
        raise DataError("no training image has a box", expected="boxes to learn from", got=f"{len(seen)} images looked at", do="check the boxes")
    known = all(spaced for *_, spaced in seen)
    own = np.concatenate([truth.boxes[:, ndim:] - truth.boxes[:, :ndim] for truth, *_ in seen])
    edges = np.concatenate([sizes for _, sizes, *_ in seen]) if known else own
    small = min(float(np.percentile(edges[labels == k].min(1), 10)) for k in np.unique(labels))
    return BoxFacts(
        tiles, small, float(np.percentile(own.max(1), 95)), float(np.median([max(shape) for _, _, shape, _ in seen])),
        {name: int((labels == k).sum()) for k, name in enumerate(target.classes)}, float(np.percentile([len(truth) for truth, *_ in seen], 95)),
    )


def judged(truth: BoxTruth) -> BoxTruth:
    """The boxes that are learnt from: one that is ignored (a crowd) says nothing of how large an object is."""
    kept = ~truth.ignored
    return replace(truth, boxes=truth.boxes[kept], labels=truth.labels[kept], ignored=truth.ignored[kept], risk=truth.risk[kept])


def painted(truth: BoxTruth, study: Study) -> np.ndarray:
    """A mask ``[1, …]`` uint8 of the area within the boxes: the class + 1, of boxes that overlap the last one's."""
    mask = np.zeros((1, *study.grid.shape), np.uint8)
    d = study.ndim
    for box, label in zip(truth.boxes, truth.labels, strict=True):
        low, high = np.floor(box[:d]).astype(int), np.maximum(np.ceil(box[d:]).astype(int), np.floor(box[:d]).astype(int) + 1)
        inside: tuple[slice, ...] = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
        mask[0][inside] = min(label + 1, 254)
    return mask
