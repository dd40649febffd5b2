"""Who trains and who tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.cohorts import audit
from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError, TooFewError
from vesalius.stages.split import crossing, folds, split_cohort

LABELS = ["ill", "well", "well"] * 40
PATIENTS = [f"p{i // 3}" for i in range(120)]


def parts(frame: object) -> dict[str, str]:
    return dict(zip(frame["id"], frame["split"], strict=True))  # type: ignore[index]


def test_patients_and_duplicates_stay_together_and_every_part_holds_every_class() -> None:
    twins = {f"i{i:04d}.png": i % 5 for i in range(0, 60, 6)}
    split = split_cohort(audit(LABELS, PATIENTS, clusters=twins))
    assert crossing(split.frame) == {"patients": 0, "clusters": 0}
    assert split.frame.groupby("split")["label"].nunique().to_dict() == {"test": 2, "train": 2, "validation": 2}
    assert abs((split.frame["split"] == "train").mean() - 0.7) < 0.05
    assert split.by == "patient" and split.notes == []
    assert ("n_test", int((split.frame["split"] == "test").sum()), "images") in split.decisions


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_files() -> None:
    seen = audit(LABELS, PATIENTS)
    turned = replace(seen, cohort=replace(seen.cohort, cases=seen.cohort.cases[::-1]), facts=seen.facts[::-1])
    assert parts(split_cohort(seen).frame) == parts(split_cohort(turned).frame)
    assert parts(split_cohort(seen, seed=1).frame) != parts(split_cohort(seen).frame)


def test_what_cannot_be_used_has_a_row_and_a_reason_and_no_part() -> None:
    frame = split_cohort(audit([None, *LABELS], excluded={"i0000.png": "no label"})).frame
    row = frame.set_index("id").loc["i0000.png"]
    assert (row["split"], row["excluded_because"], row["label"]) == ("excluded", "no label", None)
    assert (frame["split"] == "excluded").sum() == 1
    named = ["id", "path", "member", "hash", "patient", "label", "split", "official_split", "duplicate_cluster", "excluded_because"]
    assert list(frame.columns) == named


def test_clinical_columns_follow_and_never_overwrite() -> None:
    frame = split_cohort(audit(LABELS, clinical=[{"age": i, "split": "x"} for i in range(120)])).frame
    assert frame["age"].tolist() == list(range(120)) and set(frame["clinical_split"]) == {"x"}


def test_an_official_split_is_kept_and_what_it_tears_apart_is_told_in_red() -> None:
    official = ["train"] * 60 + ["validation"] * 30 + ["test"] * 30
    patients = ["p"] * 3 + [f"q{i}" for i in range(58)] + ["p"] + [f"r{i}" for i in range(58)]
    seen = audit(LABELS, patients, splits=official, clusters={"i0005.png": 0, "i0100.png": 0})
    split = split_cohort(seen)
    assert split.frame["split"].tolist() == official
    told = {note["code"]: note for note in split.notes}
    assert set(told) == {"patients_cross_official_split", "duplicates_cross_official_split"}
    assert all(note["severity"] == "error" and note["en"].startswith("1 ") and note["zh"].startswith("1 ") for note in told.values())
    again = split_cohort(seen, keep_official=False)
    assert crossing(again.frame) == {"patients": 0, "clusters": 0} and again.notes == []


def test_validation_is_carved_from_training_by_patient_when_the_official_split_has_none() -> None:
    official = ["train"] * 90 + ["test"] * 30
    split = split_cohort(audit(LABELS, PATIENTS, splits=official))
    assert split.frame["split"].tolist()[90:] == ["test"] * 30
    share = (split.frame["split"] == "validation").sum() / 90
    assert 0.12 < share < 0.24 and crossing(split.frame)["patients"] == 0
    assert [note["code"] for note in split.notes] == ["official_carved"]
    assert any(name == "carved" and value == ["validation"] for name, value, _ in split.decisions)


def test_images_without_a_place_in_the_official_split_train() -> None:
    split = split_cohort(audit(LABELS, splits=[None] * 30 + ["train"] * 30 + ["validation"] * 30 + ["test"] * 30))
    assert set(split.frame["split"][:30]) == {"train"} and "official_open" in [note["code"] for note in split.notes]


def test_by_image_is_only_explicit_and_red_and_duplicates_still_stay_together() -> None:
    twins = {f"i{i:04d}.png": i // 2 for i in range(40)}
    split = split_cohort(audit(LABELS, PATIENTS, clusters=twins), by="image")
    assert crossing(split.frame)["patients"] > 0 and crossing(split.frame)["clusters"] == 0
    assert [(note["code"], note["severity"]) for note in split.notes] == [("split_by_image", "error")]


def test_a_class_of_two_patients_cannot_be_in_three_parts() -> None:
    with pytest.raises(TooFewError, match=r"class 'ill' is not in .*: expected every class in training, validation and test, got 4 images of it"):
        split_cohort(audit(["ill"] * 4 + ["well"] * 60, ["a", "a", "b", "b"] + [f"w{i}" for i in range(60)]))


def test_two_patients_leave_a_part_empty() -> None:
    with pytest.raises(TooFewError, match="nothing to put into"):
        split_cohort(audit(LABELS, ["a", "b"] * 60))


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.5)])
def test_impossible_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(OptionError, match="fractions of the split are impossible"):
        split_cohort(audit(LABELS), fractions=fractions)  # type: ignore[arg-type]


def test_regression_is_spread_over_its_range() -> None:
    values = np.random.default_rng(0).gamma(2, 10, 300)
    frame = split_cohort(audit([str(v) for v in values], target=TargetSpec("regression", ()))).frame
    assert frame["label"].dtype == float
    medians = frame.groupby("split")["label"].median()
    assert medians.max() - medians.min() < 0.15 * np.median(values)


def test_multilabel_rows_without_any_mark_are_used() -> None:
    labels = ["a|b", "a", "", "b"] * 30
    split = split_cohort(audit(labels, target=TargetSpec("multilabel", ("a", "b"))))
    assert set(split.frame["split"]) == {"train", "validation", "test"}
    assert (split.frame.loc[split.frame["label"] == "", "split"] == "test").any()


def test_folds_hold_out_every_inner_row_once_by_patient() -> None:
    frame = split_cohort(audit(LABELS, PATIENTS)).frame
    held = folds(frame, 4, 0)
    inner = np.flatnonzero(frame["split"].isin(["train", "validation"]))
    assert sorted(np.concatenate(held)) == inner.tolist()
    patients = [set(frame["patient"].iloc[rows]) for rows in held]
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert all(frame["label"].iloc[rows].nunique() == 2 for rows in held)
    assert [rows.tolist() for rows in folds(frame, 4, 0)] == [rows.tolist() for rows in held] != [rows.tolist() for rows in folds(frame, 4, 1)]


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(TooFewError, match="too few patients for the folds: expected at least 500"):
        folds(split_cohort(audit(LABELS, PATIENTS)).frame, 500, 0)
