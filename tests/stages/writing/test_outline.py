from __future__ import annotations

import numpy as np
import pytest

from vesalius.formats.rtstruct import filled_loops
from vesalius.stages.writing.codes import ABNORMAL, ANATOMY, codes_of
from vesalius.stages.writing.outline import loops_of


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 4), (23, 31)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_filling_an_outline_gives_the_mask_back(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(1).random(shape) < share
    loops = loops_of(mask)
    np.testing.assert_array_equal(filled_loops(loops, shape), mask)
    enclosed = sum(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) for y, x in (loop.T for loop in loops)) / 2
    assert enclosed == pytest.approx(mask.sum()), "the area is that of the samples; holes run the other way round"


def test_only_corners_are_kept_and_corner_neighbours_stay_apart() -> None:
    (loop,) = loops_of(np.ones((3, 5), bool))
    assert loop.tolist() == [[-0.5, -0.5], [-0.5, 4.5], [2.5, 4.5], [2.5, -0.5]]
    assert len(loops_of(np.eye(4, dtype=bool))) == 4
    assert loops_of(np.zeros((3, 3), bool)) == []


def test_codes_of_names() -> None:
    assert [codes_of(name)[1].value for name in ("Left_Kidney", "spinal cord", "liver tumor", "organ 7")] == ["64033007", "2748008", "108369006", "85756007"]
    assert codes_of("Anterior Hippocampus")[0].meaning == "Anatomical Structure"
    assert codes_of("kidneystone")[1].meaning == "Tissue"
    for word in (*ANATOMY, *ABNORMAL):
        assert codes_of(word)[1].scheme_designator == "SCT"
