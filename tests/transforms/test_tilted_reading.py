"""Tilted stacks are read upright, by every way of reading, and what is found lies on the stack as it was given."""

from __future__ import annotations

import numpy as np

from transforms.test_tilt import tilted_grid
from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.core.target import IGNORED
from vesalius.transforms.boxtiles import boxes_in, boxes_out
from vesalius.transforms.reading import prepare, undo
from vesalius.transforms.tiles import prepare_mask, prepare_tiles, undo_mask
from vesalius.transforms.tilt import untilted, upright

GRID = tilted_grid((2.0, -1.0))
STUDY = Study(np.random.default_rng(0).integers(0, 200, (1, *GRID.shape)).astype(np.uint8), GRID)
TILES = TileReads(channels=1, size=(8, 16, 16), spacing_mm=GRID.spacing_mm, schemes=("zscore",), low=(0.0,), high=(1.0,), mean=(0.0,), std=(1.0,))


def test_tiles_read_the_upright_stack_and_masks_come_back():
    image, trace = prepare_tiles(STUDY, TILES)
    straight, _ = prepare_tiles(untilted(STUDY), TILES)
    np.testing.assert_array_equal(image, straight)
    labels = (STUDY.image > 100).astype(np.uint8)
    there = prepare_mask(labels, trace)
    assert there.shape[1:] == image.shape[1:] and (there == IGNORED).any() and (there == 1).sum() == labels.sum()
    assert undo_mask(there, trace).shape == labels.shape
    np.testing.assert_array_equal(undo_mask(there, trace), labels)


def test_boxes_move_with_their_middle_slice_and_come_back():
    _, trace = prepare_tiles(STUDY, TILES)
    boxes = np.array([[2.0, 3.0, 4.0, 5.0, 6.0, 8.0], [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]])
    there = boxes_in(boxes, trace)
    np.testing.assert_allclose(boxes_out(there, trace), boxes, atol=1e-5)
    marked = np.zeros((1, *GRID.shape), np.uint8)
    marked[0, 3, 3:6, 4:8] = 1
    places = np.argwhere(prepare_mask(marked, trace)[0] == 1)
    np.testing.assert_allclose((places.min(0), places.max(0) + 1), ((3, *there[0, 1:3]), (4, *there[0, 4:6])), atol=1e-5)


def test_whole_studies_are_read_upright_too():
    reads = Reads(size=upright(GRID).shape, channels=1, levels=255, window="full", low=0.0, high=255.0, mean=(0.0,), std=(1.0,), letterbox=False)
    array, trace = prepare(STUDY, reads)
    np.testing.assert_array_equal(array, prepare(untilted(STUDY), reads)[0])
    np.testing.assert_array_equal(undo(array[0], trace), STUDY.image[0])
