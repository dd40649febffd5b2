"""What is seen of a data set with boxes, and its cases prepared once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.boxes import BoxTruth
from vesalius.core.cohort import Case
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.stages.boxed.facts import BoxFacts, gather_boxes, painted
from vesalius.stages.boxed.store import prepare_boxes

sys.path.insert(0, str(Path(__file__).parent))
from box_cases_on_disk import TARGET, frame_of, pictures, volumes


def gathered(cases: list[Case], ndim: int, *splits: str) -> BoxFacts:
    return gather_boxes(frame_of(cases, *splits), {case.id: case for case in cases}, TARGET, side_matters=False, ndim=ndim)


def test_pictures_without_a_spacing_are_measured_in_samples(tmp_path: Path) -> None:
    facts = gathered(pictures(tmp_path), 2)
    assert facts.counts == {"dot": 3, "block": 3} and facts.longest == 64 and facts.tiles.spacing_mm is None and facts.tiles.shape == (48, 64)
    assert facts.small == 6 and facts.large == 20 and facts.most == 2


def test_volumes_with_a_spacing_are_measured_in_mm(tmp_path: Path) -> None:
    """The dot has 3 x 4 x 6 samples of 2 x 1 x 1 mm: its shortest edge is 4 mm, not 3 samples."""
    facts = gathered(volumes(tmp_path), 3)
    assert facts.small == pytest.approx(4) and facts.large == 14 and facts.longest == 30 and facts.tiles.spacing_mm == (2.0, 1.0, 1.0)
    assert facts.tiles.n_patients == 3 and facts.tiles.shares["block"] == pytest.approx(6 * 8 * 14 / (16 * 20 * 30))


def test_ignored_boxes_say_nothing_of_the_objects(tmp_path: Path) -> None:
    facts = gathered(pictures(tmp_path, ignored=(False, True)), 2)
    assert facts.counts == {"dot": 3, "block": 0} and facts.large == 6
    with pytest.raises(DataError, match="no training image has a box"):
        gathered(pictures(tmp_path, ignored=(True, True)), 2)


def test_only_training_cases_are_looked_at(tmp_path: Path) -> None:
    cases = pictures(tmp_path)
    for case in cases[1:3]:
        Path(case.source.path).unlink()
    facts = gathered(cases, 2, "train", "test", "validation", "train")
    assert facts.counts == {"dot": 1, "block": 1} and (facts.tiles.n_train, facts.tiles.n_validation, facts.tiles.n_test) == (2, 1, 1)


def test_a_study_of_another_number_of_axes_does_not_disturb(tmp_path: Path) -> None:
    """An empty volume among pictures has no box that could be refused."""
    cases = [*pictures(tmp_path), *(replace(case, boxes=()) for case in volumes(tmp_path, 1))]
    assert gathered(cases, 2).counts == {"dot": 3, "block": 3}


def test_images_without_any_box_are_no_task(tmp_path: Path) -> None:
    cases = [replace(case, boxes=()) for case in pictures(tmp_path)]
    with pytest.raises(DataError, match="no training image has a box: expected boxes to learn from, got 4 images looked at; check the boxes"):
        gathered(cases, 2)


def test_images_that_cannot_be_read_are_said_with_the_reason(tmp_path: Path) -> None:
    cases = pictures(tmp_path)
    for case in cases:
        Path(case.source.path).unlink()
    with pytest.raises(DataError, match="no training case can be read"):
        gathered(cases, 2)


def test_the_area_within_boxes_is_painted_with_their_class() -> None:
    boxes = np.array([[1, 1, 3, 4], [2, 2, 2.4, 2.2], [8.2, 8.5, 12, 12]], np.float32)
    truth = BoxTruth(boxes, np.array([0, 1, 1]), np.zeros(3, bool), np.full(3, np.nan))
    mask = painted(truth, Study(np.zeros((1, 10, 10), np.uint8), Grid.plain((10, 10))))
    assert mask.shape == (1, 10, 10) and mask.dtype == np.uint8 and mask[0, 1, 1] == 1 and mask[0, 2, 2] == 2 and (mask[0, 8:, 8:] == 2).all()
    assert (mask > 0).sum() == 6 + 4 and not painted(BoxTruth.empty(2), Study(np.zeros((1, 4, 4), np.uint8), Grid.plain((4, 4)))).any()


def blocks(image: np.ndarray, rows: np.ndarray, d: int) -> list[tuple[float, float]]:
    """Mean within each box, and just outside of it along the first axis."""
    made = []
    for row in rows:
        inside = [slice(int(round(a)), int(round(b))) for a, b in zip(row[:d], row[d : 2 * d], strict=True)]
        beside = [slice(inside[0].stop + 1, inside[0].stop + 2), *inside[1:]]
        made.append((float(image[(0, *inside)].mean()), float(image[(0, *beside)].mean())))
    return made


@pytest.mark.parametrize(("ndim", "reads"), [(2, TileReads((32, 32), longest=128)), (3, TileReads((16, 16, 16), spacing_mm=(1.0, 1.0, 1.0)))])
def test_prepared_boxes_lie_on_what_they_mark(tmp_path: Path, ndim: int, reads: TileReads) -> None:
    cases = pictures(tmp_path) if ndim == 2 else volumes(tmp_path)
    store = prepare_boxes(cases, [case.id for case in cases], TARGET, reads, tmp_path / "cache", jobs=1)
    image, rows = store.image(1), store.rows(1)
    assert image.dtype == np.float16 and image.shape == ((1, 96, 128) if ndim == 2 else (1, 32, 20, 30))
    assert rows.dtype == np.float32 and rows.shape == (2, 2 * ndim + 3) and rows[:, 2 * ndim :].tolist() == [[0, 0, 0], [1, 0, 1]]
    assert all(within > 1.5 and outside < 0.8 * within for within, outside in blocks(image.astype(np.float32), rows, ndim))
    assert store.ids == tuple(case.id for case in cases)


def test_a_case_without_boxes_has_no_row_and_what_is_prepared_is_not_read_again(tmp_path: Path) -> None:
    cases, reads = pictures(tmp_path), TileReads((32, 32))
    store = prepare_boxes(cases, ["a", "b", "c", "d"], TARGET, reads, tmp_path / "cache", jobs=1)
    assert store.rows(3).shape == (0, 7)
    for case in cases:
        Path(case.source.path).unlink()
    again = prepare_boxes(cases, ["a", "b", "c", "d"], TARGET, reads, tmp_path / "cache", jobs=1)
    assert again.path == store.path and np.array_equal(again.rows(0), store.rows(0))
    with pytest.raises(DataError, match=r"i0\.png"):
        prepare_boxes(cases, ["a", "b", "c", "d"], TARGET, TileReads((32, 32), longest=32), tmp_path / "cache", jobs=1)
