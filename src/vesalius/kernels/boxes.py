"""Boxes of one study thinned out, fused and joined across tiles, in two or three dimensions; see `kernels.boxgeometry` for their overlap.

Detections of tiles are joined without counting an object at a seam twice: what a tile sees whole is believed; a fragment is dropped when a
box that was seen whole explains it; fragments of an object that no tile holds are put together where neighbouring tiles agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vesalius.core.boxes import Detected
from vesalius.errors import OptionError
from vesalius.kernels.boxgeometry import clipped, covered, intersections, iou, mirrored, overlapping, volumes

__all__ = ["at_seams", "clipped", "covered", "fused", "intersections", "iou", "joined", "mirrored", "nms", "suppressed", "volumes"]

MOST = 300
"""Boxes of one study that are kept at most, unless said otherwise."""
AGREE = 0.5
"""IoU of two fragments, where both tiles see, from which they are of one object; also of a fragment and what its tile shows of a whole box."""
COVERED = 0.7
"""A fragment of which a whole box of its class covers this share is part of it."""
FEW = 2000
"""From so many boxes on only neighbours are compared: the boxes of a whole slide are not all compared with all."""
SAMPLE, PAIRS = 200, 2**23
"""How crowded boxes are is told by a sample; at most about so many pairs are held."""
SEAM, SEAM_SHARE = 2.0, 0.02
"""A box ends at the border of its tile when it comes this near, in samples or as a share of the tile's side: networks do not place edges exactly."""


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression: places of the boxes that are kept, int64, best first (of equals the earlier one).

    A box is dropped when its IoU with a better kept one is above ``threshold``.

    >>> nms(np.array([[0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 9, 9]]), np.array([0.8, 0.9, 0.1]), 0.5).tolist()
    [1, 2]
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    if len(boxes) < FEW and boxes.shape[1] == 4:
        from torchvision.ops import nms as planar_nms  # takes seconds to load, and few verbs need it

        return planar_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()
    order = np.argsort(-scores, kind="stable")
    if len(boxes) >= FEW and _crowded(boxes[order], threshold):
        return order[_in_turn(boxes[order], threshold)]
    return order[_by_pairs(boxes[order], threshold)]


def _crowded(boxes: np.ndarray, threshold: float) -> bool:
    """Whether there are so many pairs that overlap that they would fill the memory; told by a sample."""
    sample = boxes[:: max(1, len(boxes) // SAMPLE)]
    return float((iou(sample, boxes) > threshold).sum(1).mean()) * len(boxes) / 2 > PAIRS


def _in_turn(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """Places of those that are kept of boxes in order; quick where few are kept."""
    left, kept = np.arange(len(boxes)), []
    while len(left):
        kept.append(left[0])
        left = left[1:][iou(boxes[left[:1]], boxes[left[1:]])[0] <= threshold]
    return np.array(kept, np.int64)


def _by_pairs(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """The same; quick where few overlap."""
    pairs = np.sort(np.stack(overlapping(boxes, threshold), 1), 1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    alive = np.ones(len(boxes), bool)
    better, first = np.unique(pairs[:, 0], return_index=True)
    for each, others in zip(better, np.split(pairs[:, 1], first[1:]), strict=True) if len(pairs) else ():
        if alive[each]:
            alive[others] = False
    return np.flatnonzero(alive)


def suppressed(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, risk: np.ndarray, *, threshold: float, most: int = MOST) -> Detected:
    """The best boxes of each class without those that overlap a better one of the same class, the likeliest first.

    Parameters
    ----------
    boxes: ``[N, 2d]``. labels, scores, risk: ``[N]``. threshold: see `nms`. most: boxes of all classes together that are kept.

    Raises
    ------
    OptionError: the threshold is not in 0 .. 1.
    """
    if not 0 <= threshold <= 1:
        raise OptionError("boxes are suppressed above a share of overlap", expected="an IoU of 0 to 1", got=threshold)
    found = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    kept = np.concatenate([np.zeros(0, np.int64), *(own[nms(boxes[own], scores[own], threshold)] for own in found)])
    made = _sorted(boxes, labels, scores, risk, np.sort(kept))
    return made.kept(np.arange(min(most, len(made))))


def fused(found: Sequence[Detected], *, threshold: float, weights: Sequence[float] | None = None) -> Detected:
    """What several models (or mirror images) say of one study, as one: weighted box fusion (Solovyev, Wang and Gabruseva 2021, arXiv 1910.13302).

    Boxes of a class whose IoU with a fused box is above ``threshold`` are averaged into it, each counting as much as its score. The score
    is the weighted mean over all models of the best score that each gives to the box, 0 where it has none: the mean score rescaled by the
    share of the models that found it. The risk is the mean of those known, weighted likewise.

    Parameters
    ----------
    found: one a model. weights: what each model counts; all the same by default.

    Raises
    ------
    OptionError: no model, or not one positive weight for each.
    """
    trust = np.ones(len(found)) if weights is None else np.asarray(weights, np.float64)
    if not len(found) or trust.shape != (len(found),) or not (trust > 0).all():
        raise OptionError("boxes are fused with one positive weight for each model", expected=f"{len(found)} weights (at least one)", got=weights)
    boxes, labels, scores, risk = (np.concatenate([getattr(each, name) for each in found]) for name in ("boxes", "labels", "scores", "risk"))
    model = np.repeat(np.arange(len(found)), [len(each) for each in found])
    made = [_Fusion(boxes[own], scores[own], risk[own], model[own], trust).result(threshold) for own in (labels == label for label in np.unique(labels))]
    classes = np.repeat(np.unique(labels), [len(each[0]) for each in made])
    if not len(classes):
        return Detected.empty(found[0].boxes.shape[1] // 2)
    places, score, danger = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return _sorted(places, classes, score, danger, np.arange(len(classes)))


class _Fusion:
    """Boxes of one class, gathered one after the other, the best first."""

    def __init__(self, boxes: np.ndarray, scores: np.ndarray, risk: np.ndarray, model: np.ndarray, trust: np.ndarray) -> None:
        self.boxes, self.scores, self.risk, self.model, self.trust = boxes.astype(np.float64), scores.astype(np.float64), risk, model, trust
        self.mass = self.scores * trust[model]

    def _groups(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """The fused boxes, and to which of them each box belongs."""
        total, mass = np.zeros_like(self.boxes), np.zeros(len(self.boxes))
        group, n = np.zeros(len(self.boxes), np.int64), 0
        for i in np.argsort(-self.mass, kind="stable"):
            overlap = iou(self.boxes[i : i + 1], total[:n] / mass[:n, None])[0]
            best = int(overlap.argmax()) if n else 0
            group[i] = best if n and overlap[best] > threshold else n
            n = max(n, int(group[i]) + 1)
            share = max(self.mass[i], 1e-12)  # a score of 0 has a place too
            total[group[i]] += share * self.boxes[i]
            mass[group[i]] += share
        return total[:n] / mass[:n, None], group

    def result(self, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, scores and risks."""
        boxes, group = self._groups(threshold)
        best = np.zeros((len(boxes), len(self.trust)))
        np.maximum.at(best, (group, self.model), self.scores)
        known = np.isfinite(self.risk)
        mass = np.bincount(group, self.mass * known, len(boxes))
        risk = np.bincount(group, self.mass * np.where(known, self.risk, 0), len(boxes))
        return boxes, best @ self.trust / self.trust.sum(), np.divide(risk, mass, out=np.full(len(boxes), np.nan), where=mass > 0)


def at_seams(
    boxes: np.ndarray, tile_start: Sequence[int], tile_size: Sequence[int], shape: Sequence[int], margin: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Which boxes touch an inner border of their tile, so that a neighbouring tile may see more of them: ``[N]`` bool.

    Parameters
    ----------
    boxes: ``[N, 2d]`` in samples of the study. tile_start, tile_size: of the tile along each axis, in the study. shape: of the study.
    margin: how near to the border still touches, in samples; None for `SEAM` or `SEAM_SHARE` of the side, whichever is more.

    >>> at_seams(np.array([[0, 2, 4, 6], [1, 4, 3, 10]]), (0, 0), (10, 10), (10, 20), margin=0).tolist()
    [False, True]
    """
    start, size, whole = (np.asarray(each, np.float64) for each in (tile_start, tile_size, shape))
    near = np.maximum(SEAM, SEAM_SHARE * size) if margin is None else np.asarray(margin, np.float64)
    low, high = np.split(np.asarray(boxes, np.float64), 2, axis=1)
    first = (low - start <= near) & (start > 0)
    last = (start + size - high <= near) & (start + size < whole)
    touching: np.ndarray = np.any(first | last, axis=1)
    return touching


def joined(
    parts: Sequence[tuple[Sequence[int], Detected]], size: Sequence[int], shape: Sequence[int], *,
    threshold: float, most: int = MOST, margin: float | Sequence[float] | None = None, agree: float = AGREE,
) -> Detected:
    """The boxes of one study from those of its overlapping tiles: every object once, the likeliest first.

    Objects that lie whole in at least one tile come out exactly as one large tile would give them (`suppressed` with the same threshold). Of an
    object that no tile holds, fragments of neighbouring tiles that agree where both see are put together: the hull of all, with the best score.

    Parameters
    ----------
    parts: first sample of each tile (0 or negative where it begins in the padding), and what was found there, in samples of that tile,
        not suppressed. Boxes may reach out of their tile.
    size: of every tile. shape: of the study; boxes are cut to it. threshold, most: see `suppressed`.
    margin: see `at_seams`. agree: see `AGREE`.
    """
    tiles = [_Tile.of(start, found, size, shape, margin) for start, found in parts]
    whole = _together([tile.found.kept(~tile.cut) for tile in tiles], len(shape))
    pieces = [tile.fragments(whole, threshold, agree) for tile in tiles]
    every = _together([whole, _linked(pieces, tiles, len(shape), agree)], len(shape))
    return suppressed(every.boxes, every.labels, every.scores, every.risk, threshold=threshold, most=most)


class _Tile:
    """What one tile shows, in samples of the study: its own box ``[2d]``, what was found, and which of these it may have cut."""

    def __init__(self, box: np.ndarray, found: Detected, cut: np.ndarray) -> None:
        self.box, self.found, self.cut = box, found, cut

    @classmethod
    def of(cls, start: Sequence[int], found: Detected, size: Sequence[int], shape: Sequence[int], margin: float | Sequence[float] | None) -> _Tile:
        boxes = clipped(found.boxes.astype(np.float64) + np.tile(np.asarray(start), 2), shape)
        held = volumes(boxes) > 0
        moved = Detected(boxes[held], found.labels[held], found.scores[held], found.risk[held])
        corner = np.asarray(start, np.float64)
        return cls(np.concatenate([corner, corner + size]), moved, at_seams(moved.boxes, start, size, shape, margin))

    def fragments(self, whole: Detected, threshold: float, agree: float) -> Detected:
        """The boxes that the tile has cut and that none of those seen whole explains."""
        cut = self.found.kept(self.cut)
        near = whole.kept(intersections(self.box[None], whole.boxes)[0] > 0)
        if len(cut) and len(near):
            same = cut.labels[:, None] == near.labels
            overlap = np.maximum(iou(cut.boxes, near.boxes), iou(_within(cut.boxes, self.box), _within(near.boxes, self.box)))
            # Of any class: half a cell may look like another kind. A large object that a small one of another class lies in is not explained by it.
            cut = cut.kept(~((overlap >= agree) | (same & (covered(cut.boxes, near.boxes) >= COVERED))).any(1))
        return suppressed(cut.boxes, cut.labels, cut.scores, cut.risk, threshold=threshold, most=len(cut))


def _linked(pieces: list[Detected], tiles: list[_Tile], ndim: int, agree: float) -> Detected:
    """Fragments that agree where their tiles overlap, each group as one box."""
    every = _together(pieces, ndim)
    first = np.cumsum([0, *map(len, pieces)])
    links = [np.zeros((2, 0), np.int64)]
    held = [i for i, piece in enumerate(pieces) if len(piece)]
    windows = np.stack([tiles[i].box for i in held]) if held else np.zeros((0, 2 * ndim))
    for place, i in enumerate(held):
        seen = intersections(windows[place : place + 1] + _grown(ndim), windows[place + 1 :] + _grown(ndim))[0]
        for j in (held[place + 1 + k] for k in np.flatnonzero(seen)):
            links.append(_agreeing(pieces[i], pieces[j], tiles[i].box, tiles[j].box, agree) + np.array([[first[i]], [first[j]]]))
    one, other = np.concatenate(links, 1)
    group = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(len(every), len(every))), directed=False)[1] if len(every) else one
    return _hulls(every, group)


def _agreeing(a: Detected, b: Detected, tile: np.ndarray, other: np.ndarray, agree: float) -> np.ndarray:
    """Pairs ``[2, n]`` of one class that are alike in what both tiles see; tiles that only touch compare what they show at the seam."""
    grown = _grown(len(tile) // 2)
    seen = _within((tile + grown)[None], other + grown)
    alike = iou(_within(a.boxes + grown, seen[0]), _within(b.boxes + grown, seen[0])) >= agree
    return np.stack(np.nonzero(alike & (a.labels[:, None] == b.labels)))


def _grown(ndim: int) -> np.ndarray:
    """What is added to a box so that it overlaps one that it only touches."""
    return np.repeat([-SEAM / 2, SEAM / 2], ndim)


def _within(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Boxes cut to another box."""
    low, high = np.split(window, 2)
    return np.clip(boxes, np.tile(low, 2), np.tile(high, 2))


def _hulls(found: Detected, group: np.ndarray) -> Detected:
    """One box around all of a group, with the score and the risk of its likeliest."""
    order = np.lexsort((-found.scores, group))
    best = order[np.unique(group[order], return_index=True)[1]]
    d = found.boxes.shape[1] // 2
    boxes = found.boxes[best].copy()
    np.minimum.at(boxes[:, :d], group, found.boxes[:, :d])
    np.maximum.at(boxes[:, d:], group, found.boxes[:, d:])
    return Detected(boxes, found.labels[best], found.scores[best], found.risk[best])


def _together(parts: Sequence[Detected], ndim: int) -> Detected:
    parts = [*parts, Detected.empty(ndim)]
    boxes, labels, scores, risk = (np.concatenate([getattr(each, name) for each in parts]) for name in ("boxes", "labels", "scores", "risk"))
    return Detected(boxes, labels, scores, risk)


def _sorted(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, risk: np.ndarray, kept: np.ndarray) -> Detected:
    """Those that are kept, the likeliest first."""
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return Detected(boxes[kept].astype(np.float32), labels[kept].astype(np.int64), scores[kept].astype(np.float32), risk[kept].astype(np.float32))
