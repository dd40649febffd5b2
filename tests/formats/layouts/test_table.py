from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from making import png, series

from vesalius.errors import DataError, LabelError, OptionError
from vesalius.formats import recognise


def data(root: Path, frame: pd.DataFrame, n: int = 8, name: str = "labels.csv") -> Path:
    for i in range(n):
        png(root / "images" / f"{i}.png", seed=i)
    frame.to_csv(root / name, index=False)
    return root


def frame(n: int = 8, **more: object) -> pd.DataFrame:
    return pd.DataFrame({"image": [f"{i}.png" for i in range(n)], "label": ["ill" if i % 3 == 0 else "healthy" for i in range(n)], **more})


def test_a_folder_with_its_table(tmp_path: Path) -> None:
    table = frame(Patient=[f"{i // 2:03d}" for i in range(8)], Gender=list("MFMFMFMF"), Age=range(40, 48), hospital=["A"] * 4 + ["B"] * 4, crp=[1.5] * 8)
    cohort = recognise(data(tmp_path, table))
    assert (cohort.layout, len(cohort), cohort.ndim) == ("table", 8, 2)
    assert cohort.target.classes == ("healthy", "ill")
    assert cohort.target.name == "label"
    assert cohort.cases[0].id == "images/0.png"
    assert cohort.cases[0].label == "ill"
    assert cohort.cases[0].patient == "000"
    assert cohort.patient_evidence == "column 'Patient' (4 patients, 8 images)"
    assert list(cohort.clinical().columns) == ["sex", "age", "site", "crp"]
    assert cohort.clinical()["age"].tolist() == list(range(40, 48))
    assert "column 'label' is the label, by its name" in cohort.notes


@pytest.mark.parametrize("cell", ["{i}.png", "images/{i}.png", "./images/{i}.png", "{i}", "C:\\x\\images\\{i}.png", "/other/root/images/{i}.png"])
def test_images_are_found_by_path_name_or_stem(tmp_path: Path, cell: str) -> None:
    table = frame()
    table["image"] = [cell.format(i=i) for i in range(8)]
    assert len(recognise(data(tmp_path, table))) == 8


def test_the_image_column_is_found_by_what_it_holds(tmp_path: Path) -> None:
    table = frame().rename(columns={"image": "what"}).assign(id=range(100, 108))
    cohort = recognise(data(tmp_path, table))
    assert "column 'what' names the images" in cohort.notes
    assert recognise(tmp_path, image="WHAT").cases == cohort.cases
    with pytest.raises(LabelError, match="no column 'wat'.*correct --image"):
        recognise(tmp_path, image="wat", layout="table")


def test_a_table_elsewhere_and_label_and_patient_options(tmp_path: Path) -> None:
    data(tmp_path / "d", frame(grade=[i % 4 for i in range(8)], who=["a", "b"] * 4))
    (tmp_path / "d" / "labels.csv").rename(tmp_path / "t.csv")
    cohort = recognise(tmp_path / "d", table=tmp_path / "t.csv", label="grade", patient="who")
    assert (cohort.target.kind, cohort.target.classes) == ("ordinal", ("0", "1", "2", "3"))
    assert cohort.patients == ["a", "b"]
    assert recognise(tmp_path / "d", table=tmp_path / "t.csv", target="multiclass", label="grade").target.kind == "multiclass"
    assert len(recognise(tmp_path / "d", table=tmp_path / "t.csv", patient=r"(\d)\.png").patients) == 8
    assert not recognise(tmp_path / "d", table=tmp_path / "t.csv", patient="none").patient_known


def test_kinds_of_target(tmp_path: Path) -> None:
    table = frame(ef=[0.5 + i / 100 for i in range(8)], a=[0, 1] * 4, b=[1, 1, 0, 0] * 2, one=[1, 0] * 4, two=[0, 1] * 4)
    data(tmp_path, table)
    assert recognise(tmp_path, label="ef").target.kind == "regression"
    several = recognise(tmp_path, label="a,b")
    assert (several.target.kind, several.target.classes) == ("multilabel", ("a", "b"))
    assert [case.label for case in several.cases[:4]] == ["b", "a|b", "", "a"]
    assert several.truth()[2].tolist() == [0, 0]
    exclusive = recognise(tmp_path, label="one,two")
    assert (exclusive.target.kind, exclusive.cases[0].label) == ("binary", "one")
    assert "exactly one" in exclusive.target.reason
    assert recognise(tmp_path, label="one,two", target="multilabel").target.kind == "multilabel"
    with pytest.raises(LabelError, match="several label columns must be 0/1.*other values in 'ef'"):
        recognise(tmp_path, label="a,ef")


def test_several_columns_of_marks_are_recognised(tmp_path: Path) -> None:
    data(tmp_path, frame(n=8, opacity=[0, 1] * 4, nodule=[1, 1, 0, 0] * 2).drop(columns="label"))
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("opacity", "nodule")
    assert "2 columns of 0/1 are the labels" in cohort.notes[0]


def test_findings_joined_by_bars(tmp_path: Path) -> None:
    table = frame()
    table["label"] = ["edema|effusion", "edema", "effusion", "edema"] * 2
    assert recognise(data(tmp_path, table)).target.kind == "multilabel"


def test_the_official_split_is_kept(tmp_path: Path) -> None:
    cohort = recognise(data(tmp_path, frame(split=["train"] * 4 + ["val", "Valid", "TEST", "testing"])))
    assert [case.split for case in cohort.cases] == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert not recognise(data(tmp_path, frame(split=list("abcdefgh")))).has_official_split


def test_tables_of_train_and_test_are_joined(tmp_path: Path) -> None:
    data(tmp_path, frame()[:5], name="train.csv")
    frame()[5:].to_csv(tmp_path / "test.csv", index=False)
    cohort = recognise(tmp_path)
    assert [case.split for case in cohort.cases] == ["train"] * 5 + ["test"] * 3


def test_rows_without_images_and_images_without_rows(tmp_path: Path) -> None:
    table = pd.concat([frame()[2:], pd.DataFrame({"image": ["gone.png", "lost.png"], "label": ["ill", "ill"]})])
    cohort = recognise(data(tmp_path, table))
    assert len(cohort) == 6
    assert "2 rows of the table have no image, e.g. gone.png" in cohort.notes
    assert "2 images have no row in the table and were left out, e.g. images/0.png" in cohort.notes


def test_no_row_has_an_image(tmp_path: Path) -> None:
    table = frame()
    table["image"] = [f"other{i}.png" for i in range(8)]
    data(tmp_path, table)
    with pytest.raises(DataError, match="no row of the table has an image.*such as images/0.png, got other0.png, other1.png"):
        recognise(tmp_path, table=tmp_path / "labels.csv")
    with pytest.raises(LabelError, match="the images have no labels.*8 images and the tables labels.csv"):
        recognise(tmp_path)


def test_misspelt_and_absent_columns(tmp_path: Path) -> None:
    data(tmp_path, frame())
    with pytest.raises(LabelError, match="the table has no column 'labl'.*expected 'label', got image, label; correct --label"):
        recognise(tmp_path, label="labl")
    with pytest.raises(LabelError, match="the table has no column 'patiant'.*correct --patient"):
        recognise(tmp_path, patient="patiant")
    data(tmp_path, frame(x=list("abcdefgh"), y2=list("abcdefgh")).drop(columns="label"))
    with pytest.raises(LabelError, match="no column of the table is known to be the label.*got image, x, y2; name it with --label"):
        recognise(tmp_path, table="labels.csv")
    with pytest.raises(LabelError, match="there is no such table"):
        recognise(tmp_path, table="none.csv")


def test_rows_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    table = pd.concat([frame(), pd.DataFrame({"image": ["1.png"], "label": ["ill"]})])
    with pytest.raises(LabelError, match="contradict each other.*1 images with several, e.g. images/1.png: healthy and ill"):
        recognise(data(tmp_path, table))
    table = pd.concat([frame(), pd.DataFrame({"image": ["1.png"], "label": ["healthy"]})])
    assert "1 images have several rows with the same label; the first counts" in recognise(data(tmp_path, table)).notes


def test_one_row_for_a_folder_of_images(tmp_path: Path) -> None:
    for p in range(4):
        for i in range(2):
            png(tmp_path / f"case{p}" / f"{i}.png", seed=10 * p + i)
    pd.DataFrame({"case": [f"case{p}" for p in range(4)], "diagnosis": ["a", "b"] * 2}).to_csv(tmp_path / "t.csv", index=False)
    cohort = recognise(tmp_path)
    assert [case.label for case in cohort.cases] == ["a", "a", "b", "b"] * 2


def test_two_readings_fit_and_layout_decides(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(3):
            png(tmp_path / c / f"{c}{i}.png", seed=i)
    pd.DataFrame({"image": [f"{c}{i}.png" for c in "ab" for i in range(3)], "label": ["x", "y"] * 3}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError,
                       match="two readings of the data fit.*class-folders: 2 folders.*table: the table t.csv.*--layout class-folders or --layout table"):
        recognise(tmp_path)
    assert recognise(tmp_path, layout="table").target.classes == ("x", "y")
    by_folder = recognise(tmp_path, layout="class-folders")
    assert by_folder.target.classes == ("a", "b")
    assert "the table t.csv was not used: the folders are the labels" in by_folder.notes
    assert recognise(tmp_path, table="t.csv").layout == "table"
    with pytest.raises(OptionError, match="unknown layout 'tabel'.*table"):
        recognise(tmp_path, layout="tabel")


def test_several_tables(tmp_path: Path) -> None:
    data(tmp_path, frame(), name="one.csv")
    frame().to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(LabelError, match="several tables could hold the labels.*one.csv, two.csv; choose with --table"):
        recognise(tmp_path)
    frame().to_csv(tmp_path / "labels.csv", index=False)
    assert len(recognise(tmp_path)) == 8


def test_chinese_table(tmp_path: Path) -> None:
    for i in range(4):
        png(tmp_path / "图像" / f"第 {i} 张.png", seed=i)
    table = pd.DataFrame({"文件名": [f"第 {i} 张.png" for i in range(4)], "标签": ["正常", "肺炎"] * 2, "患者": ["甲", "甲", "乙", "乙"],
                          "性别": ["男", "女"] * 2, "年龄": [50, 51, 52, 53]})
    table.to_csv(tmp_path / "标签.csv", index=False, encoding="gb18030")
    cohort = recognise(tmp_path)
    assert cohort.target.positive == "肺炎"
    assert cohort.patients == ["甲", "乙"]
    assert list(cohort.clinical().columns) == ["sex", "age"]


@pytest.mark.parametrize(("column", "value"), [("PatientID", "P{p}"), ("SeriesInstanceUID", "1.2.10{p}"), ("folder", "study {p}")])
def test_dicom_tree_is_joined_by_identifier(tmp_path: Path, column: str, value: str) -> None:
    for p in range(4):
        series(tmp_path / "tree" / f"study {p}", 3, uid=f"1.2.10{p}", PatientID=f"P{p}")
    pd.DataFrame({column: [value.format(p=p) for p in range(4)], "label": ["a", "b"] * 2}).to_csv(tmp_path / "labels.csv", index=False)
    cohort = recognise(tmp_path)
    assert (cohort.layout, cohort.ndim, len(cohort)) == ("dicom-tree", 3, 4)
    assert [case.label for case in cohort.cases] == ["a", "b", "a", "b"]
    assert cohort.patients == ["P0", "P1", "P2", "P3"]


def test_dicom_tree_without_labels(tmp_path: Path) -> None:
    for p in range(4):
        series(tmp_path / f"patient{p}", 3, PatientID=f"P{p}")
    with pytest.raises(LabelError, match="the DICOM files have no labels"):
        recognise(tmp_path, layout="dicom-tree")
    with pytest.raises(LabelError, match="the images have no labels"):
        recognise(tmp_path)
