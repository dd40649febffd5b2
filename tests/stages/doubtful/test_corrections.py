"""A table of corrections is taken as it is meant, and refused clearly where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from vesalius.core.cohort import Case, Cohort, Source
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError
from vesalius.stages.doubtful.corrections import note_of, read_corrections, recorded, same_corrections, with_corrections

BINARY = TargetSpec("binary", ("well", "ill"))


def cohort(target: TargetSpec = BINARY, labels: tuple = ("well", "ill", "ill")) -> Cohort:
    cases = tuple(Case(f"{name}.png", Source("raster", name), name, label) for name, label in zip("abc", labels, strict=True))
    return Cohort(cases, target, 2, "data", "table")


def table(folder: Path, *lines: str, head: str = "id,label,who,when") -> str:
    path = folder / "corrections.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8-sig")
    return str(path)


def test_labels_are_replaced_and_confirmed_ones_are_no_change(tmp_path: Path) -> None:
    made, record = with_corrections(cohort(), table(tmp_path, "b.png,well,Dr Li,2026-01-02", "c.png,ill,Dr Li,2026-01-02"))
    assert [case.label for case in made.cases] == ["well", "well", "ill"]
    assert record is not None and record["n_lines"] == 2 and record["n_changed"] == 1
    assert record["changed"] == [{"id": "b.png", "was": "ill", "label": "well", "who": "Dr Li", "when": "2026-01-02"}]


def test_several_signs_and_numbers(tmp_path: Path) -> None:
    made, _ = with_corrections(cohort(TargetSpec("multilabel", ("x", "y")), ("x", "x|y", "")), table(tmp_path, "b.png,y,A,1", "a.png,,A,1", "c.png,,A,1"))
    assert [case.label for case in made.cases] == ["", "y", ""]
    made, record = with_corrections(cohort(TargetSpec("regression", ()), (1.0, 2.0, 3.0)), table(tmp_path, "a.png,1.50,A,1", "b.png,2,A,1"))
    assert [case.label for case in made.cases] == [1.5, 2.0, 3.0] and record is not None and record["n_changed"] == 1


def test_without_a_file_nothing_is_done() -> None:
    given = cohort()
    assert with_corrections(given, None) == (given, None) and recorded(None, [], pd.DataFrame()) == {}


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        (("x.png,well,A,1",), DataError, "name an image that is not in the data"),
        (("a.png,sick,A,1",), LabelError, "unknown label 'sick'"),
        (("a.png,,A,1",), LabelError, "a correction has no label"),
        (("a.png,well,A,1", "a.png,ill,A,1"), LabelError, "an image is corrected twice"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, lines: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        with_corrections(cohort(), table(tmp_path, *lines))
    assert "corrections.csv" in str(caught.value)


def test_a_table_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column who"):
        read_corrections(table(tmp_path, "a.png,well", head="id,label"))
    with pytest.raises(DataError, match="cannot be read"):
        read_corrections(tmp_path / "absent.csv")


def test_a_number_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="not a number"):
        with_corrections(cohort(TargetSpec("regression", ()), (1.0, 2.0, 3.0)), table(tmp_path, "a.png,tall,A,1"))


def test_masks_are_not_corrected_by_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="masks and boxes are not corrected by a table"):
        with_corrections(cohort(TargetSpec("mask", ("liver",))), table(tmp_path, "a.png,liver,A,1"))


def test_corrected_labels_of_the_test_are_counted_and_said(tmp_path: Path) -> None:
    _, record = with_corrections(cohort(), table(tmp_path, "a.png,ill,A,1", "b.png,well,B,1"))
    notes: list[dict[str, str]] = []
    kept = recorded(record, notes, pd.DataFrame({"id": ["a.png", "b.png", "c.png"], "split": ["test", "train", "train"]}))["corrections"]
    assert kept["n_test"] == 1 and kept["n_changed"] == 2
    assert notes[0]["severity"] == "warning" and "2 labels were corrected" in notes[0]["en"] and "1 of them in the test set" in notes[0]["en"]
    assert "A, B" in notes[0]["en"] and "测试集 1 个" in notes[0]["zh"]
    assert note_of(kept["changed"], {})["severity"] == "info"


def test_a_run_goes_on_with_the_same_corrections_only(tmp_path: Path) -> None:
    audit = tmp_path / "audit.json"
    _, record = with_corrections(cohort(), table(tmp_path, "a.png,ill,A,1"))
    audit.write_text(json.dumps({"corrections": record}))
    same_corrections(record, audit)
    for other in (None, {"path": "other.csv", "hash": "0"}):
        with pytest.raises(DataError, match="corrections have changed since this run was started"):
            same_corrections(other, audit)
