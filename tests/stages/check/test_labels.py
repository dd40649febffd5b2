"""What may be wrong with labels and patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.cohorts import audit
from vesalius.core.target import TargetSpec
from vesalius.stages.check.audit import Audit, Issue, label_counts
from vesalius.stages.check.facts import Fact
from vesalius.stages.check.labels import label_issues


def issues(seen: Audit, **changed: list[Any]) -> dict[str, Issue]:
    facts = [Fact(**{**vars(fact), **{name: values[i] for name, values in changed.items()}}) for i, fact in enumerate(seen.facts)]
    return {issue.code: issue for issue in label_issues(seen.cohort, facts)}


BALANCED = ["ill", "well"] * 30


def test_a_sound_cohort_tells_its_patients_only() -> None:
    found = issues(audit(BALANCED))
    assert list(found) == ["patients"] and "60 patients, known from a column; 1.0 images each" in found["patients"].en


@pytest.mark.parametrize("empty", [None, float("nan"), " "])
def test_missing_labels_are_named(empty: Any) -> None:
    seen = audit([empty, *BALANCED])
    assert issues(seen)["missing_label"].files == ("i0000.png",)
    assert label_counts(seen.cohort) == {"ill": 30, "well": 30, "(missing)": 1}


def test_imbalance_is_a_remark_from_three_and_a_warning_from_ten() -> None:
    assert "imbalance" not in issues(audit(["ill"] * 30 + ["well"] * 80))
    assert issues(audit(["ill"] * 30 + ["well"] * 90))["imbalance"].severity == "info"
    found = issues(audit(["ill"] * 12 + ["well"] * 120))["imbalance"]
    assert found.severity == "warning" and "10.0 times" in found.en and "(well 120, ill 12)" in found.en


def test_a_class_of_few_patients_or_none_is_told() -> None:
    found = issues(audit(["a"] * 9 + ["b"] * 50, target=TargetSpec("multiclass", ("a", "b", "c"))))
    assert "a (9)" in found["few_patients"].en and "b (" not in found["few_patients"].en
    assert found["class_without_images"].en == "No image has the label: c."


def test_patients_unknown_dominant_and_of_two_minds() -> None:
    assert issues(audit(BALANCED, known=False))["patient_unknown"].severity == "warning"
    assert issues(audit(BALANCED, ["one"] * 20 + [f"p{i}" for i in range(40)]))["dominant_patient"].n == 20
    found = issues(audit(BALANCED, ["p", "p"] + [f"q{i}" for i in range(58)]))["patient_conflict"]
    assert found.files == ("i0000.png", "i0001.png") and found.en.startswith("1 patients carry several labels")


def test_a_patient_in_two_official_parts_is_an_error() -> None:
    seen = audit(BALANCED, ["p", *(f"q{i}" for i in range(58)), "p"], splits=["train"] * 40 + ["test"] * 20)
    assert issues(seen)["patients_across_splits"].files == ("i0000.png", "i0059.png")


def test_a_fact_of_the_file_that_tells_the_label_is_an_error() -> None:
    sizes = [(64, 64) if label == "ill" else (32, 32) for label in BALANCED]
    found = issues(audit(BALANCED), shape=sizes)["leak"]
    assert found.severity == "error" and "The image size alone tells the label (100% right, 50% by guessing)" in found.en
    assert "The file type" in issues(audit(BALANCED), suffix=[".jpg" if label == "ill" else ".png" for label in BALANCED])["leak"].en
    heights = list(np.random.default_rng(0).integers(100, 300, 60) + np.array([200, 0] * 30))
    assert "AUC" in issues(audit(BALANCED), shape=[(int(h), 64) for h in heights])["leak"].en


def test_a_site_that_tells_the_label_is_told_and_a_symptom_is_not() -> None:
    clinical = [{"site": "A" if label == "ill" else "B", "cough": label == "ill"} for label in BALANCED]
    seen = audit(BALANCED, clinical=clinical)
    leaks = [issue for issue in label_issues(seen.cohort, seen.facts) if issue.code == "leak"]
    assert len(leaks) == 1 and "The column 'site'" in leaks[0].en


def test_chance_is_no_leak() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        found = issues(audit(BALANCED), suffix=list(random.choice([".png", ".jpg"], 60)), shape=[(int(h), 64) for h in random.integers(90, 200, 60)])
        assert "leak" not in found


def test_counts_of_each_kind_of_target() -> None:
    assert label_counts(audit(["a|b", "", "b", None], target=TargetSpec("multilabel", ("a", "b"))).cohort) == {"a": 1, "b": 2, "(missing)": 1}
    assert label_counts(audit(["1", "3", None], target=TargetSpec("regression", ())).cohort) == {"n": 2, "min": 1.0, "median": 2.0, "max": 3.0, "(missing)": 1}
