"""One slice of a volume as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import dicom, noise, png, series
from marking import nifti

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import content_hash, open_study
from vesalius.formats.opening import header
from vesalius.formats.slices import singly, slice_of, whole_of
from vesalius.formats.sources import find_sources


def test_a_slice_is_that_plane_at_its_place_in_the_patient(tmp_path: Path) -> None:
    turned = np.array([[0.0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, -9], [0, 0, 0, 1]])
    path = nifti(tmp_path / "ct.nii.gz", noise(8, 9, 7), turned)
    volume = open_study(Source("nifti", str(path)))
    for place in (0, 3, 6):
        study = open_study(slice_of(volume_of(path), place))
        assert study.grid.shape == (9, 8) and study.grid.spacing_mm == volume.grid.spacing_mm[1:]
        assert np.array_equal(study.image, volume.image[:, place])
        assert np.allclose(study.grid.world(np.array([4, 5])), volume.grid.world(np.array([place, 4, 5])))
    facts = header(slice_of(volume_of(path), 3))
    assert facts["shape"] == (9, 8) and facts["bits"] == 8


def volume_of(path: Path) -> Source:
    return whole_of(Source("slice", str(path), "z:0"))


def test_slices_of_one_file_are_told_apart_and_equal_ones_are_found(tmp_path: Path) -> None:
    array = noise(8, 9, 5)
    array[..., 4] = array[..., 1]
    path = nifti(tmp_path / "ct.nii", array)
    digests = [content_hash(slice_of(volume_of(path), place)) for place in range(5)]
    assert digests[4] == digests[1] and len(set(digests)) == 4


def test_a_volume_that_changed_on_the_disk_is_read_again(tmp_path: Path) -> None:
    path = nifti(tmp_path / "ct.nii", np.zeros((8, 9, 5), np.uint8))
    assert open_study(slice_of(volume_of(path), 2)).image.max() == 0
    nifti(path, np.ones((8, 9, 6), np.uint8))
    assert open_study(slice_of(volume_of(path), 5)).image.min() == 1


@pytest.mark.parametrize("member", ["z:7", "z:-1", "z:", "3", None, "z:two"])
def test_a_slice_that_there_is_not(tmp_path: Path, member: str | None) -> None:
    path = nifti(tmp_path / "ct.nii", noise(8, 9, 7))
    for ask in (open_study, header):
        with pytest.raises(FormatError, match="the volume has no such slice.*expected z:0 to z:6"):
            ask(Source("slice", str(path), member))


def test_a_picture_has_no_slices(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the image has no slices.*three axes"):
        open_study(Source("slice", str(png(tmp_path / "a.png")), "z:0"))
    with pytest.raises(FormatError, match="there is no such file"):
        open_study(Source("slice", str(tmp_path / "none.nii"), "z:0"))


def test_a_model_of_pictures_reads_series_and_volumes_slice_by_slice(tmp_path: Path) -> None:
    series(tmp_path / "ct", 4)
    nifti(tmp_path / "v.nii.gz", noise(8, 9, 3))
    dicom(tmp_path / "film.dcm", noise(12, 10), Modality="DX")
    png(tmp_path / "a.png")
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    parts = {str(source): [str(part).removeprefix(f"{tmp_path}/") for part in singly(source)] for source in find_sources(tmp_path)}
    assert sorted(parts.values()) == [["a.png"], ["broken.nii"], ["ct/004.dcm", "ct/003.dcm", "ct/002.dcm", "ct/001.dcm"], ["film.dcm"],
                                      ["v.nii.gz#z:0", "v.nii.gz#z:1", "v.nii.gz#z:2"]]
    (ct,) = [source for source in find_sources(tmp_path) if source.files]
    assert [int(open_study(part).image.max()) for part in singly(ct)] == [-1000, -900, -800, -700]
