from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from making import dicom, noise, png
from PIL import Image

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import content_hash, find_sources, header, open_study, recognise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest sets aside the package's own filter for pydicom


def make(folder: Path, suffix: str) -> Source:
    path, volume = folder / f"a{suffix}", noise(9, 9, 9, high=99, kind=np.int16)
    writers = {
        ".png": lambda: png(path), ".jpg": lambda: Image.fromarray(noise(40, 40, 3)).save(path), ".tif": lambda: tifffile.imwrite(path, volume[0]),
        ".nii": lambda: nib.save(nib.Nifti1Image(volume, np.eye(4)), path), ".nii.gz": lambda: nib.save(nib.Nifti1Image(volume, np.eye(4)), path),
        ".npy": lambda: np.save(path, volume), ".npz": lambda: np.savez_compressed(path, train_images=volume, train_labels=np.zeros(9)),
        ".dcm": lambda: dicom(path, volume[0], PatientID="P1"),
    }
    writers[suffix]()
    names = {".png": "raster", ".jpg": "raster", ".tif": "tiff", ".nii": "nifti", ".nii.gz": "nifti", ".npy": "npy", ".npz": "npz", ".dcm": "dicom"}
    return Source(names[suffix], str(path), "train:3" if suffix == ".npz" else None)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".nii", ".nii.gz", ".npy", ".npz", ".dcm"])
def test_damage_of_any_kind_is_one_error(tmp_path: Path, suffix: str) -> None:
    """Random bytes changed near the start, some files cut: each is read or refused with a FormatError that names it."""
    source = make(tmp_path, suffix)
    whole, path, rng = Path(source.path).read_bytes(), Path(source.path), np.random.default_rng(7)
    refused = 0
    for trial in range(40):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(0, min(len(data), 400))] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(0, len(data))] if trial % 3 == 0 else data)
        for action in (open_study, header, content_hash):
            try:
                action(source)
            except FormatError as error:
                assert path.name in str(error)
                refused += 1
    assert refused > 5


def test_a_damaged_npz_is_refused_alone_and_kept_in_a_folder(tmp_path: Path) -> None:
    source = make(tmp_path, ".npz")
    Path(source.path).write_bytes(Path(source.path).read_bytes()[:700])
    with pytest.raises(FormatError, match="the npz is truncated or damaged.*BadZipFile"):
        recognise(source.path)
    png(tmp_path / "b.png")
    assert [Path(each.path).name for each in find_sources(tmp_path)] == ["a.npz", "b.png"]
