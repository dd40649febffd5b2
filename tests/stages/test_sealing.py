"""The sealed test set and the ledger of looks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from stages.cohorts import audit
from vesalius.errors import RunError, SealError
from vesalius.stages.cohortfile import read_cohort, write_cohort
from vesalius.stages.split import Looks, seal, split_cohort, verify_seal


@pytest.fixture
def frame() -> pd.DataFrame:
    return split_cohort(audit(["ill", "well"] * 30, clinical=[{"age": i, "mixed": i if i % 2 else "x", "siteé": None} for i in range(60)])).frame


def test_the_seal_ignores_order_and_the_way_through_the_file(frame: pd.DataFrame, tmp_path: Path) -> None:
    write_cohort(frame, tmp_path / "cohort.parquet")
    again = read_cohort(tmp_path / "cohort.parquet")
    assert seal(frame) == seal(frame.iloc[::-1]) == seal(again) and len(seal(frame)) == 64
    verify_seal(again, seal(frame))
    assert again["member"].tolist() == [None] * 60 and again["excluded_because"].tolist() == [None] * 60
    assert again["age"].tolist() == list(range(60)) and again["mixed"][1] == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["cohort.parquet"]


@pytest.mark.parametrize("column", ["id", "hash", "label"])
def test_a_changed_test_image_breaks_the_seal_and_a_training_image_does_not(frame: pd.DataFrame, column: str) -> None:
    sealed = seal(frame)
    changed = frame.copy()
    changed.loc[changed.index[changed["split"] == "train"][0], column] = "other"
    verify_seal(changed, sealed)
    changed.loc[changed.index[changed["split"] == "test"][0], column] = "other"
    with pytest.raises(SealError, match="the test set is not the one that was sealed: expected seal .*, got seal"):
        verify_seal(changed, sealed)


def test_taking_a_test_image_away_breaks_the_seal(frame: pd.DataFrame) -> None:
    with pytest.raises(SealError):
        verify_seal(frame.drop(frame.index[frame["split"] == "test"][0]), seal(frame))


def test_every_look_is_counted_over_processes_and_nothing_is_overwritten(tmp_path: Path) -> None:
    assert Looks(tmp_path).count() == 0
    assert Looks(tmp_path).record("s", "m1", "fit") == 1
    assert Looks(tmp_path).record("s", "m2", "报告") == 2
    assert [(e["look"], e["model"], e["purpose"]) for e in Looks(tmp_path).entries()] == [(1, "m1", "fit"), (2, "m2", "报告")]


def test_a_line_cut_by_a_crash_counts_and_swallows_no_later_one(tmp_path: Path) -> None:
    looks = Looks(tmp_path)
    looks.record("s", "m", "fit")
    with looks.path.open("a") as file:
        file.write('{"look": 2, "ti')
    assert looks.count() == 2
    assert looks.record("s", "m", "again") == 3
    assert looks.count() == 3 and looks.entries()[1] == {"damaged": '{"look": 2, "ti'} and looks.entries()[2]["purpose"] == "again"


def test_a_look_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in the way")
    with pytest.raises(RunError):
        Looks(tmp_path).record("s", "m", "fit")


def test_what_is_no_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_cohort(tmp_path / "absent.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    with pytest.raises(RunError, match="cannot be read"):
        read_cohort(tmp_path / "junk.parquet")
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(RunError, match="of another schema .*got no column path"):
        read_cohort(tmp_path / "other.parquet")
