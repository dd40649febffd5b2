from __future__ import annotations

import pytest

from vesalius.errors import DataError, OptionError
from vesalius.formats.patients import by_facts, by_folders, by_names, by_option


def two_each(pattern: str, n: int = 12) -> list[str]:
    return [pattern.format(p=p, i=i) for p in range(n) for i in range(2)]


@pytest.mark.parametrize(
    "pattern",
    ["a/patient{p:03d}_{i}.png", "P{p:04d}-{i}-L.png", "{p:04d}_img{i}.png", "sub-{p:02d}_ses-{i}.nii.gz", "person{p}_bacteria_{i}.jpeg",
     "IM-{p:04d}-{i:04d}.jpeg",
     "患者{p}_{i}.png", "case {p} view {i}.png", "0000{p:04d}_00{i}.png", "TCGA-AB-{p:04d}-0{i}.tif"],
)
def test_patterns_that_group(pattern: str) -> None:
    found = by_names(two_each(pattern))
    assert found.known
    assert len(set(found.ids)) == 12
    assert found.ids[0] == found.ids[1] != found.ids[2]
    assert "12 patients, 24 images" in found.evidence


@pytest.mark.parametrize("pattern", ["image_{p}{i}.png", "ISIC_00{p:02d}{i}.jpg", "{p:03d}{i}.png", "normal-{p}x{i}.png", "scan2020_{p}{i}.png"])
def test_patterns_that_do_not(pattern: str) -> None:
    names = two_each(pattern, 40)
    found = by_names(names)
    assert not found.known
    assert list(found.ids) == names
    assert "nothing names the patient" in found.evidence


def test_one_image_a_patient_is_known_by_its_word() -> None:
    found = by_names([f"patient{p}.png" for p in range(9)])
    assert found.known
    assert len(set(found.ids)) == 9


def test_a_word_in_a_part_of_the_names() -> None:
    found = by_names([*two_each("person{p}_{i}.jpeg"), *[f"scan{i}.png" for i in range(10)]])
    assert found.known
    assert len(set(found.ids)) == 22
    assert "in 24 of 34 names; the others count as one patient each" in found.evidence


def test_numbers_that_start_again_in_each_class() -> None:
    names = [f"{c}/{p:02d}_{i}.png" for c in "ab" for p in range(6) for i in range(2)]
    found = by_names(names, [name[0] for name in names])
    assert len(set(found.ids)) == 12
    assert "start again in each class" in found.evidence
    lone = by_names([f"{c}/{p:02d}_x.png" for c in "ab" for p in range(6)], ["a"] * 6 + ["b"] * 6)
    assert not lone.known
    apart = [f"{c}/{p + 100 * (c == 'b'):03d}_{i}.png" for c in "ab" for p in range(6) for i in range(2)]
    assert "start again" not in by_names(apart, [name[0] for name in apart]).evidence


def test_sub_folders() -> None:
    folders = ["p01", "p01", "p02", "p03"]
    found = by_folders(folders, ["a"] * 4)
    assert found is not None
    assert found.ids == tuple(folders)
    assert by_folders(["virus", "virus", "bacteria", "fungus"], ["a"] * 4) is None
    assert by_folders(["p1", "", "p2", "p3"], ["a"] * 4) is None


def test_facts() -> None:
    names = ["a", "b", "c"]
    assert by_facts(names, {}, "DICOM PatientID") is None
    found = by_facts(names, {"a": "7", "b": "7"}, "DICOM PatientID")
    assert found is not None
    assert found.ids == ("7", "7", "c")
    assert "absent for 1 images" in found.evidence


def test_option() -> None:
    names = ["x/12-1.png", "x/12-2.png", "y/13-1.png"]
    assert by_option(names, r"(\d+)-").ids == ("12", "12", "13")
    assert not by_option(names, "none").known
    with pytest.raises(DataError, match="does not match every image.*1 of 3 without, e.g. y/13-1.png"):
        by_option(names, r"x/(\d+)")
    with pytest.raises(OptionError, match="neither a column nor a regular expression"):
        by_option(names, "(")
