"""Boxes of Pascal VOC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from making import noise, png

from vesalius.core.cohort import MarkedBox
from vesalius.errors import DataError, FormatError, LabelError, OptionError
from vesalius.formats import open_boxes, open_case, recognise
from vesalius.phantoms.cells import make_cells

SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"


def thing(name: str, x0: float, y0: float, x1: float, y1: float, more: str = "") -> str:
    corners = "".join(f"<{edge}>{at}</{edge}>" for edge, at in zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def put(root: Path, stem: str, things: Sequence[str] = (), *, size: str = SIZE, image: str = "JPEGImages/{}.png", xml: str = "Annotations/{}.xml",
        filename: str = "") -> None:
    if image:
        png(root / image.format(stem), noise(20, 30, seed=sum(map(ord, stem))))
    path = root / xml.format(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{filename or stem + '.png'}</filename>{size}{''.join(things)}</annotation>", "utf-8")


def few(root: Path, **kinds: str) -> Path:
    put(root, "a", [thing("red", 1, 1, 5, 9), thing("white", 11, 12, 30, 20)], **kinds)
    put(root, "b", [], **kinds)
    put(root, "c", [thing("red", 3, 3, 8, 8)], **kinds)
    return root


def test_corners_from_one_become_edges(tmp_path: Path) -> None:
    cohort = recognise(few(tmp_path))
    assert cohort.layout == "voc" and cohort.target.kind == "boxes" and cohort.target.classes == ("red", "white")
    a, b, _ = cohort.cases
    assert a.boxes == (MarkedBox("red", (0, 0), (9, 5)), MarkedBox("white", (11, 10), (20, 30))) and a.stated == (20, 30)
    assert b.boxes == () and [case.label for case in cohort.cases] == ["red|white", "", "red"]
    assert not cohort.has_official_split and cohort.ndim == 2


@pytest.mark.parametrize(("image", "xml"), [("{}.png", "{}.xml"), ("images/{}.png", "annotations/xmls/{}.xml"), ("train/{}.png", "train/{}.xml"),
                                            ("cells/{}.png", "cells/{}.xml"), ("数据/JPEGImages/{}.png", "数据/Annotations/{}.xml")])
def test_habits_of_folders(tmp_path: Path, image: str, xml: str) -> None:
    cohort = recognise(few(tmp_path, image=image, xml=xml))
    assert cohort.layout == "voc" and [case.id for case in cohort.cases] == [image.format(name) for name in "abc"]


def test_class_folders_and_tables_around_do_not_hide_it(tmp_path: Path) -> None:
    for folder in ("ill", "well"):
        few(tmp_path, image=folder + "/{}.png", xml=folder + "/{}.xml")
    (tmp_path / "labels.csv").write_text("image,label\nill/a.png,1\nwell/a.png,0\n")
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    assert recognise(tmp_path).layout == "voc"
    assert recognise(tmp_path, target="binary", table="labels.csv").layout == "table"


def test_official_split(tmp_path: Path) -> None:
    few(tmp_path)
    put(tmp_path, "d", [])
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    for name, held in {"train": "a", "trainval": "a\nb", "test": "c\n", "red_train": "a 1\nb -1\nc -1"}.items():
        (sets / f"{name}.txt").write_text(held)
    assert [case.split for case in recognise(tmp_path).cases] == ["train", "train", "test", None]
    (sets / "val.txt").write_text("b\n")
    assert [case.split for case in recognise(tmp_path).cases] == ["train", "validation", "test", None]


def test_difficult_and_further_facts(tmp_path: Path) -> None:
    put(tmp_path, "a", [thing("red", 1, 1, 5, 9, "<difficult>1</difficult><pose>Left</pose>"), thing("red", 1, 1, 5, 5, "<malignant>1</malignant>"),
                        thing("white", 1, 1, 5, 5, "<malignant>0</malignant>")])
    cohort = recognise(tmp_path)
    first, second, third = cohort.cases[0].boxes or ()
    assert first.ignored and not second.ignored and first.facts == {} and second.facts == {"malignant": 1}
    assert cohort.target.risk == "malignant" and cohort.target.n_out == 3
    assert open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0])).risk.tolist()[1:] == [1, 0]


def test_only_difficult_boxes_are_no_label(tmp_path: Path) -> None:
    few(tmp_path)
    put(tmp_path, "d", [thing("red", 1, 1, 5, 9, "<difficult>1</difficult>")])
    assert recognise(tmp_path).cases[-1].label == ""


def test_a_box_of_one_corner_is_set_aside(tmp_path: Path) -> None:
    put(tmp_path, "a", [thing("red", 7, 3, 7, 3), thing("red", 1, 1, 5, 9), thing("red", 9, 3, 4, 8)])
    cohort = recognise(tmp_path)
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert len(truth) == 1 and [text.split(" of ")[0] for text in truth.aside] == ["box 1 (red)", "box 3 (red)"]


def test_images_that_are_not_there_and_images_without_a_file(tmp_path: Path) -> None:
    few(tmp_path)
    put(tmp_path, "gone", [thing("red", 1, 1, 5, 9)], image="")
    png(tmp_path / "JPEGImages" / "z.png")
    cohort = recognise(tmp_path)
    assert cohort.lost == ("Annotations/gone.xml",) and len(cohort) == 3
    assert "1 images are not marked and were left out: JPEGImages/z.png" in cohort.notes


def test_the_name_in_the_file_counts_where_the_stem_finds_nothing(tmp_path: Path) -> None:
    few(tmp_path)
    png(tmp_path / "JPEGImages" / "seven.png", noise(20, 30))
    put(tmp_path, "7", [], image="", filename="seven.png")
    assert recognise(tmp_path).lost == () and len(recognise(tmp_path)) == 4


def test_names_that_start_again_in_each_part(tmp_path: Path) -> None:
    for part in ("train", "test"):
        few(tmp_path, image=f"{part}/images/{{}}.png", xml=f"{part}/annotations/{{}}.xml")
    cohort = recognise(tmp_path)
    assert len(cohort) == 6 and [case.boxes == () for case in cohort.cases] == [False, True, False] * 2


def test_classes_are_chosen_with_label(tmp_path: Path) -> None:
    cohort = recognise(few(tmp_path), label="white")
    assert cohort.target.classes == ("white",) and [case.label for case in cohort.cases] == ["white", "", ""]
    assert [len(case.boxes or ()) for case in cohort.cases] == [1, 0, 0]
    with pytest.raises(LabelError, match="there is no class of that name: expected of red, white, got blue; correct --label"):
        recognise(tmp_path, label="blue,red")


@pytest.mark.parametrize(("text", "message"), [
    ("<annotation><object>", "the XML file cannot be read"),
    ('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>', "the XML file defines entities"),
    (f"<annotation>{SIZE}<object><name>red</name></object></annotation>", "a box of the XML file has no corners"),
    (f"<annotation>{SIZE}{thing('red', 1, 2, 'x', 4)}</annotation>", "a box of the XML file has no corners"),  # type: ignore[arg-type]
])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, text: str, message: str) -> None:
    few(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(FormatError, match=f"{message} .*b.xml"):
        recognise(tmp_path)


def test_two_files_for_one_image_and_two_images_for_one_file(tmp_path: Path) -> None:
    few(tmp_path / "one")
    put(tmp_path / "one", "a", [], image="", xml="more/{}.xml")
    with pytest.raises(DataError, match="two files mark the same image .* got Annotations/a.xml and more/a.xml for JPEGImages/a.png; remove one"):
        recognise(tmp_path / "one")
    few(tmp_path / "two")
    png(tmp_path / "two" / "OtherImages" / "a.png")
    with pytest.raises(DataError, match="it is not certain which image is marked .*a.xml.* got JPEGImages/a.png, OtherImages/a.png"):
        recognise(tmp_path / "two")


def test_no_image_at_all_and_no_box_at_all(tmp_path: Path) -> None:
    png(tmp_path / "one" / "z.png")
    put(tmp_path / "one", "a", [], image="")
    with pytest.raises(DataError, match="no box belongs to an image that is there .*got Annotations/a.xml; give the folder that holds images and boxes"):
        recognise(tmp_path / "one")
    put(tmp_path / "two", "a", [])
    with pytest.raises(LabelError, match="no image has a box .*got 1 images without any"):
        recognise(tmp_path / "two")


def test_asked_for_where_there_is_none(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    with pytest.raises(DataError, match="there is no XML file of the Pascal VOC kind"):
        recognise(tmp_path, layout="voc")
    with pytest.raises(LabelError, match="the images have no boxes .*expected boxes .COCO JSON, Pascal VOC XML, YOLO text, a table"):
        recognise(tmp_path, target="boxes")
    with pytest.raises(OptionError, match="--layout voc reads boxes.*got --target mask"):
        recognise(few(tmp_path / "few"), layout="voc", target="mask")


def test_other_xml_files_are_passed_over(tmp_path: Path) -> None:
    for folder in ("ill", "well"):
        for name in "abcd":
            png(tmp_path / folder / f"{name}.png")
    (tmp_path / "report.xml").write_text("<report/>")
    assert recognise(tmp_path).layout == "class-folders"


def test_the_phantom_comes_back_as_drawn(tmp_path: Path) -> None:
    truth = make_cells(tmp_path, 0, 12, layout="voc", split=True, size=96)
    cohort = recognise(tmp_path / "data")
    planted = truth.planted["boxes"]
    assert cohort.patient_known and cohort.has_official_split and {case.id for case in cohort.cases} == set(planted)
    for case in cohort.cases:
        found = open_boxes(case, cohort.target, open_case(case))
        assert [cohort.target.classes[k] for k in found.labels] == [each["class"] for each in planted[case.id]]
        assert found.boxes.ravel().tolist() == pytest.approx([at for each in planted[case.id] for at in each["box"]], abs=0.02)


@pytest.mark.realdata
def test_bccd(shared_data: Path) -> None:
    cohort = recognise(shared_data / "bccd")
    assert cohort.layout == "voc" and len(cohort) == 364 and cohort.target.classes == ("Platelets", "RBC", "WBC")
    assert Counter(case.split for case in cohort.cases) == {"train": 205, "validation": 87, "test": 72}
    assert Counter(box.name for case in cohort.cases for box in case.boxes or ()) == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    odd = [case for case in cohort.cases if case.id[-9:-4] in ("00338", "00343")]
    aside = [text for case in odd for text in open_boxes(case, cohort.target, open_case(case)).aside]
    assert aside == ["box 13 (RBC) of JPEGImages/BloodImage_00338.jpg has no extent: x 504 to 504, y 337 to 337",
                     "box 4 (RBC) of JPEGImages/BloodImage_00343.jpg has no extent: x 181 to 181, y 329 to 329"]
