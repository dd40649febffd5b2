"""Missing slices filled on request, uneven slices, and planes in patient space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import dicom, noise, series

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicom import filled, headers_of
from vesalius.formats.dicomplanes import planes_of


def test_gaps_are_filled_in_between(tmp_path: Path) -> None:
    series(tmp_path / "s", 8, skip=(2, 5, 6))
    source = find_sources(tmp_path / "s")[0]
    study = open_study(source, gaps="fill")
    assert study.image[0, :, 0, 0].tolist() == [-1000, -900, -800, -700, -600, -500, -400, -300]
    assert study.meta["filled_slices"] == (2, 5, 6)
    assert study.meta["notes"] == ("3 missing slices were interpolated, first between 007.dcm (32.50 mm) and 005.dcm (37.50 mm)",)
    assert study.grid.shape == (8, 4, 6) and study.grid.spacing_mm[0] == pytest.approx(2.5)
    _, places = headers_of(filled(source))
    assert [file < 0 for file, _ in places] == [False, False, True, False, False, True, True, False]


def test_a_whole_series_is_the_same_filled_or_not(tmp_path: Path) -> None:
    series(tmp_path / "s", 5)
    source = find_sources(tmp_path / "s")[0]
    study, other = open_study(source), open_study(source, gaps="fill")
    np.testing.assert_array_equal(study.image, other.image)
    assert study.grid == other.grid and "filled_slices" not in other.meta
    assert filled(Source("nifti", "x.nii")) == Source("nifti", "x.nii")


def test_a_stack_that_is_mostly_gone_is_not_invented(tmp_path: Path) -> None:
    series(tmp_path / "s", 30, skip=tuple(range(4, 28)))
    with pytest.raises(FormatError, match=r"more slices of the series are missing than there .*expected at least 50% of the slices, got 6 of about 30"):
        open_study(find_sources(tmp_path / "s")[0], gaps="fill")


def test_a_damaged_slice_of_a_filled_series_is_told_as_such(tmp_path: Path) -> None:
    paths = series(tmp_path / "s", 5, skip=(2,))
    source = find_sources(tmp_path / "s")[0]
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    with pytest.raises(FormatError, match="truncated or damaged|cannot be read"):
        open_study(source, gaps="fill")


def test_uneven_slices_keep_their_own_positions(tmp_path: Path) -> None:
    for k, z in enumerate((0.0, 2.0, 4.3, 6.3)):
        facts = {"SeriesInstanceUID": "1.2.9", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
        dicom(tmp_path / f"{k}.dcm", noise(4, 6), ImagePositionPatient=[0, 0, z], **facts)
    planes = planes_of(open_study(find_sources(tmp_path)[0]))
    assert planes.origins_mm[:, 2].tolist() == [0.0, 2.0, 4.3, 6.3]
    found, off = planes.nearest(np.array([[0, 0, 4.2], [9, 9, 7.0]]))
    assert found.tolist() == [2, 3]
    np.testing.assert_allclose(off, [-0.1, 0.7])


def test_planes_of_a_tilted_grid_and_back() -> None:
    affine = np.array([[0.8, 0, 0, 5], [0, 1.1, 0.9, -7], [0, 0.2, 3.0, 11], [0, 0, 0, 1.0]])
    grid = Grid((4, 5, 6), (3.0, 1.1, 0.8), affine)
    planes = planes_of(Study(np.zeros((1, 4, 5, 6)), grid))
    yx = np.array([[0.0, 0.0], [4.0, 2.5]])
    for k in range(4):
        world = planes.world(yx, k)
        np.testing.assert_allclose(world, grid.world(np.array([[k, 0, 0], [k, 4, 2.5]])))
        np.testing.assert_allclose(planes.index(world + 0.3 * planes.normal, k), yx, atol=1e-12)
    flat = planes_of(Study(np.zeros((1, 5, 6)), Grid.plain((5, 6))))
    assert flat.origins_mm.shape == (1, 3) and flat.step_mm == 1.0
