"""Which box of a frame is which box of the frames before: ids that stay with one object over a stream.

A constant-velocity Kalman filter for each coordinate of centre and size predicts where every track lies (SORT: Bewley et al., ICIP 2016),
and boxes are assigned to tracks in two rounds, first the likely ones, then the doubtful ones, which may continue a track but never begin
one (ByteTrack: Zhang et al., ECCV 2022). What is left is compared once more with boxes widened, so that small and fast objects overlap
themselves (buffered IoU: Yang et al., WACV 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vesalius.core.boxes import Detected
from vesalius.errors import OptionError
from vesalius.kernels.boxgeometry import iou

LEAST_OVERLAP, LEAST_OVERLAP_DOUBTFUL, LEAST_OVERLAP_WIDE = 0.3, 0.4, 0.3
"""A box and a track are one object only where they overlap by this IoU or more: likely boxes, doubtful ones, and widened likely ones."""
WIDENED = 0.3
"""Share of its size by which a box is widened on each side."""
OTHER_CLASS = 0.35
"""What is taken off the overlap where box and track are not of one class."""
SPREAD_PLACE, SPREAD_SPEED = 1 / 20, 1 / 160
"""Standard deviations of place and of speed (a frame) as shares of the object's size, those of ByteTrack."""
PATIENCE = 30
"""Frames after which a track that was not seen again ends."""


@dataclass(frozen=True)
class Tracks:
    """The objects seen in one frame: ``ids`` ``[N]`` int64, and for each what was detected (see `Detected`), in the order of the ids."""

    ids: np.ndarray
    found: Detected

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class _Filter:
    """Constant-velocity Kalman filters, one for each coordinate of each track: value and speed ``[T, C, 2]``, covariance ``[T, C, 2, 2]``."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def begin(cls, measured: np.ndarray) -> _Filter:
        """New tracks at ``measured`` ``[T, C]`` (centre, then size), of unknown speed."""
        size = _scale(measured)
        mean = np.stack([measured, np.zeros_like(measured)], -1)
        covariance = np.zeros((*measured.shape, 2, 2))
        covariance[..., 0, 0], covariance[..., 1, 1] = (2 * SPREAD_PLACE * size) ** 2, (16 * SPREAD_SPEED * size) ** 2
        return cls(mean, covariance)

    def predict(self) -> None:
        """One frame on."""
        size = _scale(self.mean[..., 0])
        step = np.array([[1.0, 1.0], [0.0, 1.0]])
        self.mean = self.mean @ step.T
        self.covariance = step @ self.covariance @ step.T
        self.covariance[..., 0, 0] += (SPREAD_PLACE * size) ** 2
        self.covariance[..., 1, 1] += (SPREAD_SPEED * size) ** 2

    def correct(self, rows: np.ndarray, measured: np.ndarray) -> None:
        """Tracks ``rows`` were measured at ``[len(rows), C]``."""
        noise = (SPREAD_PLACE * _scale(measured)) ** 2
        gain = self.covariance[rows, :, :, 0] / (self.covariance[rows, :, 0, 0] + noise)[..., None]
        self.mean[rows] += gain * (measured - self.mean[rows, :, 0])[..., None]
        self.covariance[rows] -= gain[..., None] * self.covariance[rows, :, 0, None, :]

    def kept(self, rows: np.ndarray) -> _Filter:
        return _Filter(self.mean[rows], self.covariance[rows])

    def joined(self, other: _Filter) -> _Filter:
        return _Filter(np.concatenate([self.mean, other.mean]), np.concatenate([self.covariance, other.covariance]))

    @property
    def boxes(self) -> np.ndarray:
        """``[T, 2 * ndim]``: where the tracks are thought to lie."""
        centre, size = np.split(self.mean[..., 0], 2, axis=1)
        half = np.maximum(size, 1e-3) / 2
        return np.concatenate([centre - half, centre + half], 1)


def _measured(boxes: np.ndarray) -> np.ndarray:
    """Boxes ``[N, 2 * ndim]`` to centres and sizes ``[N, 2 * ndim]``."""
    low, high = np.split(np.asarray(boxes, float), 2, axis=1)
    return np.concatenate([(low + high) / 2, high - low], 1)


def _scale(measured: np.ndarray) -> np.ndarray:
    """The mean extent of each object, for each of its coordinates: ``[N, 1]``."""
    return np.asarray(np.maximum(measured[:, measured.shape[1] // 2 :].mean(1, keepdims=True), 1.0))


def widened(boxes: np.ndarray, share: float = WIDENED) -> np.ndarray:
    """Boxes with a share of their size added on each side.

    >>> widened(np.array([[0.0, 0.0, 4.0, 8.0]]), 0.25).tolist()
    [[-1.0, -2.0, 5.0, 10.0]]
    """
    low, high = np.split(np.asarray(boxes, float), 2, axis=1)
    more = (high - low) * share
    return np.concatenate([low - more, high + more], 1)


class Tracker:
    """Gives boxes their ids, frame by frame.

    Parameters
    ----------
    thresholds: ``[K]``: the score from which a box of each class is likely (its operating point). Boxes below are doubtful.
    ndim: spatial axes of the boxes.
    confirm: an object gets its id when it was seen in so many frames on end (in the first frame at once), so that a false alarm of one frame
        takes none.
    patience: frames after which an object that was not seen again is gone; if it comes back later it is a new one.

    Raises
    ------
    OptionError: ``confirm`` below 1 or ``patience`` below 0.
    """

    def __init__(self, thresholds: np.ndarray, *, ndim: int = 2, confirm: int = 2, patience: int = PATIENCE) -> None:
        if confirm < 1 or patience < 0:
            raise OptionError("such a tracker cannot be", expected="confirm of 1 or more, patience of 0 or more", got=f"confirm {confirm}, patience {patience}")
        self.thresholds, self.ndim, self.confirm, self.patience = np.asarray(thresholds, float), ndim, confirm, patience
        self._filter = _Filter.begin(np.zeros((0, 2 * ndim)))
        self._ids, self._hits, self._unseen = (np.zeros(0, np.int64) for _ in range(3))
        self._votes = np.zeros((0, len(self.thresholds)))
        self._next, self._frames = 1, 0

    def update(self, found: Detected, step: int = 1) -> Tracks:
        """The objects of the next frame; ``step`` (1 or more) is above 1 where frames were dropped in between.

        The boxes are those that were detected; the class is the one that the object's boxes were given most surely so far.
        """
        for _ in range(step if len(self._ids) else 0):
            self._filter.predict()
        likely = found.scores >= self.thresholds[found.labels]
        rows, places = self._assigned(found, likely)
        self._unseen += step
        self._filter.correct(rows, _measured(found.boxes[places]))
        self._hits[rows] += 1
        self._unseen[rows] = 0
        np.add.at(self._votes, (rows, found.labels[places]), found.scores[places])
        born = np.setdiff1d(np.flatnonzero(likely), places)
        rows, places = np.concatenate([rows, len(self._ids) + np.arange(len(born))]), np.concatenate([places, born])
        self._begin(found.kept(born))
        self._name(rows)
        self._frames += 1
        seen = self._seen(found, rows, places)
        self._end()
        return seen

    def _assigned(self, found: Detected, likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and the boxes that continue them: known objects first, then new ones with likely boxes that are left."""
        off = OTHER_CLASS * (self._votes.argmax(1)[:, None] != found.labels[None]) if len(self._ids) else np.zeros((0, len(found)))
        near, wide = iou(self._filter.boxes, found.boxes) - off, iou(widened(self._filter.boxes), widened(found.boxes)) - off
        named, seen_last = self._ids > 0, self._unseen == 0
        rounds = (
            (near, named, likely, LEAST_OVERLAP), (near, named & seen_last, ~likely, LEAST_OVERLAP_DOUBTFUL), (wide, named, likely, LEAST_OVERLAP_WIDE),
            (wide, ~named, likely, LEAST_OVERLAP_WIDE),
        )  # fmt: skip
        pairs: list[tuple[int, int]] = []
        for overlap, tracks, boxes, least in rounds:
            taken = {row for row, _ in pairs}, {place for _, place in pairs}
            open_rows = np.array([row for row in np.flatnonzero(tracks) if row not in taken[0]], np.int64)
            open_places = np.array([place for place in np.flatnonzero(boxes) if place not in taken[1]], np.int64)
            pairs += _matched(overlap, open_rows, open_places, least)
        matched = np.array(sorted(pairs), np.int64).reshape(-1, 2)
        return matched[:, 0], matched[:, 1]

    def _begin(self, born: Detected) -> None:
        n = len(born)
        self._filter = self._filter.joined(_Filter.begin(_measured(born.boxes)))
        self._ids = np.concatenate([self._ids, np.zeros(n, np.int64)])
        self._hits = np.concatenate([self._hits, np.ones(n, np.int64)])
        self._unseen = np.concatenate([self._unseen, np.zeros(n, np.int64)])
        votes = np.zeros((n, len(self.thresholds)))
        votes[np.arange(n), born.labels] = born.scores
        self._votes = np.concatenate([self._votes, votes])

    def _name(self, rows: np.ndarray) -> None:
        """Ids for those that were seen often enough, in order of their place in the list."""
        enough = 1 if self._frames == 0 else self.confirm
        for row in rows:
            if self._ids[row] == 0 and self._hits[row] >= enough:
                self._ids[row], self._next = self._next, self._next + 1

    def _seen(self, found: Detected, rows: np.ndarray, places: np.ndarray) -> Tracks:
        shown = self._ids[rows] > 0
        rows, places = rows[shown], places[shown]
        order = np.argsort(self._ids[rows])
        rows, places = rows[order], places[order]
        held = found.kept(places)
        return Tracks(self._ids[rows], Detected(held.boxes, self._votes[rows].argmax(1).astype(np.int64), held.scores, held.risk))

    def _end(self) -> None:
        """Forget objects that are gone, and new ones that were not seen again at once."""
        left = np.flatnonzero(self._unseen <= np.where(self._ids > 0, self.patience, 0))
        self._filter = self._filter.kept(left)
        self._ids, self._hits, self._unseen, self._votes = self._ids[left], self._hits[left], self._unseen[left], self._votes[left]


def _matched(overlap: np.ndarray, rows: np.ndarray, places: np.ndarray, least: float) -> list[tuple[int, int]]:
    """The pairs of tracks and boxes whose overlaps add up to the most; none below ``least``."""
    if not len(rows) or not len(places):
        return []
    held = overlap[np.ix_(rows, places)]
    # What may not be paired counts nothing, so that no allowed pair is given up for a forbidden one.
    first, second = linear_sum_assignment(np.where(held >= least, held, 0.0), maximize=True)
    return [(int(rows[a]), int(places[b])) for a, b in zip(first, second, strict=True) if held[a, b] >= least]
