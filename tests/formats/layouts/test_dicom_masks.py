"""DICOM trees with SEG and RTSTRUCT objects: which series they mark, who counts when several do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vesalius.core.target import IGNORED
from vesalius.errors import DataError, FormatError, LabelError, OptionError
from vesalius.formats import open_study, recognise
from vesalius.formats.cases import open_truth
from vesalius.phantoms import make_phantom
from vesalius.phantoms.truth import Truth

CLASSES = ("kidney", "liver", "nodule")


def phantom(tmp_path: Path, n: int = 2, **options: object) -> Truth:
    return make_phantom("dicom-masks", tmp_path / "p", n=n, size=32, slices=8, **options)


def rewrite(path: Path, **values: object) -> None:
    item = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    item.save_as(path)


def test_a_tree_is_recognised(tmp_path: Path) -> None:
    truth = phantom(tmp_path, 4)
    cohort = recognise(truth.data)
    assert (cohort.layout, cohort.target.kind, cohort.target.classes, cohort.ndim) == ("dicom-masks", "mask", CLASSES, 3)
    assert {case.id: case.label for case in cohort.cases} == truth.true_label
    assert {case.id: case.patient for case in cohort.cases} == truth.patient
    assert cohort.patient_evidence.startswith("DICOM PatientID (4 patients")
    assert {mask.source.format for case in cohort.cases for mask in case.masks} == {"dicom-seg"}
    assert any("a newer one marks too; the newest counts, e.g. P0000/ct: kidney, liver by" in note for note in cohort.notes)
    case = cohort.cases[3]
    assert {mask.name for mask in case.masks} < set(CLASSES), "LIVER of the fourth patient is liver"
    study = open_study(case.source)
    assert open_truth(case, cohort.target, study).shape == (3, 8, 32, 32)


def test_truth_of_a_case_is_what_was_planted(tmp_path: Path) -> None:
    truth = phantom(tmp_path, objects="seg", oblique=True)
    cohort = recognise(truth.data, target="mask")
    assert cohort.notes == ()
    for case in cohort.cases:
        (marked,) = open_truth(case, cohort.target, open_study(case.source))
        assert [int((marked == n).sum()) for n in (1, 2, 3)] == [truth.planted["voxels"][case.id].get(name, 0) for name in CLASSES]


def test_one_class_may_be_chosen(tmp_path: Path) -> None:
    truth = phantom(tmp_path)
    cohort = recognise(truth.data, label="LIVER")
    assert (cohort.target.classes, cohort.target.exclusive, cohort.cases[1].label) == (("liver",), True, "liver")
    with pytest.raises(LabelError, match="there is no structure 'spleen'.*of kidney, liver, nodule"):
        recognise(truth.data, label="spleen")


def test_segments_that_exclude_one_another_make_an_exclusive_target(tmp_path: Path) -> None:
    assert recognise(phantom(tmp_path, objects="seg").data).target.exclusive
    assert not recognise(phantom(tmp_path / "b", objects="rtstruct").data).target.exclusive


def test_the_newest_object_counts_for_each_structure(tmp_path: Path) -> None:
    truth = phantom(tmp_path)
    rewrite(truth.path / "P0001" / "rtstruct", InstanceCreationDate="20270101", InstanceCreationTime="010101")
    seg = pydicom.dcmread(truth.path / "P0001" / "seg")
    seg.SegmentSequence[0].SegmentLabel = "spleen"
    seg.save_as(truth.path / "P0001" / "seg")
    cohort = recognise(truth.data)
    masks = {(mask.name, mask.source.format) for mask in cohort.cases[1].masks}
    assert masks == {("liver", "rtstruct"), ("kidney", "rtstruct"), ("nodule", "rtstruct"), ("spleen", "dicom-seg")}
    assert not cohort.target.exclusive


def test_an_object_that_names_no_series_is_joined_by_its_images_or_its_space(tmp_path: Path) -> None:
    truth = phantom(tmp_path)
    rewrite(truth.path / "P0000" / "seg", ReferencedSeriesSequence=[])
    item = pydicom.dcmread(truth.path / "P0001" / "rtstruct")
    item.ReferencedFrameOfReferenceSequence = []
    for roi in item.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3"
    item.save_as(truth.path / "P0001" / "rtstruct")
    (truth.path / "P0001" / "seg").unlink()
    cohort = recognise(truth.data)
    formats = {case.id: {mask.source.format for mask in case.masks} for case in cohort.cases}
    assert formats == {"P0000/ct": {"dicom-seg"}, "P0001/ct": {"rtstruct"}}


def test_series_without_marks_and_marks_without_series(tmp_path: Path) -> None:
    truth = phantom(tmp_path, 3, objects="seg")
    (truth.path / "P0000" / "seg").unlink()
    shutil.rmtree(truth.path / "P0001" / "ct")
    (truth.path / "P0002" / "broken.dcm").write_bytes((truth.path / "P0002" / "seg").read_bytes()[:900])
    cohort = recognise(truth.data)
    assert [case.id for case in cohort.cases] == ["P0002/ct"]
    told = " ".join(cohort.notes)
    assert "1 segmentations refer to images that are not here" in told
    assert "images have no segmentation and were left out" in told
    shutil.rmtree(truth.path / "P0002" / "ct")
    with pytest.raises(LabelError, match="no segmentation belongs to an image that is here"):
        recognise(truth.data)


def test_folders_of_classes_stay_classes(tmp_path: Path) -> None:
    """Folders that each hold one patient are patients; benign and malignant are not, and the user has to say."""
    truth = phantom(tmp_path, 4, objects="seg")
    for n, where in enumerate(("benign", "malignant", "benign", "malignant")):
        (truth.path / where).mkdir(exist_ok=True)
        (truth.path / f"P{n:04d}").rename(truth.path / where / f"P{n:04d}")
    with pytest.raises(DataError, match="two readings of the data fit.*class-folders.*dicom-masks"):
        recognise(truth.data)
    assert recognise(truth.data, target="mask").layout == "dicom-masks"


def test_missing_slices_are_refused_unless_told(tmp_path: Path) -> None:
    truth = phantom(tmp_path, gap=True)
    case = recognise(truth.data).cases[0]
    with pytest.raises(FormatError, match=r"slices of the series are missing.*expected a slice every 3.00 mm, got about 1 missing.*--gaps fill"):
        open_study(case.source)
    cohort = recognise(truth.data, gaps="fill")
    case = cohort.cases[0]
    assert case.source.format == "dicom-filled"
    study = open_study(case.source)
    assert study.meta["filled_slices"] == (4,)
    assert "1 missing slices were interpolated, first between IM" in study.meta["notes"][0]
    np.testing.assert_allclose(study.image[0, 4], np.rint((study.image[0, 3].astype(float) + study.image[0, 5]) / 2), atol=1)
    marked = open_truth(case, cohort.target, study)
    assert (marked[:, 4] == IGNORED).all() and (marked[:, [0, 1, 2, 3, 5, 6, 7]] != IGNORED).all(), "nobody judged what was interpolated"
    with pytest.raises(OptionError, match="unknown way with missing slices 'fil'.*fill"):
        recognise(truth.data, gaps="fil")
