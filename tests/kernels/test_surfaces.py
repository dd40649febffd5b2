import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric
from scipy import ndimage
from scipy.spatial.distance import cdist

from vesalius.errors import OptionError
from vesalius.kernels import surfaces
from vesalius.kernels.surfaces import corner_codes, distances, percentile, surface_of, surface_scores
from vesalius.seed import generator

ISO = (1.0, 1.0, 1.0)
ROUNDING = 1e-6


def ball(shape, centre, radii):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((x - c) / r) ** 2 for x, c, r in zip(grid, centre, radii, strict=True)) <= 1


def blobs(seed, shape=(14, 16, 18)):
    """Two random masks that resemble one another."""
    rng = generator(seed, "blobs")
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    other = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return field > 0.05, other > 0.05


def monai_nsd(truth, predicted, spacing, tolerance):
    metric = SurfaceDiceMetric(class_thresholds=[tolerance], include_background=True, use_subvoxels=True)
    return float(metric(torch.tensor(predicted)[None, None].float(), torch.tensor(truth)[None, None].float(), spacing=list(spacing))[0, 0])


def monai_hd(truth, predicted, spacing, percent=None):
    metric = HausdorffDistanceMetric(include_background=True, percentile=percent)
    return float(metric(torch.tensor(predicted)[None, None].float(), torch.tensor(truth)[None, None].float(), spacing=list(spacing))[0, 0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [ISO, (3.0, 0.7, 1.1)])
def test_nsd_in_three_axes_equals_monais_surface_elements(seed, spacing):
    truth, predicted = (np.pad(mask, 1) for mask in blobs(seed))
    for tolerance in (0.0, 1.0, 2.5):
        found = surface_scores(truth, predicted, spacing_mm=spacing, tolerance_mm=tolerance)["nsd"]
        assert found == pytest.approx(monai_nsd(truth, predicted, spacing, tolerance), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_nsd_in_two_axes_equals_monais_contour_elements(seed):
    truth, predicted = (np.pad(mask[:, :, 5], 1) for mask in blobs(seed, (30, 30, 10)))
    for spacing, tolerance in (((1.0, 1.0), 1.0), ((0.5, 2.0), 1.0)):
        found = surface_scores(truth, predicted, spacing_mm=spacing, tolerance_mm=tolerance)["nsd"]
        assert found == pytest.approx(monai_nsd(truth, predicted, spacing, tolerance), abs=1e-5)


@pytest.mark.parametrize("spacing", [ISO, (2.0, 0.8, 1.0)])
def test_hd95_is_monais_within_a_sample(spacing):
    truth, predicted = ball((30, 40, 40), (15, 20, 20), (8, 12, 10)), ball((30, 40, 40), (16, 23, 19), (9, 10, 12))
    found = surface_scores(truth, predicted, spacing_mm=spacing, tolerance_mm=1.0)["hd95"]
    assert abs(found - monai_hd(truth, predicted, spacing, 95)) <= max(spacing)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (5, 6, 7)), arrays(bool, (5, 6, 7)), st.sampled_from([ISO, (2.5, 0.5, 1.0)]))
def test_distances_are_those_to_the_nearest_element(first, second, spacing):
    a, b = surface_of(first, spacing), surface_of(second, spacing)
    if len(b) == 0:
        assert np.isnan(distances(a, b)).all()
    elif len(a):
        expected = cdist(a.points_mm(), b.points_mm()).min(1)
        for dense in (0.0, 1.0):  # by distance transform, by tree
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(surfaces, "DENSE", dense)
                assert distances(a, b) == pytest.approx(expected, abs=ROUNDING)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (6, 7)), arrays(bool, (6, 7)), st.floats(0, 4))
def test_nsd_is_a_share_that_grows_with_the_tolerance_and_is_symmetric(first, second, tolerance):
    one, two = (surface_scores(first, second, spacing_mm=(1.0, 1.5), tolerance_mm=t) for t in (tolerance, tolerance + 1))
    swapped = surface_scores(second, first, spacing_mm=(1.0, 1.5), tolerance_mm=tolerance)
    assert one == pytest.approx(swapped, nan_ok=True)
    if np.isfinite(one["nsd"]):
        assert 0 <= one["nsd"] <= two["nsd"] <= 1


@settings(max_examples=20, deadline=None)
@given(arrays(bool, (4, 5, 6)))
def test_a_mask_agrees_with_itself(mask):
    found = surface_scores(mask, mask, spacing_mm=ISO, tolerance_mm=0.0)
    assert found == ({"nsd": 1.0, "hd95": 0.0} if mask.any() else pytest.approx({"nsd": np.nan, "hd95": np.nan}, nan_ok=True))


def test_a_cube_moved_by_one_sample():
    truth = np.zeros((12, 12, 12), bool)
    truth[3:9, 3:9, 3:9] = True
    moved = np.roll(truth, 1, 2)
    for spacing in ((1.0, 1.0, 2.0), (1.0, 1.0, 0.3)):
        assert surface_scores(truth, moved, spacing_mm=spacing, tolerance_mm=0.0)["hd95"] == pytest.approx(spacing[2])
        assert surface_scores(truth, moved, spacing_mm=spacing, tolerance_mm=spacing[2])["nsd"] == 1.0
        assert surface_scores(truth, moved, spacing_mm=spacing, tolerance_mm=0.99 * spacing[2])["nsd"] < 1


def test_three_steps_of_a_tenth_are_within_three_tenths():
    truth = np.zeros((9, 30), bool)
    truth[2:7, 5:15] = True
    assert surface_scores(truth, np.roll(truth, 3, 1), spacing_mm=(0.1, 0.1), tolerance_mm=0.3)["nsd"] == 1.0


def test_doubled_spacing_doubles_the_distance():
    truth, predicted = blobs(1)
    once, twice = (surface_scores(truth, predicted, spacing_mm=(k, k, 2.0 * k), tolerance_mm=k) for k in (1.0, 2.0))
    assert twice["hd95"] == pytest.approx(2 * once["hd95"]) and twice["nsd"] == pytest.approx(once["nsd"])


def test_the_area_of_a_ball_and_the_length_of_a_square():
    radius = 20
    area = surface_of(ball((50, 50, 50), (25, 25, 25), (radius,) * 3), ISO).size.sum()
    assert area == pytest.approx(4 * np.pi * radius**2, rel=0.12)  # a staircase of triangles is larger than the ball
    square = np.zeros((8, 8), bool)
    square[2:6, 2:6] = True
    assert surface_of(square, (1.0, 2.0)).size.sum() == pytest.approx(2 * 3 * 1 + 2 * 3 * 2 + 4 * np.hypot(1, 2) / 2)


def test_a_mask_that_fills_the_array_has_its_surface_at_the_edge():
    full = np.ones((3, 3), bool)
    assert len(surface_of(full, (1.0, 1.0))) == 12 and corner_codes(full)[0].tolist() == [1, 3, 3, 2]


def test_what_is_not_judged_has_no_surface():
    truth = np.zeros((12, 12), bool)
    truth[2:10, 2:10] = True
    predicted = truth.copy()
    predicted[2:10, 8:10] = False
    judged = np.ones((12, 12), bool)
    judged[:, 7:] = False
    found = [surface_scores(truth & j, predicted & j, spacing_mm=(1.0, 1.0), tolerance_mm=0.5, judged=j) for j in (np.ones_like(judged), judged)]
    assert found[0]["nsd"] < 1 and found[1] == {"nsd": 1.0, "hd95": 0.0}


def test_the_percentile_weighs_by_area():
    assert percentile(np.array([5.0, 0.0, 1.0]), np.array([10.0, 80.0, 10.0])) == 5.0
    assert percentile(np.array([5.0, 0.0, 1.0]), np.array([1.0, 80.0, 19.0])) == 1.0
    assert np.isnan(percentile(np.zeros(0), np.zeros(0)))


def test_a_spacing_that_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="a surface lies in two or three axes: expected a spacing for each axis, got shape \\(3, 3\\), spacing \\(1.0,\\)"):
        surface_of(np.ones((3, 3), bool), (1.0,))
