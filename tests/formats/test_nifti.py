from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from making import noise, source

from vesalius.errors import FormatError
from vesalius.formats import header, open_study

RAS = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -20], [0, 0, 4.0, 30], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray, affine: np.ndarray = RAS) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volume_keeps_its_order_and_lies_in_lps(tmp_path: Path, suffix: str) -> None:
    array = noise(5, 6, 7, high=3000, kind=np.int16)
    study = open_study(source(save(tmp_path / f"a{suffix}", array)))
    np.testing.assert_array_equal(study.image[0], array.T)
    assert study.image.dtype == np.int16
    assert study.grid.spacing_mm == (4.0, 3.0, 2.0)
    assert study.grid.axes == "LAS"
    ras = RAS @ np.array([1, 2, 3, 1])
    np.testing.assert_allclose(study.grid.world(np.array([3, 2, 1])), [-ras[0], -ras[1], ras[2]])


def test_scaling_is_applied(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), RAS)
    volume.header.set_slope_inter(0.5, -1000)
    stored = np.asanyarray(volume.dataobj)
    stored[1, 2, 3] = 100
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(stored, RAS), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -1000], "<f4").tobytes()  # scl_slope and scl_inter (NIfTI-1 header, bytes 112 to 119)
    path.write_bytes(bytes(raw))
    study = open_study(source(path))
    assert study.image[0, 3, 2, 1] == 50 - 1000
    assert study.image[0, 0, 0, 0] == -1000
    assert study.bits == header(source(path))["bits"] == 32


def test_one_slice_is_a_picture(tmp_path: Path) -> None:
    study = open_study(source(save(tmp_path / "a.nii", noise(5, 6, 1))))
    assert study.image.shape == (1, 6, 5)
    assert study.grid.spacing_mm == (3.0, 2.0)


def test_colour(tmp_path: Path) -> None:
    array = noise(5, 6, 7, 3)
    rgb = np.ascontiguousarray(array).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    study = open_study(source(save(tmp_path / "a.nii", rgb)))
    np.testing.assert_array_equal(study.image, array.transpose(3, 2, 1, 0))
    assert header(source(tmp_path / "a.nii"))["channels"] == 3


def test_units_are_mm(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(noise(5, 6, 7), np.diag([0.001, 0.001, 0.002, 1]))
    volume.header.set_xyzt_units("meter")
    nib.save(volume, tmp_path / "a.nii")
    assert open_study(source(tmp_path / "a.nii")).grid.spacing_mm == pytest.approx((2.0, 1.0, 1.0))


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no single image.*2 or 3 axes, got 4 axes, shape \(5, 6, 7, 2\); store one volume a file"):
        open_study(source(save(tmp_path / "a.nii", noise(5, 6, 7, 2))))


def test_without_codes_it_is_said(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(noise(5, 6, 7), None)
    volume.header["sform_code"] = volume.header["qform_code"] = 0
    nib.save(volume, tmp_path / "a.nii")
    assert "states no orientation" in open_study(source(tmp_path / "a.nii")).meta["notes"][0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", noise(30, 30, 30))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(FormatError, match="a.nii"):
        open_study(source(path))


def test_text_called_nifti(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_text("hello")
    with pytest.raises(FormatError, match="not what its name says.*got text"):
        open_study(source(tmp_path / "a.nii.gz"))


def test_header_matches_the_study(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", noise(5, 6, 7))
    study = open_study(source(path))
    assert header(source(path)) == {"shape": study.grid.shape, "channels": 1, "bits": 8, "modality": None}


@pytest.mark.realdata
def test_real_volumes(shared_data: Path) -> None:
    for path in sorted((shared_data / "niivue_nifti").glob("*.nii.gz")):
        if path.name == "pcasl.nii.gz":
            with pytest.raises(FormatError, match="52, 68, 20, 10"):
                open_study(source(path))
            continue
        study = open_study(source(path))
        assert study.grid.axes == "RAS"  # stored R to L, P to A, I to S in LPS words: x to the right, y to anterior
        assert header(source(path))["shape"] == study.grid.shape
    images = sorted((shared_data / "msd_task04_hippocampus" / "images").glob("*.nii*"))[:5]
    assert all(open_study(source(path)).grid.spacing_mm == pytest.approx((1, 1, 1)) for path in images)
