from __future__ import annotations

import pytest

from vesalius.errors import LabelError, OptionError
from vesalius.formats.target_of import positive_of, side_matters, target_of


@pytest.mark.parametrize(
    ("labels", "name", "kind", "classes"),
    [
        (["normal", "pneumonia"], "label", "binary", ("normal", "pneumonia")),
        (["malignant", "benign"], "label", "binary", ("benign", "malignant")),
        ([1, 0, 1], "y", "binary", ("0", "1")),
        (["yes", "no"], "ill", "binary", ("no", "yes")),
        (["阴性", "阳性"], "诊断", "binary", ("阴性", "阳性")),
        (["covid", "non-covid"], "class", "binary", ("non-covid", "covid")),
        (["tumor", "no tumor"], "class", "binary", ("no tumor", "tumor")),
        (["Uninfected", "Parasitized"], "class", "binary", ("Uninfected", "Parasitized")),
        (["cat", "dog"], "label", "binary", ("cat", "dog")),
        (["a", "b", "c"], "label", "multiclass", ("a", "b", "c")),
        ([0, 1, 2, 3], "label", "multiclass", ("0", "1", "2", "3")),
        ([0, 1, 2, 10], "KL grade", "ordinal", ("0", "1", "2", "10")),
        ([3, 2, 1, 4], "BI-RADS", "ordinal", ("1", "2", "3", "4")),
        (["grade 10", "grade 2", "grade 1"], "class", "ordinal", ("grade 1", "grade 2", "grade 10")),
        (["T1", "T2", "T3", "T4"], "x", "ordinal", ("T1", "T2", "T3", "T4")),
        (["stage I", "stage III", "stage II"], "x", "ordinal", ("stage I", "stage II", "stage III")),
        (["severe", "mild", "moderate"], "x", "ordinal", ("mild", "moderate", "severe")),
        ([0.1, 0.7, 1.9], "ef", "regression", ()),
        (list(range(40)), "age", "regression", ()),
        (["a|b", "b", ""], "findings", "multilabel", ("a", "b")),
        (["only", "only"], "label", "binary", ("only",)),
    ],
)
def test_kind_and_classes(labels: list[object], name: str, kind: str, classes: tuple[str, ...]) -> None:
    spec = target_of(labels, name=name)
    assert (spec.kind, spec.classes, spec.name) == (kind, classes, name)
    assert spec.reason
    assert len(spec.encode(labels)) == len(labels)


def test_folders_are_never_measurements() -> None:
    assert target_of([str(i) for i in range(30)], from_folders=True).kind != "regression"
    assert target_of(["0", "1", "2", "3", "4"], from_folders=True, name="class").kind == "ordinal"


def test_the_user_has_the_last_word() -> None:
    assert target_of([0, 1, 2], kind="ordinal").reason == "asked for by --target"
    assert target_of([0, 1, 2], kind="regression").classes == ()
    assert target_of(["a|b"], kind="multiclass").classes == ("a|b",)


def test_stated_classes_may_be_more_than_occur() -> None:
    assert target_of(["x", "y", "x"], classes=("x", "y", "z")).classes == ("x", "y", "z")


def test_errors() -> None:
    with pytest.raises(LabelError, match="there is no label.*got 2 images without one"):
        target_of([None, ""])
    with pytest.raises(LabelError, match="the labels are not binary.*got 3: a, b, c"):
        target_of(["a", "b", "c"], kind="binary")
    with pytest.raises(LabelError, match="a label is not a number.*got 'x'"):
        target_of([1, "x"], kind="regression")
    with pytest.raises(OptionError, match="unknown target 'ordnal'.*ordinal"):
        target_of([1, 2], kind="ordnal")


def test_the_reason_names_the_positive_class() -> None:
    assert positive_of(["malignant", "normal, benign"]) == ("malignant", "it names the disease")
    assert positive_of(["xyz", "healthy"]) == ("xyz", "'healthy' names the healthy")
    assert positive_of(["a", "b"]) == ("b", "it comes second in order")
    assert "'pneumonia' is the positive class" in target_of(["normal", "pneumonia"]).reason


@pytest.mark.parametrize(("names", "matter"), [(["kidney-left"], True), (["Right lung"], True), (["右肺"], True), (["situs inversus"], True),
                                               (["bright", "upright"], False), (["a"], False)])
def test_sides(names: list[str], matter: bool) -> None:
    assert side_matters(names) is matter


@pytest.mark.parametrize(("kind", "truth"), [("mask", "masks"), ("boxes", "boxes")])
def test_labels_are_neither_masks_nor_boxes(kind: str, truth: str) -> None:
    with pytest.raises(LabelError, match=f"labels are no {truth}: expected {truth} beside the images for --target {kind}, got labels called 'x'"):
        target_of(["a", "b"], name="x", kind=kind)
