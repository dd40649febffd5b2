"""Data sets with a ``dataset.json``: the Decathlon's and nnU-Net's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import noise, png
from marking import ball, nifti, volumes

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError
from vesalius.formats import open_case, open_truth, recognise


def describe(root: Path, **facts: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


def decathlon(root: Path, n: int = 4, **facts: Any) -> Path:
    volumes(root, n)
    training = [{"image": f"./imagesTr/case_{i:02d}.nii.gz", "label": f"./labelsTr/case_{i:02d}.nii.gz"} for i in range(n)]
    known: dict[str, Any] = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": training, "test": []}
    return describe(root, **(known | facts))


def test_the_decathlon_names_its_labels(tmp_path: Path) -> None:
    root = decathlon(tmp_path / "Task04 海马" / "Task04")
    nifti(root / "imagesTs" / "case_90.nii.gz", noise(8, 9, 7))
    cohort = recognise(root.parent)
    assert cohort.layout == "dataset-json" and cohort.ndim == 3 and len(cohort) == 4 and not cohort.has_official_split
    assert cohort.target == TargetSpec("mask", ("Anterior", "Posterior"), "mask", "dataset.json names the labels", ((1,), (2,)))
    assert "1 images have no label and were left out: Task04/imagesTs/case_90.nii.gz" in cohort.notes
    truth = open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert set(np.unique(truth)) == {0, 1, 2}
    assert recognise(root, label="whole=1+2").target.classes == ("whole",)


def test_channels_on_the_last_axis(tmp_path: Path) -> None:
    root = decathlon(tmp_path, modality={"0": "T1", "1": "T2"})
    for i in range(4):
        nifti(root / f"imagesTr/case_{i:02d}.nii.gz", noise(8, 9, 7, 2, seed=i))
    cohort = recognise(root)
    assert open_case(cohort.cases[0]).image.shape == (2, 7, 9, 8) and "the channels are T1, T2" in cohort.notes
    assert [case.id for case in cohort.cases][:1] == ["imagesTr/case_00.nii.gz"]


def test_nnunet_files_of_channels_regions_and_ignore(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    root = describe(tmp_path, channel_names={"0": "CT", "1": "PET"}, labels=labels, numTraining=3, file_ending=".nii.gz")
    for i in range(3):
        for channel in range(2):
            nifti(root / f"imagesTr/a_{i}_{channel:04d}.nii.gz", noise(8, 9, 7, seed=channel))
        nifti(root / f"labelsTr/a_{i}.nii.gz", ball(value=2))
    for channel in range(2):
        nifti(root / f"imagesTs/b_{channel:04d}.nii.gz", noise(8, 9, 7, seed=channel))
    nifti(root / "labelsTs/b.nii.gz", ball())
    cohort = recognise(root)
    assert [case.id for case in cohort.cases] == [*(f"imagesTr/a_{i}_0000.nii.gz" for i in range(3)), "imagesTs/b_0000.nii.gz"]
    assert [case.split for case in cohort.cases] == ["train"] * 3 + ["test"]
    target = cohort.target
    assert (target.classes, target.values, target.ignore, target.exclusive) == (("whole", "core"), ((1, 2), (2,)), 3, False)
    study = open_case(cohort.cases[0])
    assert study.channels == 2 and np.array_equal(study.image[1], noise(8, 9, 7, seed=1).T)
    assert open_truth(cohort.cases[0], target, study).shape == (2, 7, 9, 8)
    (root / "imagesTr/a_1_0001.nii.gz").unlink()
    with pytest.raises(DataError, match="the cases do not have the same channels.*expected CT, PET, got 1 or 2 files"):
        recognise(root)


def test_nnunet_pictures_and_cases_that_the_file_lists(tmp_path: Path) -> None:
    root = describe(tmp_path, channel_names={"0": "R"}, labels={"background": 0, "cell": 1}, file_ending=".png",
                    dataset={"c1": {"images": ["../x/c1.png"], "label": "y/c1.png"}, "c2": {"images": ["x/c2.png"], "label": "y/c2.png"}})
    for name in ("x/c1.png", "x/c2.png"):
        png(root / name, noise(9, 7))
        png(root / name.replace("x", "y", 1), ball((9, 7)))
    cohort = recognise(root)
    assert [case.id for case in cohort.cases] == ["x/c2.png"]
    assert any("1 files that dataset.json names or a label needs are not there" in note and "../x/c1.png" in note for note in cohort.notes)


def test_files_of_channels_behind_the_names_of_the_first_nnunet(tmp_path: Path) -> None:
    root = decathlon(tmp_path)
    for i in range(4):
        (root / f"imagesTr/case_{i:02d}.nii.gz").rename(root / f"imagesTr/case_{i:02d}_0000.nii.gz")
    assert [case.id for case in recognise(root).cases][0] == "imagesTr/case_00_0000.nii.gz"


def test_what_is_wrong_with_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"the labels of dataset.json cannot be understood.*got liver: one"):
        recognise(decathlon(tmp_path / "a", labels={"background": 0, "liver": "one"}))
    with pytest.raises(DataError, match="dataset.json names no case that is there.*got imagesTr/no.nii.gz; put the files where it says"):
        recognise(decathlon(tmp_path / "b", training=[{"image": "imagesTr/no.nii.gz", "label": "labelsTr/case_00.nii.gz"}]))
    root = decathlon(tmp_path / "c")
    (root / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"the dataset.json cannot be read.*expected JSON, got JSONDecodeError; repair it"):
        recognise(root)
    volumes(tmp_path / "d", 3)
    with pytest.raises(DataError, match="there is no dataset.json"):
        recognise(tmp_path / "d", layout="dataset-json")


def test_another_dataset_json_is_none(tmp_path: Path) -> None:
    for i in range(6):
        png(tmp_path / f"{'ill' if i % 2 else 'well'}/{i}.png", seed=i)
    describe(tmp_path, labels=[["a.png", 0]])
    assert recognise(tmp_path).layout == "class-folders"


def test_patients_come_from_a_table_beside(tmp_path: Path) -> None:
    root = decathlon(tmp_path)
    (root / "patients.csv").write_text("image,patient_id,age\n" + "".join(f"case_{i:02d}.nii.gz,P{i // 2},{50 + i}\n" for i in range(4)))
    cohort = recognise(root, target="mask")
    assert cohort.patients == ["P0", "P1"] and cohort.cases[3].clinical == {"age": 53}
