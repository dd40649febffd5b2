"""Which predicted boxes are right, and the average precision that follows.

Matching is that of COCO (Lin et al., ECCV 2014; cocoeval of pycocotools): by class and image, the likeliest prediction first, each takes the true box
that it overlaps most among those still free; a true box that is ignored takes any number of predictions, which then count neither
way, and there the overlap is the share of the prediction that lies in it. Of LUNA16 (Setio et al., *Medical Image Analysis* 2017)
is the other rule: the centre of the prediction lies in the lesion, here the ellipsoid that the true box holds; a further prediction in a lesion that
was found already counts neither way.

Matching is done once; figures take weights of cases ``[N, B]`` (how often case n counts in sample b), which is what the bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxes import covered, iou
from vesalius.kernels.figures import ratio

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of COCO's mAP."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recall points at which COCO reads the precision."""
MOST = 100
"""Predictions of a class and image that COCO's average precision looks at."""
RULES = {"iou": "IoU >= 0.5", "centre": "centre inside the lesion (LUNA16)"}
TRUE, FALSE, NEITHER = 1, 0, -1
CELLS = 2**18
"""Numbers held at once: small enough to stay in the cache of an ordinary machine."""


@dataclass(frozen=True)
class Matched:
    """The verdict on every prediction of one case, in the order of ``Detected``.

    Parameters
    ----------
    verdict: ``[T, D]`` int8: `TRUE`, `FALSE` or `NEITHER` (it meets an ignored box). truth: ``[T, D]`` int64, number of the true box it meets, or -1.
    """

    verdict: np.ndarray
    truth: np.ndarray


def match(detected: Detected, truth: BoxTruth, thresholds: Sequence[float] | np.ndarray = THRESHOLDS) -> Matched:
    """Predictions of one case against its true boxes by COCO's rule, for each IoU threshold.

    Raises
    ------
    OptionError: a threshold is not above 0 and at most 1.
    """
    least = np.asarray(thresholds, np.float64)
    if not len(least) or not ((least > 0) & (least <= 1)).all():
        raise OptionError("boxes are matched from a least overlap on", expected="IoU above 0, at most 1", got=thresholds)
    overlap = np.where(truth.ignored[None], covered(detected.boxes, truth.boxes), iou(detected.boxes, truth.boxes))
    return _by_class(detected, truth, overlap, np.minimum(least, 1 - 1e-10), again=FALSE)


def match_centres(detected: Detected, truth: BoxTruth) -> Matched:
    """Predictions of one case against its lesions by LUNA16's rule (T = 1)."""
    d = truth.boxes.shape[1] // 2
    centre = (detected.boxes[:, :d] + detected.boxes[:, d:]).astype(np.float64) / 2
    middle = (truth.boxes[:, :d] + truth.boxes[:, d:]).astype(np.float64) / 2
    half = (truth.boxes[:, d:] - truth.boxes[:, :d]).astype(np.float64) / 2
    away = np.square((centre[:, None] - middle) / half).sum(2)
    # The nearer to the middle the better; a lesion is hit from 0.5 on: its border.
    return _by_class(detected, truth, 1 / (1 + away), np.array([0.5]), again=NEITHER)


def _by_class(detected: Detected, truth: BoxTruth, overlap: np.ndarray, least: np.ndarray, again: int) -> Matched:
    verdict = np.zeros((len(least), len(detected)), np.int8)
    met = np.full((len(least), len(detected)), -1, np.int64)
    for label in np.unique(truth.labels):
        own, its = np.flatnonzero(detected.labels == label), np.flatnonzero(truth.labels == label)
        own = own[np.argsort(-detected.scores[own], kind="stable")]
        chosen = _greedy(overlap[np.ix_(own, its)], truth.ignored[its], least)
        if again == NEITHER:
            taken = (overlap[np.ix_(own, its)] >= least[0]).any(1)
            verdict[:, own] = np.where(taken, NEITHER, FALSE)
            met[:, own] = np.where(taken, its[overlap[np.ix_(own, its)].argmax(1)], -1)
        hit = chosen >= 0
        verdict[:, own] = np.where(hit, np.where(truth.ignored[its][chosen], NEITHER, TRUE), verdict[:, own])
        met[:, own] = np.where(hit, its[chosen], met[:, own])
    return Matched(verdict, met)


def _greedy(overlap: np.ndarray, ignored: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Which true box each prediction takes, ``[T, D]`` (-1: none), for overlaps ``[D, G]`` with the likeliest prediction first."""
    chosen = np.full((len(least), len(overlap)), -1, np.int64)
    free = np.ones((len(least), overlap.shape[1]), bool)
    last = overlap.shape[1] - 1
    for i in np.flatnonzero((overlap >= least.min()).any(1)):
        fits = free & (overlap[i] >= least[:, None])
        # One that is judged is preferred to one that is ignored; of equals the later, as cocoeval does.
        worth = np.where(fits, overlap[i] + np.where(ignored, 0.0, 2.0), -1.0)
        best = last - worth[:, ::-1].argmax(1)
        hit = np.flatnonzero(worth[np.arange(len(least)), best] >= 0)
        chosen[hit, i] = best[hit]
        judged = hit[~ignored[best[hit]]]
        free[judged, best[judged]] = False
    return chosen


@dataclass(frozen=True)
class Responses:
    """Predictions of one class (or of all) in all cases, the likeliest first, with their verdicts.

    Parameters
    ----------
    scores: ``[D]`` falling. case: ``[D]`` number of the case. verdict: ``[T, D]``. rank: ``[D]`` place among those of its class and case.
    truth: ``[N]`` true boxes of each case that are judged.
    """

    scores: np.ndarray
    case: np.ndarray
    verdict: np.ndarray
    rank: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, found: Sequence[Detected], truths: Sequence[BoxTruth], matched: Sequence[Matched], label: int | None = None) -> Responses:
        """Those of one class, or of all classes together.

        Raises
        ------
        DataError: there are not as many cases in all three.
        """
        if not len(found) == len(truths) == len(matched) or not len(found):
            sizes = (len(found), len(truths), len(matched))
            raise DataError("every case needs its predictions and its truth", expected="as many of each (at least one)", got=sizes)
        own = [np.flatnonzero((each.labels == label) | (label is None)) for each in found]
        scores = np.concatenate([each.scores[chosen].astype(np.float64) for each, chosen in zip(found, own, strict=True)])
        case = np.repeat(np.arange(len(found)), [len(chosen) for chosen in own])
        verdict = np.concatenate([each.verdict[:, chosen] for each, chosen in zip(matched, own, strict=True)], 1)
        rank = np.concatenate([_ranks(each)[chosen] for each, chosen in zip(found, own, strict=True)])
        n = np.array([int((~each.ignored & ((each.labels == label) | (label is None))).sum()) for each in truths])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], case[order], verdict[:, order], rank[order], n)

    def false_first(self, t: int = 0) -> Responses:
        """The same with the verdicts of one threshold only; of equal scores the false come first, so that no figure gains from a tie."""
        order = np.lexsort((self.verdict[t] == TRUE, -self.scores))
        return Responses(self.scores[order], self.case[order], self.verdict[t : t + 1, order], self.rank[order], self.truth)

    def hits(self, t: int = 0, most: int | None = None) -> Hits:
        """What the figures of one threshold need; ``most``: see `MOST`."""
        verdict = self.verdict[t] if most is None else np.where(self.rank < most, self.verdict[t], NEITHER)
        rows = np.flatnonzero(verdict == TRUE)
        shown = np.flatnonzero(verdict != NEITHER)
        shown = shown[shown <= rows[-1]] if len(rows) else shown[:0]
        segment = np.searchsorted(rows, shown)
        counts = csr_array((np.ones(len(shown)), (segment, self.case[shown])), shape=(len(rows), len(self.truth)))
        return Hits(rows, self.case[rows], counts, self.truth.astype(np.float64))


def _ranks(found: Detected) -> np.ndarray:
    """Place of each prediction among those of its class, the likeliest first."""
    order = np.lexsort((-found.scores.astype(np.float64), found.labels))
    labels = found.labels[order]
    ranks = np.zeros(len(found), np.int64)
    ranks[order] = np.arange(len(found)) - np.searchsorted(labels, labels)
    return ranks


@dataclass(frozen=True)
class Hits:
    """The right predictions in order, and what was shown up to each: precision and false positives need no other places.

    Parameters
    ----------
    rows: ``[R]`` their places. case: ``[R]``. shown: ``[R, N]`` sparse, right and false predictions of each case after the last right one, up to
        this one. truth: ``[N]`` true boxes.
    """

    rows: np.ndarray
    case: np.ndarray
    shown: csr_array
    truth: np.ndarray

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precision at 101 recall points, ``[N, B] -> [B]``; NaN where no true box counts."""
        return np.concatenate([self._precision(part) for part in self._parts(weights)])

    def _precision(self, weights: np.ndarray) -> np.ndarray:
        total = self.truth @ weights
        true, shown = self.gained(weights)
        precision = np.divide(true, shown, out=np.zeros_like(true), where=shown > 0)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = _points(np.divide(true, total, out=np.zeros_like(true), where=total > 0))
        area = (envelope * np.diff(reached, axis=0, prepend=0.0)).sum(0) / len(RECALLS)
        return np.where(total > 0, area, np.nan)

    def gained(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right predictions, and right and false ones, up to each row: ``[R, B]`` both."""
        return weights[self.case].cumsum(0), np.asarray(self.shown @ weights).cumsum(0)

    def sensitivity_at(self, rates: Sequence[float], weights: np.ndarray) -> np.ndarray:
        """Share of the true boxes found with at most so many false positives a case, ``[len(rates), B]``; NaN where no true box counts."""
        return np.concatenate([self._sensitivity(rates, part) for part in self._parts(weights)], 1)

    def _sensitivity(self, rates: Sequence[float], weights: np.ndarray) -> np.ndarray:
        true, shown = self.gained(weights)
        own, false, cases = weights[self.case], shown - true, weights.sum(0)
        return np.stack([ratio(np.where(false <= rate * cases, own, 0.0).sum(0), self.truth @ weights) for rate in rates])

    def _parts(self, weights: np.ndarray) -> list[np.ndarray]:
        step = max(1, CELLS // max(len(self.rows), 1))
        return [weights[:, start : start + step] for start in range(0, weights.shape[1], step)]


def _points(recall: np.ndarray) -> np.ndarray:
    """How many of `RECALLS` are at most this recall: ``searchsorted`` from the right, without searching."""
    place = np.ceil(recall * (len(RECALLS) - 1) - 1e-6).clip(0, len(RECALLS) - 1).astype(np.int64)
    return place + (RECALLS[place] <= recall).astype(np.float64)


def average_precision(responses: Responses, weights: np.ndarray | None = None, most: int = MOST) -> np.ndarray:
    """COCO's average precision of one class at every threshold, ``[T, B]``; its mean over thresholds and classes is mAP.

    Parameters
    ----------
    weights: of the cases ``[N, B]``; each once by default. NaN where no true box counts.
    """
    weights = np.ones((len(responses.truth), 1)) if weights is None else weights
    return np.stack([responses.hits(t, most).average_precision(weights) for t in range(len(responses.verdict))])


def precision_recall(responses: Responses, t: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Recall and (not interpolated) precision after each prediction that counts, for a plot; both empty without a true box."""
    verdict, total = responses.verdict[t], int(responses.truth.sum())
    counted = verdict[verdict != NEITHER]
    if not total:
        return np.zeros(0), np.zeros(0)
    true = np.cumsum(counted == TRUE)
    return true / total, true / np.arange(1, len(counted) + 1)
