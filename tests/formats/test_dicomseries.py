from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from making import dicom, noise, series

from vesalius.errors import FormatError
from vesalius.formats import content_hash, find_sources, header, open_study


def test_series_is_sorted_by_geometry(tmp_path: Path) -> None:
    series(tmp_path / "s", 5)
    (only,) = find_sources(tmp_path / "s")
    study = open_study(only)
    assert study.image[0, :, 0, 0].tolist() == [-1000, -900, -800, -700, -600]
    assert study.grid.shape == (5, 4, 6)
    assert study.grid.spacing_mm == (2.5, 0.5, 0.7)
    np.testing.assert_allclose(study.grid.world(np.array([4, 0, 0])), [-10, -20, 40])
    np.testing.assert_allclose(study.grid.world(np.array([0, 1, 2])), [-8.6, -19.5, 30])
    assert header(only)["shape"] == (5, 4, 6)
    assert len(content_hash(only)) == 64


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    series(tmp_path / "s", 6, skip=(3,))
    with pytest.raises(FormatError,
                       match=r"slices of the series are missing.*2.50 mm, got about 1 missing, first between 004.dcm \(35.00 mm\) and 002.dcm \(40.00 mm\)"):
        open_study(find_sources(tmp_path / "s")[0])


def test_repeated_slices_are_named(tmp_path: Path) -> None:
    series(tmp_path / "s", 4, uid="1.2.9")
    series(tmp_path / "t", 4, uid="1.2.9")
    (tmp_path / "t" / "002.dcm").rename(tmp_path / "s" / "copy.dcm")
    with pytest.raises(FormatError, match="at the same place.*1 repeated, e.g. (002.dcm and copy.dcm|copy.dcm and 002.dcm)"):
        open_study(next(s for s in find_sources(tmp_path) if s.path.endswith("s")))


def test_gantry_tilt_is_said_and_kept_in_the_grid(tmp_path: Path) -> None:
    series(tmp_path / "s", 5, step=(0.0, 1.0, 2.5))
    study = open_study(find_sources(tmp_path / "s")[0])
    assert study.meta["gantry_tilt_deg"] == pytest.approx(21.8, abs=0.01)
    assert "tilted by 21.8 degrees" in study.meta["notes"][0]
    np.testing.assert_allclose(study.grid.world(np.array([4, 0, 0])), [-10, -16, 40])
    assert study.grid.spacing_mm[0] == pytest.approx(2.5)


def test_oblique_series(tmp_path: Path) -> None:
    turned = [0, 1, 0, 0, 0, -1]  # sagittal: rows to posterior, columns to inferior, normal to the right
    series(tmp_path / "s", 4, step=(-3.0, 0.0, 0.0), ImageOrientationPatient=turned)
    study = open_study(find_sources(tmp_path / "s")[0])
    assert study.grid.axes == "PIR"
    assert study.image[0, :, 0, 0].tolist() == [-1000, -900, -800, -700]


def test_a_mixed_series_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "s", 4, uid="1.2.9")
    facts = {"SeriesInstanceUID": "1.2.9", "ImagePositionPatient": [0, 0, 99], "PixelSpacing": [1, 1]}
    odd = dicom(tmp_path / "s" / "odd.dcm", noise(4, 6), ImageOrientationPatient=[0, 1, 0, 0, 0, -1], **facts)
    with pytest.raises(FormatError, match="not parallel.*odd.dcm"):
        open_study(find_sources(tmp_path / "s")[0])
    dicom(odd, noise(5, 7), ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **facts)
    with pytest.raises(FormatError, match="several sizes.*odd.dcm"):
        open_study(find_sources(tmp_path / "s")[0])


def test_uneven_steps_are_said(tmp_path: Path) -> None:
    for k, z in enumerate((0.0, 2.0, 4.3, 6.3)):
        facts = {"SeriesInstanceUID": "1.2.9", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
        dicom(tmp_path / f"{k}.dcm", noise(4, 6), ImagePositionPatient=[0, 0, z], **facts)
    assert "varies from 2.00 to 2.30 mm" in open_study(find_sources(tmp_path)[0]).meta["notes"][0]


def test_two_series_in_one_folder_and_files_without_suffix(tmp_path: Path) -> None:
    series(tmp_path / "s", 3, uid="1.2.7")
    for path in series(tmp_path / "t", 3, uid="1.2.8"):
        path.rename(tmp_path / "s" / f"IM{path.stem}")
    found = find_sources(tmp_path)
    assert sorted(str(s.member) for s in found) == ["1.2.7", "1.2.8"]
    assert all(open_study(s).image.shape == (1, 3, 4, 6) for s in found)


def test_slices_without_uid_are_one_series_by_orientation(tmp_path: Path) -> None:
    for path in series(tmp_path / "s", 3):
        item = pydicom.dcmread(path)
        del item.SeriesInstanceUID
        item.save_as(path)
    assert len(find_sources(tmp_path)) == 1


def test_radiographs_of_one_series_are_images_of_their_own(tmp_path: Path) -> None:
    for k in range(3):
        dicom(tmp_path / f"{k}.dcm", noise(4, 6, seed=k), SeriesInstanceUID="1.2.9", Modality="DX")
    assert len(find_sources(tmp_path)) == 3


@pytest.mark.realdata
def test_real_series(shared_data: Path) -> None:
    found = find_sources(shared_data / "dicom_brain_mr_series")
    shapes = {Path(s.path).name: open_study(s).grid for s in found}
    assert {name: grid.shape for name, grid in shapes.items()} == {"12-T1post-05670": (22, 512, 512), "13_HCropVolume": (32, 51, 35),
                                                                   "36459-FLAIRreg-76244": (22, 512, 512)}
    assert all(grid.axes == "LPS" for grid in shapes.values())
    (ct,) = find_sources(shared_data / "totalsegmentator_examples" / "example_ct_dicom")
    study = open_study(ct)
    assert study.image.shape == (1, 20, 512, 512)
    assert study.grid.spacing_mm[0] == pytest.approx(2.0)
    assert study.image.min() >= -1100
