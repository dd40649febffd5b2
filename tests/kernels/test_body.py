"""Body and markers of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.kernels.body import body_of, markers_of
from vesalius.phantoms.anatomy import Findings, chest_film, draw_person, draw_pose, expose, stamp


def film(seed: int, size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return expose(chest_film(draw_person(rng), draw_pose(rng), Findings(), size), rng)


def test_the_body_of_a_film_is_found_whole_with_its_lungs() -> None:
    found = [body_of(film(seed) / 255.0) for seed in range(5)]
    for body in found:
        assert 0.6 < body.mean() < 0.95 and body[64, 64] and body[50, 40] and not body[:6, :6].any()


@pytest.mark.parametrize("air", [0.0, 1.0])
def test_air_may_be_dark_or_bright_and_a_loose_part_is_no_body(air: float) -> None:
    picture = np.full((40, 40), air)
    picture[10:30, 10:30] = 0.5 if air else 0.6
    picture[2:5, 2:5] = picture[20, 20]
    body = body_of(picture)
    assert 400 <= body.sum() <= 484 and body[10:30, 10:30].all() and not body[3, 3]  # the edge is smoothed with the noise


def test_a_volume_has_a_body_and_a_flat_picture_has_none() -> None:
    volume = np.zeros((12, 12, 12))
    volume[3:9, 3:9, 3:9] = 1
    volume[5, 5, 5] = 0
    assert body_of(volume).sum() == 216
    assert not body_of(np.ones((9, 9))).any() and body_of(np.eye(200) * 0).sum() == 0


def test_letters_are_found_where_they_were_stamped() -> None:
    found = [markers_of(stamp(film(seed), "AP", "upper-left") / 255.0) for seed in range(10)]
    assert np.mean([marks[:20, :24].any() for marks in found]) >= 0.9
    clean = [markers_of(film(seed) / 255.0) for seed in range(10)]
    assert np.mean([marks.any() for marks in clean]) <= 0.2


def test_bright_bone_and_spots_in_the_middle_are_no_markers() -> None:
    picture = np.full((100, 100), 0.2)
    picture[45:50, 45:50] = 1.0
    assert not markers_of(picture).any()
    picture[2:98, 5:9] = 1.0
    assert not markers_of(picture).any()
    soft = 0.2 + np.exp(-((np.mgrid[0:100, 0:100] - 10) ** 2).sum(0) / 300)
    assert not markers_of(soft).any()
