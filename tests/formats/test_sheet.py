from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from vesalius.errors import LabelError
from vesalius.formats.sheet import read_sheet, roles_of, typed


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".xlsx"])
def test_every_kind_keeps_its_cells(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"image": ["0007.png", "b.png"], "patient": ["0007", "12"], "label": ["ill", None]})
    path = tmp_path / f"a{suffix}"
    writers = {".csv": lambda: frame.to_csv(path, index=False), ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
               ".parquet": lambda: frame.to_parquet(path),
               ".xlsx": lambda: frame.to_excel(path, index=False)}
    writers[suffix]()
    sheet = read_sheet(path)
    assert sheet.frame["patient"].tolist() == ["0007", "12"]
    assert sheet.frame["label"].tolist() == ["ill", None]
    assert sheet.roles == {"image": "image", "patient": "patient", "label": "label"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_chinese_tables(tmp_path: Path, encoding: str, separator: str) -> None:
    path = tmp_path / "表.csv"
    path.write_bytes(separator.join(["文件名", "标签", "患者", "性别", "年龄"]).encode(encoding) + b"\n" + separator.join(["一.png", "肺炎", "7", "女",
                                                                                                                "61"]).encode(encoding) + b"\n")
    sheet = read_sheet(path)
    assert sheet.roles == {"image": "文件名", "label": "标签", "patient": "患者", "sex": "性别", "age": "年龄"}
    assert sheet.frame["标签"].tolist() == ["肺炎"]


def test_usual_names() -> None:
    assert roles_of(["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"]) == {
        "image": "Image Index", "label": "Finding Labels", "patient": "Patient ID", "sex": "Patient Gender", "age": "Patient Age"}
    assert roles_of(["image_id", "dx", "lesion_id", "age", "sex", "dataset"])["label"] == "dx"
    assert roles_of(["id_code", "diagnosis"]) == {"image": "id_code", "label": "diagnosis"}


def test_typed() -> None:
    assert typed(["1", "2", None]) == [1, 2, None]
    assert typed(["1.5", "2"]) == [1.5, 2.0]
    assert typed(["007", "8"]) == ["007", "8"]
    assert typed(["a", None]) == ["a", None]
    assert typed([None]) == [None]


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image,label,label \n1,2,3\n")
    with pytest.raises(LabelError, match="names a column twice.*got label"):
        read_sheet(path)
    path.write_text("image,label\n")
    with pytest.raises(LabelError, match="the table has no rows"):
        read_sheet(path)
    path.write_text("")
    with pytest.raises(LabelError, match="the table cannot be read.*EmptyDataError"):
        read_sheet(path)
    (tmp_path / "a.xlsx").write_text("no zip")
    with pytest.raises(LabelError, match="the table cannot be read.*save it again as CSV"):
        read_sheet(tmp_path / "a.xlsx")
    path.write_text("image,diagnosis\n1,2\n")
    with pytest.raises(LabelError, match="no column 'diagnosys'.*expected 'diagnosis', got image, diagnosis; correct --label"):
        read_sheet(path).column("diagnosys", "--label")
    assert read_sheet(path).column("Diagnosis", "--label") == "diagnosis"


def test_a_small_xlsx_that_claims_to_be_huge_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("xl/worksheets/sheet1.xml", bytes(2**28 + 1))
    assert path.stat().st_size < 2**20
    with pytest.raises(LabelError, match="table cannot be read.*got ValueError"):
        read_sheet(path)


def test_a_member_of_an_xlsx_is_no_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    pd.DataFrame({"image": ["a.png"] * 20}).to_excel(path, index=False)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(LabelError, match="table cannot be read.*got ValueError"):
        read_sheet(path)


def test_any_damage_of_a_table_is_one_error(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["a.png"] * 20, "label": ["cat", "dog"] * 10})
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    frame.to_parquet(tmp_path / "t.parquet", compression=None)
    for name in ("t.xlsx", "t.parquet"):
        whole = (tmp_path / name).read_bytes()
        for place in range(4, len(whole) - 8, max(1, len(whole) // 60)):
            (tmp_path / name).write_bytes(whole[:place] + b"\xff\xfe\xfd" + whole[place + 3 :])
            with contextlib.suppress(LabelError):
                read_sheet(tmp_path / name)
