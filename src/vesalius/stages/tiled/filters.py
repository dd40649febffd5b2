"""What a sample and its surroundings look like: blurs, edges and shapes at several scales, and where it lies.

The features of trainable classifiers of samples (Arganda-Carreras et al., *Trainable Weka Segmentation*, Bioinformatics 2017; Berg et al., *ilastik*,
Nature Methods 2019), derivatives normalised by scale (Lindeberg, *IJCV* 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Widths of the Gaussians, in samples of the finest axis."""
TRUNCATE = 2.5
LEAST_SIGMA = 0.3
"""A Gaussian narrower than this, in samples of an axis, changes nothing along it."""
COARSER = 1.03
AIR = 0.1
"""Share of the range of the numbers below which a sample is taken for air, when the field that holds anything is looked for."""


def n_features(channels: int, ndim: int) -> int:
    """Features of a sample."""
    return channels * (1 + len(SCALES) * (3 + 2 * ndim)) + ndim


def coarse_shape(shape: Sequence[int], spacing: Sequence[float], most: int) -> tuple[int, ...]:
    """The shape with at most ``most`` samples, the finest axes made coarser first; the same where there are few enough.

    >>> coarse_shape((20, 100, 100), (5.0, 1.0, 1.0), 40_000)
    (20, 43, 43)
    """
    made, step = list(shape), min(spacing)
    while int(np.prod(made)) > most and max(made) > 1:
        step *= COARSER
        made = [max(1, min(n, int(n * own / step))) for n, own in zip(shape, spacing, strict=True)]
    return tuple(made)


def reduced(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An image ``[C, …]`` at another size, float32; each sample the mean of those that it covers."""
    values = np.ascontiguousarray(image, np.float32)
    if values.shape[1:] == tuple(shape):
        return values
    return np.asarray(functional.interpolate(torch.from_numpy(values)[None], size=tuple(shape), mode="area")[0].numpy())


def thinned(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A mask ``[L, …]`` at another size, the sample in the middle of each."""
    index = [((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(mask.shape[1:], shape, strict=True)]
    return np.asarray(mask[(slice(None), *np.ix_(*index))])


def described(image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Features of every sample, float32 ``[F, N]``, samples in the order of ``image.ravel()`` of one channel.

    Parameters
    ----------
    image: float32 ``[C, (Z,) Y, X]``. spacing: of its samples, in any unit (mm, or ones where none is known).

    For each channel the number itself; at each of `SCALES` the blurred number, length of the gradient, Laplacian, eigenvalues of the Hessian and of the
    structure tensor (Harris & Stephens 1988), the largest first; then the position along each axis, -1 to 1 within the field that holds anything but air.
    """
    step = np.asarray(spacing, float) / min(spacing)
    made = np.empty((n_features(len(image), image.ndim - 1), image[0].size), np.float32)
    rows = iter(made)
    for channel in image:
        next(rows)[:] = channel.ravel()
        for scale in SCALES:
            for feature in _at_scale(channel, scale, step):
                next(rows)[:] = feature.ravel()
    for feature in _position(image.mean(0)):
        next(rows)[:] = feature.ravel()
    return made


def _at_scale(channel: np.ndarray, scale: float, step: np.ndarray) -> list[np.ndarray]:
    d = channel.ndim
    blurred = _blurred(channel, scale, step)
    slopes = [scale * _slope(blurred, axis, step[axis]) for axis in range(d)]
    pairs = list(combinations_with_replacement(range(d), 2))
    hessian = eigenvalues([scale * _slope(slopes[i], j, step[j]) for i, j in pairs], d)
    tensor = eigenvalues([_blurred(slopes[i] * slopes[j], scale, step) for i, j in pairs], d)
    return [blurred, np.sqrt(sum(slope**2 for slope in slopes)), sum(hessian), *hessian, *tensor]  # type: ignore[list-item]


def _blurred(values: np.ndarray, scale: float, step: np.ndarray) -> np.ndarray:
    sigma = [each if each >= LEAST_SIGMA else 0.0 for each in scale / step]
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=TRUNCATE))


def _slope(values: np.ndarray, axis: int, step: float) -> np.ndarray:
    """Central differences, in units of the finest axis; an axis of one sample is flat."""
    return np.asarray(np.gradient(values, axis=axis)) / np.float32(step) if values.shape[axis] > 1 else np.zeros_like(values)


def eigenvalues(upper: Sequence[np.ndarray], d: int) -> list[np.ndarray]:
    """Of symmetric matrices, given as the entries of the upper triangle row by row, the largest first; in closed form (3 x 3: Smith 1961)."""
    if d == 2:
        xx, xy, yy = upper
        middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        return [middle + half, middle - half]
    xx, xy, xz, yy, yz, zz = upper
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    size = np.sqrt((a * a + b * b + c * c + 2 * (xy * xy + xz * xz + yz * yz)) / 6)
    whole = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    cube = 2 * size**3
    angle = np.arccos(np.clip(np.divide(whole, cube, out=np.zeros_like(whole), where=cube > np.finfo(cube.dtype).tiny), -1, 1)) / 3
    first, last = mean + 2 * size * np.cos(angle), mean + 2 * size * np.cos(angle + 2 * np.float32(np.pi) / 3)
    return [first, 3 * mean - first - last, last]


def _position(grey: np.ndarray) -> list[np.ndarray]:
    low, high = float(grey.min()), float(np.percentile(grey, 99))
    held = grey > low + AIR * (high - low)
    axes = []
    for axis, n in enumerate(grey.shape):
        inside = np.flatnonzero(held.any(tuple(a for a in range(grey.ndim) if a != axis)))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, n - 1)
        line = 2 * (np.arange(n) - first) / max(last - first, 1) - 1
        axes.append(np.broadcast_to(line.reshape(-1, *(1,) * (grey.ndim - 1 - axis)), grey.shape))
    return axes
