"""Boxes follow their study into the array that is read, and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.transforms.boxtiles import boxes_in, boxes_out
from vesalius.transforms.tiles import TileTrace, prepare_tiles, trace_of

SHAPE = (12, 16, 20)


def stored(order: tuple[int, ...], flips: tuple[int, ...], spacing: tuple[float, ...] = (2.0, 1.0, 1.5)) -> Grid:
    """A grid whose axes point along other LPS axes, some of them backwards."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, axis in enumerate(reversed(order)):  # columns are x first, axes z first
        step = spacing[len(order) - 1 - column] * (-1 if len(order) - 1 - column in flips else 1)
        affine[2 - axis, column] = step
    return Grid(SHAPE, spacing, affine)


def block(grid: Grid, box: tuple[int, ...]) -> Study:
    image = np.zeros((1, *grid.shape), np.float32)
    d = grid.ndim
    image[(0, *map(slice, box[:d], box[d:]))] = 100
    return Study(image, grid, bits=32)


def extent(image: np.ndarray) -> list[float]:
    """The box around all that is brighter than half."""
    places = np.argwhere(image > (image.max() + image.min()) / 2)
    return [*places.min(0).tolist(), *(places.max(0) + 1).tolist()]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_a_box_lies_on_what_it_marks_however_the_volume_is_stored(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    grid, box = stored(order, flips), (2, 4, 6, 6, 12, 14)
    image, trace = prepare_tiles(block(grid, box), TileReads((8, 8, 8)))
    assert boxes_in(np.array([box]), trace).tolist() == [extent(image[0])]


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (3.0, 0.7, 0.9)])
@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_there_and_back_is_nothing(spacing: tuple[float, ...] | None, flips: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 6, (20, 3))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 6, (20, 3))], 1).astype(np.float32)
    trace = trace_of(stored((1, 2, 0), flips), TileReads((8, 8, 8), spacing_mm=spacing))
    moved = boxes_in(boxes, trace)
    assert np.allclose(boxes_out(moved, trace), boxes, atol=1e-4) and (moved[:, 3:] > moved[:, :3]).all()
    assert moved.dtype == np.float32 and (moved >= 0).all() and (moved[:, 3:] <= np.array(trace.shape) + 1e-3).all()


def test_a_box_takes_part_in_resampling() -> None:
    image, trace = prepare_tiles(block(Grid.plain((20, 30), (1.0, 1.0)), (4, 6, 12, 18)), TileReads((8, 8), spacing_mm=(0.5, 0.5)))
    assert image.shape == (1, 40, 60)
    assert boxes_in(np.array([[4, 6, 12, 18]]), trace).tolist() == [[8, 12, 24, 36]] == [extent(image[0])]


def test_a_longest_side_moves_boxes_in_proportion_and_not_by_their_millimetres() -> None:
    grid = Grid.plain((50, 100))
    image, trace = prepare_tiles(block(grid, (10, 20, 30, 60)), TileReads((8, 8), longest=200))
    assert image.shape == (1, 100, 200) and trace.shape == (100, 200)
    assert boxes_in(np.array([[10, 20, 30, 60]]), trace).tolist() == [[20, 40, 60, 120]] == [extent(image[0])]
    smaller, trace = prepare_tiles(block(grid, (10, 20, 30, 60)), TileReads((8, 8), longest=50))
    assert smaller.shape == (1, 25, 50) and boxes_in(np.array([[10, 20, 30, 60]]), trace).tolist() == [[5, 10, 15, 30]]


def test_out_of_the_study_a_box_is_cut_and_none_stays_none() -> None:
    trace = TileTrace(Grid.plain((10, 20)), (0, 1), (), (10, 20), (20, 40))
    assert boxes_out(np.array([[-4, 10, 50, 90]]), trace).tolist() == [[0, 5, 10, 20]]
    nothing = np.zeros((0, 4), np.float32)
    assert boxes_in(nothing, trace).shape == boxes_out(nothing, trace).shape == (0, 4)
