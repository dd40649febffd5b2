"""Ids stay with their objects through crossings, missed frames, doubt and false alarms; the scores are those of the papers."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.core.boxes import Detected
from vesalius.errors import OptionError
from vesalius.kernels.tracking import Tracker, widened
from vesalius.kernels.trackscores import track_scores
from vesalius.phantoms.clip import draw_paths
from vesalius.phantoms.smear import CLASSES, draw_stain, placed

THRESHOLDS = np.full(3, 0.5)


def detected(boxes: object, scores: object = None, labels: object = None) -> Detected:
    held = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(held)
    return Detected(held, np.zeros(n, np.int64) if labels is None else np.asarray(labels, np.int64),
                    np.full(n, 0.9, np.float32) if scores is None else np.asarray(scores, np.float32), np.full(n, np.nan, np.float32))


def square(y: float, x: float, side: float = 10.0) -> list[float]:
    return [y - side / 2, x - side / 2, y + side / 2, x + side / 2]


def run(frames: list[Detected], **options: int) -> list[tuple[np.ndarray, np.ndarray]]:
    tracker = Tracker(THRESHOLDS, **options)
    return [(seen.ids, seen.found.boxes) for seen in map(tracker.update, frames)]


def test_objects_that_cross_keep_their_ids() -> None:
    frames = [detected([square(50, 3 * t), square(50.5 + 0.2 * t, 120 - 3 * t)]) for t in range(40)]
    found = run(frames)
    for t, (ids, boxes) in enumerate(found):
        assert ids.tolist() == [1, 2]
        assert boxes[0, 1] == pytest.approx(3 * t - 5) and boxes[1, 1] == pytest.approx(115 - 3 * t)


def test_an_object_that_is_hidden_comes_back_under_its_id() -> None:
    frames = [detected([square(20, 10 + 4 * t)] if not 10 <= t < 18 else []) for t in range(30)]
    found = run(frames)
    assert [ids.tolist() for ids, _ in found[10:18]] == [[]] * 8
    assert all(ids.tolist() == [1] for ids, _ in found[:10] + found[18:]), "it moved 32 samples, three times its size, while it was hidden"


def test_an_object_that_stays_away_is_a_new_one() -> None:
    frames = [detected([square(20, 20)] if not 5 <= t < 12 else []) for t in range(20)]
    assert run(frames, patience=6)[-1][0].tolist() == [2] and run(frames, patience=8)[-1][0].tolist() == [1]


def test_frames_that_were_dropped_are_steps() -> None:
    tracker = Tracker(THRESHOLDS)
    for t in range(8):
        tracker.update(detected([square(20, 7 * t)]))
    assert tracker.update(detected([square(20, 7 * 11)]), step=4).ids.tolist() == [1]
    lost = Tracker(THRESHOLDS)
    for t in range(8):
        lost.update(detected([square(20, 7 * t)]))
    assert lost.update(detected([square(20, 7 * 11)])).ids.tolist() == [], "without the step it is somewhere else"


def test_a_false_alarm_of_one_frame_takes_no_id() -> None:
    frames = [detected([square(20, 20), *([square(80, 80)] if t == 3 else [])]) for t in range(8)]
    assert [ids.tolist() for ids, _ in run(frames)] == [[1]] * 8
    assert run(frames, confirm=1)[3][0].tolist() == [1, 2]


def test_doubtful_boxes_continue_a_track_and_begin_none() -> None:
    frames = [detected([square(20, 20 + t), square(70, 70)], [0.9 if t < 4 else 0.2, 0.2]) for t in range(10)]
    assert [ids.tolist() for ids, _ in run(frames)] == [[1]] * 10


def test_the_class_is_the_one_that_was_surest_so_far() -> None:
    tracker = Tracker(THRESHOLDS)
    labels = [tracker.update(detected([square(20, 20)], [0.6 if t == 4 else 0.9], [1 if t == 4 else 2])).found.labels.tolist() for t in range(6)]
    assert labels == [[2]] * 6


def test_a_late_object_gets_the_next_id_when_it_was_seen_twice() -> None:
    frames = [detected([square(20, 20), *([square(60, 60)] if t >= 3 else [])]) for t in range(6)]
    assert [ids.tolist() for ids, _ in run(frames)] == [[1]] * 4 + [[1, 2]] * 2


def test_a_frame_without_any_box_and_volumes() -> None:
    tracker = Tracker(np.array([0.5]), ndim=3)
    assert len(tracker.update(Detected.empty(3))) == 0
    cube = Detected(np.array([[1, 1, 1, 5, 5, 5]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32), np.full(1, np.nan, np.float32))
    tracker.update(cube)
    assert tracker.update(cube).ids.tolist() == [1]


@pytest.mark.parametrize("seed", range(4))
def test_cells_that_cross_under_a_poor_detector_keep_their_ids(seed: int) -> None:
    """A tenth of the boxes missed, one false alarm in two frames, edges off by 4 % of the size, a sixth of the boxes doubtful, two blind frames."""
    rng = np.random.default_rng(seed)
    paths = draw_paths(rng, draw_stain(rng), (160, 213), 90, 12)
    truth, frames = [], []
    for t in range(90):
        seen = [(i, lies) for i, path in enumerate(paths) if (lies := placed(path.cell, *path.at(t), (160, 213))) is not None]
        boxes = np.array([lies.box for _, lies in seen], float).reshape(-1, 4)
        truth.append((np.array([i for i, _ in seen]), boxes))
        held = (rng.random(len(seen)) > 0.1) & (t not in (40, 41))
        size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        noisy = boxes + rng.normal(0, 0.04, boxes.shape) * size
        labels = np.array([CLASSES.index(lies.cell.kind) for _, lies in seen], np.int64)
        scores = np.where(rng.random(len(seen)) < 1 / 6, 0.3, 0.9)
        false = [square(*rng.uniform(20, 140, 2), 25)] * int(rng.random() < 0.5)
        frames.append(detected(np.concatenate([noisy[held], np.array(false).reshape(-1, 4)]), [*scores[held], *[0.7] * len(false)],
                               [*labels[held], *[1] * len(false)]))
    scores_ = track_scores(truth, run(frames))
    assert scores_.switches <= 2 and scores_.mota > 0.8 and scores_.idf1 > 0.85, scores_


def test_scores_of_a_perfect_of_a_poor_and_of_no_tracking() -> None:
    truth = [(np.array([7, 8]), np.array([square(20, 20), square(60, 60)])) for _ in range(4)]
    perfect = track_scores(truth, truth)
    assert (perfect.mota, perfect.idf1, perfect.switches, perfect.misses, perfect.false, perfect.n_true) == (1, 1, 0, 0, 0, 8)
    swapped = [(ids if t < 2 else ids[::-1], boxes) for t, (ids, boxes) in enumerate(truth)]
    poor = track_scores(truth, swapped)
    assert poor.switches == 2 and poor.mota == pytest.approx(1 - 2 / 8) and poor.idf1 == pytest.approx(0.5)
    none = track_scores(truth, [(np.zeros(0, int), np.zeros((0, 4)))] * 4)
    assert (none.mota, none.idf1, none.misses) == (0, 0, 8)
    false = track_scores(truth, [(np.array([7, 8, 9]), np.array([square(20, 20), square(60, 60), square(90, 90)]))] * 4)
    assert false.false == 4 and false.mota == pytest.approx(0.5) and false.idf1 == pytest.approx(2 * 8 / (8 + 12))
    assert np.isnan(track_scores([(np.zeros(0, int), np.zeros((0, 4)))], [(np.zeros(0, int), np.zeros((0, 4)))]).mota)


def test_what_was_one_object_stays_one_while_it_may() -> None:
    truth = [(np.array([1]), np.array([square(20, 20)]))] * 2
    found = [(np.array([5]), np.array([square(20, 21)])), (np.array([4, 5]), np.array([square(20, 20), square(20, 22)]))]
    assert track_scores(truth, found).switches == 0


def test_a_tracker_that_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="such a tracker cannot be: expected confirm of 1 or more, patience of 0 or more, got confirm 0, patience 5"):
        Tracker(THRESHOLDS, confirm=0, patience=5)


def test_widening_keeps_the_centre() -> None:
    assert widened(np.array([square(10, 20)]), 0.1).tolist() == [square(10, 20, 12)]
