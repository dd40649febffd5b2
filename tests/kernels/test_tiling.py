"""Tiles: places, weights, slabs in order, skipped air, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vesalius.errors import DataError, OptionError
from vesalius.kernels.tiling import AIR_RAW, gaussian, mirrored, places, profile, stream


def double(x: Tensor) -> Tensor:
    """A network of two classes that looks at each sample alone."""
    return torch.cat([x[:, :1], 2 * x[:, :1] + 1], 1)


def test_places_are_spread_evenly_and_reach_the_end() -> None:
    assert places((100,), (40,), 0.5) == [[0, 20, 40, 60]]
    assert places((101, 40), (40, 40), 0.5) == [[0, 15, 30, 46, 61], [0]]
    assert places((10,), (4,), 0.0) == [[0, 3, 6]]


def test_a_tile_larger_than_the_image_is_centred() -> None:
    assert places((5, 6), (8, 8), 0.5) == [[-1], [-1]]


@pytest.mark.parametrize(("shape", "size"), [((4, 4), (4,)), ((4, 4), (0, 4)), ((0, 4), (4, 4))])
def test_tiles_without_a_side_for_each_axis_are_refused(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="tiles need one side of at least 1 for each axis of the image"):
        places(shape, size)


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_impossible_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(OptionError, match="neighbouring tiles overlap by a part of their side: expected 0 <= overlap < 1"):
        places((8,), (4,), overlap)


def test_the_gaussian_has_its_stated_width_and_is_never_zero() -> None:
    weights = gaussian((128, 64, 64))
    assert weights.shape == (128, 64, 64)
    assert float(weights[64, 32, 32]) == float(weights.max()) == 1
    assert float(weights.min()) > 1e-12
    assert torch.equal(gaussian((7, 9)), gaussian((7, 9)).flip(0, 1))
    line = profile(65)
    assert float(line[32]) == 1
    assert float(line[32 + 8]) == pytest.approx(np.exp(-0.5 * (8 / (65 / 8)) ** 2))


def test_slabs_come_in_order_and_before_the_end_is_read() -> None:
    read: list[int] = []

    def watched(x: Tensor) -> Tensor:
        read.append(int(x[0, 0, 0, 0]))
        return x

    x = torch.arange(40.0)[None, :, None].expand(1, 40, 4)
    places_seen, values = [], []
    for where, raw in stream(watched, x, size=(8, 4), n_out=1, overlap=0.5):
        places_seen.append((where.start, where.stop, max(read)))
        values.append(raw)
    assert [start for start, _, _ in places_seen] == [0, *[stop for _, stop, _ in places_seen[:-1]]]
    assert places_seen[-1][1] == 40
    assert all(reached <= start + 8 for start, _, reached in places_seen)
    assert torch.allclose(torch.cat(values, 1), x, rtol=1e-5)


def test_a_memmap_gives_what_the_tensor_gives(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    options = {"size": (4, 5, 4), "n_out": 2, "batch": 3}
    one = torch.cat([raw for _, raw in stream(double, torch.from_numpy(x), **options)], 1)
    other = torch.cat([raw for _, raw in stream(double, np.load(tmp_path / "x.npy", mmap_mode="r"), **options)], 1)
    assert torch.equal(one, other)
    assert torch.allclose(one, double(torch.from_numpy(x)[None])[0], atol=1e-5)


def test_a_batch_of_tiles_gives_what_single_tiles_give() -> None:
    x = torch.randn(1, 13, 17, generator=torch.Generator().manual_seed(0))
    sizes: list[int] = []

    def counted(tiles: Tensor) -> Tensor:
        sizes.append(len(tiles))
        return double(tiles)

    several = torch.cat([raw for _, raw in stream(counted, x, size=(8, 8), n_out=2, batch=3)], 1)
    assert max(sizes) == 3
    assert torch.equal(several, torch.cat([raw for _, raw in stream(double, x, size=(8, 8), n_out=2)], 1))


def test_tiles_of_air_are_not_computed_and_nothing_else_changes() -> None:
    x = torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(0))
    skip = np.zeros((24, 24), bool)
    skip[:, 14:] = True
    calls: list[int] = []

    def counted(tiles: Tensor) -> Tensor:
        calls.append(len(tiles))
        return double(tiles)

    whole = torch.cat([raw for _, raw in stream(double, x, size=(8, 8), n_out=2)], 1)
    done: list[tuple[int, int, str]] = []
    some = torch.cat([raw for _, raw in stream(counted, x, size=(8, 8), n_out=2, skip=skip, progress=lambda *p: done.append(p))], 1)
    assert sum(calls) == 20
    assert done[-1] == (25, 25, "tile")
    assert torch.allclose(some[:, :, :14], whole[:, :, :14], atol=1e-6)
    assert torch.allclose(some[:, :, 21:], torch.tensor([0.0, AIR_RAW])[:, None, None], atol=1e-5)


def test_an_image_of_air_alone_is_background() -> None:
    got = list(stream(double, torch.zeros(1, 6, 6), size=(4, 4), n_out=2, skip=np.ones((6, 6), bool), background=(-3, -4)))
    assert torch.allclose(torch.cat([raw for _, raw in got], 1), torch.tensor([-3.0, -4.0])[:, None, None])
    one = list(stream(double, torch.zeros(1, 6, 6), size=(4, 4), n_out=1, skip=np.ones((6, 6), bool)))
    assert torch.allclose(torch.cat([raw for _, raw in one], 1), torch.tensor(AIR_RAW))


def test_mirroring_averages_every_combination_turned_back() -> None:
    x = torch.randn(1, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    calls: list[Tensor] = []

    def lopsided(tile: Tensor) -> Tensor:
        calls.append(tile)
        return tile * torch.arange(tile.shape[2], dtype=torch.float32)[:, None, None]

    assert torch.allclose(mirrored(lopsided, (0, 2))(x), x * 1.5)
    assert len(calls) == 4
    assert torch.equal(calls[-1], x.flip(2, 4))


def test_a_mask_of_air_elsewhere_is_refused() -> None:
    with pytest.raises(DataError, match=r"the samples to skip do not lie on the image: expected shape \(6, 6\), got \(5, 6\)"):
        next(stream(double, torch.zeros(1, 6, 6), size=(4, 4), n_out=2, skip=np.zeros((5, 6), bool)))


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"the network gives another shape than stated: expected \(1, 3, 4, 4\), got \(1, 2, 4, 4\)"):
        next(stream(double, torch.zeros(1, 6, 6), size=(4, 4), n_out=3))


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="the network gives a value that is no number; check the image for NaN"):
        next(stream(double, torch.full((1, 6, 6), float("nan")), size=(4, 4), n_out=2))


@pytest.mark.parametrize("weights", [[torch.ones(4)], [torch.ones(4), torch.ones(5)], [torch.ones(4), torch.zeros(4)]])
def test_weights_that_do_not_fit_the_tile_are_refused(weights: list[Tensor]) -> None:
    with pytest.raises(OptionError, match="the weights of a tile are one positive profile for each axis"):
        next(stream(double, torch.zeros(1, 6, 6), size=(4, 4), n_out=2, weights=weights))


def test_sums_held_in_a_file_are_the_same(tmp_path: Path) -> None:
    x = torch.randn(1, 13, 9, 10, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([raw for _, raw in stream(double, x, size=(6, 4, 4), n_out=2)], 1)
    filed = torch.cat([raw for _, raw in stream(double, x, size=(6, 4, 4), n_out=2, file=tmp_path / "sums")], 1)
    assert torch.equal(whole, filed)
    assert (tmp_path / "sums").stat().st_size == 6 * 2 * 9 * 10 * 4
