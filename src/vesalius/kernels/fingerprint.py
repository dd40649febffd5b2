"""Which images are the same picture again: fingerprints, candidates, clusters.

A fingerprint is a small square thumbnail. Two images are the same picture when
one can be laid over the other (`alignment.overlay`) so that even their fine
detail agrees. Looking at every pair that way would take hours, so candidates
come first, from an exact search in a low-dimensional space:

* the low frequencies of the thumbnail (DCT-II), with the data set's own mean
  removed and its own covariance whitened. Chest films resemble one another in
  exactly the directions that whitening shrinks; a copy resembles its original
  in the others too;
* every image asks with 24 variants of itself (4 mirrorings x 6 crops of 5 %).
  A variant is linear in the thumbnail, so all of them are one matrix product.

The cost is quadratic with a small constant: measured in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from vesalius.errors import DataError
from vesalius.kernels.alignment import CROP, MIRRORS, SIDE, Overlay, over_cores, overlay, sampling, start

FREQUENCIES = 10
DIMENSIONS = 60
SIMILAR = 0.84  # cosine of two descriptors from which a pair is looked at; nearest strangers of 5,800 chest films: 0.77 at the 90th percentile
NEAR_VOLUME = 0.85  # the same of volumes, whose projections a turn blurs; the highest pair of 260 different hippocampi: 0.79
SURE = 0.96  # agreement, nothing blurred, from which no rival is asked for
OUTSTANDING = 0.5  # a pair that is less sure must lack at most this share of what the next best of either image lacks
CLOSEST, POSSIBLE = 2, 0.6  # so many are looked at also when less alike, down to this cosine: a crop that moves the rim of a round field of view
NEAR = 0.95  # agreement of fine detail from which a pair is called the same picture; the highest pair of different chest films seen: 0.947
NEIGHBOURS = 12  # pairs looked at per image: bounds the work when everything resembles everything (a cine)
SAMPLE = 4000  # images that the mean and covariance are taken from
BLOCK = 256
LIMIT = 50  # a larger cluster is cut again with stricter agreement, against chains of look-alikes
STRICTER = (0.96, 0.975, 0.99)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Pair:
    """Two images (their places in the list, ``a < b``) that show the same picture.

    ``score`` is the agreement of fine detail after alignment (1 is identical). ``how`` says what lies
    between them: ``mirrored``, ``cropped or resized``, ``rotated``, ``re-encoded``, joined by ", ".
    """

    a: int
    b: int
    score: float
    how: str


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Thumbnails of an image, uint8 ``[P, 48, 48]``; P = 1 for a picture, 3 for a volume.

    Parameters
    ----------
    image: ``[C, (Z,) Y, X]``, any numbers; channels are averaged. A volume gives its mean along Z, the mean of
        its middle third along Z, and its mean along Y. What is not finite counts as the lowest value.

    The numbers between the 1st and 99th percentile of a thumbnail fill 0..255, so gain and offset vanish.
    A constant image gives zeros, which match nothing.

    Raises
    ------
    DataError: the image has no samples, or not three or four axes.
    """
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise DataError("no fingerprint can be taken", expected="[C, (Z,) Y, X] with samples", got=f"shape {image.shape}")
    grey = image[0] if image.shape[0] == 1 else image.mean(0, dtype=np.float32)
    return np.stack([_level(_shrink(plane)) for plane in _planes(grey)])


def near_pairs(prints: np.ndarray, *, threshold: float | None = None, progress: Progress | None = None) -> list[Pair]:
    """All pairs of images that show the same picture, best first.

    Survives re-encoding (JPEG quality 70), +-20 % brightness and contrast, crops of 5 %, mirroring, rotations by
    a degree and other sizes. Give each exactly identical image once: their hashes find those.

    Parameters
    ----------
    prints: ``[N, P, 48, 48]`` from `fingerprint`.
    threshold: agreement of fine detail (-1..1) from which a pair is reported; by default `NEAR`, for volumes `NEAR_VOLUME`.
    progress: called with (images done, N, "near duplicates").
    """
    found = candidates(prints, progress=progress)
    if not len(found):
        return []
    flat = prints.reshape(*prints.shape[:2], -1)
    threshold = threshold if threshold is not None else NEAR if flat.shape[1] == 1 else NEAR_VOLUME
    laid = overlay(flat, found[:, 0], found[:, 1], found[:, 2], max(threshold, NEAR))
    keep = np.flatnonzero(_outstanding(found, laid, threshold, len(prints)))
    pairs = [Pair(int(min(found[i, :2])), int(max(found[i, :2])), float(laid.score[i]), _how(laid, int(i))) for i in keep]
    return sorted(pairs, key=lambda pair: (-pair.score, pair.a, pair.b))


def _outstanding(found: np.ndarray, laid: Overlay, threshold: float, n: int) -> np.ndarray:
    """Which pairs are the same picture, ``[M]`` bool.

    Films of one view differ in their detail; where that is blurred away or lost, all may agree. There the pair has to agree far better
    than either image does with any third one (Lowe, IJCV 2004, has such a ratio), copies of the same picture aside.
    """
    same = laid.score >= threshold
    sure = same & ~laid.blurred & (laid.score >= SURE)
    sharp = [Pair(int(a), int(b), 1.0, "") for a, b in found[sure, :2]]
    ends = np.sort(_components(n, sharp)[found[:, :2]], axis=1)
    for k in np.flatnonzero(same & ~sure):
        rivals = np.isin(ends, ends[k]).any(1) & (ends != ends[k]).any(1) & (ends[:, 0] != ends[:, 1])
        same[k] = 1 - laid.score[k] <= OUTSTANDING * (1 - laid.score[rivals].max(initial=0.0))
    return same


def candidates(prints: np.ndarray, *, similar: float = SIMILAR, progress: Progress | None = None) -> np.ndarray:
    """Pairs worth aligning: int64 rows ``[M, 3]`` of (a, b, variant of a that resembles b most), each pair once.

    At most `NEIGHBOURS` pairs start from an image. Images without contrast are left out.
    """
    live = np.flatnonzero(prints.any(axis=(1, 2, 3)))
    if len(live) < 2:
        return np.zeros((0, 3), np.int64)
    rows = list(_search(prints[live], similar, progress))
    found = np.concatenate(rows)
    found = found[np.argsort(-found[:, 3], kind="stable")]  # the better direction of a pair speaks for it
    ends = np.sort(found[:, :2], axis=1)
    _, first = np.unique(ends[:, 0] * len(live) + ends[:, 1], return_index=True)
    a, b, variant = found[first, :3].astype(np.int64).T
    return np.stack([live[a], live[b], variant], 1)


def cluster(n: int, pairs: list[Pair], *, limit: int = LIMIT) -> np.ndarray:
    """The cluster of each of ``n`` images, int64 ``[N]``: 0, 1, ... by first member, -1 for an image without a twin.

    Clusters are the connected components of the pairs. One with more than ``limit`` members is likely a chain
    of look-alikes: it is cut again with only the pairs of stricter agreement (up to 0.99).
    """
    kept = pairs
    for strict in STRICTER:
        label = _components(n, kept)
        large = np.bincount(label, minlength=n)[label] > limit
        kept = [pair for pair in kept if not large[pair.a] or pair.score >= strict]
    label = _components(n, kept)
    twins = np.bincount(label, minlength=n)[label] > 1
    _, first, inverse = np.unique(label[twins], return_index=True, return_inverse=True)
    out = np.full(n, -1, np.int64)
    out[twins] = np.argsort(np.argsort(first))[inverse]
    return out


def _components(n: int, pairs: list[Pair]) -> np.ndarray:
    a, b = np.array([(p.a, p.b) for p in pairs], np.int64).reshape(-1, 2).T
    graph = sparse.coo_matrix((np.ones(len(a), bool), (a, b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _planes(grey: np.ndarray) -> list[np.ndarray]:
    if grey.ndim == 2:
        return [grey]
    third = max(1, len(grey) // 3)
    middle = grey[third : len(grey) - third] if len(grey) > 2 * third else grey
    return [grey.mean(0, dtype=np.float32), middle.mean(0, dtype=np.float32), grey.mean(1, dtype=np.float32)]


def _shrink(plane: np.ndarray) -> np.ndarray:
    values = plane.astype(np.float32)
    if not np.isfinite(values).all():
        finite = values[np.isfinite(values)]
        values = np.nan_to_num(values, nan=finite.min() if len(finite) else 0.0, posinf=finite.max() if len(finite) else 0.0, neginf=0.0)
    # Pillow's triangle filter widens with the reduction; in C on one thread it beats a matrix product on a busy machine
    return np.asarray(Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _level(thumb: np.ndarray) -> np.ndarray:
    ordered = np.sort(thumb, axis=None)
    low, high = ordered[ordered.size // 100], ordered[-1 - ordered.size // 100]
    # rounding noise of a constant image is no contrast
    if high - low <= 1e-5 * max(abs(float(high)), abs(float(low)), 1e-6):
        return np.zeros(thumb.shape, np.uint8)
    return np.asarray(np.clip((thumb - low) * (255.0 / (high - low)), 0, 255).round(), np.uint8)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + 1e-9), np.float32)


def _centred(prints: np.ndarray) -> np.ndarray:
    """Float rows ``[N, P, 2304]`` of zero mean and length one."""
    rows = prints.reshape(*prints.shape[:2], -1).astype(np.float32)
    return _unit(rows - rows.mean(-1, keepdims=True))


@lru_cache(maxsize=1)
def _variants() -> np.ndarray:
    """The low-frequency basis seen through every variant: ``[24, D, 2304]``; the first is the image as it is."""
    k = np.arange(FREQUENCIES)[:, None]
    wave = np.cos(np.pi * k * (np.arange(SIDE) + 0.5) / SIDE)
    basis = np.stack([np.outer(wave[i], wave[j]).ravel() for i in range(FREQUENCIES) for j in range(FREQUENCIES) if 0 < i + j < 1.2 * FREQUENCIES])
    basis = _unit(basis)
    return np.stack([np.asarray(sampling(start(v)).T @ basis.T, np.float32).T for v in range(MIRRORS * len(CROP))])


def _whitening(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening matrix of descriptors ``[N, D]``, both drawn towards nothing when N is small."""
    n = len(features)
    mean = features.mean(0) * n / (n + 20)
    values, axes = np.linalg.eigh(np.cov(features.T))
    values, axes = values[::-1][:DIMENSIONS], axes[:, ::-1][:, :DIMENSIONS]
    return mean, np.asarray(axes / np.sqrt(np.maximum(values, 0) + values[0] * (0.01 + 20 / n) + 1e-12), np.float32)


def _search(prints: np.ndarray, similar: float, progress: Progress | None) -> Iterator[np.ndarray]:
    n, planes = prints.shape[:2]
    variants = _variants()
    ask = np.ascontiguousarray(variants.reshape(-1, SIDE * SIDE).T)
    features = np.concatenate([(_centred(prints[i : i + BLOCK]) @ variants[0].T).reshape(-1, planes * len(variants[0])) for i in range(0, n, BLOCK)])
    mean, white = _whitening(features[:: -(-n // SAMPLE)])
    known = _unit((features - mean) @ white)

    def block(at: int) -> np.ndarray:
        asked = (_centred(prints[at : at + BLOCK]) @ ask).reshape(-1, planes, len(variants), len(variants[0]))
        asked = _mirrored_depth(asked) if planes == 3 else asked
        asked = _unit((asked.transpose(2, 0, 1, 3).reshape(asked.shape[2], -1, features.shape[1]) - mean) @ white)
        return _nearest(asked, known, at, similar)

    yield np.zeros((0, 4))
    for done, rows in enumerate(over_cores(block, range(0, n, BLOCK)), 1):
        yield rows
        if progress:
            progress(min(done * BLOCK, n), n, "near duplicates")


def _mirrored_depth(asked: np.ndarray) -> np.ndarray:
    """Descriptors ``[b, 3, V, D]`` of volumes, followed by those with the third plane (Z, X) upside down in relation to the others."""
    mirror, crop = np.divmod(np.arange(asked.shape[2]), len(CROP))
    turned = asked.copy()
    turned[:, 2] = asked[:, 2, (mirror ^ 2) * len(CROP) + crop]
    return np.concatenate([asked, turned], axis=2)


def _nearest(asked: np.ndarray, known: np.ndarray, at: int, similar: float) -> np.ndarray:
    """Rows (a, b, variant, similarity) of the neighbours of one block of askers."""
    best = asked[0] @ known.T
    other = np.empty_like(best)
    for query in asked[1:]:
        np.maximum(best, np.matmul(query, known.T, out=other), out=best)
    a = np.arange(len(best))
    best[a, at + a] = -1
    few = min(CLOSEST, best.shape[1])
    row, column = np.nonzero(best >= np.clip(np.partition(best, -few, axis=1)[:, -few:].min(1, keepdims=True), POSSIBLE, similar))
    crowded = np.bincount(row, minlength=len(best)) > NEIGHBOURS
    keep = np.ones(len(row), bool)
    for each in np.flatnonzero(crowded):
        mine = np.flatnonzero(row == each)
        keep[mine[np.argsort(-best[each, column[mine]], kind="stable")[NEIGHBOURS:]]] = False
    row, column = row[keep], column[keep]
    variant = np.einsum("vnd,nd->vn", asked[:, row], known[column]).argmax(0) % len(_variants()) if len(row) else row
    return np.stack([row + at, column, variant, best[row, column]], 1).astype(float)


def _how(laid: Overlay, i: int) -> str:
    facts = ["mirrored"] if laid.mirrored[i] else []
    facts += ["cropped or resized"] if laid.moved[i] else []
    facts += ["rotated"] if abs(laid.degrees[i]) > 0.4 else []
    return ", ".join(facts) or "re-encoded"
