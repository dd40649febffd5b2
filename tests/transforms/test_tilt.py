from __future__ import annotations

import numpy as np
import pytest

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.transforms.tilt import retilted, shear_of, untilted, upright


def tilted_grid(shift: tuple[float, float] = (0.7, -0.3), shape: tuple[int, int, int] = (9, 12, 14)) -> Grid:
    """Slices 3 mm apart, each shifted by so many rows and columns; turned in space."""
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    right, down, normal = turn[:, 0] * 0.8, turn[:, 1] * 1.1, turn[:, 2] * 3
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = right, down, normal + shift[0] * down + shift[1] * right, (5, -7, 11)
    return Grid(shape, (3.0, 1.1, 0.8), affine)


def ramp(grid: Grid, way: np.ndarray) -> np.ndarray:
    """A field that is linear in patient space, on a grid."""
    return grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)) @ way


def test_the_upright_grid_is_orthogonal_and_holds_every_sample() -> None:
    grid = tilted_grid()
    np.testing.assert_allclose(shear_of(grid), (0.7, -0.3))
    straight = upright(grid)
    axes = straight.affine_lps[:3, :3] / np.linalg.norm(straight.affine_lps[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert straight.shape == (9, 12 + 6, 14 + 3)
    corners = np.array([(z, y, x) for z in (0, 8) for y in (0, 11) for x in (0, 13)])
    index = straight.index(grid.world(corners))
    np.testing.assert_allclose(index[:, 0], corners[:, 0], atol=1e-9)
    assert (index > -1e-9).all() and (index < np.array(straight.shape) - 1 + 1e-9).all()


def test_untilting_keeps_patient_space() -> None:
    grid, way = tilted_grid(), np.array([1.0, -2.0, 0.5])
    study = Study(ramp(grid, way)[None].astype(np.float32), grid, meta={"gantry_tilt_deg": 14.0, "patient_id": "P"})
    straight = untilted(study)
    low = study.image.min()
    expected = ramp(straight.grid, way)
    place = grid.index(straight.grid.world(np.stack(np.meshgrid(*map(np.arange, straight.grid.shape), indexing="ij"), -1)))[..., 1:]
    sure = ((place >= 0) & (place <= np.array(grid.shape[1:]) - 1)).all(-1)
    assert sure.sum() > 0.8 * study.image.size
    np.testing.assert_allclose(straight.image[0][sure], expected[sure], atol=1e-3)
    assert straight.image.min() == low
    assert straight.meta == {"patient_id": "P", "untilted_deg": 14.0}


def test_integers_stay_and_masks_come_back() -> None:
    grid = tilted_grid((2.0, -1.0))
    labels = np.random.default_rng(0).integers(0, 4, grid.shape).astype(np.int16)
    straight = untilted(Study(labels[None], grid))
    assert straight.image.dtype == np.int16
    np.testing.assert_array_equal(retilted(straight.image[0].astype(np.uint8), grid), labels)
    np.testing.assert_array_equal(retilted(straight.image.astype(np.uint8), grid)[0], labels)
    with pytest.raises(DataError, match="do not lie on the upright grid.*expected .9, 28, 22., got .9, 12, 14."):
        retilted(labels, grid)


def test_an_upright_study_is_left_alone() -> None:
    study = Study(np.zeros((1, 3, 4, 5)), Grid.plain((3, 4, 5), (2.0, 1.0, 1.0)))
    assert untilted(study) is study
    assert retilted(study.image[0], study.grid) is not None and upright(study.grid) is study.grid
    assert not shear_of(Grid.plain((4, 5))).any()
