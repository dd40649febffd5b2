"""Laying one thumbnail over another: does even their fine detail agree?

A pair starts from the mirroring and crop that the search found most alike and
is refined by Gauss-Newton steps over the six numbers of an affine map plus gain
and offset, first on blurred images (Baker & Matthews, "Lucas-Kanade 20 years on",
IJCV 2004, inverse-compositional form aside). What is scored is the correlation
of band-passed images, not of the images: two films of different chests correlate
at .99 in their shading and hardly in their detail.

A picture that was made small has lost its finest detail for good. A pair that is
nearly alike is therefore looked at again with either side blurred as far as
makes them agree; `fingerprint.near_pairs` asks of such a pair that it stands out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")

SIDE = 48
MIRRORS = 4
SHIFT = 0.05 * SIDE
CROP = ((1.0, 0, 0), (0.95, 0, 0), (0.95, SHIFT / 2, SHIFT / 2), (0.95, SHIFT / 2, -SHIFT / 2), (0.95, -SHIFT / 2, SHIFT / 2), (0.95, -SHIFT / 2, -SHIFT / 2))
ROUNDS = ((1.5, 0.6), (1.0, 0.88), (0.5, 0.9))  # blur in thumbnail pixels; agreement below which a pair is given up before that round
STEPS = 2
HINT = 0.1  # agreement below which no other crop is tried
BLURS = (0.6, 0.8, 1.0, 1.3, 1.6)  # of the sharper side, in thumbnail pixels; 1.6: a picture of about 12 px across
BLURRED_FROM = 0.8  # agreement from which a pair is looked at blurred; pictures of 28 px made 17 px: 0.84 at the 1st percentile
EDGE = 2  # pixels at the border that a rotation may have filled: not compared
SCALES = (0.85, 1.18)
DARK = 16  # of 255: background
RIM = 2.5  # thumbnail pixels (a standard deviation): how far its rim reaches into the detail
INTERIOR = 0.25  # share of the picture that must be left to be compared alone
TILT = 0.12  # largest shear or rotation (radians)
BATCH = 256
CENTRE = (SIDE - 1) / 2
_Y, _X = (axis.ravel().astype(np.float32) for axis in np.mgrid[0:SIDE, 0:SIDE] - CENTRE)


@dataclass(frozen=True)
class Overlay:
    """What was found for each of M pairs.

    Agreement ``score`` (-1..1), ``mirrored``, ``moved`` (by more than a pixel), ``degrees``, and ``blurred``: one side had to be blurred to agree so well.
    """

    score: np.ndarray
    mirrored: np.ndarray
    moved: np.ndarray
    degrees: np.ndarray
    blurred: np.ndarray


def start(variant: int) -> np.ndarray:
    """The map of a variant as six numbers (y0, yy, yx, x0, xy, xx) on centred pixel coordinates.

    Variants count crops first, then mirrorings (none, left-right, up-down, both).
    """
    mirror, crop = divmod(variant, len(CROP))
    scale, y, x = CROP[crop]
    return np.array([y, -scale if mirror & 2 else scale, 0, x, 0, -scale if mirror & 1 else scale], np.float32)


def sampling(map_: np.ndarray) -> sparse.csr_matrix:
    """The linear operator ``[2304, 2304]`` that draws a thumbnail through a map (bilinear, edges repeated)."""
    place, fy, fx, _ = _corners(map_[None])
    row = np.arange(SIDE * SIDE)
    parts = [(0, (1 - fy) * (1 - fx)), (1, (1 - fy) * fx), (SIDE, fy * (1 - fx)), (SIDE + 1, fy * fx)]
    data = np.concatenate([weight[0] for _, weight in parts])
    columns = np.concatenate([place[0] + step for step, _ in parts])
    return sparse.csr_matrix((data, (np.tile(row, 4), columns)), shape=(len(row), len(row)))


def overlay(flat: np.ndarray, a: np.ndarray, b: np.ndarray, variant: np.ndarray, threshold: float) -> Overlay:
    """Align each pair as far as needed and score it.

    Parameters
    ----------
    flat: ``[N, P, 2304]`` uint8 thumbnails.
    a, b, variant: int ``[M]``; image a through that variant (see `start`) is laid over image b.
    threshold: a pair that reaches it is not refined further.
    """
    cuts = [slice(i, i + BATCH) for i in range(0, len(a), BATCH)]
    parts = list(over_cores(lambda cut: _batch(flat, a[cut], b[cut], variant[cut], threshold), cuts))
    score, maps, blurred = (np.concatenate(x) for x in zip(*parts, strict=True)) if parts else (np.zeros(0), np.zeros((0, 6)), np.zeros(0, bool))
    turn = np.degrees(np.arctan2(maps[:, 2] * np.sign(maps[:, 1]), np.abs(maps[:, 1])))
    grown = np.abs(np.sqrt(np.abs(maps[:, 1] * maps[:, 5])) - 1) * CENTRE
    moved = np.maximum(np.hypot(maps[:, 0], maps[:, 3]), grown) > 0.5
    return Overlay(score, (variant // len(CROP)) > 0, moved, turn, blurred)


def over_cores(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in order, computed by one thread a core, each with one BLAS thread.

    Blocks that need not wait for one another keep their pace on a busy machine; BLAS's own threads, which meet
    at every product, were seen to take ten times as long there.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        yield from pool.map(work, items)


def _batch(flat: np.ndarray, a: np.ndarray, b: np.ndarray, variant: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, maps of the first plane, and whether any was blurred, of M pairs; the score is the mean over planes, each aligned by itself."""
    starts = np.stack([start(v) for v in range(MIRRORS * len(CROP))])[variant]
    planes = [(_seen(flat[a, p]), _seen(flat[b, p])) for p in range(flat.shape[1])]
    several = len(planes) > 1
    each = [_plane(*pair, _mirrored(*pair, starts) if several else starts, threshold) for pair in planes]
    return np.mean([plane[0] for plane in each], axis=0), each[0][1], np.any([plane[2] for plane in each], axis=0)


def _mirrored(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The mirroring from which each pair agrees best: an axis of a volume is an axis of some of its planes only."""
    maps, score = maps.copy(), _agreement(moving, fixed, maps)
    for mirror in range(MIRRORS):
        tried = np.tile(start(mirror * len(CROP)), (len(maps), 1))
        _improve(score, maps, np.arange(len(maps)), _agreement(moving, fixed, tried), tried)
    return maps


def _seen(flat: np.ndarray) -> np.ndarray:
    """Pictures and their interiors, float32 ``[M, 2, 2304]``: 1 away from background, 0 on it and along its rim.

    The rim of a round field of view, of a collimator or of a body is stronger than all else in the picture and the same in every picture of
    its kind. A picture that is nearly all background keeps it.
    """
    image = flat.astype(np.float32)
    inside = (_blur((_blur((image <= DARK).astype(np.float32), 1.0) > 0.9).astype(np.float32), RIM) < 0.02).astype(np.float32)
    inside[inside.mean(1) < INTERIOR] = 1
    return np.stack([image, inside], 1)


def _plane(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score, maps = _started(moving, fixed, maps.copy())
    for blur, hopeless in ROUNDS:
        undecided = np.flatnonzero((score < threshold) & (score > hopeless))
        if not len(undecided):
            break
        _improve(score, maps, undecided, *_aligned(moving[undecided], fixed[undecided], maps[undecided], blur))
    unsharp = np.flatnonzero((score < threshold) & (score > BLURRED_FROM))
    sharp = score.copy()
    if len(unsharp):
        _improve(score, maps, unsharp, *_blurred(moving[unsharp], fixed[unsharp], maps[unsharp]))
    return score, maps, score > sharp


def _started(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best of all crops to start from where the one that the search found most alike shows little agreement (thin vessels, say)."""
    score = _agreement(moving, fixed, maps)
    poor = np.flatnonzero((score < ROUNDS[0][1]) & (score > HINT))
    if len(poor):
        signs = np.sign(maps[poor][:, [1, 5]])
        for scale, y, x in CROP:
            tried = np.column_stack([np.full(len(poor), y), scale * signs[:, 0], 0 * signs[:, 0], np.full(len(poor), x), 0 * signs[:, 0], scale * signs[:, 1]])
            _improve(score, maps, poor, _agreement(moving[poor], fixed[poor], tried.astype(np.float32)), tried)
    return score, maps


def _improve(score: np.ndarray, maps: np.ndarray, rows: np.ndarray, now: np.ndarray, tried: np.ndarray) -> None:
    better = now > score[rows]
    maps[rows[better]], score[rows[better]] = tried[better], now[better]


def _aligned(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray]:
    tried = _refine(moving, fixed, maps, blur)
    return np.where(_plausible(tried), _agreement(moving, fixed, tried), -1.0), tried


def _blurred(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and maps after the blur of one side (positive: of ``moving``) that makes each pair agree best."""
    blurs = np.array([side * blur for blur in BLURS for side in (1, -1)])
    score = np.array([_agreement(*_sided(moving, fixed, blur), maps) for blur in blurs])
    best, score, maps = score.argmax(0), score.max(0), maps.copy()
    for which in np.unique(best):
        rows = np.flatnonzero(best == which)
        _improve(score, maps, rows, *_aligned(*_sided(moving[rows], fixed[rows], blurs[which]), maps[rows], ROUNDS[-1][0]))
    return score, maps


def _sided(moving: np.ndarray, fixed: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray]:
    return (_softened(moving, blur), fixed) if blur > 0 else (moving, _softened(fixed, -blur))


def _softened(seen: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([_blur(seen[:, 0], sigma), seen[:, 1]], 1)


def _plausible(maps: np.ndarray) -> np.ndarray:
    scale = np.abs(maps[:, [1, 5]])
    return np.asarray(((scale > SCALES[0]) & (scale < SCALES[1])).all(1) & (np.abs(maps[:, [2, 4]]) < TILT).all(1))


def _corners(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Upper left neighbour and fractions of every sample of M maps, and whether it lies inside."""
    y = maps[:, 0:1] + maps[:, 1:2] * _Y + maps[:, 2:3] * _X + CENTRE
    x = maps[:, 3:4] + maps[:, 4:5] * _Y + maps[:, 5:6] * _X + CENTRE
    inside = (y >= EDGE) & (y <= SIDE - 1 - EDGE) & (x >= EDGE) & (x <= SIDE - 1 - EDGE)
    y, x = y.clip(0, SIDE - 1), x.clip(0, SIDE - 1)
    y0, x0 = np.minimum(y.astype(np.int64), SIDE - 2), np.minimum(x.astype(np.int64), SIDE - 2)
    return y0 * SIDE + x0, y - y0, x - x0, inside


def _draw(seen: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures through their maps ``[M, 2304]``, and 1 where that is known (away from both borders and from the background)."""
    place, fy, fx, inside = _corners(maps)
    take = [np.take_along_axis(seen, (place + step)[:, None], 2) for step in (0, 1, SIDE, SIDE + 1)]
    fy, fx = fy[:, None], fx[:, None]
    drawn = (take[0] * (1 - fx) + take[1] * fx) * (1 - fy) + (take[2] * (1 - fx) + take[3] * fx) * fy
    inner = np.maximum(np.abs(_Y), np.abs(_X)) <= CENTRE - EDGE
    return drawn[:, 0].astype(np.float32), (inside & inner & (drawn[:, 1] > 0.99)).astype(np.float32)


def _blur(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(gaussian_filter(images.reshape(-1, SIDE, SIDE), (0, sigma, sigma), mode="nearest", truncate=3.0)).reshape(len(images), -1)


def _detail(images: np.ndarray) -> np.ndarray:
    return _blur(images, 0.5) - _blur(images, 2.5)


def _agreement(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Correlation of the fine detail of each pair where both are known, ``[M]``."""
    drawn, known = _draw(moving, maps)
    known *= fixed[:, 1]
    count = known.sum(1, keepdims=True) + 1e-6
    x, y = (_detail(image) for image in (drawn, fixed[:, 0]))
    x, y = ((image - (image * known).sum(1, keepdims=True) / count) * known for image in (x, y))
    energy = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.where(energy > 1e-3, (x * y).sum(1) / np.maximum(energy, 1e-3), 0.0)


def _refine(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray, blur: float) -> np.ndarray:
    source, target = _softened(moving, blur), _blur(fixed[:, 0], blur)
    for _ in range(STEPS):
        drawn, known = _draw(source, maps)
        maps = _compose(maps, _step(drawn, target, known * fixed[:, 1]))
    return maps


def _step(drawn: np.ndarray, target: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The small affine map that brings ``drawn`` nearer to ``target``, gain and offset left free: ``[M, 6]``."""
    square = drawn.reshape(-1, SIDE, SIDE)
    gy, gx = (np.gradient(square, axis=axis).reshape(len(drawn), -1) for axis in (1, 2))
    design = np.stack([gy, gy * _Y, gy * _X, gx, gx * _Y, gx * _X, drawn, np.ones_like(drawn)], 1) * known[:, None]
    normal = (design @ design.transpose(0, 2, 1)).astype(float)
    diagonal = np.arange(8)
    normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * (1 + 1e-4) + 1e-3
    found = np.linalg.solve(normal, (design @ (target * known)[:, :, None]).astype(float))[:, :, 0]
    gain = np.where(np.abs(found[:, 6:7]) > 1e-2, np.abs(found[:, 6:7]), 1e-2)
    bound = np.array([1.5, 0.06, 0.06] * 2)
    return np.clip(found[:, :6] / gain, -bound, bound)


def _compose(outer: np.ndarray, small: np.ndarray) -> np.ndarray:
    """``outer`` after (identity + ``small``)."""
    matrix, offset = outer[:, [1, 2, 4, 5]].reshape(-1, 2, 2), outer[:, [0, 3]]
    inner = small[:, [1, 2, 4, 5]].reshape(-1, 2, 2) + np.eye(2)
    linear = matrix @ inner
    moved = offset + (matrix @ small[:, [0, 3], None])[:, :, 0]
    return np.column_stack([moved[:, 0], linear[:, 0], moved[:, 1], linear[:, 1]]).astype(np.float32)
