"""Text that was burned into an image: found by its strokes, which are thin, of one brightness, and stand in a line.

Letters of one height beside one another on a line, drawn in one value (the brightest, the darkest, one that the histogram shows as a spike, or one that
stands out in thin strokes), are text; anatomy is seldom all of these at once. Found lines are whole boxes, to be blanked.
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
LEAST_LETTERS, LEAST_IN_MIDDLE, MOST_PARTS, SPIKES = 3, 5, 3000, 4
SPIKE_TIMES, SPIKE_LEAST = 6, 40
MARGIN, MOST_VALUES = 3, 2**17
RANGE = (0.1, 99.9)
CONTRAST, MOST_UNREST = 0.25, 0.5
LEAST_INK, MOST_INK, MOST_SHARE = 0.06, 0.7, 0.25
BORDER, NOISE_TIMES = 0.2, 5.0
"""The outer fifth on each side is where devices write."""
ALIGNED, ALIKE = 0.1, 0.08
"""Letters stand on one line, within this share of their height, and reach one brightness, within this share of their contrast: medians of deviations."""
REACH = 3.0
"""A lone letter or number so many heights beside a line belongs to it."""


def text_boxes(image: np.ndarray) -> list[Box]:
    """Boxes around lines of text in ``[Y, X]`` or ``[Y, X, C]``, margins included."""
    grey = image.max(-1) if image.ndim == 3 else image
    low, high = (float(value) for value in np.percentile(grey, RANGE))
    boxes = [box for core in _cores(grey) for box in _lines(core, grey, high - low)]
    boxes += [box for core in _narrow(grey) for box in _lines(core, grey, high - low, LEAST_IN_MIDDLE)]
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
    cores = [grey >= high - reach, grey <= low + reach]
    if grey.dtype.kind in "iu":
        cores += [grey == value for value in _spikes(grey, int(low), int(high))]
    yield from (core for core in cores if core.mean() <= MOST_SHARE)


def _bands(shape: tuple[int, ...]) -> list[int]:
    """Rows and columns of the border."""
    return [max(1, int(BORDER * n)) for n in shape]


def _narrow(image: np.ndarray) -> Iterator[np.ndarray]:
    """Strokes drawn with soft edges: narrower than a letter, and far brighter (or darker) than the noise at the borders."""
    grey = image.astype(np.float32)
    width, band = max(7, min(grey.shape) // 64), _bands(grey.shape)
    if not float(np.ptp(grey)):
        return
    for residue in (grey - ndimage.grey_opening(grey, (width, width)), ndimage.grey_closing(grey, (width, width)) - grey):
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


def _lines(core: np.ndarray, grey: np.ndarray, spread: float, in_middle: int = LEAST_LETTERS) -> list[Box]:
    """Boxes of lines; away from the borders, where anatomy is, they need ``in_middle`` letters."""
    parts = _letters(_thin(core))
    if not LEAST_LETTERS <= len(parts) <= MOST_PARTS:
        return []
    found: list[Box] = []
    for group in _grouped(parts):
        box = (int(group[:, 0].min()), int(group[:, 1].min()), int(group[:, 2].max()), int(group[:, 3].max()))
        height, wide = box[2] - box[0], box[3] - box[1]
        least = in_middle if _in_middle(box, core.shape) else LEAST_LETTERS
        if len(group) >= least and wide >= 1.5 * height and _stands_out(core, grey, box, spread) and _written(core, grey, group, box):
            left, right = _reached(box, parts)
            found.append((box[0] - height // 4, left - height, box[2] + height // 4, right + height))
    return found


def _in_middle(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box reaches into none of the borders."""
    (rows, columns), (height, width) = _bands(shape), shape
    return box[0] >= rows and box[1] >= columns and box[2] <= height - rows and box[3] <= width - columns


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


def _written(core: np.ndarray, grey: np.ndarray, letters: np.ndarray, box: Box) -> bool:
    """Whether letters ``[N, 4]`` stand on one line, or hang from one, and are drawn in one value: edges of anatomy are neither."""
    height = float(np.median(letters[:, 2] - letters[:, 0]))
    if min(_deviation(letters[:, 0]), _deviation(letters[:, 2])) > ALIGNED * height:
        return False
    where = (slice(box[0], box[2]), slice(box[1], box[3]))
    strokes, values = core[where], grey[where].astype(float)
    ground = float(np.median(values[~ndimage.binary_dilation(strokes)]))
    sign = 1.0 if values[strokes].mean() > ground else -1.0
    peaks = [np.percentile(sign * (grey[t:b, l:r][core[t:b, l:r]].astype(float) - ground), 90) for t, l, b, r in letters]
    return _deviation(np.array(peaks)) <= ALIKE * float(np.median(peaks))


def _deviation(values: np.ndarray) -> float:
    """Median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values))))


def _reached(box: Box, parts: np.ndarray) -> tuple[int, int]:
    """First and end column of a line with what stands beside it at its height: an initial, an age behind two blanks."""
    height, (left, right) = box[2] - box[0], (box[1], box[3])
    tall = parts[:, 2] - parts[:, 0]
    beside = parts[(np.minimum(parts[:, 2], box[2]) - np.maximum(parts[:, 0], box[0]) >= 0.5 * tall) & (tall <= 1.5 * height)]
    while True:
        near = beside[(beside[:, 1] <= right + REACH * height) & (beside[:, 3] >= left - REACH * height)]
        wider = min([left, *near[:, 1].tolist()]), max([right, *near[:, 3].tolist()])
        if wider == (left, right):
            return left, right
        left, right = wider


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
