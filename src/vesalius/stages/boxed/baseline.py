"""What blobs alone tell: detection without a network, in two and three dimensions.

Blobs are extrema of differences of Gaussians (Lowe, *IJCV* 2004; Lindeberg, *IJCV* 1998) at scales taken from the training boxes, bright ones and
dark ones; gradient boosting on their contrasts and colours says what each is. A network that does not beat this has learnt no more than
how large and how dark the objects are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from torch.nn import functional

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.errors import DataError
from vesalius.kernels.boxes import clipped, covered, iou, suppressed, volumes
from vesalius.seed import generator

SCALES = 6
"""Sizes of blobs that are looked for at most."""
CLOSEST = 1.25
"""Neighbouring sizes differ at least by this factor."""
SIGMA = 1.8
"""Images are reduced until a blob of the size in question has this width: a large blob needs no fine image."""
WIDER = 1.6
"""The second Gaussian of a difference, over the first (Marr and Hildreth 1980)."""
BLOBS = 120
"""Blobs of each scale and sign that are looked at in one image."""
RIGHT, WRONG = 0.5, 0.3
"""A blob stands for a true box from this IoU on, and for none below the other; what lies between is not learnt from."""
NEGATIVES = 20_000
TREES, LEAVES = 60, 15
OVERLAP, FLOOR, MOST = 0.3, 0.01, 100
"""Boxes above this IoU are suppressed; scores below the floor are not listed; boxes of an image at most."""


@dataclass(frozen=True)
class _Blobs:
    """Candidates of one image: middles ``[M, d]`` in samples, number of the scale ``[M]``, features ``[M, F]``."""

    middle: np.ndarray
    scale: np.ndarray
    features: np.ndarray

    def boxes(self, sides: np.ndarray) -> np.ndarray:
        """Boxes about the middles with the sides ``[S, d]`` of their scales."""
        half = sides[self.scale] / 2
        return np.concatenate([self.middle - half, self.middle + half], 1)


def blob_baseline(train: Sequence[tuple[np.ndarray, BoxTruth]], others: Sequence[np.ndarray], n_classes: int, seed: int) -> list[Detected]:
    """Boxes of other images by blobs, learnt from the training images.

    Parameters
    ----------
    train: images ``[C, (Z,) Y, X]`` float32 as they are prepared for the network, each with its true boxes in samples of it. others: such
        images; the channels are as many. n_classes: K. seed: of the choice of negative examples.

    Returns one `Detected` an image: scores in 0 .. 1 (at least `FLOOR`), suppressed by class, the risk unknown. Without any box to learn from, or
    where no blob meets one, nothing is found.

    Raises
    ------
    DataError: images have another number of axes or channels than the first.
    """
    images = [image for image, _ in train] + list(others)
    if len({(image.ndim, len(image)) for image in images}) > 1:
        odd = next(image.shape for image in images if (image.ndim, len(image)) != (images[0].ndim, len(images[0])))
        raise DataError("images differ in axes or channels", expected=f"as {images[0].shape}", got=odd)
    d = images[0].ndim - 1 if images else 2
    known = [truth.boxes[~truth.ignored] for _, truth in train]
    sides = _sides(np.concatenate([np.zeros((0, 2 * d)), *known]))
    if not len(sides):
        return [Detected.empty(d) for _ in others]
    model = _Model(sides, n_classes, seed)
    with threadpool_limits(1):  # too little work for threads, which would wait for one another on a busy machine
        model.fit([(_blobs(image, sides), truth) for image, truth in train])
        return [model.found(_blobs(image, sides), image.shape[1:]) for image in others]


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Sides ``[S, d]`` of the blobs to look for: quantiles of the mean side of the boxes, of their usual shape."""
    d = boxes.shape[1] // 2
    extent = boxes[:, d:] - boxes[:, :d]
    extent = extent[(extent > 0).all(1)]
    if not len(extent):
        return np.zeros((0, d))
    mean = np.exp(np.log(extent).mean(1))
    shape = np.exp(np.median(np.log(extent / mean[:, None]), 0))
    wide = np.log(np.quantile(mean, [0.03, 0.97]))
    n = int(np.clip(1 + (wide[1] - wide[0]) // np.log(CLOSEST), 1, SCALES))
    return np.exp(np.linspace(wide[0], wide[1], n) if n > 1 else wide.mean(keepdims=True))[:, None] * shape


def _blobs(image: np.ndarray, sides: np.ndarray) -> _Blobs:
    """The strongest bright and dark blobs of every scale."""
    levels = [_Level.of(image, side) for side in sides]
    middles, scales = [], []
    for number, level in enumerate(levels):
        places = np.concatenate([level.peaks(sign) for sign in (1, -1)])
        middles.append((places + 0.5) * level.step)
        scales.append(np.full(len(places), number))
    middle, scale = np.concatenate(middles), np.concatenate(scales)
    seen = np.concatenate([level.at(middle) for level in levels], 1)
    return _Blobs(middle, scale, np.column_stack([seen, scale]))


@dataclass(frozen=True)
class _Level:
    """An image as one size of blobs sees it.

    Parameters
    ----------
    step: ``[d]`` samples of the image that one of its own stands for. blurred, contrast: ``[C, ...]``, and the difference to a wider blur.
    """

    step: np.ndarray
    blurred: np.ndarray
    contrast: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, side: np.ndarray) -> _Level:
        width = side / (2 * np.sqrt(len(side)))  # a ball of radius r answers best to a Gaussian of r / sqrt(d)
        shape = [max(1, min(n, round(n * SIGMA / w))) for n, w in zip(image.shape[1:], width, strict=True)]
        reduced = _reduced(image, shape)
        step = np.array(image.shape[1:]) / np.array(shape)
        sigma = (0.0, *(width / step))
        blurred = ndimage.gaussian_filter(reduced, sigma, mode="nearest", truncate=3)
        wider = ndimage.gaussian_filter(reduced, [WIDER * each for each in sigma], mode="nearest", truncate=3)
        return cls(step, blurred, blurred - wider)

    def peaks(self, sign: int) -> np.ndarray:
        """Places ``[M, d]`` of the strongest bright (1) or dark (-1) extrema of the mean of the channels."""
        grey = sign * self.contrast.mean(0)
        places = np.argwhere((grey == ndimage.maximum_filter(grey, 3, mode="nearest")) & (grey > 0))
        strongest = np.argsort(-grey[tuple(places.T)], kind="stable")[:BLOBS]
        return _refined(grey, places[strongest])

    def at(self, middle: np.ndarray) -> np.ndarray:
        """Contrast and colour ``[M, 2 * C]`` at places in samples of the image."""
        place = np.clip((middle / self.step).astype(int), 0, np.array(self.blurred.shape[1:]) - 1)
        where = (slice(None), *place.T)
        return np.concatenate([self.contrast[where], self.blurred[where]]).T


def _refined(grey: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Maxima moved to the top of the parabola through their neighbours along each axis, half a step at most."""
    moved, top = places.astype(float), grey[tuple(places.T)]
    for axis, n in enumerate(grey.shape):
        step = np.eye(grey.ndim, dtype=int)[axis]
        before, after = (grey[tuple(np.clip(places + sign * step, 0, np.array(grey.shape) - 1).T)] for sign in (-1, 1))
        bend = 2 * top - before - after
        shift = np.divide(after - before, 2 * bend, out=np.zeros_like(top), where=bend > 0)
        moved[:, axis] += np.where((places[:, axis] > 0) & (places[:, axis] < n - 1), shift.clip(-0.5, 0.5), 0.0)
    return moved


def _reduced(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The mean of the samples that each new one covers."""
    values = torch.from_numpy(np.ascontiguousarray(image, np.float32))
    return np.asarray(functional.interpolate(values[None], size=tuple(shape), mode="area")[0].numpy())


class _Model:
    """What a blob is, and how large the box is that it stands for."""

    def __init__(self, sides: np.ndarray, n_classes: int, seed: int) -> None:
        self.sides, self.k, self.seed = np.repeat(sides[None], n_classes, 0), n_classes, seed
        self.trees: HistGradientBoostingClassifier | None = None
        self.more = 1.0
        """So many times as many blobs are nothing as were drawn of them: the chance of a blob is that among all."""

    def fit(self, cases: Sequence[tuple[_Blobs, BoxTruth]]) -> None:
        """Learn the sides of each class and scale, then what each blob is (0: nothing, k + 1: class k)."""
        self.sides = self._fitted(cases)
        labels = [self._labels(blobs, truth) for blobs, truth in cases]
        features, label = np.concatenate([blobs.features for blobs, _ in cases]), np.concatenate(labels)
        nothing = np.flatnonzero(label == 0)
        drawn = generator(self.seed, "blobs").permutation(nothing)[:NEGATIVES]
        chosen = np.sort(np.concatenate([np.flatnonzero(label > 0), drawn]))
        if len(np.unique(label[chosen])) < 2:
            return
        # Without the penalty the leaves of a rare class grow without bound.
        trees = HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=LEAVES, l2_regularization=1.0, early_stopping=False, random_state=self.seed)
        self.trees, self.more = trees.fit(features[chosen], label[chosen]), len(nothing) / max(len(drawn), 1)

    def _fitted(self, cases: Sequence[tuple[_Blobs, BoxTruth]]) -> np.ndarray:
        """``[K, S, d]``: median sides of the true boxes that the blobs of each scale meet best."""
        met: dict[tuple[int, int], list[np.ndarray]] = {}
        d = self.sides.shape[2]
        for blobs, truth in cases:
            overlap = iou(blobs.boxes(self.sides[0]), truth.boxes) if len(truth) else np.zeros((len(blobs.middle), 0))
            for i in range(len(truth)):
                if len(overlap) and not truth.ignored[i] and overlap[:, i].max() >= WRONG:
                    scale = int(blobs.scale[overlap[:, i].argmax()])
                    met.setdefault((int(truth.labels[i]), scale), []).append(truth.boxes[i, d:] - truth.boxes[i, :d])
        sides = self.sides.copy()
        for place, extents in met.items():
            sides[place] = np.median(extents, 0)
        return sides

    def _labels(self, blobs: _Blobs, truth: BoxTruth) -> np.ndarray:
        """``[M]``: 0 nothing, k + 1 class k, -1 neither."""
        best = np.zeros((self.k, len(blobs.middle)))
        spared = np.zeros(len(blobs.middle), bool)
        for k in range(self.k):
            own, boxes = (truth.labels == k) & ~truth.ignored, blobs.boxes(self.sides[k])
            best[k] = iou(boxes, truth.boxes[own]).max(1, initial=0.0)
            spared |= (covered(boxes, truth.boxes[truth.ignored]) >= RIGHT).any(1)
        top = best.max(0)
        label = np.where(top >= RIGHT, best.argmax(0) + 1, np.where(top < WRONG, 0, -1))
        return np.where(spared & (label == 0), -1, label)

    def found(self, blobs: _Blobs, shape: Sequence[int]) -> Detected:
        """The boxes of one image."""
        d = len(shape)
        if self.trees is None or not len(blobs.middle):
            return Detected.empty(d)
        p = self.trees.predict_proba(blobs.features) * np.where(self.trees.classes_ == 0, self.more, 1.0)
        p /= p.sum(1, keepdims=True)
        parts = [(int(name) - 1, p[:, column]) for column, name in enumerate(self.trees.classes_) if name > 0]
        boxes = np.concatenate([clipped(blobs.boxes(self.sides[k]), shape) for k, _ in parts])
        labels, scores = np.repeat([k for k, _ in parts], len(p)), np.concatenate([score for _, score in parts])
        kept = (scores >= FLOOR) & (volumes(boxes) > 0)
        nothing = np.full(int(kept.sum()), np.nan)
        return suppressed(boxes[kept], labels[kept], scores[kept], nothing, threshold=OVERLAP, most=MOST)
