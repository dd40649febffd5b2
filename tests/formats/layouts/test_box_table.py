"""Tables of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import noise, png
from marking import ball, nifti, pictures, volumes

from vesalius.core.cohort import MarkedBox
from vesalius.errors import DataError, LabelError
from vesalius.formats import open_boxes, open_case, recognise
from vesalius.formats.layouts._boxcolumns import box_columns
from vesalius.phantoms.cells import make_cells
from vesalius.phantoms.nodules import make_nodules

ROWS = ("image,class,xmin,ymin,xmax,ymax", "a.png,red,1,2,5,8.5", "a.png,white,10,0,30,20", "b.png,,,,,", "c.png,red,3,3,8,8")


def put(root: Path, rows: Sequence[str] = ROWS, *, table: str = "boxes.csv", names: str = "abc", folder: str = "") -> Path:
    for i, name in enumerate(names):
        png(root / folder / f"{name}.png", noise(20, 30, seed=i))
    (root / table).write_text("\n".join(rows), "utf-8")
    return root


def test_a_row_a_box_and_an_empty_row_for_nothing(tmp_path: Path) -> None:
    cohort = recognise(put(tmp_path))
    assert cohort.layout == "box-table" and cohort.target.classes == ("red", "white")
    assert cohort.target.reason == "column 'class' of boxes.csv names the classes"
    a, b, _ = cohort.cases
    assert a.boxes == (MarkedBox("red", (2, 1), (8.5, 5)), MarkedBox("white", (0, 10), (20, 30))) and b.boxes == ()
    assert [case.label for case in cohort.cases] == ["red|white", "", "red"]
    assert "columns xmin, ymin, xmax, ymax are boxes: low and high corners in samples from 0, edges" in cohort.notes


@pytest.mark.parametrize("names", [
    ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"), ("X0", "Y0", "X1", "Y1"),
    ("left", "top", "right", "bottom"), ("bbox_xmin", "bbox_ymin", "bbox_xmax", "bbox_ymax"), ("xMin", "yMin", "xMax", "yMax"),
])
def test_names_of_corners(names: tuple[str, ...]) -> None:
    found = box_columns(["file", "label", *names])
    assert found is not None and found.way == "corners" and (*found.first, *found.second) == names and not found.world


@pytest.mark.parametrize(("names", "way", "first", "second", "world"), [
    (("x", "y", "width", "height"), "size", ("x", "y"), ("width", "height"), False),
    (("bbox_x", "bbox_y", "bbox_w", "bbox_h"), "size", ("bbox_x", "bbox_y"), ("bbox_w", "bbox_h"), False),
    (("left", "top", "width", "height"), "size", ("left", "top"), ("width", "height"), False),
    (("x", "y", "z", "width", "height", "depth"), "size", ("x", "y", "z"), ("width", "height", "depth"), False),
    (("coordX", "coordY", "coordZ", "diameter_mm"), "centre", ("coordX", "coordY", "coordZ"), ("diameter_mm",) * 3, True),
    (("x_mm", "y_mm", "z_mm", "diameter_mm"), "centre", ("x_mm", "y_mm", "z_mm"), ("diameter_mm",) * 3, True),
    (("center_x", "center_y", "width", "height"), "centre", ("center_x", "center_y"), ("width", "height"), False),
    (("xmin_mm", "ymin_mm", "zmin_mm", "xmax_mm", "ymax_mm", "zmax_mm"), "corners", ("xmin_mm", "ymin_mm", "zmin_mm"), ("xmax_mm", "ymax_mm", "zmax_mm"), True),
    (("xmin", "ymin", "zmin", "xmax", "ymax", "zmax"), "corners", ("xmin", "ymin", "zmin"), ("xmax", "ymax", "zmax"), False),
])
def test_other_ways_to_state_a_box(names: tuple[str, ...], way: str, first: tuple[str, ...], second: tuple[str, ...], world: bool) -> None:
    found = box_columns(["file", "label", *names])
    assert found is not None and (found.way, found.first, found.second, found.world) == (way, first, second, world)


@pytest.mark.parametrize("names", [("age", "sex"), ("x", "y"), ("width", "height"), ("xmin", "xmax"), ("coordX", "coordY", "coordZ")])
def test_other_tables(names: tuple[str, ...]) -> None:
    assert box_columns(["file", "label", *names]) is None


def test_corner_and_size_and_centre_and_size(tmp_path: Path) -> None:
    put(tmp_path / "a", ("image,label,x,y,width,height", "a.png,red,1,2,4,6"))
    assert recognise(tmp_path / "a").cases[0].boxes == (MarkedBox("red", (2, 1), (8, 5)),)
    put(tmp_path / "b", ("image,label,center_x,center_y,width,height", "a.png,red,3,5,4,6"))
    assert recognise(tmp_path / "b").cases[0].boxes == (MarkedBox("red", (2, 1), (8, 5)),)


def test_width_and_height_beside_corners_are_the_size_of_the_image(tmp_path: Path) -> None:
    put(tmp_path, ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,30,20,red,1,2,5,8", "b.png,20,30,red,1,2,5,8"))
    cohort = recognise(tmp_path)
    assert cohort.cases[0].stated == (20, 30)
    with pytest.raises(DataError, match="not of the size that the file of its boxes states .*expected 20 x 30, got 30 x 20; the axes are exchanged"):
        open_boxes(cohort.cases[1], cohort.target, open_case(cohort.cases[1]))


def test_a_mark_of_presence_is_no_class_and_patient_may_name_the_image(tmp_path: Path) -> None:
    put(tmp_path, ("patientId,x,y,width,height,Target", "a,1,2,3,4,1", "a,5,5,3,4,1", "b,,,,,0"), table="train_labels.csv")
    cohort = recognise(tmp_path, target="boxes")
    assert cohort.target.classes == ("object",) and [len(case.boxes or ()) for case in cohort.cases] == [2, 0]
    assert [case.patient for case in cohort.cases] == ["a", "b"] and recognise(tmp_path, target="binary", label="Target").layout == "table"


def test_images_that_the_table_does_not_name(tmp_path: Path) -> None:
    put(tmp_path / "some", ("image,class,xmin,ymin,xmax,ymax", "a.png,red,1,2,5,8"), folder="scans")
    png(tmp_path / "some" / "other" / "z.png")
    cohort = recognise(tmp_path / "some")
    assert [(case.id, len(case.boxes or ())) for case in cohort.cases] == [("scans/a.png", 1), ("scans/b.png", 0), ("scans/c.png", 0)]
    assert any(note.startswith("2 images without a row count as holding nothing, since the table lists no image without a box") for note in cohort.notes)
    assert any("1 images are not marked and were left out: other/z.png" in note for note in cohort.notes)
    cohort = recognise(put(tmp_path / "all", ROWS[:4]))
    assert [case.id for case in cohort.cases] == ["a.png", "b.png"]
    assert "images without a row count as not marked, since the table lists others that hold nothing" in cohort.notes


def test_second_labels_patients_splits_and_clinical_columns(tmp_path: Path) -> None:
    put(tmp_path, ("image,class,xmin,ymin,xmax,ymax,malignant,shape,patient,age,split", "a.png,red,1,2,5,8,1,round,p1,50,train",
                   "a.png,red,1,2,9,8,0,oval,p1,50,train", "b.png,red,1,2,5,8,,round,p2,60,test", "c.png,,,,,,,,p1,50,train"))
    cohort = recognise(tmp_path)
    assert cohort.target.risk == "malignant" and [case.patient for case in cohort.cases] == ["p1", "p2", "p1"]
    assert [case.split for case in cohort.cases] == ["train", "test", "train"] and cohort.cases[1].clinical == {"age": 60}
    assert [box.facts for box in cohort.cases[0].boxes or ()] == [{"malignant": 1, "shape": "round"}, {"malignant": 0, "shape": "oval"}]
    truth = open_boxes(cohort.cases[1], cohort.target, open_case(cohort.cases[1]))
    assert np.isnan(truth.risk).all() and recognise(tmp_path, patient="none").patients == ["a.png", "b.png", "c.png"]
    assert recognise(tmp_path, patient="age").patients == ["50", "60"]


@pytest.mark.parametrize("suffix", ["tsv", "parquet", "xlsx"])
def test_kinds_of_tables(tmp_path: Path, suffix: str) -> None:
    put(tmp_path)
    frame = pd.read_csv(tmp_path / "boxes.csv")
    (tmp_path / "boxes.csv").unlink()
    path = tmp_path / f"boxes.{suffix}"
    frame.to_csv(path, sep="\t", index=False) if suffix == "tsv" else frame.to_parquet(path) if suffix == "parquet" else frame.to_excel(path, index=False)
    assert [len(case.boxes or ()) for case in recognise(tmp_path).cases] == [2, 0, 1]


def test_tables_of_train_and_test_are_joined(tmp_path: Path) -> None:
    put(tmp_path, ROWS[:3], table="train.csv")
    put(tmp_path, (ROWS[0], *ROWS[3:]), table="test.csv")
    assert [case.split for case in recognise(tmp_path).cases] == ["train", "test", "test"]


def test_a_table_of_something_else_beside_it(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "candidates.csv").write_text("seriesuid,coordX,coordY,coordZ,class\na,1,2,3,0\n")
    (tmp_path / "broken.csv").write_text("a,a\n1,2\n")
    assert recognise(tmp_path).layout == "box-table"


def test_label_names_a_column_or_classes(tmp_path: Path) -> None:
    put(tmp_path, ("image,class,kind,xmin,ymin,xmax,ymax", "a.png,red,x,1,2,5,8", "b.png,white,y,1,2,5,8", "c.png,red,y,1,2,5,8"))
    assert recognise(tmp_path, label="kind").target.classes == ("x", "y")
    assert recognise(tmp_path, label="white").target.classes == ("white",)


@pytest.mark.parametrize(("row", "message"), [
    ("a.png,red,1,,5,8", "a row states part of a box .*boxes.csv, row 2.*expected a number in 'ymin', got an empty cell; complete it"),
    ("a.png,red,1,two,5,8", "a row states part of a box .*expected a number in 'ymin', got 'two'"),
    ("a.png,,1,2,5,8", "a row states part of a box .*expected a class in 'class', got an empty cell"),
])
def test_rows_that_state_part_of_a_box(tmp_path: Path, row: str, message: str) -> None:
    put(tmp_path, (ROWS[0], row, *ROWS[1:]))
    with pytest.raises(LabelError, match=message):
        recognise(tmp_path)


def test_rows_whose_image_is_not_there_or_not_certain(tmp_path: Path) -> None:
    assert recognise(put(tmp_path / "one", (*ROWS, "gone.png,red,1,2,5,8", "gone.png,red,1,2,5,9"))).lost == ("boxes.csv: gone.png (2 rows)",)
    put(tmp_path / "two", folder="left")
    put(tmp_path / "two", folder="right")
    with pytest.raises(DataError, match="it is not certain which image a row means .*got a.png: left/a.png, right/a.png; write the path"):
        recognise(tmp_path / "two")


def test_no_table_and_several_tables(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, table="more.csv")
    with pytest.raises(LabelError, match="several tables state boxes .*got boxes.csv, more.csv; choose with --table FILE"):
        recognise(tmp_path)
    assert recognise(tmp_path, table="more.csv").layout == "box-table"
    (tmp_path / "plain.csv").write_text("image,label\na.png,1\n")
    with pytest.raises(LabelError, match="no table states boxes .*plain.csv.*expected columns such as xmin, ymin, xmax, ymax"):
        recognise(tmp_path, table="plain.csv", layout="box-table")
    with pytest.raises(DataError, match="no row of the table has an image"):
        recognise(put(tmp_path / "x", (ROWS[0], "q.png,red,1,2,5,8")), layout="box-table")


def test_series_in_mm_as_in_luna16(tmp_path: Path) -> None:
    for i, uid in enumerate(("1.2.840.1", "1.2.840.2", "1.2.840.3")):
        nifti(tmp_path / f"{uid}.nii.gz", noise(8, 9, 7, seed=i))  # 1, 2, 3 mm, RAS
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.840.1,-4,-8,9,4\n1.2.840.3,-2,-6,6,3\n")
    cohort = recognise(tmp_path)
    assert cohort.layout == "box-table" and cohort.ndim == 3 and [len(case.boxes or ()) for case in cohort.cases] == [1, 0, 1]
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    size = truth.boxes[0, 3:] - truth.boxes[0, :3]
    np.testing.assert_allclose(size, [4 / 3, 4 / 2, 4 / 1], atol=1e-5)
    np.testing.assert_allclose(open_case(cohort.cases[0]).grid.world(truth.boxes[0, :3] + size / 2 - 0.5), [-4, -8, 9], atol=1e-4)


@pytest.mark.parametrize("split", [False, True])
def test_the_phantom_of_cells_comes_back_as_drawn(tmp_path: Path, split: bool) -> None:
    truth = make_cells(tmp_path, 0, 12, layout="csv", split=split, size=96)
    cohort = recognise(tmp_path / "data")
    planted = truth.planted["boxes"]
    assert {case.id for case in cohort.cases} == set(planted) and cohort.patient_evidence.startswith("column 'patient'")
    for case in cohort.cases:
        found = open_boxes(case, cohort.target, open_case(case))
        assert [cohort.target.classes[k] for k in found.labels] == [each["class"] for each in planted[case.id]]
        assert found.boxes.ravel().tolist() == pytest.approx([at for each in planted[case.id] for at in each["box"]], abs=0.02)


@pytest.mark.parametrize("layout", ["voxels", "world", "masks"])
def test_the_phantom_of_nodules_comes_back_as_drawn(tmp_path: Path, layout: str) -> None:
    truth = make_nodules(tmp_path, 0, 4, layout=layout, extent_mm=64)  # type: ignore[arg-type]
    cohort = recognise(tmp_path / "data", target="boxes")
    assert cohort.target.kind == "boxes" and cohort.layout == ("paired-masks" if layout == "masks" else "box-table")
    for case in cohort.cases:
        found = open_boxes(case, cohort.target, open_case(case))
        planted = truth.planted["boxes"][case.id]
        expected = sorted((np.array(each["box"]).tolist() for each in planted), key=lambda box: box[0])
        assert len(found) == len(planted)
        for mine, theirs in zip(sorted(found.boxes.tolist(), key=lambda box: box[0]), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-3 if layout != "masks" else 1.0)
        if layout != "masks":
            assert found.risk.tolist() == [each["malignant"] for each in planted]


def test_masks_become_boxes_when_asked(tmp_path: Path) -> None:
    cohort = recognise(pictures(tmp_path / "a", 4), target="boxes")
    assert cohort.layout == "paired-masks" and cohort.target.kind == "boxes" and cohort.target.classes == ("mask",) and cohort.cases[0].boxes is None
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    inside = np.argwhere(ball((24, 20), 255, at=(8, 10), radius=3))
    assert truth.boxes.tolist() == [[*inside.min(0), *(inside.max(0) + 1)]]
    volumes(tmp_path / "b", 3)
    (tmp_path / "b" / "dataset.json").write_text('{"channel_names": {"0": "CT"}, "labels": {"background": 0, "big": 1, "small": 2}, "file_ending": ".nii.gz"}')
    cohort = recognise(tmp_path / "b", target="boxes")
    assert cohort.layout == "dataset-json" and cohort.target.classes == ("big", "small") and cohort.target.values == ((1,), (2,))
    assert open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0])).labels.tolist() == [0, 1]
    assert recognise(tmp_path / "a", target="boxes", label="cell=255").target.classes == ("cell",)
