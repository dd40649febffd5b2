from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from making import noise, source

from vesalius.errors import FormatError
from vesalius.formats import header, open_study


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_round_trip_with_geometry(tmp_path: Path, suffix: str) -> None:
    array = noise(7, 8, 9, high=4000, kind=np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 2.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    study = open_study(source(path))
    np.testing.assert_array_equal(study.image[0], array)
    assert study.grid.spacing_mm == pytest.approx((2.0, 0.6, 0.5))
    np.testing.assert_allclose(study.grid.world(np.array([3, 2, 1])), image.TransformIndexToPhysicalPoint((1, 2, 3)))
    assert header(source(path)) == {"shape": (7, 8, 9), "channels": 1, "bits": 16, "modality": None}


def test_four_axes_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(noise(2, 3, 4, 5), isVector=False), str(tmp_path / "a.nrrd"))
    with pytest.raises(FormatError, match="no single image"):
        open_study(source(tmp_path / "a.nrrd"))


def test_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(noise(20, 20, 20)), str(path))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(FormatError, match="a.mha"):
        open_study(source(path))


@pytest.mark.realdata
def test_real_nrrd(shared_data: Path) -> None:
    study = open_study(source(shared_data / "pyradiomics_cases" / "brain1_image.nrrd"))
    assert study.image.shape == (1, 25, 256, 256)
    assert study.grid.spacing_mm == pytest.approx((6.5, 0.78125, 0.78125), abs=0.01)
