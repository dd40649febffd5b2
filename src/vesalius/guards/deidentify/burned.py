"""Text that was burned into an image: found by its strokes, which are thin, of one brightness, and stand in a line.

Letters of one height beside one another, drawn in one value (the brightest, the darkest, or one that the histogram shows as a spike), are text;
anatomy is none of these at once. Found lines are whole boxes, to be blanked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

Box = tuple[int, int, int, int]
"""First row, first column, end row, end column; the ends are outside."""
TOP_SHARE = 0.03
"""Strokes lie within this share of the range below the extreme value."""
LEAST_HEIGHT, TALLEST_SHARE, TALLEST = 5, 1 / 10, 48
WIDEST = 6.0
"""Letters that touch are one part: it may be so many heights wide."""
LEAST_LETTERS, MOST_PARTS, SPIKES = 3, 3000, 6
SPIKE_TIMES, SPIKE_LEAST = 6, 40
MARGIN = 3


def text_boxes(image: np.ndarray) -> list[Box]:
    """Boxes around lines of text in ``[Y, X]`` or ``[Y, X, C]``, margins included."""
    grey = image.max(-1) if image.ndim == 3 else image
    boxes = [box for core in _cores(grey) for box in _lines(core)]
    return _joined(boxes, grey.shape)


def blank(image: np.ndarray, boxes: list[Box], value: object) -> None:
    """Overwrite the boxes of ``[..., Y, X]`` or, for a tuple of ``value``, ``[..., Y, X, C]`` in place."""
    for top, left, bottom, right in boxes:
        if isinstance(value, tuple):
            image[..., top:bottom, left:right, :] = value
        else:
            image[..., top:bottom, left:right] = value


def _cores(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Samples that could be strokes: the brightest, the darkest, and those of a value far more frequent than its neighbours."""
    low, high = float(grey.min()), float(grey.max())
    if high <= low:
        return
    reach = TOP_SHARE * (high - low)
    yield grey >= high - reach
    yield grey <= low + reach
    if grey.dtype.kind in "iu":
        for value in _spikes(grey, int(low), int(high)):
            yield grey == value


def _spikes(grey: np.ndarray, low: int, high: int) -> list[int]:
    counts = np.bincount((grey.ravel().astype(np.int64) - low), minlength=high - low + 1).astype(float)
    around = ndimage.median_filter(counts, 9, mode="nearest")
    strength = np.where(counts >= SPIKE_LEAST, counts / np.maximum(around, 1), 0)
    strength[[0, -1]] = 0
    best = np.argsort(strength)[::-1][:SPIKES]
    return [int(place) + low for place in best if strength[place] >= SPIKE_TIMES]


def _lines(core: np.ndarray) -> list[Box]:
    parts = _letters(_thin(core))
    if not LEAST_LETTERS <= len(parts) <= MOST_PARTS:
        return []
    found: list[Box] = []
    for group in _grouped(parts):
        box = (int(group[:, 0].min()), int(group[:, 1].min()), int(group[:, 2].max()), int(group[:, 3].max()))
        height, wide = box[2] - box[0], box[3] - box[1]
        if (len(group) >= LEAST_LETTERS or wide >= 3 * height) and wide >= 1.5 * height:
            found.append(box)
    return found


def _thin(core: np.ndarray) -> np.ndarray:
    """Without what is wider than a stroke."""
    width = max(5, min(core.shape) // 64)
    thick = ndimage.binary_opening(core, np.ones((width, width), bool))
    return core & ~ndimage.binary_dilation(thick, iterations=2) if thick.any() else core


def _letters(thin: np.ndarray) -> np.ndarray:
    """Boxes ``[N, 4]`` of connected parts that have the size of letters."""
    labels, n = ndimage.label(thin, np.ones((3, 3), bool))
    tallest = max(TALLEST, int(thin.shape[0] * TALLEST_SHARE))
    rows = []
    for box in ndimage.find_objects(labels) if n <= 20 * MOST_PARTS else ():
        (top, bottom), (left, right) = ((axis.start, axis.stop) for axis in box)
        height, wide = bottom - top, right - left
        if LEAST_HEIGHT <= height <= tallest and wide <= WIDEST * height:
            rows.append((top, left, bottom, right))
    return np.array(rows, int).reshape(-1, 4)


def _grouped(parts: np.ndarray) -> Iterator[np.ndarray]:
    """Parts that stand beside one another in a line: of like height, at like rows, with a gap of less than a letter and a half."""
    order = parts[np.argsort(parts[:, 1], kind="stable")]
    whose = np.arange(len(order))
    for i, (top, left, bottom, _right) in enumerate(order):
        before = order[:i]
        height, heights = bottom - top, before[:, 2] - before[:, 0]
        overlap = np.minimum(before[:, 2], bottom) - np.maximum(before[:, 0], top)
        near = (left - before[:, 3] <= 1.5 * np.maximum(heights, height)) & (overlap >= 0.5 * np.minimum(heights, height))
        for j in np.flatnonzero(near & (np.maximum(heights, height) <= 2.2 * np.minimum(heights, height)))[-8:]:
            whose[whose == whose[j]] = whose[i]
    for name in np.unique(whose):
        yield order[whose == name]


def _joined(boxes: list[Box], shape: tuple[int, ...]) -> list[Box]:
    """With margins, within the image; boxes inside others are dropped."""
    grown = {(max(0, t - MARGIN), max(0, l - MARGIN), min(shape[0], b + MARGIN), min(shape[1], r + MARGIN)) for t, l, b, r in boxes}
    ordered = sorted(grown, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
    kept: list[Box] = []
    for box in ordered:
        if not any(k[0] <= box[0] and k[1] <= box[1] and k[2] >= box[2] and k[3] >= box[3] for k in kept):
            kept.append(box)
    return sorted(kept)
