"""Where the body lies in a picture, and what was burned into it beside the anatomy.

The body is what a threshold (Otsu, IEEE Trans. SMC 1979) sets apart from the air that touches the rim of the picture: its largest part, with
its holes filled. A marker is a small, bright, compact thing of sharp edges near the rim: letters, numbers, a lead sign.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

LEAST_BODY = 0.05
"""A body that covers less of the picture is none."""
NEAR_RIM = 0.3
"""A marker lies within this part of the side from the rim."""
MARKER_SHARE = (0.0005, 0.03)
"""Least and largest part of the picture that a marker covers ..."""
MARKER_SIDE = 0.3
"""... and its longest side."""
MARKER_LEVEL = 0.85
"""Of the picture's brightest numbers (its 99.9th percentile above its median)."""
MARKER_STEP = 0.35
"""How much darker, of that range, its surroundings are."""


def body_of(picture: np.ndarray) -> np.ndarray:
    """The body in a grey picture or volume ``[(Z,) Y, X]``, bool; all False where nothing stands out.

    Air may be dark or bright: it is the side of the threshold that most of the rim lies on.

    >>> picture = np.zeros((20, 20)); picture[5:15, 5:15] = 1; picture[9, 9] = 0
    >>> int(body_of(picture).sum())
    100
    """
    if not np.ptp(picture) > 0:
        return np.zeros(picture.shape, bool)
    bright = picture > threshold_otsu(picture)
    rim = np.ones(picture.shape, bool)
    rim[tuple(slice(1, -1) for _ in picture.shape)] = False
    held = bright if bright[rim].mean() <= 0.5 else ~bright
    parts, n = ndimage.label(held)
    if not n:
        return held
    largest = parts == 1 + int(np.argmax(ndimage.sum_labels(held, parts, range(1, n + 1))))
    filled = ndimage.binary_fill_holes(largest)
    return np.asarray(filled) if filled.mean() >= LEAST_BODY else np.zeros(picture.shape, bool)


def markers_of(picture: np.ndarray) -> np.ndarray:
    """Markers and letters in a picture ``[Y, X]``, bool, with their immediate surroundings; all False where there are none.

    >>> picture = np.full((64, 64), 0.2); picture[4:10, 5:8] = 1
    >>> bool(markers_of(picture)[6, 6]), int(markers_of(np.full((64, 64), 0.2)).sum())
    (True, 0)
    """
    found = np.zeros(picture.shape, bool)
    middle, top = np.median(picture), np.quantile(picture, 0.999)
    if not top > middle:
        return found
    parts, _ = ndimage.label(picture >= middle + MARKER_LEVEL * (top - middle), np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        part = parts == number
        if place is not None and _is_marker(part, place, picture, float(top - middle)):
            found |= ndimage.binary_dilation(part, np.ones((3, 3)))
    return found


def _is_marker(part: np.ndarray, place: tuple[slice, ...], picture: np.ndarray, span: float) -> bool:
    share = part.mean()
    sides = [(cut.stop - cut.start) / n for cut, n in zip(place, picture.shape, strict=True)]
    from_rim = min(min(cut.start / n, 1 - cut.stop / n) for cut, n in zip(place, picture.shape, strict=True))
    if not MARKER_SHARE[0] <= share <= MARKER_SHARE[1] or max(sides) > MARKER_SIDE or from_rim > NEAR_RIM:
        return False
    around = ndimage.binary_dilation(part, np.ones((3, 3)), iterations=3) & ~ndimage.binary_dilation(part, np.ones((3, 3)))
    return bool(around.any() and picture[part].mean() - np.median(picture[around]) >= MARKER_STEP * span)
