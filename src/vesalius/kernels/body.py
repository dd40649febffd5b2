"""Where the body lies in a picture, and what was burned into it beside the anatomy.

The body is what thresholds (Otsu, IEEE Trans. SMC 1979, three classes) set apart from the air that touches the rim of the picture: its largest part, with
its holes filled. A marker is a small, bright, compact thing of sharp edges near the rim: letters, numbers, a lead sign.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu

LEAST_BODY = 0.05
"""A body that covers less of the picture is none."""
SMOOTH, SMOOTH_FROM = 1.0, 24
"""Noise is smoothed (samples) in pictures with longer sides than this."""
LEVELS = 64
WITHOUT_LETTERS = 0.95
"""Brighter samples count as this quantile, so that letters and metal are no class of their own."""
RIM_OF_AIR = 0.05
"""Part of the rim that dark air takes at least."""
GAP = 0.12
"""Gaps up to this part of the side are closed."""
EVEN = 0.05
"""Spread of bright air, of the picture's range."""
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
    """The body in a grey picture or volume ``[(Z,) Y, X]``, bool; all False where nothing stands out from the rim.

    Air is the darkest of three classes of brightness as far as it is connected to the rim (so that lungs stay in the body), or the brightest one where
    hardly any of the rim is dark and most of it is evenly bright (slides, photographs).

    >>> picture = np.zeros((20, 20)); picture[5:15, 5:15] = 1; picture[9, 9] = 0
    >>> int(body_of(picture).sum())
    100
    """
    nothing = np.zeros(picture.shape, bool)
    if not np.ptp(picture) > 0:
        return nothing
    air = _air(picture)
    if air is None:
        return nothing
    parts, n = ndimage.label(~air)
    if not n:
        return nothing
    largest = parts == 1 + int(np.argmax(ndimage.sum_labels(~air, parts, range(1, n + 1))))
    filled = ndimage.binary_fill_holes(_closed(largest))
    return np.asarray(filled) if filled.mean() >= LEAST_BODY else nothing


def _closed(body: np.ndarray) -> np.ndarray:
    """With narrow gaps closed, through which lungs would be joined to the air outside (at the apex of a bright film)."""
    steps = max(1, round(GAP * min(body.shape) / 2))
    wide = np.pad(body, steps + 1, mode="edge")
    return np.asarray(ndimage.binary_closing(wide, iterations=steps)[tuple(slice(steps + 1, -steps - 1) for _ in body.shape)])


def _air(picture: np.ndarray) -> np.ndarray | None:
    """What is connected to the rim and as dark (or bright) as air; None where the picture has none."""
    smooth = np.minimum(picture, np.quantile(picture, WITHOUT_LETTERS)).astype(np.float64)
    smooth = ndimage.gaussian_filter(smooth, SMOOTH) if min(picture.shape) > SMOOTH_FROM else smooth
    low, high = _thresholds(smooth)
    rim = np.ones(picture.shape, bool)
    rim[tuple(slice(1, -1) for _ in picture.shape)] = False
    dark, bright = smooth <= low, smooth > high
    if dark[rim].mean() >= RIM_OF_AIR:
        return _touching(dark, rim)
    even = bright[rim].mean() > 0.5 and picture[bright & rim].std() < EVEN * np.ptp(picture)
    return _touching(bright, rim) if even else None


def _thresholds(picture: np.ndarray) -> tuple[float, float]:
    """The two thresholds between three classes; the same one twice where there are but two levels."""
    try:
        low, high = threshold_multiotsu(picture, 3, nbins=LEVELS)
    except ValueError:  # fewer levels than classes
        low = high = threshold_otsu(picture)
    return float(low), float(high)


def _touching(held: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The parts that touch the rim."""
    parts, _ = ndimage.label(held)
    return np.isin(parts, np.setdiff1d(np.unique(parts[rim]), [0]))


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
