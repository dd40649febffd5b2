"""The order that numbers in names give."""

from __future__ import annotations

import pytest

from vesalius.kernels.order import numbered


@pytest.mark.parametrize(("names", "order"), [
    (["10.png", "9.png", "8.png"], [2, 1, 0]), (["a/slice-2.tif", "a/slice-10.tif", "a/slice-3.tif"], None), (["a/z1.png", "a/z2.png", "b/z3.png"], None),
    ([f"v {i:03d}.nii.gz" for i in (3, 1, 2)], [1, 2, 0]), (["1.png", "2.png"], None), (["x1.png", "y2.png", "x3.png"], None), (["1", "2", "x"], None),
    (["1.png", "1.jpg", "2.png"], None), ([f"{i}.png" for i in (*range(10), *range(11, 20))], list(range(19))),
    (["p1_a.png", "p2_a.png", "p3_a.png"], [0, 1, 2]),
])
def test_consecutive_numbers_of_one_word_are_an_order(names: list[str], order: list[int] | None) -> None:
    assert numbered(names) == order
