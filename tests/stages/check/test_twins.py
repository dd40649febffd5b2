"""Duplicates and what they cross."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.cohorts import case, cohort, picture, save
from vesalius.stages.check import audit_cohort


def test_exact_and_near_duplicates_are_clustered_and_their_crossings_counted(tmp_path: Path) -> None:
    cases = [case(save(tmp_path, f"s{i:02d}.png", picture(i)), "ill" if i % 2 else "well", f"p{i}", "train") for i in range(20)]
    cases += [
        case(save(tmp_path, "copy of 0.png", picture(0)), "well", "p0", "test"),  # another part
        case(save(tmp_path, "mirrored 1.png", picture(1)[:, ::-1]), "ill", "someone else", "train"),  # another patient
        case(save(tmp_path, "brighter 2.jpg", np.clip(picture(2) * 1.2, 0, 255).astype(np.uint8)), "ill", "p2", "train"),  # another label
    ]
    seen = audit_cohort(cohort(cases))
    assert seen.twins.exact == (("s00.png", "copy of 0.png"),)
    assert {tuple(pair["ids"]) for pair in seen.to_dict()["duplicates"]["near"]} == {("s01.png", "mirrored 1.png"), ("s02.png", "brighter 2.jpg")}
    assert seen.to_dict()["duplicates"]["near"][0]["how"] == "mirrored"
    assert seen.twins.crossing == {"patients": 1, "labels": 1, "splits": 1} and seen.to_dict()["n_clusters"] == 3
    assert seen.clusters["s00.png"] == seen.clusters["copy of 0.png"] != seen.clusters["s01.png"] and seen.clusters["s05.png"] == -1
    issues = {issue.code: issue for issue in seen.issues}
    assert issues["exact_duplicates"].n == 2 and issues["near_duplicates"].n == 4
    assert set(issues["duplicates_across_patients"].files) == {"s01.png", "mirrored 1.png"}
    assert set(issues["duplicates_across_labels"].files) == {"s02.png", "brighter 2.jpg"} and issues["duplicates_across_labels"].severity == "error"
    assert set(issues["duplicates_across_splits"].files) == {"s00.png", "copy of 0.png"}


def test_strangers_and_constant_images_are_no_twins(tmp_path: Path) -> None:
    cases = [case(save(tmp_path, f"{i}.png", picture(i)), "ill") for i in range(15)]
    cases += [case(save(tmp_path, f"flat{i}.png", np.full((9, 9), 3, np.uint8)), "ill") for i in range(2)]
    seen = audit_cohort(cohort(cases))
    assert not seen.twins.exact and not seen.twins.near and set(seen.clusters.values()) == {-1}
    assert not [issue for issue in seen.issues if "duplicate" in issue.code]


def test_patients_that_nobody_names_cannot_be_crossed(tmp_path: Path) -> None:
    cases = [case(save(tmp_path, name, picture(0)), "ill") for name in ("a.png", "b.png")]
    assert audit_cohort(cohort(cases, known=False)).twins.crossing["patients"] == 0
    assert audit_cohort(cohort(cases)).twins.crossing["patients"] == 1
