import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from skimage.measure import find_contours

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.errors import DataError
from vesalius.formats.opening import open_study
from vesalius.kernels.measure import axial_axis, contour_points, diameters, measure, measure_each
from vesalius.seed import generator

SPACING = (2.0, 1.0, 0.8)
SHAPE = (40, 70, 90)
INVARIANT = ("longest_diameter_mm", "perpendicular_diameter_mm", "longest_diameter_3d_mm", "volume_mm3", "centroid_mm", "extent_mm", "n_components")


def ellipsoid(grid, centre_mm, radii_mm, turn=None):
    """A mask of an ellipsoid planted in world coordinates, and so in whatever way the grid lies."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    away = grid.world(index) - np.asarray(centre_mm)
    away = away if turn is None else away @ turn
    return (np.square(away / np.asarray(radii_mm)).sum(-1)) <= 1


def oblique(turn, shape=(60, 60, 60), spacing=(1.5, 1.0, 1.0), centre=(10.0, -20.0, 30.0)):
    """A grid whose axes are turned, around the centre."""
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing[::-1])
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape[::-1]) - 1) / 2)
    return Grid(shape, spacing, affine)


def test_a_planted_ellipsoid_has_its_own_measures():
    grid = Grid.plain(SHAPE, SPACING)
    mask = ellipsoid(grid, (36.0, 34.0, 40.0), (30.0, 20.0, 25.0))
    found = measure(mask, grid)
    assert found["volume_mm3"] == found["size"] == pytest.approx(4 / 3 * np.pi * 30 * 20 * 25, rel=0.01)
    assert found["longest_diameter_mm"] == pytest.approx(60, abs=0.8) and found["perpendicular_diameter_mm"] == pytest.approx(40, abs=1.0)
    assert found["longest_diameter_3d_mm"] == pytest.approx(60, abs=0.8)
    assert found["centroid_mm"] == pytest.approx([36, 34, 40], abs=0.1)
    assert np.array(found["extent_mm"]) == pytest.approx(np.array([[6, 14, 15], [66, 54, 65]]), abs=1.0)
    assert (found["slice"], found["slice_axis"], found["unit"], found["n_components"]) == (20, 0, "mm", 1)
    assert json.loads(json.dumps(found)) == found


def test_the_longest_in_any_direction_is_not_bound_to_the_axial_slice():
    grid = Grid.plain((60, 40, 40), (1.0, 1.0, 1.0))
    found = measure(ellipsoid(grid, (20.0, 20.0, 30.0), (8.0, 10.0, 28.0)), grid)
    assert found["longest_diameter_mm"] == pytest.approx(20, abs=1) and found["longest_diameter_3d_mm"] == pytest.approx(56, abs=1)


@pytest.mark.parametrize("angles", [(0, 0, 30), (20, 10, 30), (0, 35, 0)])
def test_an_oblique_grid_measures_the_same_sphere(angles):
    grid = oblique(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    found = measure(ellipsoid(grid, (10.0, -20.0, 30.0), (20.0, 20.0, 20.0)), grid)
    for name in ("longest_diameter_mm", "perpendicular_diameter_mm", "longest_diameter_3d_mm"):
        assert found[name] == pytest.approx(40, abs=1.5)
    assert found["centroid_mm"] == pytest.approx([10, -20, 30], abs=0.2) and found["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 8000, rel=0.02)
    assert np.array(found["extent_mm"]) == pytest.approx(np.array([[-10, -40, 10], [30, 0, 50]]), abs=1.5)


def test_a_tilted_rod_has_its_length_in_three_dimensions():
    turn = Rotation.from_euler("xyz", (40, 20, 10), degrees=True).as_matrix()
    grid = Grid.plain((70, 70, 70), (1.0, 1.0, 1.0))
    found = measure(ellipsoid(grid, (35.0, 35.0, 35.0), (3.0, 3.0, 30.0), turn), grid)
    assert found["longest_diameter_3d_mm"] == pytest.approx(60, abs=1.5)


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_a_permuted_and_flipped_array_measures_the_same_in_the_world(order, flips):
    grid = Grid.plain((24, 30, 36), SPACING)
    mask = ellipsoid(grid, (14.0, 14.0, 22.0), (9.0, 5.0, 14.0), Rotation.from_euler("xyz", (20, 0, 30), degrees=True).as_matrix())
    mask[1, 2:5, 3:9] = True
    corner = np.zeros(3, int)
    columns = [grid.affine_lps[:3, 2 - axis] for axis in range(3)]
    for axis in flips:
        corner[axis] = grid.shape[axis] - 1
        columns[axis] = -columns[axis]
    affine = np.eye(4)
    affine[:3, 3] = grid.world(corner)
    affine[:3, :3] = np.stack([columns[axis] for axis in reversed(order)], 1)
    turned = Grid(tuple(grid.shape[axis] for axis in order), tuple(SPACING[axis] for axis in order), affine)
    found, expected = measure(np.flip(mask, flips).transpose(order), turned), measure(mask, grid)
    for name in INVARIANT:
        assert np.array(found[name]) == pytest.approx(np.array(expected[name])), name
    assert turned.shape[found["slice_axis"]] == 24


def test_doubled_spacing_gives_eight_times_the_volume_and_twice_the_lengths():
    mask = ellipsoid(Grid.plain(SHAPE, SPACING), (36.0, 34.0, 40.0), (12.0, 20.0, 9.0))
    once, twice = (measure(mask, Grid.plain(SHAPE, tuple(k * s for s in SPACING))) for k in (1, 2))
    assert twice["volume_mm3"] == pytest.approx(8 * once["volume_mm3"])
    for name in ("longest_diameter_mm", "perpendicular_diameter_mm", "longest_diameter_3d_mm", "centroid_mm", "extent_mm"):
        assert np.array(twice[name]) == pytest.approx(2 * np.array(once[name]))


def test_a_single_sample_is_one_sample_long():
    grid = Grid.plain((5, 5, 5), (3.0, 2.0, 1.0))
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 3, 1] = True
    found = measure(mask, grid)
    assert (found["longest_diameter_mm"], found["perpendicular_diameter_mm"], found["longest_diameter_3d_mm"]) == pytest.approx((2.0, 1.0, 3.0))
    assert found["centroid_mm"] == [1.0, 6.0, 6.0] and found["box"] == [[2, 3, 1], [3, 4, 2]]
    assert np.array(found["extent_mm"]) == pytest.approx(np.array([[0.5, 5, 4.5], [1.5, 7, 7.5]]))


def test_a_picture_without_spacing_is_measured_in_pixels():
    mask = np.zeros((30, 40), bool)
    mask[5:15, 10:30] = True
    found = measure(mask, Grid.plain((30, 40)))
    assert found["unit"] == "pixel" and found["area_pixel2"] == 200 and found["n_components"] == 1
    assert not [name for name in found if "mm" in name or "3d" in name or name == "slice"]
    length = np.hypot(19, 10)
    assert found["longest_diameter_pixel"] == pytest.approx(length, abs=0.6)
    assert found["centroid_pixel"] == [19.5, 9.5, 0.0]


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (9, 11)).filter(lambda mask: mask.any()))
def test_the_longest_line_is_that_between_any_two_points_of_scikit_images_contour(mask):
    grid = Grid.plain(mask.shape, (1.0, 2.0))
    points = np.concatenate(find_contours(np.pad(mask, 1).astype(float), 0.5)) * (1.0, 2.0)
    assert diameters(mask, grid).longest == pytest.approx(pdist(points).max())


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (8, 8)).filter(lambda mask: mask.any()), st.floats(0.5, 3))
def test_the_diameters_cross_at_right_angles_and_the_shorter_is_shorter(mask, step):
    found = diameters(mask, Grid.plain(mask.shape, (1.0, step)))
    along, across = found.ends[1] - found.ends[0], found.across_ends[1] - found.across_ends[0]
    assert along @ across == pytest.approx(0, abs=1e-6)
    assert 0 < found.perpendicular <= found.longest + 1e-9
    assert (np.linalg.norm(along), np.linalg.norm(across)) == pytest.approx((found.longest, found.perpendicular))


def test_the_perpendicular_diameter_of_a_turned_ellipse():
    y, x = np.mgrid[:120, :120] - 60.0
    u, v = x * np.cos(0.5) + y * np.sin(0.5), y * np.cos(0.5) - x * np.sin(0.5)
    found = diameters((u / 50) ** 2 + (v / 17) ** 2 <= 1, Grid.plain((120, 120), (1.0, 1.0)))
    assert (found.longest, found.perpendicular) == pytest.approx((100, 34), abs=1.2)


def test_diameters_are_those_of_the_largest_component():
    grid = Grid.plain((10, 60, 60), (1.0, 1.0, 1.0))
    mask = np.zeros(grid.shape, bool)
    mask[2:6, 5:15, 5:15] = True
    alone = measure(mask, grid)
    mask[8, 50:53, 50:53] = True
    both = measure(mask, grid)
    assert (both["n_components"], both["largest_size"], both["size"]) == (2, 400, 409)
    for name in ("longest_diameter_mm", "perpendicular_diameter_mm", "longest_diameter_3d_mm", "slice"):
        assert both[name] == alone[name]
    assert both["extent_mm"][1] == [52.5, 52.5, 8.5]
    each = measure_each(mask, grid)
    assert [row["size"] for row in each] == [400, 9] and each[0]["centroid_mm"] == alone["centroid_mm"]
    assert each[1]["box"] == [[8, 50, 50], [9, 53, 53]] and len(measure_each(mask, grid, most=1)) == 1


def test_intensities_are_the_images_own_numbers_inside():
    grid = Grid.plain((6, 7, 8), SPACING)
    rng = generator(0, "image")
    image, mask = rng.integers(-1000, 3000, (2, 6, 7, 8)).astype(np.int16), rng.random((6, 7, 8)) < 0.3
    for k, found in enumerate(measure(mask, grid, image)["intensity"]):
        inside = image[k][mask]
        assert found["mean"] == pytest.approx(inside.mean()) and found["sd"] == pytest.approx(inside.std())
        assert (found["min"], found["max"], found["p50"]) == (inside.min(), inside.max(), np.median(inside))
        assert found["p5"] == pytest.approx(np.percentile(inside, 5)) and set(found) == {"mean", "sd", "min", "max", "p5", "p25", "p50", "p75", "p95"}


def test_an_empty_mask_has_a_size_and_nothing_else():
    found = measure(np.zeros((4, 5, 6), bool), Grid.plain((4, 5, 6), SPACING))
    assert found == {"unit": "mm", "n_samples": 0, "size": 0.0, "volume_mm3": 0.0}
    assert measure_each(np.zeros((4, 5), bool), Grid.plain((4, 5))) == []
    with pytest.raises(DataError, match="an empty mask has no diameter: expected a sample that is marked, got none"):
        diameters(np.zeros((4, 5), bool), Grid.plain((4, 5)))


def test_a_mask_or_an_image_on_another_grid_is_refused():
    grid = Grid.plain((4, 5))
    with pytest.raises(DataError, match=r"the mask does not lie on the grid: expected shape \(4, 5\), got \(5, 4\)"):
        measure(np.zeros((5, 4), bool), grid)
    with pytest.raises(DataError, match=r"the image does not lie on the grid: expected shape \(4, 5\), got \(5, 5\)"):
        measure(np.zeros((4, 5), bool), grid, np.zeros((1, 5, 5)))


def test_the_axial_axis_of_a_sagittal_series():
    affine = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    assert axial_axis(Grid((10, 20, 30), (3.0, 1.0, 1.0), affine)) == 1


def test_contour_points_lie_half_a_sample_outside():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    points = {tuple(point) for point in contour_points(mask).tolist()}
    assert points == {(1.0, 0.5), (1.0, 2.5), (0.5, 1.0), (0.5, 2.0), (1.5, 1.0), (1.5, 2.0)}


PUBLISHED = {
    "brain1": {"volume_mm3": 16412.658691406243, "n_components": 2, "centroid_mm": (46.47304432559825, 16.518518098863908, 15.529610829103234)},
    "brain2": {
        "volume_mm3": 1797.180175781249, "n_components": 1, "centroid_mm": (58.134312913907266, -22.717773471183904, -6.868874935124886),
        "longest_diameter_mm": 16.3129789202, "longest_diameter_3d_mm": 24.4445322363,
    },
    "breast1": {
        "volume_mm3": 132.42579545515324, "n_components": 1, "centroid_mm": (-100.22011741258741, -2.1432681818181933, 28.629020979021007),
        "longest_diameter_mm": 8.39979371027, "longest_diameter_3d_mm": 9.08101860833,
    },
}
"""The baseline tables of PyRadiomics (shape: VoxelVolume, VolumeNum, CenterOfMass, Maximum2DDiameterSlice, Maximum3DDiameter)."""
INSIDE = {"brain1": (825.23543630650227, 156.61123589440385, 812), "brain2": (390.78587196467993, 102.1243477592642, 375)}
"""Of the same: mean, standard deviation and median."""


@pytest.mark.realdata
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_real_lesions_measure_what_pyradiomics_published(shared_data, name):
    label, image = (open_study(Source("itk", str(shared_data / "pyradiomics_cases" / f"{name}_{what}.nrrd"))) for what in ("label", "image"))
    found = measure(label.image[0] > 0, label.grid, image.image)
    for key, value in PUBLISHED[name].items():
        assert found[key] == pytest.approx(value, rel=1e-9), key
    if name in INSIDE:
        assert [found["intensity"][0][key] for key in ("mean", "sd", "p50")] == pytest.approx(INSIDE[name], rel=1e-9)
