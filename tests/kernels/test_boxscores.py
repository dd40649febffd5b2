import numpy as np
import pytest

from box_cases import CLASSES, cases, coco, found_of, of, truth_of
from vesalius.core.boxes import BoxTruth, Detected
from vesalius.errors import DataError, OptionError
from vesalius.kernels.boxscores import FALSE, NEITHER, RECALLS, TRUE, Responses, _points, average_precision, match, match_centres, precision_recall


@pytest.mark.parametrize("seed", range(12))
def test_average_precision_is_that_of_pycocotools(seed):
    many = seed % 3 == 0  # more than 100 predictions of a class in an image
    found, truths = cases(seed, n=4 if many else 20, extra=600 if many else 30)
    ours = np.concatenate([average_precision(of(found, truths, k)) for k in range(CLASSES)], 1)
    theirs, summary = coco(found, truths)
    assert np.isnan(ours).tolist() == np.isnan(theirs).tolist()
    assert np.nanmax(np.abs(ours - theirs)) < 1e-12
    assert abs(np.nanmean(ours) - summary[0]) < 1e-12 and abs(np.nanmean(ours[0]) - summary[1]) < 1e-12


def test_a_class_without_a_true_box_has_none_as_in_pycocotools():
    found, truths = cases(5)
    gone = [truth_of(each.boxes[each.labels > 0], each.labels[each.labels > 0], each.ignored[each.labels > 0]) for each in truths]
    theirs, summary = coco(found, gone)
    ours = np.concatenate([average_precision(of(found, gone, k)) for k in range(CLASSES)], 1)
    assert np.isnan(ours[:, 0]).all() and np.isnan(theirs[:, 0]).all() and abs(np.nanmean(ours) - summary[0]) < 1e-12


def test_weights_are_cases_that_are_there_so_many_times():
    found, truths = cases(3)
    times = np.random.default_rng(0).integers(0, 4, (20, 8))
    responses = of(found, truths, 1)
    weighted = average_precision(responses, times.astype(float))
    for b in range(8):
        place = np.repeat(np.arange(20), times[:, b])
        again = of([found[i] for i in place], [truths[i] for i in place], 1)
        # Equal scores in one order of the cases and the other are told apart: without them the figures agree.
        assert weighted[:, b] == pytest.approx(average_precision(again)[:, 0], abs=0.02)
    untied = [found_of(each.boxes, np.sort(np.random.default_rng(i).random(len(each)))[::-1], each.labels) for i, each in enumerate(found)]
    exact = average_precision(of(untied, truths, 1), times.astype(float))
    for b in range(8):
        place = np.repeat(np.arange(20), times[:, b])
        again = of([untied[i] for i in place], [truths[i] for i in place], 1)
        assert exact[:, b] == pytest.approx(average_precision(again)[:, 0], abs=1e-12)


def test_no_weight_at_all_is_undefined_and_nothing_found_is_nought():
    found, truths = cases(3)
    assert np.isnan(average_precision(of(found, truths, 1), np.zeros((20, 2)))).all()
    nothing = [Detected.empty(2) for _ in truths]
    assert average_precision(of(nothing, truths, 1)).tolist() == [[0.0]] * 10


def test_the_likeliest_takes_the_box_and_the_second_is_false():
    truth = truth_of([[0, 0, 10, 10]])
    found = found_of([[0, 0, 10, 10], [0, 0, 10, 9]], [0.5, 0.9])
    made = match(found, truth, [0.5])
    assert made.verdict.tolist() == [[FALSE, TRUE]] and made.truth.tolist() == [[-1, 0]]
    assert match(found, truth, [0.5, 0.95]).verdict.tolist() == [[FALSE, TRUE], [TRUE, FALSE]]


def test_an_ignored_box_takes_any_number_and_a_judged_one_comes_first():
    truth = truth_of([[0, 0, 10, 10], [0, 0, 40, 40]], ignored=[0, 1])
    found = found_of([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [50, 50, 60, 60]], [0.9, 0.8, 0.7, 0.6])
    made = match(found, truth, [0.5])
    assert made.verdict.tolist() == [[TRUE, NEITHER, NEITHER, FALSE]] and made.truth.tolist() == [[0, 1, 1, -1]]


def test_classes_do_not_meet_one_another():
    made = match(found_of([[0, 0, 9, 9]], [0.9], [1]), truth_of([[0, 0, 9, 9]], [0]), [0.5])
    assert made.verdict.tolist() == [[FALSE]]
    both = of([found_of([[0, 0, 9, 9]], [0.9], [1])], [truth_of([[0, 0, 9, 9]], [0])])
    assert both.truth.tolist() == [1] and both.verdict[0].tolist() == [FALSE]


def test_centres_in_the_lesion_as_luna16_has_it():
    truth = truth_of([[0, 0, 0, 10, 10, 10], [30, 30, 30, 50, 40, 40]], ignored=[0, 0])
    inside, corner, again, long, away = ([4, 4, 4, 8, 8, 8], [0, 0, 0, 2, 2, 2], [3, 3, 3, 6, 6, 6], [46, 33, 33, 49, 37, 37], [40, 40, 40, 41, 41, 41])
    made = match_centres(found_of([inside, corner, again, long, away], [0.9, 0.8, 0.7, 0.6, 0.5]), truth)
    assert made.verdict.tolist() == [[TRUE, FALSE, NEITHER, TRUE, FALSE]] and made.truth.tolist() == [[0, -1, 0, 1, -1]]
    spared = match_centres(found_of([inside, again], [0.9, 0.8]), truth_of([[0, 0, 0, 10, 10, 10]], ignored=[1]))
    assert spared.verdict.tolist() == [[NEITHER, NEITHER]]
    empty = match_centres(found_of(np.zeros((0, 6)), []), truth)
    assert empty.verdict.shape == (1, 0) and match_centres(found_of([away], [0.5]), truth_of(np.zeros((0, 6)))).verdict.tolist() == [[FALSE]]


def test_the_nearer_of_two_lesions_is_met():
    truth = truth_of([[0, 0, 0, 10, 10, 10], [0, 0, 4, 10, 10, 14]])
    made = match_centres(found_of([[4, 4, 7, 6, 6, 9], [4, 4, 7, 6, 6, 9]], [0.9, 0.8]), truth)
    assert made.truth.tolist() == [[1, 0]] and made.verdict.tolist() == [[TRUE, TRUE]]


def test_the_curve_of_precision_and_recall_by_hand():
    truths = [truth_of([[0, 0, 9, 9], [20, 20, 29, 29]]), truth_of([[0, 0, 9, 9]], ignored=[1])]
    found = [found_of([[0, 0, 9, 9], [50, 50, 59, 59], [20, 20, 29, 29]], [0.9, 0.8, 0.6]), found_of([[0, 0, 9, 9]], [0.7])]
    recall, precision = precision_recall(of(found, truths, 0))
    assert recall.tolist() == [0.5, 0.5, 1.0] and precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert average_precision(of(found, truths, 0))[0, 0] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert [len(part) for part in precision_recall(of(found, truths, 1))] == [0, 0]


def test_recall_points_are_counted_as_by_searching():
    recall = np.concatenate([np.arange(n + 1) / n for n in (1, 3, 7, 50, 100, 137, 1000)])
    assert _points(recall[:, None])[:, 0].tolist() == np.searchsorted(RECALLS, recall, side="right").tolist()


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(OptionError, match=r"boxes are matched from a least overlap on: expected IoU above 0, at most 1, got \[0\]"):
        match(found_of([[0, 0, 1, 1]], [1]), truth_of([[0, 0, 1, 1]]), [0])
    with pytest.raises(DataError, match=r"every case needs its predictions and its truth: expected as many of each \(at least one\), got \(1, 2, 0\)"):
        Responses.of([Detected.empty(2)], [BoxTruth.empty(2)] * 2, [])
