import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import DiceMetric, MeanIoU
from PIL import Image
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.kernels import maskscores
from vesalius.kernels.maskscores import area, score_case, score_study
from vesalius.kernels.surfaces import surface_scores
from vesalius.seed import generator

TWO = TargetSpec("mask", ("liver", "tumour"), values=((1,), (2,)))
REGIONS = TargetSpec("mask", ("whole", "core"), values=((1, 2), (2,)), exclusive=False)
SETTING = {"spacing_mm": (2.0, 1.0, 1.5), "tolerance_mm": 1.5}
FLAT = {"spacing_mm": (1.0, 0.5), "tolerance_mm": 1.0}
NAMES = {
    "dice", "iou", "sensitivity", "specificity", "ppv", "nsd", "hd95", "auc", "size_true", "size_predicted", "n_true", "n_found", "n_false", "note",
}
mask = arrays(bool, (5, 6, 4))


def same(first, second):
    numbers = [{name: value for name, value in row.items() if not isinstance(value, str)} for row in (first, second)]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(mask, mask, mask)
def test_overlap_equals_scikit_learn_and_monai_among_the_judged(truth, predicted, view):
    found = score_case(truth, predicted, view=view, **SETTING)
    assert set(found) == NAMES
    t, p = truth[view], predicted[view]
    for name, expected in (
        ("sensitivity", recall_score(t, p, zero_division=np.nan) if t.size else np.nan),
        ("specificity", recall_score(~t, ~p, zero_division=np.nan) if t.size else np.nan),
        ("ppv", precision_score(t, p, zero_division=np.nan) if t.size else np.nan),
    ):
        assert found[name] == pytest.approx(expected, nan_ok=True), name
    y = [torch.tensor(m & view)[None, None].float() for m in (predicted, truth)]
    assert found["dice"] == pytest.approx(float(DiceMetric(ignore_empty=not p.any())(*y)[0, 0]), nan_ok=True)
    assert found["iou"] == pytest.approx(float(MeanIoU(ignore_empty=not p.any())(*y)[0, 0]), nan_ok=True)
    assert (found["size_true"], found["size_predicted"]) == (3.0 * t.sum(), 3.0 * p.sum())


@settings(max_examples=30, deadline=None)
@given(mask, mask)
def test_scores_are_bounded_and_symmetric_where_they_should_be(truth, predicted):
    one, other = score_case(truth, predicted, **SETTING), score_case(predicted, truth, **SETTING)
    for name in ("dice", "iou", "nsd", "hd95"):
        assert one[name] == pytest.approx(other[name], nan_ok=True)
    assert one["sensitivity"] == pytest.approx(other["ppv"], nan_ok=True)
    if truth.any() or predicted.any():
        assert 0 <= one["iou"] <= one["dice"] <= 1 and one["dice"] == pytest.approx(2 * one["iou"] / (1 + one["iou"]))


@settings(max_examples=15, deadline=None)
@given(mask)
def test_a_perfect_prediction(truth):
    found = score_case(truth, truth, **SETTING)
    if truth.any():
        assert (found["dice"], found["iou"], found["nsd"], found["hd95"], found["n_false"], found["note"]) == (1, 1, 1, 0, 0, "")
        assert found["n_found"] == found["n_true"] > 0


@settings(max_examples=15, deadline=None)
@given(mask, mask, st.integers(1, 6))
def test_air_around_the_case_changes_only_the_specificity(truth, predicted, width):
    def known(found):
        return {name: value for name, value in found.items() if name != "specificity"}

    padded = [np.pad(m, width) for m in (truth, predicted)]
    same(known(score_case(truth, predicted, **SETTING)), known(score_case(*padded, **SETTING)))


@settings(max_examples=30, deadline=None)
@given(mask, mask, mask)
def test_looking_only_at_the_box_of_the_masks_changes_no_distance(truth, predicted, view):
    truth, predicted, view = (np.pad(m, 2, constant_values=edge) for m, edge in ((truth, False), (predicted, False), (view, False)))
    found = score_case(truth, predicted, view=view, **SETTING)
    whole = surface_scores(truth & view, predicted & view, judged=view, **SETTING)
    assert {name: found[name] for name in whole} == pytest.approx(whole, nan_ok=True)


def test_the_table_of_the_empty():
    some, nothing = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    some[2:5, 2:5] = True
    p = generator(0, "p").random((8, 8))
    both, invented, missed = (score_case(*pair, probability=p, **FLAT) for pair in ((nothing, nothing), (nothing, some), (some, nothing)))
    nan = {name for name in NAMES - {"note"} if np.isnan(both[name])}
    assert nan == {"dice", "iou", "sensitivity", "ppv", "nsd", "hd95", "auc"} and both["note"] == "both empty" and both["specificity"] == 1
    assert {name for name in NAMES - {"note"} if np.isnan(invented[name])} == {"sensitivity", "hd95", "auc"}
    assert (invented["dice"], invented["iou"], invented["ppv"], invented["nsd"], invented["n_false"], invented["note"]) == (0, 0, 0, 0, 1, "truth empty")
    assert {name for name in NAMES - {"note"} if np.isnan(missed[name])} == {"ppv", "hd95"}
    assert (missed["dice"], missed["sensitivity"], missed["nsd"], missed["specificity"], missed["note"]) == (0, 0, 0, 1, "prediction empty")
    assert (missed["n_true"], missed["n_found"]) == (1, 0)


def test_what_lies_outside_of_the_view_counts_in_nothing():
    truth, predicted = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[4:12, 4:12] = predicted[4:12, 4:12] = True
    view = np.ones((20, 20), bool)
    view[:, 14:] = False
    dirty = [m.copy() for m in (truth, predicted)]
    dirty[0][1:3, 16:19], dirty[1][10:18, 14:18] = True, True
    p = generator(0, "p").random((20, 20))
    same(score_case(*dirty, view=view, probability=p, **FLAT), score_case(truth, predicted, view=view, probability=p, **FLAT))
    assert score_case(*dirty, view=view, **FLAT)["n_false"] == 0 and score_case(*dirty, **FLAT)["n_false"] == 1


def test_a_vessel_that_leaves_the_view_has_no_surface_at_its_edge():
    truth = np.zeros((20, 20), bool)
    truth[8:11, :] = True
    predicted, view = truth.copy(), np.ones((20, 20), bool)
    predicted[:, 15:], view[:, 15:] = False, False
    assert score_case(truth, predicted, view=view, **FLAT)["nsd"] == 1.0
    assert score_case(truth, predicted, **FLAT)["nsd"] < 1.0


def study(seed=0, shape=(8, 20, 20)):
    rng = generator(seed, "study")
    truth, predicted = np.zeros((1, *shape), np.uint8), np.zeros((1, *shape), np.uint8)
    truth[0, 2:6, 3:12, 3:12], truth[0, 3:5, 5:8, 5:8] = 1, 2
    predicted[0, 2:6, 4:13, 3:12], predicted[0, 3:5, 5:9, 5:8] = 1, 2
    truth[0][rng.random(shape) < 0.05] = IGNORED
    return truth, predicted


def test_a_label_map_is_scored_class_by_class():
    truth, predicted = study()
    judged = truth[0] != IGNORED
    rows = score_study(truth, predicted, TWO, **SETTING)
    assert [row["class"] for row in rows] == ["liver", "tumour"]
    for k, row in enumerate(rows):
        same(row, score_case(truth[0] == k + 1, predicted[0] == k + 1, view=judged, **SETTING))


def test_planes_for_each_class_give_the_same_as_the_label_map():
    truth, predicted = study()
    planes = np.stack([predicted[0] == 1, predicted[0] == 2])
    for given_planes in (planes, planes.astype(np.uint8)):
        for row, expected in zip(score_study(truth, given_planes, TWO, **SETTING), score_study(truth, predicted, TWO, **SETTING), strict=True):
            same(row, expected)


def test_regions_may_overlap_and_each_has_its_own_ignored_samples():
    truth, predicted = study()
    marked = np.stack([np.isin(truth[0], (1, 2)), truth[0] == 2]).astype(np.uint8)
    marked[1][truth[0] == IGNORED] = IGNORED
    found = np.stack([np.isin(predicted[0], (1, 2)), predicted[0] == 2]).astype(np.uint8)
    p = generator(0, "p").random(found.shape)
    view = np.ones(found.shape[1:], bool)
    view[:1] = False
    rows = score_study(marked, found, REGIONS, view=view, probability=p, **SETTING)
    for k, row in enumerate(rows):
        same(row, score_case(marked[k] == 1, found[k] == 1, view=view & (marked[k] != IGNORED), probability=p[k], **SETTING))
    assert rows[0]["size_true"] > rows[1]["size_true"] and np.isfinite(rows[0]["auc"])


def test_a_class_that_is_nowhere_is_said_to_be_empty():
    truth, predicted = study()
    truth[truth == 2] = predicted[predicted == 2] = 0
    assert [row["note"] for row in score_study(truth, predicted, TWO, **SETTING)] == ["", "both empty"]


@settings(max_examples=40, deadline=None)
@given(arrays(np.int8, 60, elements=st.integers(0, 12)), arrays(bool, 60), arrays(bool, 60))
def test_the_area_is_scikit_learns_with_ties_and_view(levels, truth, view):
    p = (levels / 12).astype(np.float32)
    found = area(p, truth, view)
    if len(set(truth[view])) == 2:
        assert found == pytest.approx(roc_auc_score(truth[view], p[view]), abs=1e-12)
    else:
        assert np.isnan(found)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_area_is_exact_over_several_chunks(share, monkeypatch):
    monkeypatch.setattr(maskscores, "CHUNK", 1000)
    rng = generator(0, "area")
    truth = rng.random((30, 100)) < share
    p = np.round(np.clip(rng.normal(0.5, 0.2, truth.shape) + 0.2 * truth, 0, 1), 2).astype(np.float32)
    assert area(p, truth) == pytest.approx(roc_auc_score(truth.ravel(), p.ravel()), abs=1e-12)


def test_masks_that_do_not_fit_are_refused():
    one = np.zeros((4, 4), bool)
    with pytest.raises(DataError, match=r"the masks of a case do not fit: expected shape \(4, 4\), got predicted of shape \(4, 5\)"):
        score_case(one, np.zeros((4, 5), bool), **FLAT)
    with pytest.raises(DataError, match=r"got view of shape \(5, 4\)"):
        score_case(one, one, view=np.zeros((5, 4), bool), **FLAT)
    with pytest.raises(DataError, match="the planes of the masks do not fit the target: expected 2 of truth, 2 or 2 predicted, got 1 and 1"):
        score_study(one[None].astype(np.uint8), one[None].astype(np.uint8), REGIONS, **FLAT)


@pytest.mark.parametrize("place", [(0, 0), (3, 3)])
def test_a_probability_that_is_not_a_number_is_refused(place):
    truth, p = np.eye(4, dtype=bool), np.full((4, 4), 0.5)
    p[place] = np.nan
    p[place[0], 1] = np.nan
    with pytest.raises(DataError, match="a probability is not a number: expected probabilities of 0 to 1, got NaN"):
        area(p, truth)


@pytest.mark.realdata
def test_the_second_observer_of_drive_has_the_dice_that_the_field_quotes(shared_data):
    def marked(folder, number):
        return np.array(Image.open(next((shared_data / "drive" / "testing" / folder).glob(f"{number:02d}_*"))).convert("L")) > 127

    setting = {"spacing_mm": (1.0, 1.0), "tolerance_mm": 1.0}
    rows = [score_case(*(marked(f"{which}_manual", k) for which in ("1st", "2nd")), view=marked("mask", k), **setting) for k in range(1, 21)]
    assert np.mean([row["dice"] for row in rows]) == pytest.approx(0.788, abs=0.001)
    assert np.mean([row["sensitivity"] for row in rows]) == pytest.approx(0.776, abs=0.001)
    assert np.mean([row["specificity"] for row in rows]) == pytest.approx(0.972, abs=0.001)
