import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from skimage.measure import label
from sklearn.metrics import jaccard_score

from vesalius.errors import OptionError
from vesalius.kernels.lesions import components, f1, match


def boxes(*places, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


TWO = boxes(np.s_[1:5, 1:5], np.s_[10:14, 10:14])


def test_touching_by_a_corner_is_one_component():
    diagonal = np.eye(4, dtype=bool)
    assert components(diagonal)[1] == 1
    assert components(np.pad(np.eye(3, dtype=bool)[None] & np.ones((3, 1, 1), bool), 1))[1] == 1
    assert components(np.zeros((3, 3), bool))[1] == 0


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (6, 7, 5)))
def test_components_are_those_of_scikit_image(mask):
    labels, n = components(mask)
    assert n == label(mask, connectivity=3).max() and (labels > 0).tolist() == mask.tolist()


def test_counts_and_qualities_by_hand():
    predicted = boxes(np.s_[1:5, 1:4], np.s_[16:18, 16:18], np.s_[10:14, 13:17])
    found = match(TWO, predicted)
    assert (found.n_true, found.n_predicted, found.n_found, found.n_false) == (2, 3, 1, 2)
    assert found.ious == (0.75,)
    assert found.rq == pytest.approx(1 / (1 + 0.5 * 2 + 0.5 * 1)) == f1(2, 1, 2)
    assert (found.sq, found.sensitivity) == (0.75, 0.5) and found.pq == pytest.approx(0.75 * found.rq)
    assert match(TWO, predicted, threshold=0.1).n_found == 2
    assert match(TWO, predicted, threshold=0).n_false == 1


def test_an_overlap_of_exactly_the_threshold_is_a_match():
    assert match(boxes(np.s_[0:4, 0:4]), boxes(np.s_[0:4, 0:2])).n_found == 1
    assert match(boxes(np.s_[0:4, 0:4]), boxes(np.s_[0:4, 0:2]), threshold=0.51).n_found == 0


def test_the_second_piece_of_a_lesion_is_false_unless_many_may_match():
    truth = boxes(np.s_[2:6, 0:12])
    pieces = boxes(np.s_[2:6, 0:6], np.s_[2:6, 8:12])
    one, many = (match(truth, pieces, threshold=0.2, many_to_one=flag) for flag in (False, True))
    assert (one.n_found, one.n_false, one.ious) == (1, 1, (0.5,))
    assert (many.n_found, many.n_false) == (1, 0) and many.ious == pytest.approx((40 / 48,))


def test_one_prediction_over_two_lesions_finds_only_the_one_it_fits_best():
    truth = boxes(np.s_[2:6, 0:6], np.s_[2:6, 8:11])
    for flag in (False, True):
        found = match(truth, boxes(np.s_[2:6, 0:11]), threshold=0.1, many_to_one=flag)
        assert (found.n_found, found.n_false, found.ious) == (1, 0, (6 / 11,))


def test_the_best_pairs_are_taken_first():
    truth = boxes(np.s_[2:6, 0:6], np.s_[2:6, 8:14])
    predicted = boxes(np.s_[2:6, 5:14])
    found = match(truth, predicted, threshold=0)
    assert found.ious == (24 / 36,)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (7, 8)), arrays(bool, (7, 8)))
def test_one_to_one_matches_are_symmetric_and_counts_add_up(truth, predicted):
    one, other = match(truth, predicted), match(predicted, truth)
    assert one.n_found == other.n_found == one.n_predicted - one.n_false == len(one.ious)
    assert sorted(one.ious) == pytest.approx(sorted(other.ious)) and all(0.5 <= iou <= 1 for iou in one.ious)
    assert one.n_found <= min(one.n_true, one.n_predicted)


@settings(max_examples=20, deadline=None)
@given(arrays(bool, (6, 6)), arrays(bool, (6, 6)))
def test_the_iou_of_single_components_is_scikit_learns(truth, predicted):
    found = match(truth, predicted, threshold=0)
    if found.n_true == found.n_predicted == found.n_found == 1:
        assert found.ious == pytest.approx((jaccard_score(truth.ravel(), predicted.ravel()),))


def test_empty_masks():
    nothing = np.zeros_like(TWO)
    both = match(nothing, nothing)
    assert np.isnan([both.rq, both.sq, both.pq, both.sensitivity]).all()
    missed, invented = match(TWO, nothing), match(nothing, TWO)
    assert (missed.rq, missed.pq, missed.sensitivity, missed.n_false) == (0, 0, 0, 0)
    assert (invented.rq, invented.pq, invented.n_false) == (0, 0, 2) and np.isnan(invented.sensitivity)


def test_a_threshold_that_is_no_share_is_refused():
    with pytest.raises(OptionError, match="the least overlap of a lesion is a share: expected an IoU of 0 to 1, got 50"):
        match(TWO, TWO, threshold=50)
