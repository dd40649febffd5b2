"""What a classifier of samples without any network marks: boosted trees on the filters of `stages.tiled.filters`, learnt from the training masks.

It is what a user of Weka or ilastik would make in an afternoon. A network that does not beat it has learnt nothing of shape. It reads studies as the
network does and answers on the study's own grid, so that the same judge scores both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.kernels.resample import decided
from vesalius.mapping import Segmented
from vesalius.outputs.segment import Segment
from vesalius.stages.tiled.filters import coarse_shape, described, reduced, thinned
from vesalius.transforms.tiles import prepare_tiles, undo_mask

LEAVES = 31
FLOOR = 1e-6
"""Least probability that is told; the trees of a class that training lacks know none."""
CHUNK = 2**16
"""Samples that the trees judge at once: they turn them to 64 bits."""
SHIFTS = tuple(float(t) for t in np.linspace(-0.5, 1.0, 13))
"""How far the odds of the structures may be moved from those of the training images (0) to those of the drawn samples, where all are as frequent (1)."""
LEAST_SHIFT = 1.0


@dataclass(frozen=True)
class Examples:
    """Drawn samples of training cases.

    Parameters
    ----------
    features: float32 ``[M, F]``. truth: uint8 ``[M, L]`` (see "Masks" in docs/architecture.md). held, judged: ``[K]`` samples of each structure, and of all
        that were judged for it, in the whole cases.
    """

    features: np.ndarray
    truth: np.ndarray
    held: np.ndarray
    judged: np.ndarray

    @property
    def hash(self) -> str:
        digest = hashlib.sha256()
        for part in (self.features, self.truth, self.held, self.judged):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Those of several cases together."""
        features, truth = np.concatenate([part.features for part in parts]), np.concatenate([part.truth for part in parts])
        return cls(features, truth, np.sum([part.held for part in parts], 0), np.sum([part.judged for part in parts], 0))


def examples_of(image: np.ndarray, mask: np.ndarray, target: TargetSpec, reads: TileReads, most: int, wanted: int, rng: np.random.Generator) -> Examples:
    """About ``wanted`` samples of one prepared case, as many of each structure and of the rest where there are so many; none that is not judged.

    Parameters
    ----------
    image: ``[C, (Z,) Y, X]`` as the network reads it. mask: uint8 ``[L, (Z,) Y, X]``. most: samples of the grid that is looked at (see `coarse_shape`).
    """
    small, spacing = small_of(image, reads, most)
    truth = thinned(np.asarray(mask), small.shape[1:]).reshape(len(mask), -1)
    k = len(target.classes)
    held = truth == np.arange(1, k + 1)[:, None] if target.exclusive else truth == 1
    rest = (truth == 0).all(0)
    drawn = [np.flatnonzero(where) for where in (*held, rest)]
    share = max(1, wanted // max(sum(len(each) > 0 for each in drawn), 1))
    chosen = np.unique(np.concatenate([each if len(each) <= share else rng.choice(each, share, replace=False) for each in drawn]))
    judged = np.broadcast_to((truth != IGNORED).sum(1), k)
    return Examples(np.ascontiguousarray(described(small, spacing)[:, chosen].T), np.ascontiguousarray(truth[:, chosen].T), held.sum(1), judged)


def small_of(image: np.ndarray, reads: TileReads, most: int) -> tuple[np.ndarray, tuple[float, ...]]:
    """A prepared image on the grid that the filters look at, and the spacing of that grid."""
    spacing = reads.spacing_mm or (1.0,) * reads.ndim
    shape = coarse_shape(image.shape[1:], spacing, most)
    return reduced(image, shape), tuple(own * n / m for own, n, m in zip(spacing, image.shape[1:], shape, strict=True))


class Boosted:
    """The classifier of samples: it marks a study as a mapping does.

    Parameters
    ----------
    examples: to learn from. most: samples of a grid. trees: rounds of boosting (a tree for each class and round). seed: of the trees' choices of bins.

    ``task.facts["bias"]`` moves the odds of the structures, as the operating point of a network does; see `best_shift`.
    """

    def __init__(self, examples: Examples, target: TargetSpec, reads: TileReads, *, most: int, trees: int, seed: int) -> None:
        self.reads, self.most, self.task, self.exclusive = reads, most, Segment(target), target.exclusive
        self.hash = f"{examples.hash}-{most}-{trees}-{seed}"
        plane = examples.truth[:, 0]
        kinds = [plane] if self.exclusive else list(examples.truth.T)
        known = [kind != IGNORED for kind in kinds]
        with threadpool_limits(1):  # too little work for threads, which would wait for one another on a busy machine
            self.models = [_trees(examples.features[some], kind[some], trees, seed) for kind, some in zip(kinds, known, strict=True)]
        self.prior = _prior(examples, known, self.exclusive)

    def raw(self, small: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Raw values ``[n_out, …]`` float32 (log probabilities, or log odds of each structure), as frequent as in the training images."""
        features = described(small, spacing)
        made = np.empty((self.task.n_out, features.shape[1]), np.float32)
        with threadpool_limits(1):
            for start in range(0, features.shape[1], CHUNK):
                part = np.ascontiguousarray(features[:, start : start + CHUNK].T)
                made[:, start : start + CHUNK] = self._raw(part) + self.prior[:, None]
        return made.reshape(-1, *small.shape[1:])

    def _raw(self, features: np.ndarray) -> np.ndarray:
        if self.exclusive:
            return np.log(np.clip(_told(self.models[0], features, self.task.n_out), FLOOR, 1))
        p = np.stack([np.clip(_told(model, features, 2)[1], FLOOR, 1 - FLOOR) for model in self.models])
        return np.asarray(np.log(p / (1 - p)))

    def shifted(self, t: float) -> list[float]:
        """What the odds of the structures gain at one of `SHIFTS`, as ``task.facts["bias"]`` takes it."""
        rarer = self.prior[:1] - self.prior[1:] if self.exclusive else -self.prior
        moved = [t * max(float(each), LEAST_SHIFT) for each in rarer]
        return [0.0, *moved] if self.exclusive else moved

    def segment(self, study: Study, *, probability: bool = False) -> Segmented:
        """Mark the structures of a study, on its own grid; how unsure it is, is not told (NaN).

        Raises
        ------
        DataError: the study has another number of axes or channels than is read.
        """
        x, trace = prepare_tiles(study, self.reads)
        raw = self.raw(*small_of(x, self.reads, self.most))
        slabs = [(slice(0, raw.shape[1]), torch.from_numpy(raw))]
        labels = decided(slabs, raw.shape[1:], trace.stored, self.task.decide, self.task.planes, anisotropic=trace.coarse)
        p = reduced_back(self.task.probabilities(raw[None])[0], trace.stored) if probability else None
        return Segmented(undo_mask(labels, trace), math.nan, None, None if p is None else undo_mask(p, trace))


def reduced_back(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Maps ``[K, …]`` float32 at another size, linear."""
    mode = "bilinear" if maps.ndim == 3 else "trilinear"
    values = torch.from_numpy(np.ascontiguousarray(maps, np.float32))[None]
    return np.asarray(torch.nn.functional.interpolate(values, tuple(shape), mode=mode, align_corners=False)[0].numpy())


def _trees(features: np.ndarray, kind: np.ndarray, trees: int, seed: int) -> HistGradientBoostingClassifier | int:
    """The fitted trees; the only class where there is one alone."""
    seen = np.unique(kind)
    if len(seen) < 2:
        return int(seen[0]) if len(seen) else 0
    # Without the penalty the leaves of a rare class grow without bound.
    made = HistGradientBoostingClassifier(max_iter=trees, max_leaf_nodes=LEAVES, l2_regularization=1.0, early_stopping=False, random_state=seed)
    return made.fit(features, kind)


def _told(model: HistGradientBoostingClassifier | int, features: np.ndarray, n: int) -> np.ndarray:
    """Probabilities ``[n, N]``; of classes that were not learnt 0."""
    p = np.zeros((n, len(features)))
    if isinstance(model, int):
        p[model] = 1.0
    else:
        p[model.classes_] = model.predict_proba(features).T
    return p


def _prior(examples: Examples, known: Sequence[np.ndarray], exclusive: bool) -> np.ndarray:
    """What turns raw values learnt from as many samples of each class into those of classes as frequent as they are: ``[n_out]`` (Saerens et al. 2002)."""
    held, judged = np.maximum(examples.held, 1).astype(float), np.maximum(examples.judged, 1).astype(float)
    if exclusive:
        drawn = np.bincount(examples.truth[known[0], 0], minlength=len(held) + 1)
        true = np.concatenate([[max(judged[0] - examples.held.sum(), 1.0)], held])
        return np.asarray(np.log(true / true.sum()) - np.log(np.maximum(drawn, 1) / max(drawn.sum(), 1)))
    drawn = np.array([[(plane[some] == 1).sum(), (plane[some] == 0).sum()] for plane, some in zip(examples.truth.T, known, strict=True)], float)
    drawn = np.maximum(drawn, 1)
    return np.asarray(np.log(held / np.maximum(judged - held, 1)) - np.log(drawn[:, 0] / drawn[:, 1]))


def best_shift(model: Boosted, cases: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The shift of `SHIFTS` with the best mean Dice over structures and validation cases; 0 where no case holds a structure.

    Parameters
    ----------
    cases: raw values of `Boosted.raw`, and the mask ``[L, …]`` of the same size.
    """
    scores = np.array([[_dice(model, raw, mask, model.shifted(t)) for t in SHIFTS] for raw, mask in cases])
    if not scores.size or not np.isfinite(scores).any():
        return 0.0
    mean = np.nanmean(np.nanmean(scores[:, :, np.isfinite(scores).any((0, 1))], 0), 1)
    return min((t for t, dice in zip(SHIFTS, mean, strict=True) if dice >= mean.max() - 1e-6), key=abs)


def _dice(model: Boosted, raw: np.ndarray, mask: np.ndarray, bias: list[float]) -> np.ndarray:
    """Dice of each structure ``[K]`` with a bias, NaN where the truth lacks it."""
    counts = model.task.counts(torch.from_numpy(raw + np.float32(np.reshape(bias, (-1, *(1,) * (raw.ndim - 1)))))[None], torch.from_numpy(mask)[None])
    return np.where(counts[2] > 0, 2 * counts[0] / np.maximum(counts[1] + counts[2], 1), np.nan)
