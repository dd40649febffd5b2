"""Training tiles: image and boxes are moved by one map, so that every box lies on the blob that it marks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vesalius.transforms.boxaugment import IGNORED, LABEL, RISK, cut_with_boxes, moved, pasted, rows_of, stacked, within
from vesalius.transforms.tileaugment import TileAugment

NAN = float("nan")


def scene(shape: tuple[int, ...], boxes: list[tuple[float, ...]], soft: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """An image that holds a bright block (or the ellipsoid within) of its own brightness for each box, and the rows."""
    d, image = len(shape), np.zeros((1, *shape), np.float32)
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), -1)
    for i, box in enumerate(boxes, 1):
        low, high = np.array(box[:d]), np.array(box[d:])
        off = (grid - (low + high) / 2) / ((high - low) / 2)
        image[0][(off**2).sum(-1) < 1 if soft else (np.abs(off) < 1).all(-1)] = i
    n = len(boxes)
    return image, rows_of(np.array(boxes, np.float32), np.arange(n), np.zeros(n), np.full(n, NAN))


def extent(x: torch.Tensor, value: float, tolerance: float = 0.3) -> np.ndarray:
    """The box around the samples of that brightness."""
    places = np.argwhere(np.abs(x[0].numpy() - value) < tolerance)
    return np.concatenate([places.min(0), places.max(0) + 1])


def turn(degrees: float) -> np.ndarray:
    a = math.radians(degrees)
    return np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])


FLAT = [(4, 6, 10, 9), (20, 12, 26, 24), (8, 30, 12, 36)]
DEEP = [(3, 4, 5, 7, 9, 8), (12, 10, 14, 16, 18, 20)]


@pytest.mark.parametrize("centre", [(15.5, 19.5), (15.0, 19.0), (14.3, 20.8), (15.25, 19.75)])
@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_shifts_and_mirror_images_are_exact(centre: tuple[float, ...], signs: tuple[int, ...]) -> None:
    """Wherever the centre lies between samples: the picture can only be moved by whole ones, and so are the boxes."""
    image, rows = scene((32, 40), FLAT)
    x, found = cut_with_boxes(image, rows, np.array(centre), (40, 48), np.diag(signs).astype(float))
    assert len(found) == 3
    for row in found:
        assert np.allclose(row[:4], extent(x, row[4] + 1), atol=1e-4)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_shifts_and_mirror_images_of_volumes_are_exact(signs: tuple[int, ...]) -> None:
    image, rows = scene((20, 22, 24), DEEP)
    x, found = cut_with_boxes(image, rows, np.array([9.4, 10.5, 11.2]), (24, 24, 32), np.diag(signs).astype(float))
    assert len(found) == 2
    for row in found:
        assert np.allclose(row[:6], extent(x, row[6] + 1), atol=1e-4)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turns_by_right_angles_are_exact(degrees: int) -> None:
    image, rows = scene((32, 32), [(4, 6, 10, 9), (20, 12, 26, 24)])
    x, found = cut_with_boxes(image, rows, np.array([15.5, 15.5]), (32, 32), turn(degrees))
    for row in found:
        assert np.allclose(row[:4], extent(x, row[4] + 1), atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_another_size_is_exact_to_a_sample(factor: float) -> None:
    """A matrix of one half enlarges: a step in the tile is half a step in the study."""
    image, rows = scene((32, 40), [(4, 6, 12, 14), (18, 12, 26, 26)])
    image[0][image[0] > 0] += 10  # so that the edge of one is not as bright as the other
    x, found = cut_with_boxes(image, rows, np.array([15.5, 19.5]), (64, 80), np.eye(2) * factor)
    sizes = (found[:, 2:4] - found[:, :2]) * factor
    assert np.allclose(sizes, [[8, 8], [8, 14]], atol=1e-4)
    for row in found:
        assert np.allclose(row[:4], extent(x, row[4] + 11, 0.45), atol=1.51)


@pytest.mark.parametrize("degrees", [15, 30, 45, 77])
def test_a_turned_lesion_has_the_hull_of_its_ellipsoid(degrees: float) -> None:
    image, rows = scene((64, 64), [(20, 24, 30, 44)], soft=True)
    x, found = cut_with_boxes(image, rows, np.array([31.5, 31.5]), (64, 64), turn(degrees))
    bright = np.argwhere(x[0].numpy() > 0.5)
    assert np.allclose(found[0, :4], [*bright.min(0), *(bright.max(0) + 1)], atol=1.2)
    corners = np.array([[20, 24], [20, 44], [30, 24], [30, 44]]) - 32
    hull = np.ptp(corners @ np.linalg.inv(turn(degrees)).T, axis=0)
    assert (found[0, 2:4] - found[0, :2] < hull).all()


def test_whatever_is_drawn_a_round_lesion_stays_in_its_box() -> None:
    """Turned, scaled and mirrored by chance, in a volume: the brightest sample's centre of mass lies in the middle of the box."""
    image, rows = scene((32, 40, 40), [(12, 14, 16, 20, 22, 24)], soft=True)
    augment = TileAugment(rotate_deg=180, scale=0.3, spatial_share=1.0, flip_axes=(0, 1, 2))
    for seed in range(12):
        x, found = cut_with_boxes(image, rows, np.array([15.5, 18.0, 20.0]), (40, 40, 40), augment.matrix(3, np.random.default_rng(seed)))
        light = np.argwhere(x[0].numpy() > 0.5) + 0.5
        assert np.abs(light.mean(0) - (found[0, :3] + found[0, 3:6]) / 2).max() < 0.4
        assert np.abs(np.ptp(light, axis=0) + 1 - (found[0, 3:6] - found[0, :3])).max() < 1.6


def test_what_hangs_over_the_border_is_clipped_spared_or_gone() -> None:
    """Of boxes of ten: four fifths, a third and a twentieth lie within."""
    rows = rows_of(np.array([[-2.0, 0, 8, 4], [0, -7, 4, 3], [0, 19.5, 4, 29.5]]), np.array([2, 1, 0]), np.zeros(3), np.array([1, 0, NAN]))
    kept = within(rows, (20, 20))
    assert kept[:, :4].tolist() == [[0, 0, 8, 4], [0, 0, 4, 3]]
    assert kept[:, 4 + LABEL].tolist() == [2, 1] and kept[:, 4 + IGNORED].tolist() == [0, 1] and kept[:, 4 + RISK].tolist() == [1, 0]


def test_what_was_ignored_stays_ignored_and_far_boxes_are_gone() -> None:
    rows = rows_of(np.array([[2.0, 2, 8, 8], [40, 40, 50, 50]]), np.array([0, 0]), np.array([1, 0]), np.array([NAN, NAN]))
    assert within(rows, (20, 20))[:, 4 + IGNORED].tolist() == [1]
    assert within(rows[:0], (20, 20)).shape == (0, 7) and moved(rows[:0], np.zeros(2), (4, 4), np.eye(2)).shape == (0, 7)


def test_outside_of_the_study_a_tile_is_its_mean() -> None:
    image, rows = scene((16, 16), [(4, 4, 8, 8)])
    x, found = cut_with_boxes(image + 3, rows, np.array([7.5, 7.5]), (32, 32), np.eye(2))
    assert not x[0, :8].any() and (x[0, 8:24, 8:24] >= 3).all() and found[0, :4].tolist() == [12, 12, 16, 16]


def test_rows_are_padded_with_a_class_that_is_none() -> None:
    rows = rows_of(np.array([[2.0, 2, 8, 8]]), np.array([1]), np.zeros(1), np.ones(1))
    made = stacked([rows, rows[:0], np.repeat(rows, 3, 0)], 2)
    assert made.shape == (3, 3, 7) and made[:, :, 4].tolist() == [[1, -1, -1], [-1, -1, -1], [1, 1, 1]]
    assert stacked([np.zeros((0, 9))] * 2, 3).shape == (2, 1, 9) and stacked([rows[:0]], 2)[0, 0, 4] == -1


@pytest.mark.parametrize("seed", range(6))
def test_in_a_mosaic_every_box_lies_on_its_own_blob(seed: int) -> None:
    """Four pictures of blocks, each of another brightness; what is cut is cut in the box too, and no blob that can be seen well lacks one."""
    rng, parts = np.random.default_rng(seed), []
    for k in range(4):
        low = rng.integers(0, 36, (4, 2))
        image = torch.full((1, 48, 48), -1.0)
        boxes = np.concatenate([low, low + rng.integers(6, 12, (4, 2))], 1)
        for i, (a, b, c, e) in enumerate(boxes):
            image[0, a:c, b:e] = 10 * k + i
        parts.append((image, rows_of(boxes, 10 * k + np.arange(4), np.zeros(4), np.full(4, NAN))))
    x, rows = pasted(parts, (48, 48), rng)
    assert x.shape == (1, 48, 48) and set(np.unique(x[0]).tolist()) <= {-1.0, *(10 * k + i for k in range(4) for i in range(4))}
    for row in rows:
        seen = x[0].numpy()[tuple(slice(int(a), int(b)) for a, b in zip(row[:2], row[2:4], strict=True))]
        own = np.argwhere(x[0].numpy() == row[4])
        assert len(own) == 0 or ((own >= row[:2]).all() and (own < row[2:4]).all())  # nothing of it lies outside of its box
        assert (seen >= row[4]).all()  # where another lies over it, that is a later one of the same picture
    held = set(rows[:, 4].astype(int))
    assert all(label in held for label in range(40) if int((x == label).sum()) > 40)


def test_a_mosaic_of_a_volume_is_pasted_within_the_plane() -> None:
    image, rows = scene((8, 32, 32), [(1, 4, 5, 6, 20, 20)])
    x, found = pasted([(torch.from_numpy(image), rows)] * 4, (8, 32, 32), np.random.default_rng(1))
    assert x.shape == (1, 8, 32, 32) and len(found) >= 2
    assert (found[:, [0, 3]] == [1, 6]).all() and not x[0, 0].any() and x[0, 1:6].any()
