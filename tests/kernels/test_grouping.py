"""Groups stay whole, parts resemble the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.kernels.grouping import deal, join, strata

FRACTIONS = (0.7, 0.15, 0.15)


def test_rows_that_agree_in_any_column_are_together_through_others() -> None:
    assert join(["a", "b", "c", "d"], [1, None, 1, None], [None, "x", None, "x"]).tolist() == [0, 1, 0, 1]
    assert join([None, None, None]).tolist() == [0, 1, 2]


def test_strata_of_each_kind_of_target() -> None:
    assert strata(np.array([0, 2, -1])).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert strata(np.array([[1, np.nan], [0, 1]], np.float32)).tolist() == [[1, 0], [0, 1]]
    fifths = strata(np.append(np.arange(100, dtype=np.float32), np.nan))
    assert fifths.sum(0).tolist() == [20] * 5 and fifths[-1].sum() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(9, 60), st.integers(2, 4))
def test_groups_are_never_torn_and_every_part_holds_every_class_that_has_three_groups(seed: int, n_groups: int, n_classes: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), random.integers(1, 5, n_groups))
    truth = random.permutation(np.arange(n_groups) % n_classes)[groups]  # a patient has one label
    part = deal(groups, strata(truth), FRACTIONS, random)
    assert all(len(set(part[groups == g])) == 1 for g in range(n_groups))
    for name in range(n_classes):
        if len(set(groups[truth == name])) >= 3:
            assert set(part[truth == name]) == {0, 1, 2}


def test_the_parts_have_their_fractions_of_every_class() -> None:
    random = np.random.default_rng(0)
    truth = (random.random(2000) < 0.1).astype(int)
    part = deal(np.arange(2000), strata(truth), FRACTIONS, random)
    for name in (0, 1):
        shares = np.bincount(part[truth == name], minlength=3) / (truth == name).sum()
        assert np.allclose(shares, FRACTIONS, atol=0.005)


def test_rare_marks_of_a_multilabel_are_spread() -> None:
    random = np.random.default_rng(1)
    marks = (random.random((600, 5)) < [0.5, 0.3, 0.1, 0.05, 0.01]).astype(float)
    part = deal(np.arange(600), marks, FRACTIONS, random)
    held = np.array([marks[part == p].sum(0) for p in range(3)])
    assert (held > 0).all()
    assert abs(held[0] / held.sum(0) - 0.7).max() < 0.15


def test_a_patient_as_large_as_all_others_does_not_leave_a_part_empty() -> None:
    groups = np.r_[np.zeros(100, int), np.arange(1, 11)]
    truth = np.r_[np.zeros(100, int), np.arange(10) % 2]
    part = deal(groups, strata(truth), FRACTIONS, np.random.default_rng(0))
    assert set(part) == {0, 1, 2} and len(set(part[:100])) == 1
