"""Prepared cases: decoded once, on one grid with their masks, and gone on with after a stop."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesalius.core.cohort import Case, MaskFile, Source
from vesalius.core.reads import TileReads
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.stages.tiled import store as module
from vesalius.stages.tiled.store import class_shares, places_of, prepare_cases

TARGET = TargetSpec("mask", ("a", "b"), values=((1,), (2,)))
READS = TileReads((8, 8, 8), spacing_mm=(1.0, 1.0, 1.0))


def write(path: Path, array: np.ndarray) -> Source:
    nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([-2.0, -1.0, 1.0, 1.0])).to_filename(path)
    return Source("nifti", str(path))


def cases_in(folder: Path, n: int = 3) -> list[Case]:
    rng, made = np.random.default_rng(0), []
    for i in range(n):
        mask = np.zeros((6, 8, 10), np.uint8)
        mask[1:3, 2:5, 3:7], mask[4, 4:6, 5:8] = 1, 2
        image = write(folder / f"i{i}.nii.gz", rng.normal(mask * 50, 5).astype(np.int16))
        made.append(Case(f"case-{i}", image, f"p{i}", masks=(MaskFile(write(folder / f"m{i}.nii.gz", mask)),)))
    return made


def test_image_and_mask_lie_on_one_grid_at_the_spacing_of_the_plan(tmp_path: Path) -> None:
    made = prepare_cases(cases_in(tmp_path), ["x", "y", "z"], TARGET, READS, tmp_path / "cache")
    image, truth = made.image(1), made.truth(1)
    assert image.dtype == np.float16 and image.shape == (1, 6, 8, 20) and truth.shape == (1, 6, 8, 20)
    assert float(image[0][truth[0] == 2].mean()) > float(image[0][truth[0] == 1].mean()) > float(image[0][truth[0] == 0].mean())


def test_places_are_samples_of_their_class(tmp_path: Path) -> None:
    made = prepare_cases(cases_in(tmp_path, 1), ["x"], TARGET, READS, tmp_path / "cache")
    places, truth = made.places(0), made.truth(0)
    assert set(places[:, 0]) == {1, 2} and all(truth[0][tuple(place[1:])] == place[0] for place in places)


def test_few_places_are_kept_of_a_large_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES", 10)
    mask = np.ones((1, 20, 20), np.uint8)
    found = places_of(mask, TARGET, np.random.default_rng(0))
    assert len(found) == 10 and len(np.unique(found, axis=0)) == 10


def test_what_is_prepared_is_not_read_again(tmp_path: Path) -> None:
    cases = cases_in(tmp_path)
    prepare_cases(cases[:2], ["x", "y"], TARGET, READS, tmp_path / "cache")
    first = prepare_cases(cases, ["x", "y", "z"], TARGET, READS, tmp_path / "cache")
    for case in cases:
        Path(case.source.path).unlink()
    again = prepare_cases(cases, ["x", "y", "z"], TARGET, READS, tmp_path / "cache")
    assert np.array_equal(again.image(2), first.image(2))
    other = TileReads((8, 8, 8), spacing_mm=(2.0, 1.0, 1.0))
    with pytest.raises(DataError):
        prepare_cases(cases, ["x", "y", "z"], TARGET, other, tmp_path / "cache")


def test_shares_leave_out_what_nobody_judged() -> None:
    mask = np.array([[[0, 1, 1, 2, IGNORED, IGNORED]]], np.uint8)
    assert class_shares(mask, TARGET).tolist() == [0.5, 0.25]
