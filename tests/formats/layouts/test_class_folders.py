from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from making import noise, png, series

from vesalius.errors import DataError, LabelError
from vesalius.formats import Given, open_study, recognise
from vesalius.formats.layouts.class_folders import ClassFolders


def folders(root: Path, *names: str, n: int = 3, pattern: str = "{i}.png") -> Path:
    for c, name in enumerate(names):
        for i in range(n):
            png(root / name / pattern.format(i=i), seed=100 * c + i)
    return root


def test_folders_are_labels(tmp_path: Path) -> None:
    cohort = recognise(folders(tmp_path, "normal", "pneumonia"))
    assert (cohort.layout, cohort.ndim, len(cohort)) == ("class-folders", 2, 6)
    assert (cohort.target.kind, cohort.target.classes) == ("binary", ("normal", "pneumonia"))
    assert [case.id for case in cohort.cases[:2]] == ["normal/0.png", "normal/1.png"]
    assert cohort.truth().tolist() == [0, 0, 0, 1, 1, 1]
    assert not cohort.has_official_split
    assert not cohort.patient_known
    assert not cohort.side_matters
    assert open_study(cohort.cases[0].source).grid.shape == (6, 8)


def test_chinese_names_and_spaces(tmp_path: Path) -> None:
    cohort = recognise(folders(tmp_path / "胸 片 数据", "正常", "肺炎", pattern="患者{i} 正位.png"))
    assert cohort.target.positive == "肺炎"
    assert cohort.patient_known


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("训练集", "验证集", "测试集")])
def test_split_folders_above_are_the_official_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        folders(tmp_path / "archive" / name, "a", "b", "c")
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("a", "b", "c")
    assert {case.split for case in cohort.cases} == {"train", "validation", "test"}
    assert all((case.split == "test") == case.id.startswith(f"archive/{names[2]}") for case in cohort.cases)


def test_patient_folders_below_a_class(tmp_path: Path) -> None:
    for c in "ab":
        for p in range(4):
            folders(tmp_path / c, f"pat{p}{c}", n=2)
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("a", "b")
    assert len(cohort.patients) == 8
    assert cohort.patient_evidence == "sub-folders below the class (8 patients, 16 images)"


def test_patients_by_name_and_by_option(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b", n=8, pattern="x{i}.png")
    assert not recognise(root).patient_known
    assert len(recognise(root, patient=r"x(\d)").patients) == 8
    assert recognise(root, patient="none").patient_evidence.startswith("--patient none")


def test_volumes(tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / c).mkdir()
        for i in range(3):
            nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / c / f"{i}.nii.gz")
    assert recognise(tmp_path).ndim == 3


def test_dicom_series_below_classes(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(3):
            series(tmp_path / c / f"case{i}", 4, PatientID=f"{c}{i % 2}")
    cohort = recognise(tmp_path)
    assert (len(cohort), cohort.ndim, cohort.layout) == (6, 3, "class-folders")
    assert cohort.cases[0].id == "a/case0"
    assert len(cohort.patients) == 4
    assert cohort.patient_evidence.startswith("DICOM PatientID (4 patients, 6 images)")


def test_mixed_dimensions(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b", n=12)
    nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / "a" / "x.nii")
    assert "1 images are 3-D among 24 of 2-D, e.g. a/x.nii" in recognise(root).notes
    for i in range(6):
        nib.save(nib.Nifti1Image(noise(4, 5, 6), np.eye(4)), tmp_path / "a" / f"x{i}.nii")
    with pytest.raises(DataError, match="pictures and volumes are mixed.*24 of 2-D and 7 of 3-D"):
        recognise(root)


def test_sides_and_other_files_are_told(tmp_path: Path) -> None:
    root = folders(tmp_path, "left kidney", "right kidney")
    (tmp_path / "readme.txt").write_text("x")
    png(tmp_path / "loose.png")
    cohort = recognise(root)
    assert cohort.side_matters
    assert "1 files are no images and were left out (1 .txt)" in cohort.notes
    assert "1 images lie outside the class folders and have no label" in cohort.notes
    assert [case.label for case in cohort.cases if case.id == "loose.png"] == [None]


def test_one_class_is_read_for_check_to_refuse(tmp_path: Path) -> None:
    assert recognise(folders(tmp_path, "pneumonia", n=5)).target.classes == ("pneumonia",)


@pytest.mark.parametrize("names", [("images", "masks"), ("imagesTr", "labelsTr"), ("data",), ("images", "1st_manual", "mask")])
def test_technical_folders_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = folders(tmp_path, *names)
    assert ClassFolders.matches(Given(str(root))) is None
    with pytest.raises(DataError, match="the images have no labels.*a folder a class, .*masks or boxes|is a picture and no label map"):
        recognise(root)


def test_a_folder_a_case_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="the images have no labels"):
        recognise(folders(tmp_path, *(f"case{i}" for i in range(8)), n=1))


def test_flat_empty_and_absent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder has no images.*got an empty folder"):
        recognise(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").touch()
    with pytest.raises(DataError, match=r"got 1 files \(.txt\)"):
        recognise(tmp_path / "empty")
    png(tmp_path / "flat" / "1.png")
    with pytest.raises(LabelError, match="the images have no labels.*got 1 images"):
        recognise(tmp_path / "flat")
    with pytest.raises(LabelError, match="there are no class folders"):
        recognise(tmp_path / "flat", layout="class-folders")
    with pytest.raises(DataError, match="there is nothing of that name"):
        recognise(tmp_path / "none")
    with pytest.raises(DataError, match="one file is not a data set"):
        recognise(tmp_path / "flat" / "1.png")


def test_broken_files_do_not_stop_the_reading(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b")
    (tmp_path / "a" / "0.png").write_bytes(b"")
    (tmp_path / "b" / "x.nii.gz").write_text("hello")
    (tmp_path / "b" / "y.dcm").write_text("hello")
    assert len(recognise(root)) == 8


def test_five_thousand_files_take_seconds(tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / c).mkdir()
        for i in range(2500):
            (tmp_path / c / f"patient{i // 2}_{i % 2}.png").touch()
    start = time.perf_counter()
    cohort = recognise(tmp_path)
    assert len(cohort) == 5_000
    assert time.perf_counter() - start < 5


def test_label_asks_for_a_table(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="the images have no labels.*give --table FILE"):
        recognise(folders(tmp_path, "a", "b"), label="grade")


def test_series_directly_below_a_class(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(3):
            for path in series(tmp_path / f"new{i}", 3, uid=f"1.{ord(c)}.{i}", PatientID=f"{c}{i}"):
                (tmp_path / "data" / c).mkdir(parents=True, exist_ok=True)
                path.rename(tmp_path / "data" / c / f"{i}{path.name}")
    cohort = recognise(tmp_path / "data")
    assert [case.label for case in cohort.cases] == ["a", "a", "a", "b", "b", "b"]
    assert cohort.cases[0].id == "a#1.97.0"
    assert len(cohort.patients) == 6
