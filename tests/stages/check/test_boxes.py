"""The audit of images with boxes: what they hold, and each thing that may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.cohorts import picture, save
from vesalius.errors import DataError, LabelError, TooFewError
from vesalius.phantoms.cells import make_cells
from vesalius.phantoms.nodules import make_nodules
from vesalius.stages.check import Audit, Issue, audit_cohort, check, to_html, to_text
from vesalius.stages.split import split_cohort
from vesalius.storage import plain

CATEGORIES = [{"id": 0, "name": "red"}, {"id": 1, "name": "white"}]
Box = tuple[int, float, float, float, float]


def cells(root: Path, boxes: Mapping[int, Sequence[Box]], *, n: int = 12, size: tuple[int, int] = (64, 64), stated: Mapping[int, tuple[int, int]] | None = None,
          extra: Sequence[dict[str, Any]] = (), shown: tuple[int, int] | None = None) -> Path:
    """``n`` pictures; those without boxes of their own have one or two plain ones. A box is (class, x, y, width, height)."""
    images, annotations = [], []
    for i in range(n):
        save(root, f"{7 * i:03d}.png", picture(i, shown or size))
        height, width = (stated or {}).get(i, size)
        images.append({"id": i, "file_name": f"{7 * i:03d}.png", "height": height, "width": width})
        for k, x, y, w, h in boxes.get(i, [(0, 5, 6, 10, 10), (1, 20, 20, 20, 20)][: 1 + i % 2]):
            annotations.append({"id": len(annotations), "image_id": i, "category_id": k, "bbox": [x, y, w, h]})
    facts = {"images": [*images, *extra], "annotations": annotations, "categories": CATEGORIES}
    (root / "instances.json").write_text(json.dumps(facts))
    return root


def issue(audit: Audit, code: str) -> Issue:
    return next(each for each in audit.issues if each.code == code)


def codes(audit: Audit) -> set[str]:
    return {each.code for each in audit.issues}


def test_boxes_are_counted_by_class_with_their_size(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {})))
    facts = json.loads(json.dumps(plain(audit.to_dict())))
    assert facts["boxes"] == {"red": {"n": 12, "images": 12, "median_size": 10.0, "unit": "pixel"},
                              "white": {"n": 6, "images": 6, "median_size": 20.0, "unit": "pixel"}}
    assert facts["target"]["kind"] == "boxes" and facts["label_counts"] == {"red": 12, "white": 6} and "masks" not in facts
    assert not codes(audit) & {"boxes_aside", "boxes_clipped", "no_box_in_image", "small_boxes", "boxes_twice", "class_without_boxes", "class_without_images",
                               "missing_label", "large_images", "lost_boxes"}
    audit.raise_if_hopeless()


def test_the_table_of_classes_is_on_the_terminal_and_on_the_page(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {})))
    text = to_text(audit)
    assert "Class" in text and "white    6        6         20 pixels" in text and "20 像素" in to_text(audit, "zh")
    page = to_html(audit)
    assert "<td>white</td><td>6</td><td>6</td><td>20 pixels</td>" in page and "<td>20 像素</td>" in page


def test_boxes_that_cannot_be_used_are_named_and_change_labels(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {2: [(0, 5, 5, 0, 4)], 3: [(1, 90, 5, 6, 6), (0, 3, 3, 9, 9)], 5: [(0, 60, 60, 6, 6)]})))
    aside = issue(audit, "boxes_aside")
    assert aside.severity == "warning" and aside.n == 2 and aside.files == ("014.png", "021.png")
    assert aside.en == ("2 boxes cannot be used and are set aside; they are neither learnt from nor scored: box 1 (red) of 014.png has no extent: x 5 to 5, "
                        "y 5 to 9; box 1 (white) of 021.png lies outside of the image of 64 x 64: x 90 to 96, y 5 to 11.")
    assert issue(audit, "boxes_clipped").files == ("035.png",)
    assert {case.id: case.label for case in audit.cohort.cases}["014.png"] == "" and not audit.excluded
    assert issue(audit, "no_box_in_image").files == ("014.png",)


def test_a_box_that_reaches_out_is_told(tmp_path: Path) -> None:
    clipped = issue(check(str(cells(tmp_path, {5: [(0, 50, 50, 20, 10)]}))), "boxes_clipped")
    assert clipped.severity == "info" and clipped.files == ("035.png",)
    assert clipped.en == "1 boxes reach out of their image and are cut at its border: box 1 (red) of 035.png reaches out of the image of 64 x 64: " \
                         "x 50 to 70, y 50 to 60."


def test_an_unknown_class_leaves_the_image_out(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {4: [(9, 5, 5, 8, 8)]})))
    told = issue(audit, "box_class")
    assert told.severity == "error" and told.files == ("028.png",) and "expected one of red, white, got 'category 9'" in told.en
    assert audit.excluded == {"028.png": "box of an unknown class"}


def test_sizes_that_disagree_leave_the_images_out(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {}, stated={1: (64, 80)}, size=(64, 64))))
    assert issue(audit, "box_size").files == ("007.png",) and "expected 80 x 64, got 64 x 64" in issue(audit, "box_size").en
    assert audit.excluded == {"007.png": "size disagrees with that of its boxes' file"}


def test_all_sizes_transposed_is_hopeless_with_one_message(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {}, size=(48, 64), shown=(64, 48))))
    assert "the axes are exchanged" in issue(audit, "box_size").en
    with pytest.raises(DataError, match="none of the images can be used .*most of them: size disagrees with that of its boxes' file"):
        audit.raise_if_hopeless()


def test_images_on_a_missing_file(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {}, extra=[{"id": 99, "file_name": "gone.png", "height": 64, "width": 64}])))
    lost = issue(audit, "lost_boxes")
    assert lost.severity == "error" and lost.files == ("instances.json: gone.png",) and "mark an image that is not there" in lost.en


def test_negative_images_are_counted(tmp_path: Path) -> None:
    told = issue(check(str(cells(tmp_path / "few", {1: [], 2: []}))), "no_box_in_image")
    assert told.severity == "info" and told.en == "2 of 12 images have no box: there is nothing in them to be found." and told.files == ("007.png", "014.png")
    many = issue(check(str(cells(tmp_path / "many", {i: [] for i in range(9)}))), "no_box_in_image")
    assert many.severity == "warning" and many.n == 9


def test_only_images_without_boxes_are_hopeless(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {i: [] for i in range(12)})))
    assert issue(audit, "no_box_in_image").severity == "error" and "class_without_boxes" not in codes(audit)
    with pytest.raises(LabelError, match="no image has a box .*expected boxes in at least some images, got 12 images without any box that can be used"):
        audit.raise_if_hopeless()


def test_boxes_in_too_few_images_and_too_few_images(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path / "boxes", {i: [] for i in range(2, 12)})))
    with pytest.raises(TooFewError, match="too few images have boxes .*expected a class in at least 3 patients .*got 'red' in 2"):
        audit.raise_if_hopeless()
    with pytest.raises(TooFewError, match=r"too few images .*expected at least 5 that can be read and have boxes \(or say that there is nothing\), got 4"):
        check(str(cells(tmp_path / "few", {}, n=4))).raise_if_hopeless()


def test_a_class_without_any_box(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {i: [(0, 5, 5, 9, 9)] for i in range(12)})))
    told = issue(audit, "class_without_boxes")
    assert told.severity == "warning" and told.en == "No box is of the class white: it cannot be learnt. Leave it out with --label red."
    assert "class_without_images" not in codes(audit) and audit.to_dict()["boxes"]["white"] == {"n": 0, "images": 0, "median_size": None, "unit": "pixel"}
    audit.raise_if_hopeless()
    assert "-" in to_text(audit)


def test_very_small_boxes_and_boxes_that_are_there_twice(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {3: [(0, 5, 5, 3, 9), (0, 20, 20, 9, 9)], 4: [(1, 5, 5, 9, 9), (1, 5, 5, 9, 9), (0, 5, 5, 9, 9)]})))
    small, twice = issue(audit, "small_boxes"), issue(audit, "boxes_twice")
    assert small.files == ("021.png",) and small.en.startswith("1 of 20 boxes are very small") and small.severity == "info"
    assert twice.files == ("028.png",) and twice.en.startswith("1 boxes are there twice") and twice.severity == "warning"


def test_large_images_are_told_to_be_read_in_tiles(tmp_path: Path) -> None:
    audit = check(str(cells(tmp_path, {}, n=5, size=(40, 1400))))
    assert issue(audit, "large_images").n == 5 and "longer than 1280 samples along a side (up to 40 x 1400)" in issue(audit, "large_images").en


def test_crowds_are_told(tmp_path: Path) -> None:
    cells(tmp_path, {})
    facts = json.loads((tmp_path / "instances.json").read_text())
    facts["annotations"][0]["iscrowd"] = 1
    (tmp_path / "instances.json").write_text(json.dumps(facts))
    audit = check(str(tmp_path))
    assert issue(audit, "boxes_ignored").files == ("000.png",) and audit.to_dict()["boxes"]["red"]["n"] == 11 and audit.cohort.cases[0].label == ""


def test_a_changed_box_changes_the_hash_of_its_case_alone(tmp_path: Path) -> None:
    before = check(str(cells(tmp_path, {}))).hashes
    after = check(str(cells(tmp_path, {3: [(0, 5, 6, 10, 10), (1, 20, 20, 20, 21)]}))).hashes
    assert [name for name in before if before[name] != after[name]] == ["021.png"]


def test_volumes_in_mm_with_a_second_label(tmp_path: Path) -> None:
    truth = make_nodules(tmp_path, 0, 6, layout="world", extent_mm=64)
    audit = check(str(tmp_path / "data"))
    held = [each for boxes in truth.planted["boxes"].values() for each in boxes]
    facts = audit.boxes()["nodule"]
    assert facts["unit"] == "mm" and facts["n"] == len(held) and 3 < (facts["median_size"] or 0) < 30
    n = sum(each["malignant"] for each in held)
    assert issue(audit, "second_label").en == f"Boxes carry a second label, 'malignant': {n} of {len(held)} are 1."


def test_boxes_of_masks(tmp_path: Path) -> None:
    truth = make_nodules(tmp_path, 0, 5, layout="masks", extent_mm=64)
    audit = check(str(tmp_path / "data"), target="boxes")
    assert audit.boxes()["mask"]["n"] == sum(map(len, truth.planted["boxes"].values())) and not audit.excluded
    assert {case.label for case in audit.cohort.cases} <= {"", "mask"}


def test_a_broken_mask_of_boxes_has_the_reason_of_masks(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path, f"images/{i}.png", picture(i))
        numbers = np.zeros((64, 64), np.uint8)
        numbers[4:9, 4:9], numbers[20:30, 20 : 22 + i] = 1, 3 if i == 2 else 2
        save(tmp_path, f"masks/{i}.png", numbers)
    audit = check(str(tmp_path), target="boxes", label="one=1,two=2")
    assert audit.excluded == {"images/2.png": "unknown number in the mask"} and issue(audit, "mask_number").files == ("images/2.png",)
    assert audit.boxes()["one"]["n"] == 5


def test_the_split_groups_patients_and_spreads_classes(tmp_path: Path) -> None:
    make_cells(tmp_path, 0, 40, layout="voc", size=96)
    audit = check(str(tmp_path / "data"))
    split = split_cohort(audit, seed=1)
    assert (split.frame.groupby("patient")["split"].nunique() == 1).all() and set(split.frame["split"]) == {"train", "validation", "test"}
    for _, rows in split.frame.groupby("split"):
        assert {name for label in rows["label"] for name in label.split("|") if name} == set(audit.cohort.target.classes)
    assert (split.frame["hash"].str.len() == 64).all()


def test_an_official_split_is_kept(tmp_path: Path) -> None:
    truth = make_cells(tmp_path, 0, 30, layout="yolo", size=96, split=True)
    audit = check(str(tmp_path / "data"))
    frame = split_cohort(audit).frame.set_index("id")
    assert {name: {"val": "validation"}.get(part, part) for name, part in truth.planted["split"].items()} == frame["split"].to_dict()


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    cohort = check(str(cells(tmp_path, {2: [(0, 5, 5, 0, 4)]}))).cohort
    one, two = audit_cohort(cohort, jobs=1), audit_cohort(cohort, jobs=2)
    assert one.boxes() == two.boxes() and [each.en for each in one.issues] == [each.en for each in two.issues]


@pytest.mark.realdata
def test_bccd(shared_data: Path) -> None:
    audit = check(str(shared_data / "bccd"))
    aside = issue(audit, "boxes_aside")
    assert aside.n == 2 and aside.files == ("JPEGImages/BloodImage_00338.jpg", "JPEGImages/BloodImage_00343.jpg") and not audit.excluded
    assert {name: held["n"] for name, held in audit.boxes().items()} == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    split = split_cohort(audit)
    assert split.frame["split"].value_counts().to_dict() == {"train": 205, "validation": 87, "test": 72}
