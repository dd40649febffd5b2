"""A NIfTI volume that is uploaded to be kept goes the way of every study, and its correction is read by the next `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient

from stages.serve.clinicnode import Models, serving, until
from stages.serve.clinicstandins import mask_model, volume
from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats import open_study
from vesalius.stages.check import check
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.capture import captured
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.reading import read_series
from vesalius.stages.serve.service import Service

MODEL = mask_model((8, 32, 32))
TURN = np.deg2rad(20.0)
OBLIQUE = np.array([[1.5 * np.cos(TURN), -0.8 * np.sin(TURN), 0, 12.5], [1.5 * np.sin(TURN), 0.8 * np.cos(TURN), 0, -7], [0, 0, 3, 100], [0, 0, 0, 1]])
RAS, LAS = np.diag([0.8, 0.8, 2.5, 1.0]), np.diag([-0.8, 0.8, 2.5, 1.0])


def really_read(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
    return read_series(MODEL, files, out, name="lung", objects=("seg", "sr"), ids=job)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "site", Models(really_read), quiet_s=600.0) as service:
        yield service


def nifti(path: Path, image: np.ndarray, affine: np.ndarray) -> Path:
    """``[Z, Y, X]`` as a file."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(image.T), affine), path)
    return path


def same_places(kept: Study, given: Study) -> np.ndarray:
    """The samples of ``kept`` at the places of the samples of ``given``."""
    steps = np.linalg.inv(kept.grid.affine_lps) @ given.grid.affine_lps
    assert np.allclose(steps, np.rint(steps), atol=1e-3)
    z, y, x = np.indices(given.grid.shape)
    at = np.rint(np.einsum("ij,j...->i...", steps, np.stack([x, y, z, np.ones_like(x)]))).astype(int)
    return kept.image[0][at[2], at[1], at[0]]


CASES = {
    "whole numbers below zero": (volume().astype(np.int16) - 1024, RAS),
    "whole numbers as floats, left-handed": (volume().astype(np.float32) - 5, LAS),
    "8 bits, oblique": ((volume() // 16).astype(np.uint8), OBLIQUE),
    "large whole numbers": (volume().astype(np.int32) + 1_000_000, RAS),
}


@pytest.mark.parametrize("image, affine", CASES.values(), ids=list(CASES))
def test_whole_numbers_and_their_places_stay_what_they_are(tmp_path: Path, image: np.ndarray, affine: np.ndarray) -> None:
    given = open_study(Source("nifti", str(nifti(tmp_path / "a.nii.gz", image, affine))))
    kept = open_study(written(tmp_path / "a.nii.gz", tmp_path / "out"))
    assert np.array_equal(same_places(kept, given), given.image[0]) and kept.grid.spacing_mm == pytest.approx(given.grid.spacing_mm, abs=1e-6)


def written(path: Path, folder: Path) -> Source:
    folder.mkdir()
    for n, data in enumerate(captured(path)):
        (folder / f"{n}.dcm").write_bytes(data)
    return Source("dicom", str(folder), None, tuple(str(path) for path in sorted(folder.iterdir())))


def test_other_numbers_are_kept_in_65535_steps(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(3e-5, 1e-5, (4, 6, 5)).astype(np.float32)
    given = open_study(Source("nifti", str(nifti(tmp_path / "a.nii", image, OBLIQUE))))
    kept = open_study(written(tmp_path / "a.nii", tmp_path / "out"))
    assert np.abs(same_places(kept, given) - given.image[0]).max() <= 0.51 * np.ptp(image) / 65535


@pytest.mark.parametrize("image, affine, what", [
    (np.full((3, 4, 5), np.nan, np.float32), RAS, "the image holds what is no number: expected finite numbers, got NaN or infinity"),
    (volume().astype(np.int16), np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "the axes of the volume are not upright on each other"),
])
def test_what_cannot_be_kept_is_told(tmp_path: Path, image: np.ndarray, affine: np.ndarray, what: str) -> None:
    with pytest.raises(DataError, match=what):
        list(captured(nifti(tmp_path / "a.nii", image, affine)))


def test_several_channels_are_told(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), [(letter, "u1") for letter in "RGB"]), RAS), tmp_path / "a.nii")
    with pytest.raises(DataError, match="an image of several channels is not kept this way: expected one channel, .*got 3 channels"):
        list(captured(tmp_path / "a.nii"))


@pytest.mark.slow
def test_a_corrected_upload_is_truth_for_the_next_fit(node: Service, tmp_path: Path) -> None:
    client, image = TestClient(make_app(node), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)), volume().astype(np.int16) - 1024
    for n in range(2):
        path = nifti(tmp_path / f"{n}.nii.gz", image + n, LAS)
        for _ in range(1 + (n == 0)):  # the same again is the same study
            answer = client.post("/v1/predict?wait=0", content=path.read_bytes(), headers={"Content-Type": "application/gzip"})
            assert answer.status_code == 202 and len(answer.json()["jobs"]) == 1, answer.text
        until(lambda n=n: len(node.store.findings()) > n, 60.0)
        finding = node.store.finding(answer.json()["id"])
        folder = node.store.folder_of(finding["id"])
        drawn = np.zeros(tuple(finding["grid"]["shape"]), np.uint8)
        drawn[2:5, 4:9, 6 : 11 + n], drawn[7, 20:22, 20:25] = 1, 2
        assert drawn.shape == image.shape and finding["files"]["objects"] == ["seg.dcm", "sr.dcm"]
        write_volume(folder / "drawn.nii.gz", drawn, open_study(Source("nifti", str(folder / "image.nii.gz"))).grid)
        seg, report = decided(node.store, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
        assert pydicom.dcmread(seg).PatientID == pydicom.dcmread(report).PatientID == finding["patient"]["id"]
    assert len(node.store.find("study", {"PatientID": "UPLOAD-*"})) == 2 and len(node.store.find("instance", {}, limit=1000)) == 2 * len(image)
    truth = node.site.folder / "truth" / "lung"
    facts = check(str(truth)).to_dict()
    assert facts["target"]["kind"] == "mask" and facts["n_images"] == facts["n_patients"] == 2
    assert not [issue for issue in facts["issues"] if issue["severity"] == "error"]
    given = open_study(Source("nifti", str(tmp_path / "0.nii.gz")))
    kept = [open_study(Source("nifti", str(path))) for path in sorted((truth / "imagesTr").iterdir())]
    assert sorted(int(np.ptp(same_places(each, given) - given.image[0])) for each in kept) == [0, 0]
    assert sorted(int((same_places(each, given) - given.image[0]).mean()) for each in kept) == [0, 1]
