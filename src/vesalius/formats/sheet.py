"""Tables of labels: reading them as they were written, and guessing what their columns mean, with the evidence."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.errors import LabelError
from vesalius.registry import nearest

ENCODINGS = ("utf-8-sig", "gb18030", "latin-1")
SEPARATORS = ",;\t|"
ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "image_path", "imagepath", "path", "file", "filepath", "file_path", "filename", "file_name", "img", "img_path", "image_name",
              "image_id", "imageid",
              "image_index", "img_id", "dicom", "scan", "volume", "id", "id_code", "uid", "seriesinstanceuid", "studyinstanceuid", "sopinstanceuid",
              "图像", "图片", "影像", "文件", "文件名", "图像名", "路径", "编号"),
    "label": ("label", "labels", "class", "class_name", "classname", "target", "diagnosis", "dx", "finding", "findings", "finding_labels", "category", "y",
              "outcome",
              "grade", "stage", "severity", "score", "level", "kl", "kl_grade", "birads", "pathology", "disease", "result", "标签", "诊断", "类别", "分级",
              "分期", "结果", "病变"),
    "patient": ("patient", "patient_id", "patientid", "patient_no", "subject", "subject_id", "subjectid", "participant_id", "participant", "pid", "person",
                "person_id", "case_id",
                "mrn", "lesion_id", "患者", "患者编号", "患者id", "病人", "病人编号", "病历号", "住院号"),
    "split": ("split", "partition", "subset", "set", "fold_split", "dataset", "usage", "划分", "数据集"),
    "site": ("site", "hospital", "center", "centre", "institution", "clinic", "医院", "中心"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender", "patientsex", "性别"),
    "age": ("age", "patient_age", "patientage", "age_years", "age_approx", "年龄"),
}
MOST_UNPACKED = 2**28
CANONICAL = ("site", "sex", "age")
"""Columns that other parts ask for by name; the rest keep theirs."""


@dataclass(frozen=True)
class Sheet:
    """A table with the columns that were found to have a role; ``frame`` holds text, with None for empty cells."""

    frame: pd.DataFrame
    path: str
    roles: dict[str, str]

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def column(self, name: str, flag: str) -> str:
        """The column of that name (letter case does not matter); `LabelError` with the nearest one otherwise."""
        found = next((each for each in self.columns if each == name), None) or next((each for each in self.columns if each.lower() == name.lower()), None)
        if found is not None:
            return found
        near = nearest(name, [each.lower() for each in self.columns], 1)
        hint = next((each for each in self.columns if near and each.lower() == near[0]), None)
        raise LabelError(f"the table has no column '{name}'", where=self.path, expected=f"'{hint}'" if hint else "one of its columns",
                         got=", ".join(self.columns[:12]),
                         do=f"correct {flag}")


def read_sheet(path: Path) -> Sheet:
    """Read CSV, TSV, Parquet or XLSX with every cell as text, so that ``0007`` stays ``0007``.

    Raises
    ------
    LabelError: it is empty, damaged, or names a column twice.
    """
    with _reading(path):
        frame = _frame(path)
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    doubled = sorted({name for name in frame.columns if list(frame.columns).count(name) > 1})
    if doubled:
        raise LabelError("the table names a column twice", where=path, expected="each name once", got=", ".join(doubled), do="rename one of them")
    if frame.empty:
        raise LabelError("the table has no rows", where=path, expected="a row for each image", got=f"the columns {', '.join(frame.columns[:8])}",
                         do="fill it in")
    with _reading(path):
        held = texts(frame)
    return Sheet(held, str(path), roles_of(list(frame.columns)))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Readers of tables raise anything on broken files; all of it becomes the one error for the user."""
    try:
        yield
    except Exception as error:
        raise LabelError("the table cannot be read", where=path, expected="CSV, TSV, Parquet or XLSX with a line of column names", got=type(error).__name__,
                         do="save it again as CSV in UTF-8") from error


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with every cell a text or None (as objects: pandas' own text type turns None into NaN)."""
    return pd.DataFrame({name: pd.Series([_cell(value) for value in frame[name]], dtype=object) for name in frame.columns}, dtype=object)


def _frame(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pd.read_parquet(path)
    if suffix == ".xlsx":
        _unpacked_bounded(path)
        return pd.read_excel(path, dtype=object)
    text = _text(path)
    header = text.splitlines()[0] if text.strip() else ""
    separator = "\t" if suffix == ".tsv" else max(SEPARATORS, key=header.count)
    return pd.read_csv(path, dtype=str, sep=separator, keep_default_na=False, encoding=_encoding(path), skipinitialspace=True)


def _unpacked_bounded(path: Path) -> None:
    """An XLSX is a zip: a small one may claim to hold terabytes, packed or unpacked."""
    with zipfile.ZipFile(path) as opened:
        entries = opened.infolist()
    packed, size = max((entry.compress_size for entry in entries), default=0), sum(entry.file_size for entry in entries)
    if size > MOST_UNPACKED or packed > path.stat().st_size:
        raise ValueError(f"{packed:,} bytes, {size:,} when unpacked")


def _encoding(path: Path) -> str:
    data = path.read_bytes()
    for name in ENCODINGS:
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return ENCODINGS[-1]


def _text(path: Path) -> str:
    return path.read_bytes().decode(_encoding(path))


def _cell(value: Any) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return text if text and text.lower() not in ("nan", "na", "n/a", "null") else None


def _key(name: str) -> str:
    """``Patient ID`` and ``patient-id`` are ``patient_id``."""
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def roles_of(columns: Sequence[str]) -> dict[str, str]:
    """Which column has which role, by its name; a column has one role and the more usual name comes first.

    >>> roles_of(["Image Index", "Finding Labels", "Patient ID", "性别"])
    {'image': 'Image Index', 'label': 'Finding Labels', 'patient': 'Patient ID', 'sex': '性别'}
    """
    keys = {_key(name): name for name in reversed(columns)}
    found: dict[str, str] = {}
    for role, names in ROLES.items():
        chosen = next((keys[name] for name in names if name in keys and keys[name] not in found.values()), None)
        if chosen is not None:
            found[role] = chosen
    return found


def typed(values: Sequence[str | None]) -> list[Any]:
    """A column of text as numbers where every cell is one (and none has a leading zero, as identifiers do); an empty cell is None."""
    held = [value for value in values if value is not None]
    if not held or any(re.match(r"^0\d", value) for value in held) or not all(_is_number(value) for value in held):
        return list(values)
    whole = all(float(value).is_integer() for value in held)
    return [None if value is None else int(float(value)) if whole else float(value) for value in values]


def _is_number(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return abs(value) < float("inf")
