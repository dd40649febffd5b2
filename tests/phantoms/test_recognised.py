"""Phantoms with boxes are read as what they are, without a flag, and every planted box is found where it was planted, in any layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.cohort import Cohort
from vesalius.errors import DataError, OptionError
from vesalius.formats import recognise
from vesalius.formats.boxes import open_boxes
from vesalius.formats.cases import open_case
from vesalius.phantoms import Truth, make_phantom


def farthest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of an edge of ``a`` from that of the box of ``b`` nearest to it."""
    return float(np.abs(a[:, None] - b[None]).max(-1).min(1).max()) if len(a) else 0.0


def agreement(truth: Truth, cohort: Cohort) -> float:
    assert {case.id: case.patient for case in cohort.cases}.keys() == truth.true_label.keys()
    worst = 0.0
    for case in cohort.cases:
        found, planted = open_boxes(case, cohort.target, open_case(case)), truth.planted["boxes"][case.id]
        assert len(found) == len(planted), case.id
        worst = max(worst, farthest(found.boxes, np.array([each["box"] for each in planted], float).reshape(-1, 2 * cohort.ndim)))
        assert sorted(cohort.target.classes[k] for k in found.labels) == sorted(each["class"] for each in planted) or cohort.layout == "paired-masks"
        if cohort.target.risk:
            assert sorted(found.risk.tolist()) == sorted(each["malignant"] for each in planted)
    return worst


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo", "csv"])
def test_cells_are_read_in_every_layout(layout: str, tmp_path: Path) -> None:
    truth = make_phantom("cells", tmp_path / "c", seed=6, n=8, size=128, layout=layout, split=True)
    cohort = recognise(truth.path)
    assert cohort.layout == ("box-table" if layout == "csv" else layout) and cohort.target.classes == truth.classes and cohort.patient_known
    assert agreement(truth, cohort) < 0.01
    parts = {"train": "train", "val": "validation", "test": "test"}
    assert {case.id: case.split for case in cohort.cases} == {name: parts[part] for name, part in truth.planted["split"].items()}
    assert len(set(truth.patient.values())) == len(cohort.patients)


@pytest.mark.parametrize(("layout", "tolerance"), [("world", 0.01), ("voxels", 0.01), ("centres", 1.2), ("masks", 1.01)])
def test_nodules_are_read_in_mm_in_samples_and_from_masks(layout: str, tolerance: float, tmp_path: Path) -> None:
    truth = make_phantom("nodules", tmp_path / "n", seed=0, n=6, extent_mm=60, layout=layout, turned=0.6)
    cohort = recognise(truth.path, target="boxes" if layout == "masks" else None)
    assert cohort.ndim == 3 and cohort.target.kind == "boxes" and cohort.target.risk == ("" if layout == "masks" else "malignant")
    assert agreement(truth, cohort) < tolerance


def opened(truth: Truth, ids: Sequence[str]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Boxes left and reasons given, of some images."""
    cohort = recognise(truth.path)
    held = {case.id: open_boxes(case, cohort.target, open_case(case)) for case in cohort.cases if case.id in ids}
    return {name: (len(each), each.aside) for name, each in held.items()}


@pytest.mark.parametrize("layout", ["coco", "yolo", "csv"])
def test_degenerate_and_outside_boxes_are_set_aside_with_a_reason(layout: str, tmp_path: Path) -> None:
    truth = make_phantom("broken-boxes", tmp_path / "b", seed=2, layout=layout)
    planted = truth.planted
    assert len(planted["degenerate"]) == 2 and len(planted["outside"]) == len(planted["beyond"]) == len(planted["twice"]) == 1
    found = opened(truth, list(truth.true_label))
    for name, (count, aside) in found.items():
        good = len(planted["boxes"][name])
        if name in planted["degenerate"] or name in planted["outside"]:
            assert count == good and len(aside) == 1
        elif name in planted["beyond"]:
            assert count == good + 1
        elif name not in planted["twice"]:
            assert (count, aside) == (good, ())


NO_OTHER_FLAW = dict.fromkeys(("degenerate", "outside", "beyond", "twice"), 0)


@pytest.mark.parametrize(("layout", "flaw", "told"), [
    ("coco", "unknown_class", "class"), ("yolo", "unknown_class", "class"), ("coco", "sizes", "size"), ("voc", "sizes", "size"),
])  # fmt: skip
def test_what_cannot_be_used_is_one_error(layout: str, flaw: str, told: str, tmp_path: Path) -> None:
    truth = make_phantom("broken-boxes", tmp_path / "b", n=6, layout=layout, **{flaw: 1}, **NO_OTHER_FLAW)
    with pytest.raises(DataError, match=told):
        opened(truth, list(truth.true_label))


def test_a_class_without_a_box_an_absent_picture_and_no_box_at_all_are_planted(tmp_path: Path) -> None:
    truth = make_phantom("broken-boxes", tmp_path / "a", n=6, missing_image=1, empty_class=True, **NO_OTHER_FLAW)
    assert "Parasite" in (truth.path / "annotations" / "instances_all.json").read_text() and truth.planted["empty_class"] == ["Parasite"]
    (absent,) = truth.planted["missing_image"]
    assert not (truth.path / absent).exists() and sum(path.suffix == ".jpg" for path in truth.path.rglob("*")) == 5
    none = make_phantom("broken-boxes", tmp_path / "b", n=3, only_negative=True, **NO_OTHER_FLAW)
    assert not any(none.planted["boxes"].values()) and len(none.planted["boxes"]) == 3


def test_flaws_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the layout cannot state the flaw 'unknown_class': expected coco or yolo, got voc"):
        make_phantom("broken-boxes", tmp_path / "a", layout="voc", unknown_class=1)
    with pytest.raises(OptionError, match="the layout cannot state the flaw 'empty_class': expected coco or yolo, got csv"):
        make_phantom("broken-boxes", tmp_path / "b", layout="csv", empty_class=True)
    with pytest.raises(OptionError, match="a phantom cannot have more flawed pictures than pictures: expected 0 to 3 in all, got 5"):
        make_phantom("broken-boxes", tmp_path / "c", n=3)
    with pytest.raises(OptionError, match="pictures without any box cannot have flawed ones: expected only_negative with every other flaw 0, got 5"):
        make_phantom("broken-boxes", tmp_path / "d", only_negative=True)
    with pytest.raises(OptionError, match="there is no such layout of a phantom with boxes: expected coco or voc or yolo or csv, got kitti"):
        make_phantom("broken-boxes", tmp_path / "e", layout="kitti")
