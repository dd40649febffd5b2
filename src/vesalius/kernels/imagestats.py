"""Simple statistics of one picture or volume, by which an unlike one is told: what lies where, how bright, how sharp, how noisy.

All are taken from a small view of the whole image (`SIDE` samples along each axis), so that they cost milliseconds whatever its size; only the noise is
measured at the image's own samples (Immerkaer, *Computer Vision and Image Understanding* 64:300, 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d

SIDE = {2: 64, 3: 32}
"""Samples of the view along each axis."""
PLACES = {2: 8, 3: 5}
"""The layout: means over so many places along each axis."""
EDGES = {2: 4, 3: 3}
"""The same of how much happens there."""
BANDS = 6
LEVELS = (1, 5, 25, 50, 75, 95, 99)
TURNS = 8
"""Directions of edges that are told apart."""
TINY = 1e-4
NOISE_SAMPLES = 1_000_000
MOST_COUNTED = 2**14


@dataclass(frozen=True)
class Statistics:
    """Statistics ``values`` [D] float32 with their ``names``; the part before a dot is the kind (layout, edges, levels, bands, turns ...)."""

    values: np.ndarray
    names: tuple[str, ...]


def small_view(image: np.ndarray) -> np.ndarray:
    """The whole image at ``SIDE`` samples along each axis, stretched: ``[C, (Z,) Y, X]`` of any numbers to float32.

    Samples that are not finite take the lowest finite number.
    """
    values = np.ascontiguousarray(image, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min() if finite.any() else 0.0).astype(np.float32)
    ndim = values.ndim - 1
    shape = (SIDE[ndim],) * ndim
    x = torch.from_numpy(values)[None]
    if ndim == 2:
        return F.interpolate(x, shape, mode="bilinear", align_corners=False, antialias=True)[0].numpy()
    return F.interpolate(x, shape, mode="area" if min(values.shape[1:]) >= SIDE[3] else "trilinear")[0].numpy()


def statistics_of(view: np.ndarray, noise: float = 0.0) -> Statistics:
    """Statistics of a view ``[C, (Z,) Y, X]`` whose numbers lie near 0 .. 1.

    Parameters
    ----------
    noise: of the image at its own samples, in the same numbers (see `noise_of`).
    """
    grey = view.mean(0)
    spread = max(float(grey.std()), TINY)
    plain = (grey - grey.mean()) / spread
    parts: dict[str, np.ndarray] = {"layout": pooled(plain, PLACES[grey.ndim]).ravel()}
    slopes = np.gradient(plain)
    size = np.sqrt(sum(each**2 for each in slopes))
    parts["edges"] = np.log(pooled(size, EDGES[grey.ndim]).ravel() + 0.01)
    parts["levels"] = np.percentile(grey, LEVELS)
    parts["shape"] = (parts["levels"] - float(grey.mean())) / spread  # the levels of the plain view, which keeps their order
    parts["ends"] = np.array([(grey <= grey.min() + 0.01 * spread).mean(), (grey >= grey.max() - 0.01 * spread).mean()])
    parts["contrast"] = np.log([spread])
    parts["bands"] = bands_of(plain)
    parts["turns"] = turns_of(slopes[-2], slopes[-1])
    parts["mirrored"] = np.array([_alike(plain, np.flip(plain, axis)) for axis in range(grey.ndim)])
    parts["noise"] = np.log([noise / spread + 0.003])
    parts["colour"] = _colour(view)
    names = tuple(f"{name}.{i}" for name, each in parts.items() for i in range(len(each)))
    return Statistics(np.concatenate(list(parts.values())).astype(np.float32), names)


def pooled(array: np.ndarray, n: int) -> np.ndarray:
    """Means over ``n`` equal places along each axis; the sides are multiples of ``n`` or nearly."""
    x = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    pool = F.adaptive_avg_pool2d if array.ndim == 2 else F.adaptive_avg_pool3d
    return np.asarray(pool(x, n)[0, 0].numpy())


def bands_of(plain: np.ndarray) -> np.ndarray:
    """Log power in `BANDS` bands of frequency, each twice as wide as the one below, of a view with mean 0 and deviation 1."""
    power = np.abs(np.fft.rfftn(plain)) ** 2 / plain.size
    place, n = _bands(plain.shape)
    return np.log(np.bincount(place, power.ravel(), BANDS) / n + 1e-6)


@cache
def _bands(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The band of each frequency of a view of this shape, and how many frequencies a band has (1 where it has none). There are few shapes of views."""
    axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    place = np.digitize(radius, 0.5 / 2.0 ** np.arange(BANDS - 1, 0, -1)).ravel()
    return place, np.maximum(np.bincount(place, minlength=BANDS), 1)


def turns_of(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Share of the slopes (weighted by their size) in each of `TURNS` directions, over the whole circle."""
    angle = np.arctan2(down, across)
    place = ((angle + np.pi) / (2 * np.pi) * TURNS + 0.5).astype(int) % TURNS
    size = np.hypot(down, across)
    return np.bincount(place.ravel(), size.ravel(), TURNS) / max(float(size.sum()), TINY)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).mean())


def _colour(view: np.ndarray) -> np.ndarray:
    """Mean difference of the channels from their mean, and their spread about it; 0 for a grey picture."""
    if len(view) < 2:
        return np.zeros(2)
    away = view - view.mean(0)
    return np.array([np.abs(away.reshape(len(view), -1).mean(1)).max(), np.abs(away).mean()])


def noise_of(image: np.ndarray, axes: Sequence[int] = (-2, -1)) -> float:
    """Standard deviation of the noise of ``[C, (Z,) Y, X]`` in its own numbers (Immerkaer 1996), the median over the planes that are looked at.

    The Laplacian difference removes everything that is linear in the picture; the median of what is left does not mind edges. 0 where an axis has fewer than 3
    samples.
    """
    planes = np.asarray(image[0], np.float32)
    planes = planes if planes.ndim == 3 else planes[None]
    planes = planes[:: max(1, len(planes) // 8)]
    step = max(1, planes[0].size * len(planes) // NOISE_SAMPLES)
    planes = planes[:, : max(3, planes.shape[1] // step)] if step > 1 else planes
    if min(planes.shape[-2:]) < 3:
        return 0.0
    left = planes
    for axis in axes:
        left = correlate1d(left, np.array([1.0, -2.0, 1.0], np.float32), axis, mode="nearest")
    left = np.abs(left[:, 1:-1, 1:-1]).ravel()
    left = left if image.dtype.kind in "iu" else left[np.isfinite(left)]
    return _median(left, image.dtype.kind in "iu") / 0.6745 / 6.0 if left.size else 0.0


def _median(values: np.ndarray, whole: bool) -> float:
    """Median of numbers from 0 on; ``whole`` ones of a small range are counted, which is several times as fast as sorting them."""
    if not whole or values.max() >= MOST_COUNTED:
        return float(np.median(values, overwrite_input=True))
    below = np.bincount(values.astype(np.int32)).cumsum()
    middle = np.array([(len(values) - 1) // 2, len(values) // 2])
    return float(np.searchsorted(below, middle, side="right").mean())
