"""Histograms of oriented gradients and a linear model: what was best before networks.

Dalal and Triggs, CVPR 2005. Of a volume the mean projections along its three axes are described.
"""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed
from skimage.feature import hog as describe

from vesalius.stages.baselines.base import BASELINES, Task
from vesalius.stages.baselines.linear import linear_model, raw_of, standardised

SIDE = 64
"""Pictures are averaged down by the whole factor that keeps their side at or above this."""
CELLS = 8
SMALLEST_CELL = 4
CHUNK = 250
SERIAL_PIXELS = 8_000_000
"""With fewer pixels than this to describe, starting processes costs more than it saves (about 3 s of one core)."""


@BASELINES.register("hog")
def hog(task: Task) -> np.ndarray:
    """Logistic regression (ridge for a regression) on the standardised descriptors."""
    rows = task.train
    features = standardised(hog_features(task), rows)
    model, _ = linear_model(features[rows], task.truth[rows], task.patients[rows], task.target, task.seed)
    return raw_of(model(features), task.target)


def hog_features(task: Task) -> np.ndarray:
    """Descriptors of all images ``[N, D]`` float32, in processes where it pays; each process keeps to one thread."""
    n = len(task.images)
    chunks = [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
    small = n * min(int(np.prod(task.images.shape[2:])), 3 * (2 * SIDE) ** 2) < SERIAL_PIXELS
    if small or task.jobs == 1 or len(chunks) == 1:
        return np.concatenate([descriptors(shrunk(task.images[chunk.start : chunk.stop])) for chunk in chunks])
    pool = Parallel(n_jobs=task.jobs or -1, backend="loky", return_as="generator", pre_dispatch="2*n_jobs")
    parts = []
    for part in pool(delayed(descriptors)(shrunk(np.asarray(task.images[c.start : c.stop]))) for c in chunks):
        parts.append(part)
        task.progress(sum(map(len, parts)), n, "images described (HOG)")
    return np.concatenate(parts)


def shrunk(images: np.ndarray) -> list[np.ndarray]:
    """Grey pictures ``[N, Y, X]`` float32, averaged down: one view of a picture, three projections of a volume."""
    grey = np.asarray(images).astype(np.float32).mean(1)
    views = [grey] if grey.ndim == 3 else [grey.mean(axis) for axis in (1, 2, 3)]
    return [_averaged(view) for view in views]


def _averaged(pictures: np.ndarray) -> np.ndarray:
    n, height, width = pictures.shape
    fy, fx = max(1, height // SIDE), max(1, width // SIDE)
    cut = pictures[:, : height // fy * fy, : width // fx * fx]
    return cut.reshape(n, height // fy, fy, width // fx, fx).mean((2, 4), dtype=np.float32)


def descriptors(views: list[np.ndarray]) -> np.ndarray:
    """HOG of each view ``[N, Y, X]`` side by side: ``[N, D]`` float32. A view thinner than one cell gives its pixels."""
    return np.concatenate([_described(view) for view in views], axis=1)


def _described(pictures: np.ndarray) -> np.ndarray:
    height, width = pictures.shape[1:]
    cell = tuple(max(SMALLEST_CELL, side // CELLS) for side in (height, width))
    blocks = tuple(2 if side // c >= 2 else 1 for side, c in zip((height, width), cell, strict=True))
    if height < cell[0] or width < cell[1]:
        return pictures.reshape(len(pictures), -1)
    return np.asarray([describe(picture, 9, cell, blocks, block_norm="L2-Hys") for picture in pictures], np.float32)
