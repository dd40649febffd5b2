from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from making import noise

from vesalius.errors import DataError, LabelError, OfflineError, OptionError
from vesalius.formats import open_study, recognise
from vesalius.formats.layouts.medmnist import parse
from vesalius.formats.layouts.npz import medmnist_info


def save(path: Path, shape: tuple[int, ...] = (8, 9), labels: np.ndarray | None = None, **more: np.ndarray) -> Path:
    arrays = {}
    for part, n in (("train", 6), ("val", 3), ("test", 4)):
        arrays[f"{part}_images"] = noise(n, *shape, seed=n)
        arrays[f"{part}_labels"] = np.arange(n)[:, None] % 2 if labels is None else labels[:n]
    np.savez_compressed(path, **(arrays | more))
    return path


def test_official_split_and_ids(tmp_path: Path) -> None:
    cohort = recognise(save(tmp_path / "a.npz"))
    assert (cohort.layout, cohort.ndim, len(cohort)) == ("npz", 2, 13)
    assert [case.id for case in cohort.cases[:2]] == ["a.npz#test:0", "a.npz#test:1"]
    counts = {split: sum(case.split == split for case in cohort.cases) for split in ("train", "validation", "test")}
    assert counts == {"train": 6, "validation": 3, "test": 4}
    assert cohort.target.kind == "binary"
    assert cohort.truth()[:4].tolist() == [0, 1, 0, 1]
    assert not cohort.patient_known
    assert "does not name the patients" in cohort.patient_evidence


def test_ids_are_in_the_order_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=noise(12, 8, 9), train_labels=np.arange(12) % 3)
    assert [case.id.rpartition(":")[2] for case in recognise(tmp_path / "a.npz").cases] == [str(i) for i in range(12)]


@pytest.mark.parametrize(("shape", "ndim", "channels"), [((8, 9), 2, 1), ((8, 9, 3), 2, 3), ((7, 8, 9), 3, 1)])
def test_shapes(tmp_path: Path, shape: tuple[int, ...], ndim: int, channels: int) -> None:
    cohort = recognise(save(tmp_path / "a.npz", shape))
    assert cohort.ndim == ndim
    assert open_study(cohort.cases[0].source).channels == channels


def test_several_labels(tmp_path: Path) -> None:
    cohort = recognise(save(tmp_path / "a.npz", labels=np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]])))
    assert (cohort.target.kind, cohort.target.classes) == ("multilabel", ("0", "1", "2"))
    assert cohort.truth()[:2].tolist() == [[1, 0, 1], [0, 0, 0]]


def test_keras_names_and_no_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=noise(6, 8, 9), y_train=np.arange(6) / 7, x_test=noise(2, 8, 9), y_test=np.array([0.5, 0.25]))
    cohort = recognise(tmp_path / "a.npz")
    assert cohort.target.kind == "regression"
    assert {case.split for case in cohort.cases} == {"train", "test"}
    np.savez(tmp_path / "b.npz", images=noise(6, 8, 9), labels=np.array(["x", "y"] * 3), patients=np.array([1, 1, 2, 2, 3, 3]))
    cohort = recognise(tmp_path / "b.npz")
    assert cohort.target.classes == ("x", "y")
    assert not cohort.has_official_split
    assert cohort.patients == ["1", "2", "3"]


def test_names_by_file_name_only_when_they_fit(tmp_path: Path) -> None:
    cohort = recognise(save(tmp_path / "breastmnist.npz"))
    assert cohort.target.classes == ("normal, benign", "malignant")
    assert cohort.cases[0].label == "malignant"
    assert "by the medmnist package" in cohort.target.reason
    assert recognise(save(tmp_path / "breastmnist_64.npz")).target.positive == "malignant"
    assert recognise(save(tmp_path / "nodulemnist3d.npz", (7, 8, 9), np.arange(6) % 3)).target.classes == ("0", "1", "2")
    assert recognise(save(tmp_path / "retinamnist.npz", (8, 9, 3), np.arange(6) % 5)).target.kind == "ordinal"
    assert recognise(save(tmp_path / "organcmnist.npz", labels=np.arange(6))).side_matters


def test_errors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=noise(6, 8, 9), other=np.zeros(6))
    with pytest.raises(LabelError, match="the npz has no labels.*expected train_labels, got train_images, other"):
        recognise(tmp_path / "a.npz")
    with pytest.raises(LabelError, match="expected train_grade"):
        recognise(tmp_path / "a.npz", label="grade")
    np.savez(tmp_path / "b.npz", train_images=noise(6, 8, 9), train_labels=np.zeros(5))
    with pytest.raises(LabelError, match=r"not one label for each image.*6 rows in train_labels, got shape \(5,\)"):
        recognise(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", numbers=np.zeros(5), more=np.zeros(5))
    with pytest.raises(DataError, match="the npz has no images"):
        recognise(tmp_path / "c.npz")


def test_medmnist_names() -> None:
    assert parse("medmnist:organmnist3d@64") == ("organmnist3d", 64)
    assert parse("medmnist:BreastMNIST") == ("breastmnist", 28)
    with pytest.raises(OptionError, match="unknown MedMNIST set 'brestmnist'.*breastmnist"):
        parse("medmnist:brestmnist")
    with pytest.raises(OptionError, match="organmnist3d does not exist in that size.*one of 28, 64, got 224"):
        parse("medmnist:organmnist3d@224")


def test_medmnist_is_read_from_the_cache(tmp_path: Path) -> None:
    save(tmp_path / "pneumoniamnist.npz")
    cohort = recognise("medmnist:pneumoniamnist", cache=tmp_path)
    assert (cohort.layout, cohort.target.classes) == ("medmnist", ("normal", "pneumonia"))


def test_offline_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medmnist_info()  # the package's real description, before the package is replaced
    def fail(**options: object) -> None:
        raise RuntimeError("Something went wrong when downloading!")

    monkeypatch.setitem(sys.modules, "medmnist", SimpleNamespace(BreastMNIST=fail))
    with pytest.raises(OfflineError, match="breastmnist could not be downloaded.*the network, or breastmnist_64.npz in this folder, got RuntimeError"):
        recognise("medmnist:breastmnist@64", cache=tmp_path / "cache")


@pytest.mark.realdata
def test_real_pneumoniamnist(shared_data: Path) -> None:
    cohort = recognise(shared_data / "pneumoniamnist" / "pneumoniamnist.npz")
    assert len(cohort) == 4708 + 524 + 624
    assert (cohort.target.kind, cohort.target.positive) == ("binary", "pneumonia")
    train = [case.label for case in cohort.cases if case.split == "train"]
    assert (train.count("normal"), train.count("pneumonia")) == (1214, 3494)
    assert open_study(cohort.cases[-1].source).image.shape == (1, 28, 28)
