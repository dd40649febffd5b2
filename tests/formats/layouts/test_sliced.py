"""Tables with 2-D boxes on single slices of DICOM series and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from making import dicom, noise, png, series
from marking import nifti

from vesalius.core.cohort import Cohort, MarkedBox
from vesalius.errors import DataError, FormatError, LabelError
from vesalius.formats import open_boxes, open_case, recognise

BOX = "1,0,3,2.5"
EDGES = "xmin,ymin,xmax,ymax"


def two(root: Path) -> list[list[Path]]:
    """Two patients with a series of five slices each, the files from the lowest slice on; slice k holds 100 k - 1000."""
    held = []
    for patient in ("P1", "P2"):
        paths = series(root / patient, PatientID=patient, StudyInstanceUID=f"1.2.{patient[1]}")
        for number, path in enumerate(paths, 11):
            item = pydicom.dcmread(path)
            item.InstanceNumber = number
            item.save_as(path)
        held.append(paths)
    return held


def uid(path: Path, keyword: str = "SOPInstanceUID") -> str:
    return str(pydicom.dcmread(path)[keyword].value)


def write(root: Path, columns: str, rows: Sequence[str]) -> Path:
    (root / "boxes.csv").write_text("\n".join([columns, *rows]), "utf-8")
    return root


def checked(cohort: Cohort, values: Sequence[int]) -> None:
    """Every case is a slice with the number that its place says, and lies where the series says."""
    assert cohort.ndim == 2 and cohort.layout == "box-table"
    for case, value in zip(cohort.cases, values, strict=True):
        study = open_case(case)
        assert study.image.shape == (1, 4, 6) and int(study.image.max()) == value
        assert study.grid.spacing_mm == (0.5, 0.7) and study.grid.world(np.array([0, 0]))[2] == pytest.approx(30 + 2.5 * (value + 1000) / 100)
        open_boxes(case, cohort.target, study)


def test_the_sop_instance_uid_names_a_slice(tmp_path: Path) -> None:
    (a, b) = two(tmp_path)
    rows = [f"{uid(a[3])},bleed,{BOX}", f"{uid(a[3])},bleed,0,0,1,1", f"{uid(a[0])},bleed,{BOX}", f"{uid(b[1])},,,,,"]
    cohort = recognise(write(tmp_path, f"SOPInstanceUID,class,{EDGES}", rows))
    assert [case.id for case in cohort.cases] == ["P1/002.dcm", "P1/005.dcm", "P2/004.dcm"]
    assert [case.patient for case in cohort.cases] == ["P1", "P1", "P2"] and cohort.patient_evidence.startswith("DICOM PatientID")
    assert cohort.cases[0].boxes == (MarkedBox("bleed", (0, 1), (2.5, 3)), MarkedBox("bleed", (0, 0), (1, 1))) and cohort.cases[2].boxes == ()
    checked(cohort, [-700, -1000, -900])
    told = " ".join(cohort.notes)
    assert "each of the 3 slices that a row names, of 2 series and volumes, is a study of its own" in told
    assert "7 other slices of them have no row and are not judged: they are neither learnt from as holding nothing" in told


def test_slices_without_a_row_are_no_negatives_even_where_no_row_is_empty(tmp_path: Path) -> None:
    (a, _) = two(tmp_path)
    cohort = recognise(write(tmp_path, f"SOPInstanceUID,{EDGES}", [f"{uid(a[1])},{BOX}"]))
    assert [case.id for case in cohort.cases] == ["P1/004.dcm"] and cohort.target.classes == ("object",)
    assert "9 other slices" not in " ".join(cohort.notes) and "4 other slices" in " ".join(cohort.notes)
    assert "1 images have no row in the table and were left out: P2" in cohort.notes


@pytest.mark.parametrize("cell", ["P1/002.dcm", "./P1/002.dcm", "P1\\002.dcm"])
def test_the_file_of_a_slice_names_it(tmp_path: Path, cell: str) -> None:
    two(tmp_path)
    checked(recognise(write(tmp_path, f"file,class,{EDGES}", [f"{cell},bleed,{BOX}"])), [-700])


def test_a_series_and_an_instance_number(tmp_path: Path) -> None:
    (a, b) = two(tmp_path)
    rows = [f"{uid(a[0], 'SeriesInstanceUID')},14,bleed,{BOX}", f"{uid(b[0], 'SeriesInstanceUID')},11.0,bleed,{BOX}"]
    cohort = recognise(write(tmp_path, f"SeriesInstanceUID,instance_number,class,{EDGES}", rows))
    checked(cohort, [-700, -1000])
    assert cohort.cases[0].clinical == {}  # the number is no clinical value


def test_a_study_and_a_place_from_zero(tmp_path: Path) -> None:
    two(tmp_path)
    rows = [f"1.2.1,4,bleed,{BOX}", f"1.2.2,0,bleed,{BOX}"]
    cohort = recognise(write(tmp_path, f"StudyInstanceUID,slice,class,{EDGES}", rows))
    assert [case.patient for case in cohort.cases] == ["P1", "P2"]
    checked(cohort, [-600, -1000])


def test_a_volume_and_a_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        nifti(tmp_path / f"{name}.nii.gz", noise(20, 30, 6, seed=ord(name)))
    cohort = recognise(write(tmp_path, f"image,z,class,{EDGES}", [f"a.nii.gz,5,x,{BOX}", f"a.nii.gz,0,x,{BOX}", "b.nii.gz,2,,,,,"]))
    assert [case.id for case in cohort.cases] == ["a.nii.gz#z:0", "a.nii.gz#z:5", "b.nii.gz#z:2"]
    assert [case.patient for case in cohort.cases] == ["a.nii.gz", "a.nii.gz", "b.nii.gz"] and not cohort.patient_known
    study = open_case(cohort.cases[1])
    assert np.array_equal(study.image[0], noise(20, 30, 6, seed=ord("a"))[..., 5].T) and study.grid.spacing_mm == (2, 1)
    assert open_boxes(cohort.cases[1], cohort.target, study).boxes.tolist() == [[0, 1, 2.5, 3]]
    assert "9 other slices" in " ".join(cohort.notes)


def test_patients_of_a_column_and_of_names_hold_for_slices(tmp_path: Path) -> None:
    for name in ("p01_a", "p01_b", "p02_a"):
        nifti(tmp_path / f"{name}.nii.gz", noise(8, 9, 4, seed=1))
    rows = [f"p01_a.nii.gz,1,anna,{BOX}", f"p01_b.nii.gz,2,anna,{BOX}", f"p02_a.nii.gz,1,,{BOX}", f"p02_a.nii.gz,3,,{BOX}"]
    write(tmp_path, f"image,slice,patient,{EDGES}", rows)
    assert [case.patient for case in recognise(tmp_path).cases] == ["anna", "anna", "p02_a.nii.gz", "p02_a.nii.gz"]
    assert [case.patient for case in recognise(tmp_path, patient=r"^(p\d+)").cases] == ["p01", "p01", "p02", "p02"]
    write(tmp_path, f"image,slice,{EDGES}", [",".join((*row.split(",")[:2], BOX)) for row in rows])
    assert [case.patient for case in recognise(tmp_path).cases] == ["01", "01", "02", "02"]


def test_a_slice_beyond_the_volume(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz", noise(8, 9, 4))
    write(tmp_path, f"image,slice,{EDGES}", [f"a.nii.gz,1,{BOX}", f"a.nii.gz,4,{BOX}"])
    with pytest.raises(LabelError, match=r"no such slice.*boxes.csv, row 3.*place of a slice, from 0: 0 to 3 of a.nii.gz.*'4' in 'slice'"):
        recognise(tmp_path)
    write(tmp_path, f"image,slice,{EDGES}", [f"a.nii.gz,middle,{BOX}"])
    with pytest.raises(LabelError, match="no such slice.*got 'middle'"):
        recognise(tmp_path)


def test_an_instance_number_that_there_is_not_or_is_not_its_own(tmp_path: Path) -> None:
    (a, _) = two(tmp_path)
    write(tmp_path, f"StudyInstanceUID,slice_number,{EDGES}", [f"1.2.1,3,{BOX}"])
    with pytest.raises(LabelError, match="an Instance Number: 11 to 15 of P1.*'3' in 'slice_number'"):
        recognise(tmp_path)
    item = pydicom.dcmread(a[0])
    item.InstanceNumber = 15
    item.save_as(a[0])
    with pytest.raises(LabelError, match="cannot be told apart by their Instance Number.*4 different ones of 5"):
        recognise(tmp_path)


def test_an_unknown_sop_instance_uid_is_lost_and_told(tmp_path: Path) -> None:
    (a, _) = two(tmp_path)
    write(tmp_path, f"SOPInstanceUID,{EDGES}", [f"{uid(a[1])},{BOX}", f"{uid(a[2])},{BOX}", f"1.2.840.99.1,{BOX}"])
    cohort = recognise(tmp_path)
    assert len(cohort) == 2 and cohort.lost == ("boxes.csv: 1.2.840.99.1 (1 rows)",)


def test_rows_of_slices_and_rows_of_whole_series_are_not_mixed(tmp_path: Path) -> None:
    (a, b) = two(tmp_path)
    rows = [f"{uid(a[1])},{BOX}", f"{uid(a[2])},{BOX}", f"{uid(b[0], 'SeriesInstanceUID')},{BOX}"]
    write(tmp_path, f"image,{EDGES}", rows)
    with pytest.raises(LabelError, match=r"a row has a box and names no slice.*row 4.*which is P2"):
        recognise(tmp_path)
    write(tmp_path, f"image,{EDGES}", [*rows[:2], f"{uid(b[0], 'SeriesInstanceUID')},,,,"])
    cohort = recognise(tmp_path)
    assert len(cohort) == 2 and "1 rows without a box name a whole series or volume" in " ".join(cohort.notes)
    write(tmp_path, f"StudyInstanceUID,slice,{EDGES}", [f"1.2.1,1,{BOX}", f"1.2.2,,{BOX}"])
    with pytest.raises(LabelError, match=r"names no slice.*row 3.*got nothing in 'slice'"):
        recognise(tmp_path)


def test_flat_boxes_on_volumes_without_a_slice(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz", noise(8, 9, 4))
    write(tmp_path, f"image,{EDGES}", [f"a.nii.gz,{BOX}"])
    with pytest.raises(LabelError, match="the boxes have two axes and the images three.*SOPInstanceUID.*a.nii.gz"):
        recognise(tmp_path)


def test_a_name_that_several_series_hold(tmp_path: Path) -> None:
    (a, _) = two(tmp_path)
    write(tmp_path, f"file,{EDGES}", [f"P1/001.dcm,{BOX}", f"P2/002.dcm,{BOX}", f"003.dcm,{BOX}"])
    with pytest.raises(DataError, match=r"not certain which image a row means.*row 4.*003.dcm: P1/003.dcm, P2/003.dcm"):
        recognise(tmp_path)


def test_a_place_in_a_series_with_missing_slices_is_refused_or_filled(tmp_path: Path) -> None:
    series(tmp_path / "s", 8, skip=(3,), PatientID="P1", SeriesInstanceUID="1.2.3.4.5.6")
    write(tmp_path, f"SeriesInstanceUID,slice,{EDGES}", [f"1.2.3.4.5.6,4,{BOX}"])
    with pytest.raises(FormatError, match="slices of the series are missing"):
        recognise(tmp_path)
    checked(recognise(tmp_path, gaps="fill"), [-600])
    write(tmp_path, f"SeriesInstanceUID,slice,{EDGES}", [f"1.2.3.4.5.6,3,{BOX}"])
    with pytest.raises(LabelError, match="no such slice"):
        recognise(tmp_path, gaps="fill")


def test_a_multi_frame_file_and_pictures_with_a_column_of_slices(tmp_path: Path) -> None:
    dicom(tmp_path / "m" / "cine.dcm", noise(5, 12, 10), NumberOfFrames=5, PatientID="P9", SeriesInstanceUID="1.2.9")
    write(tmp_path / "m", f"image,frame,{EDGES}", [f"cine.dcm,3,{BOX}"])
    (case,) = recognise(tmp_path / "m").cases
    assert case.patient == "P9" and open_case(case).image.shape == (1, 12, 10)
    png(tmp_path / "p" / "a.png", noise(20, 30))
    write(tmp_path / "p", f"image,slice,{EDGES}", [f"a.png,17,{BOX}"])
    (picture,) = recognise(tmp_path / "p").cases
    assert picture.id == "a.png" and picture.clinical == {"slice": 17}
