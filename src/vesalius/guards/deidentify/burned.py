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
LEAST_LETTERS, MOST_PARTS, SPIKES = 3, 3000, 4
SPIKE_TIMES, SPIKE_LEAST = 6, 40
MARGIN, MOST_VALUES = 3, 2**17
RANGE = (0.1, 99.9)
CONTRAST, MOST_UNREST = 0.25, 0.5
LEAST_INK, MOST_INK, MOST_SHARE = 0.06, 0.7, 0.25
BORDER, NOISE_TIMES = 0.2, 5.0
"""The outer fifth on each side is where devices write."""


def text_boxes(image: np.ndarray) -> list[Box]:
    """Boxes around lines of text in ``[Y, X]`` or ``[Y, X, C]``, margins included."""
    grey = image.max(-1) if image.ndim == 3 else image
    low, high = (float(value) for value in np.percentile(grey, RANGE))
    boxes = [box for core in _cores(grey) for box in _lines(core, grey, high - low)]
    return _joined(boxes, grey.shape)


def blank(image: np.ndarray, boxes: list[Box], value: object) -> None:
    """Overwrite the boxes of ``[..., Y, X]`` or, for a tuple of ``value``, ``[..., Y, X, C]`` in place."""
    for top, left, bottom, right in boxes:
        if isinstance(value, tuple):
            image[..., top:bottom, left:right, :] = value
        else:
            image[..., top:bottom, left:right] = value


def _cores(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Samples that could be strokes: the brightest, the darkest, those of a value far more frequent than its neighbours, and what is narrow at the borders."""
    low, high = float(grey.min()), float(grey.max())
    if high <= low:
        return
    reach = TOP_SHARE * (high - low)
    cores = [grey >= high - reach, grey <= low + reach]
    if grey.dtype.kind in "iu":
        cores += [grey == value for value in _spikes(grey, int(low), int(high))]
    yield from (core for core in cores if core.mean() <= MOST_SHARE)
    yield from _narrow(grey.astype(np.float32))


def _narrow(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Strokes at the borders of the image, drawn with soft edges: narrower than a letter, and far brighter (or darker) than the noise."""
    width, band = max(7, min(grey.shape) // 64), [max(1, int(BORDER * n)) for n in grey.shape]
    inner = (slice(band[0], -band[0]), slice(band[1], -band[1]))
    for residue in (grey - ndimage.grey_opening(grey, (width, width)), ndimage.grey_closing(grey, (width, width)) - grey):
        residue[inner] = 0
        edge = np.concatenate([residue[: band[0]].ravel(), residue[-band[0] :].ravel(), residue[:, : band[1]].ravel(), residue[:, -band[1] :].ravel()])
        middle = float(np.median(edge))
        least = max(CONTRAST * float(np.ptp(grey)), middle + NOISE_TIMES * float(np.median(np.abs(edge - middle))))
        yield residue > least


def _spikes(grey: np.ndarray, low: int, high: int) -> list[int]:
    """Values that are far more frequent than the values beside them that occur at all; neither the lowest nor the highest."""
    held, counts = _counted(grey, low, high)
    strength = counts / np.maximum(ndimage.median_filter(counts.astype(float), 9, mode="nearest"), 1)
    strength[(counts < SPIKE_LEAST) | (held == low) | (held == high)] = 0
    best = np.argsort(strength)[::-1][:SPIKES]
    return [int(held[place]) for place in best if strength[place] >= SPIKE_TIMES]


def _counted(grey: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Values that occur, ascending, and how often; a table of all between them only where that is small."""
    if high - low > MOST_VALUES:
        return np.unique(grey, return_counts=True)
    counts = np.bincount(grey.ravel().astype(np.int64) - low, minlength=high - low + 1)
    held = np.flatnonzero(counts)
    return held + low, counts[held]


def _lines(core: np.ndarray, grey: np.ndarray, spread: float) -> list[Box]:
    parts = _letters(_thin(core))
    if not LEAST_LETTERS <= len(parts) <= MOST_PARTS:
        return []
    found: list[Box] = []
    for group in _grouped(parts):
        box = (int(group[:, 0].min()), int(group[:, 1].min()), int(group[:, 2].max()), int(group[:, 3].max()))
        height, wide = box[2] - box[0], box[3] - box[1]
        if len(group) >= LEAST_LETTERS and wide >= 1.5 * height and _stands_out(core, grey, box, spread):
            found.append((box[0] - height // 4, box[1] - height, box[2] + height // 4, box[3] + height))
    return found


def _stands_out(core: np.ndarray, grey: np.ndarray, box: Box, spread: float) -> bool:
    """The strokes fill a part of their line only, and differ clearly from what lies between them; faintly is enough on a constant ground."""
    where = (slice(box[0], box[2]), slice(box[1], box[3]))
    strokes, values = core[where], grey[where].astype(float)
    between = values[~ndimage.binary_dilation(strokes)]
    if not LEAST_INK <= strokes.mean() <= MOST_INK or not between.size:
        return False
    contrast = abs(float(values[strokes].mean()) - float(np.median(between)))
    unrest = float(between.std())
    return contrast > 0 == unrest or (contrast >= CONTRAST * spread and unrest <= MOST_UNREST * contrast)


def _thin(core: np.ndarray) -> np.ndarray:
    """Without what is wider than a stroke."""
    width = max(5, min(core.shape) // 64)
    flat = core.astype(np.uint8)
    thick = ndimage.grey_opening(flat, (width, width))  # separable, unlike the binary one
    return core & (ndimage.maximum_filter(thick, 5) == 0) if thick.any() else core


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
