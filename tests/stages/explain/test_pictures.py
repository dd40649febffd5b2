from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.stages.explain import pictures


def study(image, spacing=None, **facts):
    return Study(image, Grid.plain(image.shape[1:], spacing), **facts)


def test_window_of_the_file_of_8_bits_and_of_percentiles():
    ct = np.linspace(-1000, 1000, 10_000, dtype=np.float32).reshape(1, 100, 100)
    assert pictures.window_of(study(ct, window=(-160.0, 240.0), bits=12)) == (-160.0, 240.0)
    assert pictures.window_of(study(np.zeros((1, 4, 4), np.uint8))) == (0.0, 255.0)
    low, high = pictures.window_of(study(ct, bits=12))
    assert low == pytest.approx(-990, abs=1) and high == pytest.approx(990, abs=1)
    assert pictures.window_of(study(np.full((1, 2, 2), np.nan, np.float32))) == (0.0, 1.0)


def test_nan_is_black_and_colour_stays_colour():
    grey = pictures.to_rgb(np.array([[[np.nan, 1.0]]], np.float32), (0, 1))
    assert grey.tolist() == [[[0, 0, 0], [255, 255, 255]]]
    colour = np.zeros((3, 2, 2), np.uint8)
    colour[0] = 255
    assert pictures.to_rgb(colour, (0, 255))[0, 0].tolist() == [255, 0, 0]


def test_slice_of_maximum_attribution():
    heat = np.zeros((5, 3, 3))
    assert pictures.slice_of(heat) == 2
    heat[4, 1, 1] = 1
    assert pictures.slice_of(heat) == 4


def test_overlay_leaves_zero_alone_and_grows_lighter_with_the_map():
    rgb = np.full((1, 3, 3), 100, np.uint8)
    over = pictures.overlay(rgb, np.array([[0.0, 0.5, 1.0]]))
    assert over[0, 0].tolist() == [100, 100, 100]
    lightness = over.astype(int) @ np.array([0.2126, 0.7152, 0.0722])
    assert lightness[0, 2] > lightness[0, 1]
    assert pictures.overlay(rgb, np.full((1, 3), np.nan)).tolist() == rgb.tolist()


def test_true_proportions():
    assert pictures.scaled(np.zeros((10, 40, 3), np.uint8), 200, (5.0, 1.0)).shape == (200, 160, 3)


def test_volume_is_shown_where_its_first_map_is_strongest():
    volume = np.zeros((1, 4, 8, 8), np.uint8)
    volume[0, 3] = 200
    heat = np.zeros((4, 8, 8), np.float32)
    heat[3, 2, 2] = 1
    plain, over = pictures.views(study(volume, (5.0, 1.0, 1.0)), [heat], edge=64)
    assert plain.shape == over.shape == (64, 64, 3) and plain.mean() > 190 and not np.array_equal(plain, over)
    assert pictures.views(study(volume), [], edge=32)[0].mean() == 0


def test_sheet_holds_every_picture():
    sheet = pictures.sheet([np.full((10, 10, 3), v, np.uint8) for v in (100, 150, 200)], columns=2, gap=2)
    assert sheet.shape == (26, 26, 3)
    assert [sheet[5, 5, 0], sheet[5, 18, 0], sheet[18, 5, 0], sheet[18, 18, 0]] == [100, 150, 200, pictures.SHEET_GREY]


def test_png_bytes_come_back():
    rgb = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(pictures.png(rgb)))), rgb)
