"""Resampling: equal to doing it with the whole, cheaper, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import resize
from torch import Tensor

from vesalius.errors import DataError, OptionError
from vesalius.kernels.cells import Axis
from vesalius.kernels.resample import decided, largest, resampled_image, resampled_mask

SHAPES = [
    ((20, 31, 17), (33, 50, 40)), ((20, 31, 17), (9, 50, 17)), ((20, 31, 17), (33, 31, 17)),
    ((40, 37), (61, 90)), ((5, 1, 3), (9, 4, 4)), ((6, 7, 8), (6, 7, 8)),
]


def slabs_of(raw: Tensor, n: int = 3) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, raw.shape[1], n):
        yield slice(start, min(start + n, raw.shape[1])), raw[:, start : start + n]


def smooth(n_out: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Raw values with regions some samples wide, as a trained network gives them."""
    coarse = torch.randn(1, n_out, *(max(2, n // 6) for n in shape), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, shape, mode="bicubic" if len(shape) == 2 else "trilinear")[0] * 4


def interpolated(raw: Tensor, shape: tuple[int, ...]) -> Tensor:
    return F.interpolate(raw[None], shape, mode="bilinear" if len(shape) == 2 else "trilinear", align_corners=False)[0]


def marked(raw: Tensor) -> Tensor:
    return (raw > 0.3).to(torch.uint8)


@pytest.mark.parametrize(("shape_in", "shape_out"), SHAPES)
@pytest.mark.parametrize("values", ["noise", "smooth"])
@pytest.mark.parametrize("decide", [largest, marked])
def test_labels_are_those_of_resampling_everything_first(shape_in: tuple[int, ...], shape_out: tuple[int, ...], values: str, decide: object) -> None:
    raw = torch.randn(5, *shape_in, generator=torch.Generator().manual_seed(1)) if values == "noise" else smooth(5, shape_in)
    whole = decide(interpolated(raw, shape_out)).numpy()  # type: ignore[operator]
    got = decided(slabs_of(raw), shape_in, shape_out, decide, len(whole))  # type: ignore[arg-type]
    assert got.dtype == np.uint8
    assert (got == whole).mean() >= 0.9999


def test_only_cells_that_a_border_crosses_are_computed() -> None:
    raw, computed = smooth(14, (24, 48, 48)), []

    def counted(values: Tensor) -> Tensor:
        computed.append(values[0].numel())
        return largest(values)

    got = decided(slabs_of(raw), (24, 48, 48), (48, 96, 96), counted)
    assert np.array_equal(got, largest(interpolated(raw, (48, 96, 96))).numpy())
    assert sum(computed) - 24 * 48 * 48 < 0.6 * 48 * 96 * 96


def test_thick_slices_are_taken_as_they_are_along_the_first_axis() -> None:
    raw = smooth(4, (5, 30, 30))
    nearest = torch.from_numpy(Axis.of(5, 13, nearest=True).low)
    assert nearest.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    whole = largest(interpolated(raw[:, nearest], (13, 45, 40)))
    assert np.array_equal(decided(slabs_of(raw), (5, 30, 30), (13, 45, 40), largest, anisotropic=True), whole.numpy())


def test_labels_can_be_written_to_a_file(tmp_path: Path) -> None:
    out = np.lib.format.open_memmap(tmp_path / "labels.npy", "w+", np.uint8, (1, 12, 20, 20))
    assert decided(slabs_of(smooth(3, (6, 10, 10))), (6, 10, 10), (12, 20, 20), largest, out=out) is out
    assert np.array_equal(np.load(tmp_path / "labels.npy"), largest(interpolated(smooth(3, (6, 10, 10)), (12, 20, 20))).numpy())


def test_a_place_for_the_labels_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"the labels do not fit where they are to be written: expected uint8 \(1, 4, 4\), got float64 \(1, 4, 4\)"):
        decided(slabs_of(torch.zeros(2, 4, 4)), (4, 4), (4, 4), largest, out=np.zeros((1, 4, 4)))


def test_slabs_with_a_gap_are_refused() -> None:
    slabs = [(slice(0, 2), torch.zeros(2, 2, 4)), (slice(3, 4), torch.zeros(2, 1, 4))]
    with pytest.raises(DataError, match=r"the slabs do not follow one another on the image: expected planes from 2 of shape \(4,\), got 3:4"):
        decided(slabs, (4, 4), (8, 8), largest)


def test_slabs_that_end_early_are_refused() -> None:
    with pytest.raises(DataError, match="the slabs end before the image does: expected 4 planes, got 2"):
        decided([(slice(0, 2), torch.zeros(2, 2, 4))], (4, 4), (8, 8), largest)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("shape_out", [(25, 21, 40), (12, 50, 17), (11, 30, 5)])
def test_an_image_is_resampled_as_scikit_image_does(order: int, shape_out: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(100, 40, (2, 20, 31, 17)).astype(np.float32)
    wanted = np.stack([resize(channel.astype(float), shape_out, order=order, mode="edge", anti_aliasing=False) for channel in image])
    got = resampled_image(image, shape_out, order)
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() < 1e-3 * 40 / 10


def test_an_image_with_thick_slices_is_resampled_slice_by_slice() -> None:
    image = np.random.default_rng(0).normal(size=(1, 5, 20, 24)).astype(np.float32)
    slices = np.stack([resize(each.astype(float), (30, 17), order=3, mode="edge", anti_aliasing=False) for each in image[0]])
    got = resampled_image(image, (13, 30, 17), anisotropic=True)
    assert np.abs(got[0] - slices[Axis.of(5, 13, nearest=True).low]).max() < 1e-5


def test_a_picture_of_whole_numbers_stays_within_its_range() -> None:
    image = np.zeros((1, 40, 40), np.uint8)
    image[0, 10:30, 10:30] = 255
    got = resampled_image(image, (97, 61))
    assert got.shape == (1, 97, 61)
    assert got.min() == 0 and got.max() == 255


def test_an_image_of_the_same_shape_is_unchanged() -> None:
    image = np.random.default_rng(0).normal(size=(2, 8, 9)).astype(np.float32)
    assert np.array_equal(resampled_image(image, (8, 9)), image)


@pytest.mark.parametrize(("shape", "order"), [((4,), 3), ((4, 0), 3), ((4, 4), 6)])
def test_an_impossible_resampling_is_refused(shape: tuple[int, ...], order: int) -> None:
    with pytest.raises(OptionError, match="an image is resampled to one side for each axis, by a spline: expected 2 sides >= 1, order 0 to 5"):
        resampled_image(np.zeros((1, 4, 4), np.float32), shape, order)


def test_a_mask_has_at_each_sample_the_label_with_the_largest_share() -> None:
    coarse = np.random.default_rng(0).integers(0, 3, (1, 4, 5, 6), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((1, 3, 3, 3), np.uint8))
    mask[0, 0] = 255
    shape_out = (19, 9, 25)
    labels = np.array([255, 2, 1, 0], np.uint8)
    shares = interpolated(torch.from_numpy((mask == labels.reshape(-1, 1, 1, 1)).astype(np.float32)), shape_out)
    got = resampled_mask(mask, shape_out)
    assert got.shape == (1, *shape_out) and set(np.unique(got)) == {0, 1, 2, 255}
    later = 1e-6 * torch.arange(4).reshape(-1, 1, 1, 1)
    assert np.array_equal(got[0], labels[(shares - later).max(0).indices.numpy()])


def test_each_plane_of_a_mask_is_resampled_by_itself() -> None:
    mask = (np.random.default_rng(0).normal(size=(3, 8, 9)) > 0).astype(np.uint8)
    got = resampled_mask(mask, (20, 21))
    assert all(np.array_equal(got[i : i + 1], resampled_mask(mask[i : i + 1], (20, 21))) for i in range(3))


def test_of_two_labels_with_the_same_share_the_larger_wins() -> None:
    assert resampled_mask(np.array([[[0, 1], [0, 1]]], np.uint8), (2, 3)).tolist() == [[[0, 1, 1], [0, 1, 1]]]


def test_a_mask_to_another_number_of_axes_is_refused() -> None:
    with pytest.raises(OptionError, match=r"a mask is resampled to one side for each axis: expected 2 sides >= 1, got \(4,\)"):
        resampled_mask(np.zeros((1, 4, 4), np.uint8), (4,))
