"""Boxes of YOLO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from making import noise, png
from PIL import Image

from vesalius.core.cohort import MarkedBox
from vesalius.errors import DataError, FormatError, LabelError
from vesalius.formats import open_boxes, open_case, recognise
from vesalius.phantoms.cells import make_cells

LINES = {"a": "0 0.5 0.25 0.2 0.5\n1 0.9 0.5 0.2 1\n", "b": "", "c": "0 .1 .1 .1 .1"}
NAMES = "names: [red, white]\n"


def put(root: Path, lines: Mapping[str, str | None] = LINES, *, image: str = "images/{}.png", text: str = "labels/{}.txt") -> Path:
    for i, (name, held) in enumerate(lines.items()):
        png(root / image.format(name), noise(20, 30, seed=i))
        path = root / text.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if held is not None:
            path.write_text(held)
    return root


def say(root: Path, text: str, file: str = "data.yaml") -> Path:
    (root / file).write_text(text, "utf-8")
    return root


def test_shares_become_edges_and_empty_files_are_negatives(tmp_path: Path) -> None:
    cohort = recognise(say(put(tmp_path), NAMES))
    assert cohort.layout == "yolo" and cohort.target.classes == ("red", "white") and cohort.target.reason == "the classes are named in data.yaml"
    a, b, _ = cohort.cases
    assert [box.name for box in a.boxes or ()] == ["red", "white"]
    assert [[*box.low, *box.high] for box in a.boxes or ()] == [pytest.approx([0, 12, 10, 18]), pytest.approx([0, 24, 20, 30])]
    assert b.boxes == () and [case.label for case in cohort.cases] == ["red|white", "", "red"]


@pytest.mark.parametrize(("image", "text"), [
    ("{}.png", "{}.txt"), ("obj_train_data/{}.png", "obj_train_data/{}.txt"), ("x/images/s/{}.png", "x/labels/s/{}.txt"),
    ("all/images/{}.png", "all/labels/{}.txt"), ("JPEGImages/{}.png", "yolo_labels/{}.txt"), ("影像/{}.png", "标注/{}.txt"),
])
def test_places_of_files(tmp_path: Path, image: str, text: str) -> None:
    cohort = recognise(put(tmp_path, image=image, text=text))
    assert cohort.layout == "yolo" and [case.id for case in cohort.cases] == [image.format(name) for name in "abc"]
    assert cohort.target.classes == ("class 0", "class 1") and cohort.target.reason == "boxes of YOLO; no file names the classes"


@pytest.mark.parametrize(("file", "text"), [
    ("data.yaml", NAMES), ("cells.yml", "names:\n  0: red\n  1: white\n"), ("data.yaml", "nc: 2\nnames:\n- red\n- white\n"),
    ("classes.txt", "red\nwhite\n"), ("obj.names", "red\nwhite"), ("labels/classes.txt", "red\nwhite\n"),
])
def test_names_of_classes(tmp_path: Path, file: str, text: str) -> None:
    assert recognise(say(put(tmp_path), text, file)).target.classes == ("red", "white")


def test_a_class_without_a_name_is_told_where_it_is(tmp_path: Path) -> None:
    cohort = recognise(say(put(tmp_path), "red\n", "classes.txt"))
    with pytest.raises(DataError, match=r"a box is of a class that nobody named \(images/a.png\): expected one of red, got 'class 1'"):
        open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))


@pytest.mark.parametrize(("image", "text"), [("images/{}/x{{}}.png", "labels/{}/x{{}}.txt"), ("{}/images/{{}}.png", "{}/labels/{{}}.txt"),
                                             ("{}/{{}}.png", "{}/{{}}.txt")])
def test_folders_are_an_official_split_although_names_repeat(tmp_path: Path, image: str, text: str) -> None:
    for part in ("train", "valid", "test"):
        put(tmp_path, image=image.format(part), text=text.format(part))
    cohort = recognise(tmp_path)
    assert len(cohort) == 9 and [case.split for case in cohort.cases] == ["test"] * 3 + ["train"] * 3 + ["validation"] * 3
    assert [len(case.boxes or ()) for case in cohort.cases] == [2, 0, 1] * 3


@pytest.mark.parametrize("yaml", ["train: images/one\nval: images/two\n", "path: .\ntrain: ./images/one/\nval: [images/two]\n",
                                  "train: ../images/one\nval: ../images/two\n",
                                  "path: /content/set\ntrain: /content/set/images/one\nval: /content/set/images/two\n"])
def test_data_yaml_tells_the_split(tmp_path: Path, yaml: str) -> None:
    for part in ("one", "two"):
        put(tmp_path, image=f"images/{part}/{part}{{}}.png", text=f"labels/{part}/{part}{{}}.txt")
    assert [case.split for case in recognise(say(tmp_path, NAMES + yaml)).cases] == ["train"] * 3 + ["validation"] * 3


def test_lists_tell_the_split_and_an_image_in_a_list_needs_no_file(tmp_path: Path) -> None:
    put(tmp_path, {**LINES, "d": None, "e": None})
    (tmp_path / "train.txt").write_text("images/a.png\nimages/b.png\nimages/gone.png\n")
    (tmp_path / "val.txt").write_text("./images/c.png\n./images/d.png\n")
    cohort = recognise(say(tmp_path, NAMES + "train: train.txt\nval: val.txt\n"))
    assert {case.id[7]: case.split for case in cohort.cases} == {"a": "train", "b": "train", "c": "validation", "d": "validation"}
    assert cohort.cases[3].boxes == () and cohort.lost == ("train.txt: images/gone.png",)
    assert any(note.startswith("1 images have no text file: an empty one would say that there is nothing in them; e.g. images/e.png") for note in cohort.notes)


def test_darknet_lists_without_yaml(tmp_path: Path) -> None:
    put(tmp_path, image="obj_train_data/{}.png", text="obj_train_data/{}.txt")
    say(tmp_path, "red\nwhite\n", "obj.names")
    say(tmp_path, "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n", "train.txt")
    say(tmp_path, "data/obj_train_data/c.png\n", "test.txt")
    assert [case.split for case in recognise(tmp_path).cases] == ["train", "train", "test"]


def test_the_same_images_for_training_and_validation_are_no_split(tmp_path: Path) -> None:
    cohort = recognise(say(put(tmp_path), NAMES + "train: images\nval: images\n"))
    assert not cohort.has_official_split and "the same images are named for several parts of the split, which is none" in cohort.notes


def test_a_text_file_of_another_part_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path, image="images/train/{}.png", text="labels/train/{}.txt")
    put(tmp_path, {"a": None, "z": None}, image="images/val/{}.png", text="labels/val/{}.txt")
    cohort = recognise(tmp_path)
    assert [case.id for case in cohort.cases] == [f"images/train/{name}.png" for name in "abc"]


def test_text_files_whose_image_is_not_there(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "labels" / "gone.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "labels" / "readme.txt").write_text("hello\n")
    (tmp_path / "labels" / "thanks.txt").write_text("hello to all of you\n")
    assert recognise(tmp_path).lost == ("labels/gone.txt",)


def test_polygons_are_read_as_the_box_around_them(tmp_path: Path) -> None:
    cohort = recognise(put(tmp_path, {"a": "0 0.1 0.1 0.5 0.2 0.3 0.9\n"}))
    assert cohort.cases[0].boxes == (MarkedBox("class 0", pytest.approx((2, 3)), pytest.approx((18, 15))),)  # type: ignore[arg-type]


def test_a_turned_jpeg_is_measured_as_it_is_opened(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    put(tmp_path, {"b": ""})
    Image.fromarray(noise(20, 30)).save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    cohort = recognise(tmp_path)
    study = open_case(cohort.cases[0])
    assert study.grid.shape == (30, 20) and open_boxes(cohort.cases[0], cohort.target, study).boxes.tolist() == [[0, 0, 30, 20]]


def test_boxes_without_extent_and_outside_are_set_aside(tmp_path: Path) -> None:
    cohort = recognise(put(tmp_path, {"a": "0 .5 .5 0 .2\n0 1.5 .5 .2 .2\n0 .5 .5 .2 .2\n"}))
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert len(truth) == 1 and len(truth.aside) == 2 and "has no extent" in truth.aside[0] and "lies outside" in truth.aside[1]


@pytest.mark.parametrize(("line", "message"), [
    ("0 .5 .5 .2", "a line of the text file is no box .*b.txt.* got 0 .5 .5 .2; correct it"),
    ("0 .5 .5 .2 .2 .9", "a line of the text file is no box"),
    ("red .5 .5 .2 .2", "a line of the text file is no box"),
    ("0 300 200 40 40", "the numbers of a box are no shares of the image .*got 0 300 200 40 40; divide them by the width and the height"),
])
def test_lines_that_are_no_boxes(tmp_path: Path, line: str, message: str) -> None:
    put(tmp_path)
    (tmp_path / "labels" / "b.txt").write_text(line)
    with pytest.raises(FormatError, match=message):
        recognise(tmp_path, layout="yolo")


@pytest.mark.parametrize(("text", "message"), [("names: [red", "the YAML file cannot be read .*data.yaml"),
                                               ("names: {one: red}", "the names of the classes cannot be understood .*got {'one': 'red'}")])
def test_yaml_that_cannot_be_understood(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        recognise(say(put(tmp_path), text), layout="yolo")


def test_two_lists_of_classes(tmp_path: Path) -> None:
    say(put(tmp_path), "red\nwhite\n", "classes.txt")
    say(tmp_path, "white\nred\n", "labels/classes.txt")
    with pytest.raises(LabelError, match="two files name the classes differently .*classes.txt: red, white and labels/classes.txt: white, red; remove one"):
        recognise(tmp_path)


def test_none_where_asked_and_other_text_is_passed_over(tmp_path: Path) -> None:
    for folder in ("ill", "well"):
        for name in "abc":
            png(tmp_path / folder / f"{name}.png")
    say(tmp_path, "About these images.\n", "a.txt")
    assert recognise(tmp_path).layout == "class-folders"
    png(tmp_path / "x" / "z.png")
    with pytest.raises(DataError, match="no image has a text file of the YOLO kind"):
        recognise(tmp_path / "x", layout="yolo")


@pytest.mark.parametrize("split", [False, True])
def test_the_phantom_comes_back_as_drawn(tmp_path: Path, split: bool) -> None:
    truth = make_cells(tmp_path, 0, 12, layout="yolo", split=split, size=96)
    cohort = recognise(tmp_path / "data")
    planted = truth.planted["boxes"]
    assert {case.id for case in cohort.cases} == set(planted) and cohort.has_official_split == split
    for case in cohort.cases:
        found = open_boxes(case, cohort.target, open_case(case))
        assert [cohort.target.classes[k] for k in found.labels] == [each["class"] for each in planted[case.id]]
        assert found.boxes.ravel().tolist() == pytest.approx([at for each in planted[case.id] for at in each["box"]], abs=0.02)
