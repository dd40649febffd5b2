"""Boxes lie in the picture where they lie in the image, and are told apart without colour."""

from __future__ import annotations

import numpy as np
import pytest

from stages.boxed.boxstandin import study_of
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.stages.boxed.drawing import EDGE, LEAST, STYLES, Drawn, View, dashes
from vesalius.stages.explain.pictures import PREDICTION, TRUTH


def painted(picture: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return np.argwhere((picture == np.array(colour)).all(-1))


def test_a_box_is_drawn_where_it_lies() -> None:
    study = study_of((100, 200), [], 8)
    shown = View.whole(study, (20, 40, 60, 140)).with_boxes([Drawn((20, 40, 60, 140), "truth", True)])
    assert shown.shape == (EDGE // 2, EDGE, 3)
    at = painted(shown, TRUTH) * 200 / EDGE
    assert np.allclose(at.min(0), (20, 40), atol=1.5) and np.allclose(at.max(0), (60, 140), atol=1.5)


def test_truth_is_solid_and_what_was_found_is_dashed() -> None:
    study = study_of((100, 100), [], 8)
    counts = {style: len(painted(View.whole(study, (20, 20, 80, 80)).with_boxes([Drawn((20, 20, 80, 80), style, True)]), STYLES[style][0])) for style in STYLES}
    assert counts["ignored"] < 0.6 * counts["truth"] and 0.5 * counts["truth"] < counts["found"] < 0.75 * counts["truth"]
    assert dashes((0, 0), (0, 9), 0, 0) == [(0.0, 0.0, 0.0, 9.0)] and dashes((0, 0), (0, 2), 8, 5) == [(0.0, 0.0, 0.0, 2.0)]


def test_the_box_in_question_lies_on_top_and_is_thicker() -> None:
    study, box = study_of((100, 100), [], 8), (20.0, 20.0, 80.0, 80.0)
    view = View.whole(study, box)
    both = view.with_boxes([Drawn(box, "found", True), Drawn(box, "truth")])
    assert len(painted(both, PREDICTION)) == len(painted(view.with_boxes([Drawn(box, "found", True)]), PREDICTION)) and len(painted(both, TRUTH)) > 0
    thin, thick = (len(painted(view.with_boxes([Drawn(box, "truth", main)]), TRUTH)) for main in (False, True))
    assert thick > 1.7 * thin


def test_a_crop_shows_the_surroundings_inside_the_image() -> None:
    view = View.about(study_of((100, 200), [], 8), (0, 180, 20, 200))
    assert view.rows == (0, 60) and view.columns == (140, 200) and view.picture().shape == (EDGE, EDGE, 3)
    tiny = View.about(study_of((100, 200), [], 8), (50, 50, 52, 52))
    assert tiny.rows == (39, 63) and tiny.rows[1] - tiny.rows[0] == LEAST
    assert View.about(study_of((30, 30), [], 8), (0, 0, 30, 30)).rows == (0, 30)


def test_a_crop_is_square_in_millimetres() -> None:
    view = View.about(study_of((100, 200), [], 8, (2.0, 1.0)), (40, 80, 60, 120))
    assert view.rows[1] - view.rows[0] == 60 and view.columns[1] - view.columns[0] == 120 and view.picture().shape[:2] == (EDGE, EDGE)


def test_pixels_know_where_they_lie() -> None:
    study = study_of((60, 60), [((30, 20), 9.0)], 6)
    view = View.about(study, (27, 17, 33, 23))
    rows, columns = view.places()
    bright = np.argwhere(view.picture()[..., 0] > 200)
    assert abs(rows[tuple(bright.T)].mean() + 0.5 - 30) < 0.5 and abs(columns[tuple(bright.T)].mean() + 0.5 - 20) < 0.5


@pytest.mark.parametrize("flipped", [False, True])
def test_a_volume_is_cut_through_the_box_in_radiological_order(flipped: bool) -> None:
    study = study_of((20, 60, 60), [((6, 30, 20), 9.0)], 4, (3.0, 1.0, 1.0))
    box, others = (4.0, 28.0, 18.0, 8.0, 32.0, 22.0), [(12.0, 5.0, 5.0, 16.0, 9.0, 9.0)]
    if flipped:  # stored the other way round: what is shown is the same
        affine = study.grid.affine_lps.copy()
        affine[2, 2], affine[2, 3] = -3.0, 19 * 3.0
        study = Study(np.ascontiguousarray(study.image[:, ::-1]), Grid(study.grid.shape, study.grid.spacing_mm, affine))
        box, others = (12.0, 28.0, 18.0, 16.0, 32.0, 22.0), [(4.0, 5.0, 5.0, 8.0, 9.0, 9.0)]
    view = View.whole(study, box)
    assert view.cut == 6 and view.flips == ((0,) if flipped else ())
    shown = view.with_boxes([Drawn(box, "truth", True), *(Drawn(each, "found") for each in others)])
    at = painted(shown, TRUTH) * 60 / EDGE
    assert np.allclose((at.min(0) + at.max(0)) / 2, (30, 20), atol=0.6) and not len(painted(shown, PREDICTION)), "the other box is not in this slice"
    assert view.places()[0].max() == view.places()[0].min() == (13 if flipped else 6)


def test_boxes_outside_of_the_crop_are_not_drawn() -> None:
    study = study_of((100, 200), [], 8)
    view = View.about(study, (10, 10, 20, 20))
    assert view.corners((80, 150, 90, 160), (EDGE, EDGE)) is None and view.corners((10, 10, 20, 20), (EDGE, EDGE)) is not None


def test_colour_stays_colour_and_other_channels_do_not() -> None:
    rgb = np.zeros((3, 40, 40), np.uint8)
    rgb[0] = 250
    view = View.whole(Study(rgb, Grid.plain((40, 40))), (0, 0, 9, 9))
    assert view.picture()[0, 0].tolist() == [250, 0, 0]
    several = View.whole(Study(np.random.default_rng(0).normal(size=(2, 40, 40)), Grid.plain((40, 40))), (0, 0, 9, 9)).picture()
    assert (several[..., 0] == several[..., 1]).all()
