"""Boxes of a case: checked, brought to the grid, or taken from the parts of masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making import noise, png, source
from marking import ball, nifti
from marking import case as marked_case

from vesalius.core.boxes import BoxTruth
from vesalius.core.cohort import Case, MarkedBox
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.formats import case_hash, open_boxes, open_case
from vesalius.formats.boxes import Checked, checked, checked_boxes

CELLS = TargetSpec("boxes", ("red", "white"), risk="malignant")
FLAT = Grid.plain((20, 30))


def look(*boxes: MarkedBox, grid: Grid = FLAT, target: TargetSpec = CELLS) -> Checked:
    return checked(boxes, grid, target, "a.png")


def box(x0: float, y0: float, x1: float, y1: float, name: str = "red", **facts: object) -> MarkedBox:
    return MarkedBox(name, (y0, x0), (y1, x1), facts=facts)


def test_boxes_come_in_array_order_with_class_ignored_and_risk() -> None:
    seen = look(box(1, 2, 5, 8.5, malignant=1), replace(box(10, 0, 30, 20, "white"), ignored=True))
    assert seen.truth.boxes.tolist() == [[2, 1, 8.5, 5], [0, 10, 20, 30]] and seen.truth.boxes.dtype == np.float32
    assert seen.truth.labels.tolist() == [0, 1] and seen.truth.ignored.tolist() == [False, True]
    assert seen.truth.risk[0] == 1 and np.isnan(seen.truth.risk[1])
    assert seen.truth.aside == () and seen.clipped == ()


def test_boxes_without_extent_are_set_aside_and_named() -> None:
    seen = look(box(1, 2, 5, 8), box(7, 3, 7, 9), box(9, 3, 8, 9, "white"))
    assert len(seen.truth) == 1
    assert seen.truth.aside == ("box 2 (red) of a.png has no extent: x 7 to 7, y 3 to 9",
                                "box 3 (white) of a.png has no extent: x 9 to 8, y 3 to 9")


def test_boxes_outside_are_set_aside_those_that_reach_out_are_cut() -> None:
    seen = look(box(40, 2, 50, 8), box(-6, 2, 4, 12), box(25, 5, 33, 10), box(-0.004, 0, 3, 3))
    assert seen.truth.boxes.tolist() == [[5, 25, 10, 30], [0, 0, 3, 3]]
    assert seen.truth.aside == ("box 1 (red) of a.png lies outside of the image of 30 x 20: x 40 to 50, y 2 to 8",
                                "box 2 (red) of a.png lies outside by 60% of the image of 30 x 20: x -6 to 4, y 2 to 12")
    assert seen.clipped == ("box 3 (red) of a.png reaches out of the image of 30 x 20: x 25 to 33, y 5 to 10",)


def test_no_box_is_no_error() -> None:
    assert look().truth.boxes.shape == (0, 4) and len(look().truth) == 0


@pytest.mark.parametrize(("wrong", "message"), [
    (box(1, 1, 2, 2, "blue"), "a box is of a class that nobody named (a.png): expected one of red, white, got 'blue'; correct the file of the boxes"),
    (box(1, 1, float("nan"), 2), "a corner of a box is not a number (a.png): expected finite numbers, got red (1, 1) to (2, nan)"),
    (MarkedBox("red", (1, 1, 1), (2, 2, 2)), "the image is 2-D and a box is not (a.png): expected 2 edges at either end, got 3 and 3"),
    (MarkedBox("red", (1, 1, 1), (2, 2, 2), world=True), "the boxes are in mm and the image states no spacing (a.png): expected an image with spacing"),
])
def test_what_is_refused(wrong: MarkedBox, message: str) -> None:
    with pytest.raises(DataError) as error:
        look(wrong)
    assert str(error.value).startswith(message)


def test_world_mm_come_to_the_edges_of_samples() -> None:
    grid = Grid.plain((10, 20, 30), (2.0, 1.0, 0.5))
    # samples 4..7 of x (0.5 mm), 3..4 of y, 1..2 of z: edges lie half a sample beyond the centres
    low = (4 * 0.5 - 0.25, 3 * 1.0 - 0.5, 1 * 2.0 - 1.0)
    high = (7 * 0.5 + 0.25, 4 * 1.0 + 0.5, 2 * 2.0 + 1.0)
    seen = look(MarkedBox("red", low, high, world=True), grid=grid)
    np.testing.assert_allclose(seen.truth.boxes, [[1, 3, 4, 3, 5, 8]], atol=1e-5)


def test_world_mm_through_flipped_and_turned_axes() -> None:
    affine = np.array([[-1.0, 0, 0, 30], [0, 0, 1.0, 5], [0, 2.0, 0, -7], [0, 0, 0, 1]])  # x runs to the right, y upwards, z to the back
    grid = Grid((10, 20, 30), (1.0, 2.0, 1.0), affine)
    middle = np.array([4.0, 8.0, 12.0])  # z, y, x
    centre = grid.world(middle)
    seen = look(MarkedBox("red", tuple(centre - 3), tuple(centre + 3), world=True), grid=grid)
    np.testing.assert_allclose(seen.truth.boxes, [[4.5 - 3, 8.5 - 1.5, 12.5 - 3, 4.5 + 3, 8.5 + 1.5, 12.5 + 3]], atol=1e-5)


def test_a_turned_grid_takes_the_hull_and_an_empty_box_stays_empty() -> None:
    angle = np.deg2rad(45)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0), affine)
    centre = grid.world(np.array([20.0, 20.0, 20.0]))
    seen = look(MarkedBox("red", tuple(centre - 2), tuple(centre + 2), world=True), MarkedBox("red", tuple(centre), tuple(centre), world=True), grid=grid)
    half = 2 * np.sqrt(2)
    np.testing.assert_allclose(seen.truth.boxes, [[18.5, 20.5 - half, 20.5 - half, 22.5, 20.5 + half, 20.5 + half]], atol=1e-4)
    assert "has no extent" in seen.truth.aside[0]


def test_one_case_from_its_file(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", noise(20, 30))
    case = Case("a.png", source(path), "a", boxes=(box(1, 2, 5, 8),), stated=(20, 30))
    truth = open_boxes(case, CELLS, open_case(case))
    assert isinstance(truth, BoxTruth) and truth.boxes.tolist() == [[2, 1, 8, 5]]


@pytest.mark.parametrize(("stated", "do"), [((30, 20), "the axes are exchanged: turn the image as it was when it was marked (EXIF orientation)"),
                                            ((480, 640), "give the image that was marked, or correct the boxes and the sizes")])
def test_a_stated_size_that_disagrees(tmp_path: Path, stated: tuple[int, int], do: str) -> None:
    path = png(tmp_path / "a.png", noise(20, 30))
    case = Case("a.png", source(path), "a", boxes=(), stated=stated)
    with pytest.raises(DataError) as error:
        open_boxes(case, CELLS, open_case(case))
    assert f"the image is not of the size that the file of its boxes states (a.png, {path})" in str(error.value)
    assert f"expected {stated[1]} x {stated[0]}, got 30 x 20; {do}" in str(error.value)


def test_a_case_that_was_never_marked(tmp_path: Path) -> None:
    case = Case("a.png", source(png(tmp_path / "a.png", noise(20, 30))), "a")
    with pytest.raises(DataError, match=r"the image has no boxes \(a.png\): expected boxes, or an entry that says that there is nothing"):
        open_boxes(case, CELLS, open_case(case))


def test_parts_of_masks_touching_at_a_corner_are_one(tmp_path: Path) -> None:
    numbers = np.zeros((20, 30), np.uint8)
    numbers[2:4, 3:6], numbers[4:5, 6:8], numbers[10:12, 20:30], numbers[15:16, 0:1] = 1, 1, 1, 2
    case = marked_case(png(tmp_path / "a.png", noise(20, 30)), png(tmp_path / "m.png", numbers))
    target = TargetSpec("boxes", ("red", "white"), values=((1,), (2,)))
    truth = open_boxes(case, target, open_case(case))
    assert truth.boxes.tolist() == [[2, 3, 5, 8], [10, 20, 12, 30], [15, 0, 16, 1]] and truth.labels.tolist() == [0, 0, 1]
    assert not truth.ignored.any() and np.isnan(truth.risk).all()


def test_parts_of_masks_that_overlap_and_samples_not_judged(tmp_path: Path) -> None:
    whole = ball((8, 9, 7), 1, radius=3)
    whole[2:3, 3:4, 3:4] = 2
    whole[0, 0, 0] = 3
    case = marked_case(nifti(tmp_path / "a.nii.gz", noise(8, 9, 7)), nifti(tmp_path / "m.nii.gz", whole))
    target = TargetSpec("boxes", ("whole", "core"), values=((1, 2), (2,)), ignore=3, exclusive=False)
    study = open_case(case)
    truth = open_boxes(case, target, study)
    assert truth.labels.tolist() == [0, 1] and study.ndim == 3
    inside = np.argwhere(whole.transpose(2, 1, 0) % 3 > 0)
    assert truth.boxes[0].tolist() == [*inside.min(0), *(inside.max(0) + 1)] and (truth.boxes[1][3:] - truth.boxes[1][:3]).tolist() == [1, 1, 1]


def test_an_empty_mask_has_no_box(tmp_path: Path) -> None:
    case = marked_case(png(tmp_path / "a.png", noise(20, 30)), png(tmp_path / "m.png", np.zeros((20, 30), np.uint8)))
    seen = checked_boxes(case, TargetSpec("boxes", ("red",), values=((1,),)), open_case(case))
    assert seen.truth.boxes.shape == (0, 4)


def test_the_hash_of_a_case_changes_with_its_boxes(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", noise(20, 30))
    plain = Case("a.png", source(path), "a")
    held = (box(1, 2, 5, 8, malignant=0), box(2, 2, 5, 8))
    cases = [plain, replace(plain, boxes=()), replace(plain, boxes=held), replace(plain, boxes=held[:1]), replace(plain, boxes=(box(1, 2, 5, 8.01), held[1])),
             replace(plain, boxes=(replace(held[0], ignored=True), held[1])), replace(plain, boxes=(box(1, 2, 5, 8, malignant=1), held[1])),
             replace(plain, boxes=(box(1, 2, 5, 8, "white"), held[1]))]
    assert len({case_hash(case) for case in cases}) == len(cases)
    assert case_hash(cases[2]) == case_hash(replace(plain, boxes=tuple(held)))


def test_a_study_of_several_channels_has_one_grid() -> None:
    study = Study(np.zeros((3, 20, 30), np.uint8), FLAT)
    case = Case("a.png", source(Path("a.png")), "a", boxes=(box(1, 2, 5, 8),))
    assert len(open_boxes(case, CELLS, study)) == 1
