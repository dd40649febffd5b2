"""Boxes of COCO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import noise, png

from vesalius.core.cohort import MarkedBox
from vesalius.errors import DataError, FormatError, LabelError
from vesalius.formats import open_boxes, open_case, recognise
from vesalius.phantoms.cells import make_cells

CATEGORIES = [{"id": 7, "name": "white"}, {"id": 3, "name": "red"}]
RED = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 4, 6.5], "iscrowd": 0}
WHITE = {"id": 2, "image_id": 1, "category_id": 7, "bbox": [10, 0, 20, 20], "iscrowd": 0}


def image(number: int, name: str, height: int = 20, width: int = 30) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": height, "width": width}


def put(root: Path, images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], *, file: str = "annotations/instances.json",
        folder: str = "images/", there: Sequence[str] | None = None) -> Path:
    for i, name in enumerate(there if there is not None else [each["file_name"] for each in images]):
        png(root / f"{folder}{name}", noise(20, 30, seed=i))
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}), "utf-8")
    return root


def few(root: Path, **more: Any) -> Path:
    return put(root, [image(1, "a.png"), image(2, "b.png"), image(3, "c.png")], [RED, WHITE, {**RED, "id": 3, "image_id": 3}], **more)


def test_boxes_negatives_and_classes_in_the_order_of_the_file(tmp_path: Path) -> None:
    cohort = recognise(few(tmp_path))
    assert cohort.layout == "coco" and cohort.target.kind == "boxes" and cohort.target.classes == ("white", "red")
    a, b, _ = cohort.cases
    assert a.boxes == (MarkedBox("red", (2, 1), (8.5, 5)), MarkedBox("white", (0, 10), (20, 30))) and a.stated == (20, 30)
    assert b.boxes == () and [case.label for case in cohort.cases] == ["white|red", "", "red"]


@pytest.mark.parametrize(("file", "folder"), [("labels.json", ""), ("train/_annotations.coco.json", "train/"), ("标注/标注.json", "影像/"),
                                              ("x/annotations/instances_all.json", "y/pictures/")])
def test_places_of_files(tmp_path: Path, file: str, folder: str) -> None:
    cohort = recognise(few(tmp_path, file=file, folder=folder))
    assert cohort.layout == "coco" and [case.id for case in cohort.cases] == [f"{folder}{name}.png" for name in "abc"] and not cohort.has_official_split


def test_class_folders_and_tables_around_do_not_hide_it(tmp_path: Path) -> None:
    for k, part in enumerate(("ill", "well")):
        put(tmp_path, [image(1, f"{part}{k}.png")], [RED], file=f"{part}.json", folder=f"{part}/")
        png(tmp_path / part / "more.png")
    (tmp_path / "labels.csv").write_text("image,label\nill0.png,1\nwell1.png,0\n")
    assert recognise(tmp_path).layout == "coco"


@pytest.mark.parametrize(("file", "folder"), [("annotations/instances_{}2017.json", "{}2017/"), ("{0}/_annotations.coco.json", "{0}/"),
                                              ("{}.json", "images/{}/")])
def test_several_files_are_an_official_split_although_names_repeat(tmp_path: Path, file: str, folder: str) -> None:
    for part in ("train", "val", "test"):
        few(tmp_path, file=file.format(part), folder=folder.format(part))
    cohort = recognise(tmp_path)
    assert len(cohort) == 9 and sorted({case.split for case in cohort.cases}) == ["test", "train", "validation"]
    assert all({"train": "train", "val": "validation", "test": "test"}[next(p for p in ("train", "val", "test") if p in case.id)] == case.split
               for case in cohort.cases)


def test_instances_are_preferred_to_files_that_repeat_the_images(tmp_path: Path) -> None:
    few(tmp_path)
    few(tmp_path, file="annotations/person_keypoints.json")
    (tmp_path / "annotations" / "captions.json").write_text(json.dumps({"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}))
    assert len(recognise(tmp_path)) == 3


def test_crowds_are_ignored_and_attributes_are_facts(tmp_path: Path) -> None:
    put(tmp_path, [image(1, "a.png")], [{**RED, "iscrowd": 1}, {**RED, "malignant": True}, {**RED, "attributes": {"malignant": 0, "occluded": False}}])
    cohort = recognise(tmp_path)
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert truth.ignored.tolist() == [True, False, False] and cohort.target.risk == "malignant"
    assert np.isnan(truth.risk[0]) and truth.risk[1:].tolist() == [1, 0]


def test_a_second_label_needs_both_values(tmp_path: Path) -> None:
    put(tmp_path, [image(1, "a.png")], [{**RED, "malignant": 1}, {**RED, "malignant": 3}])
    assert recognise(tmp_path).target.risk == ""


def test_polygons_without_a_box(tmp_path: Path) -> None:
    put(tmp_path, [image(1, "a.png")], [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [], "segmentation": [[2, 3, 8, 3, 5, 9]]}])
    assert recognise(tmp_path).cases[0].boxes == (MarkedBox("red", (3, 2), (9, 8)),)


def test_boxes_without_extent_outside_and_of_an_unknown_class(tmp_path: Path) -> None:
    odd = [{**RED, "bbox": [4, 4, 0, 3]}, {**RED, "bbox": [50, 2, 4, 4]}, {**RED, "image_id": 2, "category_id": 9}]
    put(tmp_path, [image(1, "a.png"), image(2, "b.png")], odd)
    cohort = recognise(tmp_path)
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert len(truth) == 0 and len(truth.aside) == 2
    with pytest.raises(DataError, match=r"a box is of a class that nobody named \(images/b.png\): expected one of white, red, got 'category 9'"):
        open_boxes(cohort.cases[1], cohort.target, open_case(cohort.cases[1]))


def test_sizes_that_disagree(tmp_path: Path) -> None:
    put(tmp_path, [image(1, "a.png", 30, 20)], [RED])
    cohort = recognise(tmp_path)
    with pytest.raises(DataError, match=r"not of the size that the file of its boxes states .*expected 20 x 30, got 30 x 20; the axes are exchanged"):
        open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))


def test_images_and_entries_that_are_not_there(tmp_path: Path) -> None:
    put(tmp_path, [image(1, "a.png"), image(2, "gone.png")], [RED, {**RED, "image_id": 2}, {**RED, "image_id": 99}, {**RED, "image_id": 99}], there=["a.png"])
    cohort = recognise(tmp_path)
    assert cohort.lost == ("annotations/instances.json: gone.png", "annotations/instances.json: image_id 99 (2 boxes)") and len(cohort) == 1


def test_no_image_is_there(tmp_path: Path) -> None:
    put(tmp_path, [image(2, "gone.png")], [RED], there=["other.png"])
    with pytest.raises(DataError, match="no box belongs to an image that is there .*got annotations/instances.json: gone.png"):
        recognise(tmp_path)


def test_images_without_any_box_only(tmp_path: Path) -> None:
    cohort = recognise(put(tmp_path, [image(1, "a.png")], []))
    assert cohort.target.classes == ("white", "red") and cohort.cases[0].boxes == ()


def test_label_chooses_classes(tmp_path: Path) -> None:
    assert recognise(few(tmp_path), label="red").target.classes == ("red",)
    with pytest.raises(LabelError, match="there is no class of that name: expected of white, red, got green"):
        recognise(tmp_path, label="green")


@pytest.mark.parametrize(("change", "message"), [
    ({"images": [{"id": 1}]}, "the images of the JSON file cannot be understood .*a list of entries with id and file_name, got {'id': 1}"),
    ({"annotations": {"a": 1}}, "the annotations of the JSON file cannot be understood .*got {'a': 1}"),
    ({"categories": ["red"]}, "the categories of the JSON file cannot be understood .*got red"),
    ({"annotations": [{**RED, "bbox": [1, 2, 3]}]}, r"an annotation has no box .*got \[1, 2, 3\] in annotation 1"),
    ({"annotations": [{**RED, "bbox": [1, 2, 3, "x"]}]}, "an annotation has no box"),
    ({"annotations": [{**RED, "bbox": None, "segmentation": {"counts": []}}]}, "an annotation has no box"),
])
def test_files_that_cannot_be_understood(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    facts = {"images": [image(1, "a.png")], "annotations": [RED], "categories": CATEGORIES} | change
    put(tmp_path, [image(1, "a.png")], [RED])
    (tmp_path / "annotations" / "instances.json").write_text(json.dumps(facts))
    with pytest.raises(FormatError, match=message):
        recognise(tmp_path, layout="coco")


def test_a_damaged_file_and_an_image_named_twice(tmp_path: Path) -> None:
    few(tmp_path / "one")
    path = tmp_path / "one" / "annotations" / "instances.json"
    path.write_text(path.read_text()[:-20] + '"categories" "bbox"')
    with pytest.raises(FormatError, match="the JSON file cannot be read .*instances.json"):
        recognise(tmp_path / "one")
    few(tmp_path / "two")
    few(tmp_path / "two", file="annotations/instances_more.json")
    with pytest.raises(DataError, match="an image is named twice .*got images/a.png, also in annotations/instances.json; keep one of the entries"):
        recognise(tmp_path / "two")


def test_asked_for_where_there_is_none(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="there is no JSON file of the COCO kind"):
        recognise(tmp_path, layout="coco")


def test_masks_beside_boxes_need_a_flag(tmp_path: Path) -> None:
    few(tmp_path)
    for name in "abc":
        numbers = np.zeros((20, 30), np.uint8)
        numbers[3:9, 4:9] = 1
        png(tmp_path / "masks" / f"{name}.png", numbers)
    with pytest.raises(DataError, match="two readings of the data fit .*--layout coco or --layout paired-masks"):
        recognise(tmp_path)
    assert recognise(tmp_path, target="boxes").layout == "coco" and recognise(tmp_path, target="mask").layout == "paired-masks"


def test_the_phantom_comes_back_as_drawn(tmp_path: Path) -> None:
    truth = make_cells(tmp_path, 0, 12, layout="coco", split=True, size=96)
    cohort = recognise(tmp_path / "data")
    planted = truth.planted["boxes"]
    assert {case.id for case in cohort.cases} == set(planted) and sorted(case.id for case in cohort.cases if not case.boxes) == truth.planted["negative"]
    for case in cohort.cases:
        assert {None: None, "val": "validation"}.get(truth.planted["split"][case.id], truth.planted["split"][case.id]) == case.split
        found = open_boxes(case, cohort.target, open_case(case))
        assert [cohort.target.classes[k] for k in found.labels] == [each["class"] for each in planted[case.id]]
        assert found.boxes.ravel().tolist() == pytest.approx([at for each in planted[case.id] for at in each["box"]], abs=0.02)
