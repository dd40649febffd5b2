"""Agreement of heat maps, the pointing game and the order in which places are hidden."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from vesalius.kernels.saliency import agreement, cells_of, likeness, near, order_of, points_at


def disc(shape: tuple[int, ...], centre: tuple[int, ...], radius: float) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def test_agreement_is_spearmans_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((9, 11)).round(1), rng.random((9, 11)).round(1)
    assert agreement(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert agreement(a, a**3) == 1.0 and agreement(a, -a) == -1.0 and agreement(a, np.zeros_like(a)) == 0.0


@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24)])
def test_likeness_looks_only_where_something_is_shown(shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    here, there = (disc(shape, (n,) * ndim, 4).astype(np.float32) for n in (8, shape[0] - 8))
    assert likeness(here, here) == pytest.approx(1.0)
    assert likeness(here, there) < 0.2, "two small spots apart are not alike, however much empty space they share"
    assert likeness(here * 0, here * 0) == 0.0


@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24)])
def test_the_hottest_place_is_in_the_lesion_or_near_it(shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    lesion = disc(shape, (10,) * ndim, 3)
    heat = np.zeros(shape)
    heat[(10,) * ndim] = 1
    assert points_at(heat, lesion)
    heat = np.roll(heat, 3 + round(shape[0] / 16), 0)
    assert points_at(heat, lesion) and not points_at(np.roll(heat, 2, 0), lesion)
    assert lesion.sum() < near(lesion).sum() < disc(shape, (10,) * ndim, 3 + 2 + shape[0] / 16).sum()


def test_of_equally_hot_places_one_in_their_middle_is_asked() -> None:
    lesion, heat = disc((64, 64), (32, 32), 3), np.zeros((64, 64))
    heat[20:45, 20:45] = 1
    assert points_at(heat, lesion)


@pytest.mark.parametrize("shape", [(28, 30), (9, 20, 13)])
def test_cells_cover_the_image_and_the_hottest_is_first(shape: tuple[int, ...]) -> None:
    place = cells_of(shape, 7)
    assert sorted(np.unique(place)) == list(range(7 ** len(shape))) and place.shape == shape
    heat = np.zeros(shape)
    heat[place == 17] = 0.5
    heat[place == 3] = 1.0
    assert order_of(heat, place)[:3].tolist() == [3, 17, 0]
    assert cells_of((3, 3), 7).max() == 8, "no more cells than samples"
