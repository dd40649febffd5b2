"""From a study to the network's array and back."""

import numpy as np
import pytest

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.transforms.reading import canonical, fit_inside, limits, prepare, to_channels, undo, unit


def volume(shape=(6, 8, 10), spacing=(2.0, 1.0, 1.0)) -> Study:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(1, *shape)
    return Study(array, Grid.plain(shape, spacing), bits=16)


def permuted(study: Study, order: tuple[int, ...], flips: tuple[int, ...]) -> Study:
    """The same anatomy stored in another axis order and direction."""
    image = np.flip(study.image[0].transpose(order), flips)
    affine = np.eye(4)
    for xyz_new, array_axis in enumerate(reversed(range(3))):
        old = 2 - order[array_axis]
        column = study.grid.affine_lps[:3, old].copy()
        if array_axis in flips:
            affine[:3, 3] += column * (image.shape[array_axis] - 1)
            column = -column
        affine[:3, xyz_new] = column
    spacing = tuple(study.grid.spacing_mm[a] for a in order)
    return Study(np.ascontiguousarray(image)[None], Grid(image.shape, spacing, affine), bits=16)


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), ()), ((2, 0, 1), (0,)), ((1, 2, 0), (1, 2)), ((2, 1, 0), (0, 1, 2))])
def test_the_same_anatomy_gives_the_same_array_however_it_is_stored(order, flips):
    reads = Reads((12, 12, 12), window="fixed", low=0, high=480, levels=65535)
    straight, _ = prepare(volume(), reads)
    stored, _ = prepare(permuted(volume(), order, flips), reads)
    np.testing.assert_array_equal(straight, stored)


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (1,)), ((2, 0, 1), (0,)), ((1, 2, 0), ())])
def test_undo_brings_a_marked_sample_back_within_half_a_voxel(order, flips):
    image = np.zeros((16, 16, 16), np.int16)
    image[4, 9, 12] = 1000
    study = permuted(Study(image[None], Grid.plain((16, 16, 16), (1, 1, 1)), bits=16), order, flips)
    array, trace = prepare(study, Reads((16, 16, 16), window="fixed", low=0, high=1000))
    back = undo(array[0].astype(np.float32), trace)
    assert back.shape == study.grid.shape
    assert np.unravel_index(back.argmax(), back.shape) == np.unravel_index(study.image[0].argmax(), back.shape)


def test_undo_of_a_letterboxed_picture_lies_within_half_a_pixel():
    image = np.zeros((1, 40, 100), np.uint8)
    image[0, 10:12, 70:72] = 255
    array, trace = prepare(Study(image, Grid.plain((40, 100))), Reads((50, 50)))
    back = undo(array[0].astype(np.float32), trace)
    centre = np.array(np.nonzero(back > 0.5 * back.max())).mean(1)
    np.testing.assert_allclose(centre, [10.5, 70.5], atol=1.0)
    assert back.shape == (40, 100)


def test_proportions_in_millimetres_are_kept():
    assert fit_inside((10, 40), (4.0, 1.0), (20, 20), True) == (20, 20)
    assert fit_inside((10, 40), (1.0, 1.0), (20, 20), False) == (20, 20)


def test_canonical_axes_of_an_oblique_volume_use_each_world_axis_once():
    turn = np.eye(4)
    c, s = np.cos(0.7), np.sin(0.7)
    turn[:2, :2] = [[c, -s], [s, c]]
    order, _ = canonical(Grid((4, 5, 6), (1.0, 1.0, 1.0), turn))
    assert sorted(order) == [0, 1, 2]


def test_sixteen_bits_are_not_cut_to_eight():
    image = np.array([[[0, 1], [256, 65535]]], np.uint16)
    array, _ = prepare(Study(image, Grid.plain((2, 2)), bits=16), Reads((2, 2), levels=65535))
    assert array.tolist() == [[[0, 1], [256, 65535]]]


def test_eight_bit_images_of_the_right_size_are_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    array, _ = prepare(Study(image, Grid.plain((28, 28))), Reads((28, 28)))
    np.testing.assert_array_equal(array, image)
    assert float(unit(array, Reads((28, 28))).max()) <= 1


def test_window_of_the_file_is_used_and_a_percentile_where_there_is_none():
    image = np.linspace(0, 4095, 100).reshape(1, 10, 10)
    reads = Reads((10, 10), window="voi")
    assert limits(image, Study(image, Grid.plain((10, 10)), window=(100.0, 900.0)), reads) == (100.0, 900.0)
    low, high = limits(image, Study(image, Grid.plain((10, 10))), reads)
    assert 0 < low < 100 < 3900 < high < 4095


def test_luminance_weights_follow_the_recommendation():
    image = np.zeros((3, 1, 1), np.uint8)
    image[1] = 100
    assert to_channels(image, 1)[0, 0, 0] == pytest.approx(58.7)


def test_a_volume_is_refused_where_a_picture_is_read():
    with pytest.raises(DataError, match="expected 2-D, got 3-D"):
        prepare(volume(), Reads((28, 28)))


def test_four_channels_are_refused():
    with pytest.raises(DataError, match="expected 1 or 3, got 4"):
        to_channels(np.zeros((4, 2, 2)), 1)


def test_an_image_of_nan_only_is_refused():
    image = np.full((1, 4, 4), np.nan, np.float32)
    with pytest.raises(DataError, match="no finite number"):
        prepare(Study(image, Grid.plain((4, 4))), Reads((4, 4), window="percentile", low=1, high=99))
