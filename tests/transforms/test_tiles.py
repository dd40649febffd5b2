"""Studies as they are read in tiles, and tiles cut out of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import IGNORED
from vesalius.errors import DataError
from vesalius.transforms.tileaugment import TileAugment, cut, smooth_field
from vesalius.transforms.tiles import prepare_mask, prepare_tiles, trace_of, undo_mask

RNG = np.random.default_rng(0)


def volume(shape: tuple[int, ...] = (6, 8, 10), spacing: tuple[float, ...] = (2.0, 1.0, 1.0)) -> Study:
    return Study(RNG.normal(100, 20, (1, *shape)).astype(np.float32), Grid.plain(shape, spacing), bits=32, source="v.nii")


def flipped(grid: Grid) -> Grid:
    """The same samples stored from right to left."""
    affine = grid.affine_lps.copy()
    affine[:3, 3] += affine[:3, 0] * (grid.shape[-1] - 1)
    affine[:3, 0] *= -1
    return Grid(grid.shape, grid.spacing_mm, affine)


def test_each_study_by_its_own_mean_and_deviation() -> None:
    x, trace = prepare_tiles(volume(), TileReads((4, 4, 4)))
    assert x.dtype == np.float32 and abs(x.mean()) < 1e-4 and x.std() == pytest.approx(1, abs=1e-4) and trace.shape == (6, 8, 10)


def test_ct_is_clipped_and_pictures_keep_their_range() -> None:
    study = Study(np.array([[[-2000, 0, 40, 3000]]], np.int16), Grid.plain((1, 4)), "CT", 16)
    ct = TileReads((4, 4), schemes=("ct",), low=(-100.0,), high=(200.0,), mean=(50.0,), std=(10.0,))
    assert prepare_tiles(study, ct)[0][0, 0].tolist() == [-15, -5, -1, 15]
    picture = Study(np.array([[[0, 255]]], np.uint8), Grid.plain((1, 2)))
    full = TileReads((4, 4), schemes=("full",), mean=(0.5,), std=(0.25,))
    assert prepare_tiles(picture, full)[0][0, 0].tolist() == [-2, 2]


def test_another_spacing_changes_the_shape_and_back() -> None:
    study = volume()
    x, trace = prepare_tiles(study, TileReads((4, 4, 4), spacing_mm=(1.0, 1.0, 2.0)))
    assert x.shape == (1, 12, 8, 5) and trace.stored == (6, 8, 10)
    mask = np.zeros((1, 6, 8, 10), np.uint8)
    mask[0, 2:4, 2:6, 4:8] = 1
    assert prepare_mask(mask, trace).shape == (1, 12, 8, 5)
    assert prepare_mask(mask, trace).mean() == pytest.approx(mask.mean(), rel=0.3)


def test_a_flipped_study_is_read_alike_and_its_mask_comes_back_flipped() -> None:
    study = volume(spacing=(1.0, 1.0, 1.0))
    turned = Study(study.image[..., ::-1].copy(), flipped(study.grid), bits=32)
    reads = TileReads((4, 4, 4), spacing_mm=(1.0, 1.0, 1.0))
    (first, _), (second, trace) = prepare_tiles(study, reads), prepare_tiles(turned, reads)
    assert np.allclose(first, second, atol=1e-5)
    mask = (first > 0.5).astype(np.uint8)
    assert np.array_equal(undo_mask(mask, trace)[0], mask[0, :, :, ::-1])
    assert np.array_equal(prepare_mask(undo_mask(mask, trace), trace), mask)


def test_wrong_axes_or_channels_are_refused() -> None:
    with pytest.raises(DataError, match="wrong number of axes.*expected 2-D, got 3-D"):
        prepare_tiles(volume(), TileReads((4, 4)))
    with pytest.raises(DataError, match="another number of channels.*expected 4, got 1"):
        prepare_tiles(volume(), TileReads((4, 4, 4), channels=4))


def test_numbers_that_are_none_do_not_spread() -> None:
    study = volume()
    study.image[0, 0, 0, 0] = np.nan
    assert np.isfinite(prepare_tiles(study, TileReads((4, 4, 4)))[0]).all()
    study.image[:] = np.nan
    with pytest.raises(DataError, match="no finite number"):
        prepare_tiles(study, TileReads((4, 4, 4)))


def test_coarse_slices_are_marked() -> None:
    grid = Grid.plain((6, 8, 10), (5.0, 1.0, 1.0))
    assert trace_of(grid, TileReads((4, 4, 4), spacing_mm=(5.0, 1.0, 1.0))).coarse
    assert not trace_of(Grid.plain((6, 8, 10), (2.0, 1.0, 1.0)), TileReads((4, 4, 4), spacing_mm=(2.0, 1.0, 1.0))).coarse


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_tile_that_is_not_moved_is_a_copy(ndim: int) -> None:
    shape, size = (9, 11, 13)[:ndim], (4, 5, 6)[:ndim]
    image, truth = RNG.normal(size=(2, *shape)).astype(np.float16), RNG.integers(0, 3, (1, *shape)).astype(np.uint8)
    start = np.array([2, 3, 4][:ndim])
    centre = start + (np.array(size) - 1) / 2
    x, y = cut(image, truth, centre, size, np.eye(ndim))
    where = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    assert torch.equal(x, torch.from_numpy(image[(slice(None), *where)].astype(np.float32)))
    assert torch.equal(y, torch.from_numpy(truth[(slice(None), *where)]))
    tiny = np.eye(ndim) * (1 + 1e-9)
    assert torch.allclose(cut(image, truth, centre, size, tiny)[0], x, atol=1e-3) and torch.equal(cut(image, truth, centre, size, tiny)[1], y)


def test_image_and_mask_move_together() -> None:
    image = np.zeros((1, 40, 40), np.float32)
    image[0, 10:30, 14:22] = 1
    truth = image.astype(np.uint8)
    rng = np.random.default_rng(3)
    augment = TileAugment(rotate_deg=40, scale=0.3, spatial_share=1.0, flip_axes=(0, 1))
    for _ in range(5):
        x, y = cut(image, truth, np.array([19.5, 19.5]), (32, 32), augment.matrix(2, rng), smooth_field((32, 32), 2.0, rng))
        judged = y[0] != IGNORED
        agreed = ((x[0] > 0.5) == (y[0] == 1))[judged].float().mean()
        assert float(agreed) > 0.97 and bool((y[0] == 1).any())


def test_outside_of_the_study_nothing_is_judged() -> None:
    x, y = cut(np.ones((1, 4, 4), np.float32), np.ones((1, 4, 4), np.uint8), np.array([0.0, 0.0]), (5, 5), np.eye(2))
    assert x[0, :2].sum() == 0 and bool((y[0, :2] == IGNORED).all()) and bool((y[0, 2:, 2:] == 1).all())
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    x, y = cut(np.ones((1, 6, 6), np.float32), np.ones((1, 6, 6), np.uint8), np.array([2.5, 2.5]), (12, 12), turn)
    assert bool((y == IGNORED).any()) and float(x[y[None, 0] == IGNORED].max()) < 0.6


def test_toning_keeps_shape_and_finite_numbers() -> None:
    augment = TileAugment(brightness=0.5, contrast=0.5, gamma=0.5, noise=0.2, blur=1.0, coarse=2.0, tone_share=1.0)
    for shape in ((2, 16, 16), (1, 8, 8, 8)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        made = augment.tone(x, np.random.default_rng(0))
        assert made.shape == x.shape and bool(torch.isfinite(made).all()) and not torch.equal(made, x)
    assert torch.equal(TileAugment().tone(x, np.random.default_rng(0)), x)
    assert TileAugment.from_dict(augment.to_dict()) == augment
