"""Phantoms with boxes: what the truth says lies in the picture, every layout says the same, and nothing visible lacks a box."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from vesalius.errors import OptionError
from vesalius.phantoms import Truth, make_phantom
from vesalius.phantoms.smear import CLASSES, draw_red, draw_stain, draw_white, expose_smear, placed, shadow


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth]:
    root = tmp_path_factory.mktemp("c")
    return {layout: make_phantom("cells", root / layout, seed=1, n=14, layout=layout, split=True) for layout in ("coco", "voc", "yolo", "csv")}


def by_name(truth: Truth) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {Path(name).name: sorted((b["class"], tuple(b["box"])) for b in held) for name, held in truth.planted["boxes"].items()}


def of_coco(truth: Truth) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for path in (truth.path / "annotations").glob("*.json"):
        facts = json.loads(path.read_text("utf-8"))
        names, classes = {i["id"]: i["file_name"] for i in facts["images"]}, {c["id"]: c["name"] for c in facts["categories"]}
        found.update({name: [] for name in names.values()})
        for each in facts["annotations"]:
            x, y, w, h = each["bbox"]
            found[names[each["image_id"]]].append((classes[each["category_id"]], (y, x, y + h, x + w)))
    return {name: sorted(held) for name, held in found.items()}


def of_voc(truth: Truth) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found = {}
    for path in (truth.path / "Annotations").glob("*.xml"):
        root = ElementTree.parse(path).getroot()
        rows = [(o.findtext("name", ""), *(float(o.findtext(f"bndbox/{k}", "")) for k in ("ymin", "xmin", "ymax", "xmax"))) for o in root.iter("object")]
        found[root.findtext("filename", "")] = sorted((name, (y0 - 1, x0 - 1, y1, x1)) for name, y0, x0, y1, x1 in rows)
    return found


def of_yolo(truth: Truth) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found = {}
    for path in (truth.path / "labels").rglob("*.txt"):
        rows = [line.split() for line in path.read_text().splitlines()]
        boxes = [(CLASSES[int(k)], *(float(v) * side for v, side in zip(rest, (256, 192, 256, 192), strict=True))) for k, *rest in rows]
        found[f"{path.stem}.jpg"] = sorted((name, tuple(np.round([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 3))) for name, x, y, w, h in boxes)
    return found


def of_csv(truth: Truth) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    with (truth.path / "boxes.csv").open() as file:
        for row in csv.DictReader(file):
            held = found.setdefault(Path(row["image"]).name, [])
            held += [(row["class"], tuple(float(row[k]) for k in ("ymin", "xmin", "ymax", "xmax")))] if row["class"] else []
    return {name: sorted(held) for name, held in found.items()}


@pytest.mark.parametrize(("layout", "read"), [("coco", of_coco), ("voc", of_voc), ("yolo", of_yolo), ("csv", of_csv)])
def test_every_layout_says_what_was_drawn(layouts: dict[str, Truth], layout: str, read: object) -> None:
    assert read(layouts[layout]) == by_name(layouts[layout]) == by_name(layouts["coco"])  # type: ignore[operator]


def test_the_parts_are_stated_by_patient_in_every_layout(layouts: dict[str, Truth]) -> None:
    truth = layouts["coco"]
    part = truth.planted["split"]
    assert set(part.values()) == {"train", "val", "test"}
    assert all(len({part[name] for name in part if truth.patient[name] == who}) == 1 for who in truth.patient.values())
    stated = {path.stem.split("_")[1]: {i["file_name"] for i in json.loads(path.read_text())["images"]} for path in (truth.path / "annotations").iterdir()}
    for name, held in stated.items():
        assert held == {Path(key).name for key, value in part.items() if value == name}
        assert {path.name for path in (layouts["yolo"].path / "images" / name).iterdir()} == held
        assert {f"{line}.jpg" for line in (layouts["voc"].path / "ImageSets" / "Main" / f"{name}.txt").read_text().split()} == held
    assert (layouts["yolo"].path / "data.yaml").read_text().splitlines()[-3:] == ["  0: Platelets", "  1: RBC", "  2: WBC"]


def test_boxes_lie_in_the_picture_and_hold_what_is_darker_than_the_field(layouts: dict[str, Truth]) -> None:
    truth = layouts["coco"]
    seen: Counter[str] = Counter()
    for name, held in truth.planted["boxes"].items():
        image = np.asarray(Image.open(truth.path / name)).astype(float)
        assert image.shape == (192, 256, 3)
        covered = np.zeros(image.shape[:2], bool)
        for each in held:
            y0, x0, y1, x1 = each["box"]
            assert 0 <= y0 < y1 <= 192 and 0 <= x0 < x1 <= 256
            covered[y0:y1, x0:x1] = True
            seen[each["class"]] += 1
        if held and not covered.all():
            assert image[covered][:, 1].mean() < image[~covered][:, 1].mean() - 10
            assert (image[~covered][:, 1] < np.median(image[~covered][:, 1]) - 60).mean() < 0.02, "hardly anything dark outside of all boxes"
    assert seen["RBC"] > 60 and seen["WBC"] >= 5 and seen["Platelets"] >= 5
    assert len(truth.planted["negative"]) >= 1 and all(truth.true_label[name] == "" for name in truth.planted["negative"])


def test_cells_touch_overlap_and_differ_in_size(layouts: dict[str, Truth]) -> None:
    boxes = [(b["class"], np.array(b["box"])) for held in layouts["coco"].planted["boxes"].values() for b in held]
    side = {kind: np.median([max(box[2] - box[0], box[3] - box[1]) for name, box in boxes if name == kind]) for kind in CLASSES}
    assert 1.3 * side["RBC"] < side["WBC"] and side["Platelets"] < 0.55 * side["RBC"] and side["Platelets"] >= 8
    meeting = 0
    for held in layouts["coco"].planted["boxes"].values():
        for i, a in enumerate(held):
            meeting += any((np.minimum(a["box"][2:], b["box"][2:]) > np.maximum(a["box"][:2], b["box"][:2])).all() for b in held[:i])
    assert meeting > 15


def test_a_silhouette_is_as_large_as_its_box_and_a_turned_cell_turns() -> None:
    rng = np.random.default_rng(0)
    stain = draw_stain(rng)
    for cell in (draw_red(rng, stain, 20), draw_white(rng, stain, 20)):
        whole = placed(cell, np.array([100.0, 100.0]), 0.4, (200, 200))
        assert whole is not None and whole.visible == 1
        corner, share, _ = shadow(cell, np.array([100.0, 100.0]), 0.4, stain)
        rows = np.flatnonzero((share > 0.5).any(1)) + corner[0]
        assert abs(rows[0] - whole.box[0]) <= 1 and abs(rows[-1] + 1 - whole.box[2]) <= 1
        turned = placed(cell, np.array([100.0, 100.0]), 0.4 + np.pi / 2, (200, 200))
        assert turned is not None and abs((turned.box[2] - turned.box[0]) - (whole.box[3] - whole.box[1])) <= 1
        half = placed(cell, np.array([100.0, 0.0]), 0.4, (200, 200))
        assert half is not None and half.box[1] == 0 and half.visible == pytest.approx(0.5, abs=0.12)
        assert placed(cell, np.array([100.0, -cell.radius]), 0.4, (200, 200)) is None


def test_more_cells_take_away_more_light() -> None:
    stain = draw_stain(np.random.default_rng(0))
    one, two = (expose_smear(np.random.default_rng(1), np.full((8, 8, 3), depth), stain) for depth in (0.3, 0.6))
    assert (two.mean((0, 1)) < one.mean((0, 1))).all()


def test_shuffled_boxes_are_those_of_another_picture(tmp_path: Path) -> None:
    truth = make_phantom("cells", tmp_path / "s", n=5, layout="csv", shuffle=True, negative=0)
    drawn, said = by_name(truth), of_csv(truth)
    assert all(said[name] != drawn[name] for name in drawn) and sorted(said.values()) == sorted(drawn.values())


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no such layout of a phantom with boxes: expected coco or voc or yolo or csv, got kitti"):
        make_phantom("cells", tmp_path / "a", layout="kitti")
    with pytest.raises(OptionError, match="the pictures are too small for platelets: expected size of 96 or more, got 64"):
        make_phantom("cells", tmp_path / "b", size=64)
    with pytest.raises(OptionError, match="the share of pictures without a cell is no share: expected 0 to 1, got 2"):
        make_phantom("cells", tmp_path / "c", negative=2)
    with pytest.raises(OptionError, match="boxes can only be shuffled between pictures: expected two pictures or more, got 1"):
        make_phantom("cells", tmp_path / "d", n=1, shuffle=True)
