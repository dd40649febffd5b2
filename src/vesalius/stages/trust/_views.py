"""Pictures from which the lesion, or all but one thing, was taken away. Everything is ``[n, (Z,) Y, X]`` float32 in [0, 1]."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vesalius.kernels.body import body_of

RIM = 0.08
"""Width of the border that is left, of each side."""
MIDDLE = 0.7
"""Side of the middle that is blacked out, of each side of the picture."""
LOW = 8
BINS = 32
MOSTLY_OUTSIDE = 0.75
"""The background is where so many of the pictures show none of the body: one place for all, so that the body's outline is not told ..."""
LEAST_BACKGROUND = 0.02
"""... and so much of the picture at least."""


def _edge(shape: tuple[int, ...], width: float) -> np.ndarray:
    rim = np.ones(shape, bool)
    rim[tuple(slice(max(1, round(width * n)), n - max(1, round(width * n))) for n in shape)] = False
    return rim


def border_only(pictures: np.ndarray) -> np.ndarray:
    """The outer 8 % of each side; the rest is 0."""
    return np.asarray(pictures * _edge(pictures.shape[1:], RIM), np.float32)


def centre_out(pictures: np.ndarray) -> np.ndarray:
    """The middle 70 % of each side is 0."""
    return np.asarray(pictures * _edge(pictures.shape[1:], (1 - MIDDLE) / 2), np.float32)


def bodies(pictures: np.ndarray) -> np.ndarray:
    """The body in each picture with one sample around it, bool."""
    grow = np.ones((3,) * (pictures.ndim - 1))
    return np.stack([ndimage.binary_dilation(body_of(picture), grow) for picture in pictures])


def background_only(pictures: np.ndarray) -> np.ndarray | None:
    """What lies beside the body in most pictures; a body that reaches there has its picture's mean background. None where the body fills the picture."""
    inside = bodies(pictures)
    if inside.any(tuple(range(1, pictures.ndim))).mean() < 0.5:
        return None
    common = (~inside).mean(0) >= MOSTLY_OUTSIDE
    if common.mean() < LEAST_BACKGROUND:
        return None
    shown = pictures * common
    for picture, body, whole in zip(shown, inside, pictures, strict=True):
        outside = ~body & common
        picture[body & common] = whole[outside].mean() if outside.any() else 0
    return np.asarray(shown, np.float32)


def low_resolution(pictures: np.ndarray) -> np.ndarray:
    """8 samples a side, ``[n, 64]`` (volumes ``[n, 512]``): a mean over each cell."""
    steps = [np.linspace(0, n, LOW + 1).astype(int)[:-1] for n in pictures.shape[1:]]
    for axis, starts in enumerate(steps, 1):
        sizes = np.diff(np.append(starts, pictures.shape[axis]))
        shape = [1] * pictures.ndim
        shape[axis] = LOW
        pictures = np.add.reduceat(pictures, starts, axis) / np.maximum(sizes, 1).reshape(shape)
    return pictures.reshape(len(pictures), -1)


def intensities(pictures: np.ndarray) -> np.ndarray:
    """How bright the samples are and how noisy, not where: square roots of 32 bins' shares, mean, spread and grain, ``[n, 35]``."""
    flat = pictures.reshape(len(pictures), -1)
    place = np.minimum((flat * BINS).astype(int), BINS - 1) + np.arange(len(flat))[:, None] * BINS
    counts = np.bincount(place.ravel(), minlength=len(flat) * BINS).reshape(len(flat), BINS)
    smooth = ndimage.uniform_filter(pictures, (0, *(3,) * (pictures.ndim - 1)))
    grain = np.median(np.abs(pictures - smooth).reshape(len(flat), -1), axis=1)
    return np.column_stack([np.sqrt(counts / flat.shape[1]), flat.mean(1), flat.std(1), grain])
