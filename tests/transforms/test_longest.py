"""Pictures without a spacing are brought to a longest side."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.transforms.tiles import prepare_tiles, trace_of


def picture(shape: tuple[int, ...]) -> Study:
    return Study(np.random.default_rng(0).integers(0, 255, (1, *shape)).astype(np.uint8), Grid.plain(shape))


@pytest.mark.parametrize(("shape", "made"), [((60, 100), (30, 50)), ((100, 60), (50, 30)), ((200, 1), (50, 1)), ((50, 50), (50, 50)), ((10, 25), (20, 50))])
def test_the_longest_side_is_as_asked_and_the_others_follow(shape: tuple[int, ...], made: tuple[int, ...]) -> None:
    image, trace = prepare_tiles(picture(shape), TileReads((16, 16), longest=50))
    assert image.shape == (1, *made) and trace.shape == made and image.dtype == np.float32


def test_the_grid_has_no_say_with_zero_nor_with_a_spacing() -> None:
    grid = Grid.plain((60, 100), (2.0, 2.0))
    assert trace_of(grid, TileReads((16, 16))).shape == (60, 100)
    assert trace_of(grid, TileReads((16, 16), spacing_mm=(1.0, 1.0), longest=50)).shape == (120, 200)


def test_a_small_bright_thing_is_not_lost_between_two_samples() -> None:
    """Every one of them keeps its share of the light when the picture is made four times smaller."""
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, 5:60:11, 5:60:11] = 255
    reads = TileReads((16, 16), schemes=("full",), longest=16)
    small = prepare_tiles(Study(image, Grid.plain((64, 64))), reads)[0]
    assert small.shape == (1, 16, 16) and small.mean() == pytest.approx(image.mean() / 255, rel=0.05)
    volume = np.zeros((1, 32, 32, 32), np.uint8)
    volume[0, 3::9, 3::9, 3::9] = 255
    reads = TileReads((8, 8, 8), schemes=("full",), longest=8)
    small = prepare_tiles(Study(volume, Grid.plain((32, 32, 32))), reads)[0]
    assert small.shape == (1, 8, 8, 8) and small.mean() == pytest.approx(volume.mean() / 255, rel=0.05)


@pytest.mark.parametrize("scheme", ["zscore", "full"])
def test_a_constant_picture_stays_constant_at_any_size(scheme: str) -> None:
    study = Study(np.full((1, 40, 60), 51, np.uint8), Grid.plain((40, 60)))
    for longest in (0, 24, 90):
        image = prepare_tiles(study, TileReads((16, 16), schemes=(scheme,), longest=longest))[0]  # type: ignore[arg-type]
        assert np.allclose(image, 0.2 if scheme == "full" else 0, atol=0.05)


def test_each_picture_has_its_own_mean_and_deviation_also_when_it_is_made_smaller() -> None:
    image = prepare_tiles(picture((100, 200)), TileReads((16, 16), longest=64))[0]
    assert abs(float(image.mean())) < 1e-4 and float(image.std()) == pytest.approx(1, abs=1e-3)


def test_the_reads_survive_their_file() -> None:
    reads = TileReads((16, 16), longest=416)
    assert TileReads.from_dict(reads.to_dict()) == reads
