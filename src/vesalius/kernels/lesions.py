"""Separate regions of a mask (lesions), and which of them are found.

The definitions are those of panoptica (Kofler et al. 2023, arXiv 2312.02608): a connected component stands for an
instance; a component of the prediction and one of the truth may be matched when their IoU reaches a threshold (0.5);
pairs are taken from the highest IoU down. Then recognition quality RQ = TP / (TP + FP/2 + FN/2), which is the F1 of
lesions; segmentation quality SQ = mean IoU of the matched; panoptic quality PQ = RQ * SQ (Kirillov et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vesalius.errors import OptionError

THRESHOLD = 0.5


@dataclass(frozen=True)
class Matched:
    """What was found.

    Parameters
    ----------
    n_true: components of the truth. n_predicted: of the prediction.
    n_found: components of the truth with a match. n_false: components of the prediction without one.
    ious: of each matched component of the truth (with all that was matched to it, where many may be).
    """

    n_true: int
    n_predicted: int
    n_found: int
    n_false: int
    ious: tuple[float, ...]

    @property
    def sensitivity(self) -> float:
        """Part of the lesions that is found; NaN without a lesion."""
        return self.n_found / self.n_true if self.n_true else float("nan")

    @property
    def rq(self) -> float:
        """Recognition quality, the F1 of lesions; NaN where there is no lesion and none predicted."""
        return f1(self.n_true, self.n_found, self.n_false)

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of those found; NaN when none is."""
        return float(np.mean(self.ious)) if self.ious else float("nan")

    @property
    def pq(self) -> float:
        """Panoptic quality: 0 when nothing is found; NaN where there is no lesion and none predicted."""
        return self.rq * self.sq if self.ious else self.rq


def f1(n_true: int, n_found: int, n_false: int) -> float:
    """F1 of lesions from their counts.

    >>> f1(2, 1, 1), f1(0, 0, 2)
    (0.5, 0.0)
    """
    total = n_found + n_true + n_false
    return 2 * n_found / total if total else float("nan")


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected components of a bool mask ``[(Z,) Y, X]``: int32 labels 1..n and n.

    Samples that touch by a face, an edge or a corner belong together (26 neighbours in 3-D, 8 in 2-D).
    """
    labels, n = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    return labels, int(n)


def match(truth: np.ndarray, predicted: np.ndarray, *, threshold: float = THRESHOLD, many_to_one: bool = False) -> Matched:
    """Match the components of two bool masks ``[(Z,) Y, X]``.

    Parameters
    ----------
    threshold: least IoU of a match; 0 takes any overlap. Above 0.5 a component overlaps only one that well, and the
        choice of pairs is unique.
    many_to_one: whether several components of the prediction may be matched to one of the truth (each reaching the
        threshold). Else one to one: the second piece of a lesion is a false one.

    Raises
    ------
    OptionError: the threshold is not in 0 .. 1.
    """
    if not 0 <= threshold <= 1:
        raise OptionError("the least overlap of a lesion is a share", expected="an IoU of 0 to 1", got=threshold)
    (first, n_true), (second, n_predicted) = components(truth), components(predicted)
    pairs = _pairs(first, second, n_true, n_predicted)
    chosen = _choose([pair for pair in pairs if pair[0] >= threshold], many_to_one)
    pieces: dict[int, list[int]] = {}
    for i, j in chosen:
        pieces.setdefault(i, []).append(j)
    sizes = [np.bincount(labels.ravel(), minlength=n + 1) for labels, n in ((first, n_true), (second, n_predicted))]
    shared = {(i, j): both for _, i, j, both in pairs}
    ious = tuple(_joint_iou(i, pieces[i], sizes, shared) for i in sorted(pieces))
    return Matched(n_true, n_predicted, len(pieces), n_predicted - len(chosen), ious)


def _pairs(first: np.ndarray, second: np.ndarray, n_true: int, n_predicted: int) -> list[tuple[float, int, int, int]]:
    """(IoU, component of the truth, of the prediction, samples in both) of all that overlap, the highest IoU first."""
    both = (first > 0) & (second > 0)
    keys, shared = np.unique(first[both].astype(np.int64) * (n_predicted + 1) + second[both], return_counts=True)
    i, j = np.divmod(keys, n_predicted + 1)
    sizes = np.bincount(first.ravel(), minlength=n_true + 1)[i] + np.bincount(second.ravel(), minlength=n_predicted + 1)[j]
    iou = shared / (sizes - shared)
    order = np.lexsort((j, i, -iou))
    return [(float(iou[k]), int(i[k]), int(j[k]), int(shared[k])) for k in order]


def _choose(pairs: list[tuple[float, int, int, int]], many_to_one: bool) -> list[tuple[int, int]]:
    taken_true: set[int] = set()
    taken_predicted: set[int] = set()
    chosen = []
    for _, i, j, _ in pairs:
        if j not in taken_predicted and (many_to_one or i not in taken_true):
            chosen.append((i, j))
            taken_true.add(i)
            taken_predicted.add(j)
    return chosen


def _joint_iou(i: int, pieces: list[int], sizes: list[np.ndarray], shared: dict[tuple[int, int], int]) -> float:
    """IoU of a component of the truth and the union of the pieces matched to it."""
    both = sum(shared[i, j] for j in pieces)
    return both / (int(sizes[0][i]) + sum(int(sizes[1][j]) for j in pieces) - both)
