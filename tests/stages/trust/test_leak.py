"""The leak effect: shown where patients or duplicates would cross, never claimed where nothing can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.trust.runs import blobs, finished
from vesalius.core.target import TargetSpec
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_leak import leak as section
from vesalius.stages.trust.leak import leak, sentences_of

NAMES = np.array(["normal", "ill"])


def patients_with(n: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Whose each image is, and its label (one a patient)."""
    label = np.random.default_rng(seed).permutation(np.arange(n) % 2)
    return np.repeat(np.arange(n), each), np.repeat(label, each)


def test_patients_that_would_cross_make_a_split_by_image_too_good(tmp_path: Path) -> None:
    who, label = patients_with(40, 4)
    trust = finished(tmp_path, NAMES[label], who, blobs(label, who, disease=12))
    found = leak(trust)
    assert found["applies"] and found["crossing"] == {"patients": 40, "duplicates": 0, "images": 160, "torn": 0}
    assert found["naive"]["value"] > 0.9 > found["honest"]["value"] + 0.1
    assert found["difference"]["low"] > 0 and np.isclose(found["difference"]["value"], found["naive"]["value"] - found["honest"]["value"])
    assert found["share_leaked"] > 0.9 and found["n_images"] == found["of_images"] == 160
    assert [row["code"] for row in found["sentences"]] == ["leak-shown"]
    assert f"{found['naive']['value']:.2f}" in found["sentences"][0]["en"] and f"{found['honest']['value']:.2f}" in found["sentences"][0]["zh"]


def test_where_nothing_can_leak_nothing_is_claimed(tmp_path: Path) -> None:
    who, label = patients_with(60, 1)
    found = leak(finished(tmp_path, NAMES[label], who, blobs(label, who)))
    assert found["applies"] is False and "patient of its own" in found["why"]["en"] and "sentences" not in found


def test_patients_without_a_face_of_their_own_show_no_difference(tmp_path: Path) -> None:
    who, label = patients_with(60, 3)
    found = leak(finished(tmp_path, NAMES[label], who, blobs(label, np.arange(len(who)), disease=80)))
    assert found["honest"]["value"] > 0.8 and found["difference"]["low"] <= 0
    assert found["sentences"][0]["code"] == "leak-not-shown"


def test_duplicates_of_other_patients_count(tmp_path: Path) -> None:
    label = np.random.default_rng(3).permutation(np.arange(80) % 2)
    images, cluster = blobs(label, np.arange(80), disease=0), np.full(160, -1)
    cluster[:80] = cluster[80:] = np.arange(80)
    trust = finished(tmp_path, NAMES[np.tile(label, 2)], np.arange(160), np.concatenate([images, images]), duplicate_cluster=cluster)
    found = leak(trust)
    assert found["crossing"]["duplicates"] == 80 and found["crossing"]["torn"] > 0
    assert found["naive"]["value"] > 0.75 and 0.3 < found["honest"]["value"] < 0.7
    assert {row["code"]: row["severity"] for row in found["sentences"]} == {"leak-shown": "info", "leak-in-this-split": "error"}


def test_a_value_is_judged_by_r2(tmp_path: Path) -> None:
    who, label = patients_with(40, 4)
    value = np.repeat(np.random.default_rng(5).normal(size=40), 4)
    found = leak(finished(tmp_path, value, who, blobs(label * 0, who), TargetSpec("regression", (), "age")))
    assert found["metric"] == "r2" and found["naive"]["value"] > found["honest"]["value"] + 0.2 and "R²" in found["sentences"][0]["en"]


def test_too_few_patients_and_structures_that_are_always_there(tmp_path: Path) -> None:
    who, label = patients_with(12, 4)
    few = leak(finished(tmp_path, NAMES[label], who, blobs(label, who)))
    assert few["applies"] is False and "too few patients" in few["why"]["en"]
    always = leak(finished(tmp_path, ["liver"] * len(who), who, None, TargetSpec("mask", ("liver",))))
    assert always["applies"] is False and "same structures" in always["why"]["en"] and always["crossing"]["patients"] == 12


def test_without_time_a_sample_is_taken_and_said(tmp_path: Path) -> None:
    who, label = patients_with(60, 4)
    trust = finished(tmp_path, NAMES[label], who, blobs(label, who))
    trust.deadline = 0.0
    found = leak(trust)
    assert found["n_images"] == 100 and found["of_images"] == 240
    shown = section(RunFacts(tmp_path, trust={"leak": found}))
    assert shown is not None and any("100 of 240" in text.en for text in shown.lead)


def test_the_section_shows_both_ways(tmp_path: Path) -> None:
    figure = {"value": 0.9, "low": 0.85, "high": 0.95}
    found = {"applies": True, "metric": "auc", "honest": figure, "naive": figure, "difference": figure, "share_leaked": 0.5, "repeats": 3,
             "n_images": 9, "of_images": 9, "of": "presence"}
    found["sentences"] = sentences_of(found, {"torn": 0})
    shown = section(RunFacts(tmp_path, trust={"leak": found}))
    assert shown is not None and shown.title.en.startswith("What a split by image") and len(shown.tables[0].rows) == 3
    assert "structures are there" in shown.lead[-1].en
    assert section(RunFacts(tmp_path)) is None
    left = section(RunFacts(tmp_path, trust={"leak": {"applies": False, "why": {"en": "none", "zh": "无"}}}))
    assert left is not None and left.lead[0].en == "none" and not left.tables


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "ordinal"])
def test_every_kind_of_label(tmp_path: Path, kind: str) -> None:
    who, label = patients_with(40, 3)
    names = ("normal", "ill") if kind == "multilabel" else ("normal", "ill", "worse")
    given = [names[(v + p) % len(names)] for v, p in zip(label, who, strict=True)]
    found = leak(finished(tmp_path, given, who, blobs(label, who), TargetSpec(kind, names)))  # type: ignore[arg-type]
    assert found["applies"] and found["metric"] == "auc" and found["difference"]["low"] > 0
