"""Every kind of phantom: the same seed gives the same bytes, and what the truth says is what lies on disk."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import pytest

from vesalius.errors import DataError, OptionError
from vesalius.phantoms import KINDS, Truth, make_phantom
from vesalius.phantoms.__main__ import main

SMALL = {"films": 24, "binary-folders": 12, "multilabel": 12, "ordinal": 12, "regression": 12, "volumes": 4, "dicom": 6, "dicom-masks": 2, "organs": 4,
         "vessels": 4, "cells": 6, "nodules": 2, "clip": 6, "shortcuts": 8, "broken": 6, "broken-boxes": 6}
WITH_TABLE = ("films", "shortcuts", "multilabel", "ordinal", "regression", "volumes")


def tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth]:
    """One small phantom of each kind."""
    root = tmp_path_factory.mktemp("phantoms")
    return {kind: make_phantom(kind, root / kind, seed=3, n=SMALL[kind]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made: dict[str, Truth], kind: str, tmp_path: Path) -> None:
    again = make_phantom(kind, tmp_path / "again", seed=3, n=SMALL[kind])
    other = make_phantom(kind, tmp_path / "other", seed=4, n=SMALL[kind])
    assert tree_hash(again.path) == tree_hash(made[kind].path) != tree_hash(other.path)
    assert again.planted == made[kind].planted


@pytest.mark.parametrize("kind", KINDS)
def test_every_id_lies_on_disk_with_a_patient_and_a_label(made: dict[str, Truth], kind: str) -> None:
    truth = made[kind]
    assert len(truth.true_label) >= SMALL[kind]
    for name, label in truth.given_label.items():
        assert (truth.path / name).exists() and truth.patient[name]
        if truth.classes and not isinstance(label, dict):
            assert str(label) in truth.classes or truth.target_kind in ("mask", "boxes")


@pytest.mark.parametrize("kind", WITH_TABLE)
def test_the_table_says_what_the_truth_says(made: dict[str, Truth], kind: str) -> None:
    truth = made[kind]
    with (truth.path / "table.csv").open(encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(truth.given_label)
    for name, row in rows.items():
        given = truth.given_label[name]
        assert row["patient"] == truth.patient[name]
        stated = given if isinstance(given, dict) else {truth.target: given}
        assert all(row[column] == str(value) for column, value in stated.items())


@pytest.mark.parametrize("kind", ["binary-folders", "dicom"])
def test_the_folder_says_the_label(made: dict[str, Truth], kind: str) -> None:
    assert all(name.split("/")[0] == label for name, label in made[kind].given_label.items())


def test_shuffled_labels_keep_the_counts_of_patients_and_lose_the_truth(tmp_path: Path) -> None:
    truth = make_phantom("ordinal", tmp_path / "p", n=120, shuffle=True)
    first = {truth.patient[name]: name for name in truth.given_label}
    given = [truth.given_label[name] for name in first.values()]
    true = [truth.true_label[name] for name in first.values()]
    agree = sum(a == b for a, b in zip(given, true, strict=True)) / len(true)
    assert sorted(given) == sorted(true) and agree < 0.5
    assert all(truth.given_label[name] == truth.given_label[first[truth.patient[name]]] for name in truth.given_label)


def test_a_folder_that_holds_this_phantom_is_left_as_it_is(tmp_path: Path) -> None:
    first = make_phantom("binary-folders", tmp_path / "p", n=6)
    stamp = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    assert make_phantom("binary-folders", tmp_path / "p", n=6) == first
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == stamp


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    make_phantom("binary-folders", tmp_path / "p", n=6)
    with pytest.raises(DataError, match="the folder for the phantom is not empty .*give another folder"):
        make_phantom("binary-folders", tmp_path / "p", n=7)


def test_the_truth_moves_with_its_folder(tmp_path: Path) -> None:
    make_phantom("broken", tmp_path / "here", n=2)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert Truth.load(tmp_path / "there").path == tmp_path / "there" / "data"


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown phantom 'film': expected one of films"):
        make_phantom("film", tmp_path)
    with pytest.raises(OptionError, match="the phantom 'films' has no option 'markers': expected one of marker"):
        make_phantom("films", tmp_path, markers=0.1)
    with pytest.raises(OptionError, match="the slices are too small for JPEG 2000: expected size of 32 or more, got 24"):
        make_phantom("dicom", tmp_path / "d", size=24)
    (tmp_path / "d").rmdir()
    with pytest.raises(OptionError, match="a phantom has at least one image"):
        make_phantom("films", tmp_path, n=0)
    assert not list(tmp_path.iterdir())


def test_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken", str(tmp_path / "b"), "--n", "3"]) == 0
    assert "truth.json" in capsys.readouterr().out
    assert main(["brokn", str(tmp_path / "c")]) == 2
    assert "unknown phantom 'brokn'" in capsys.readouterr().err
