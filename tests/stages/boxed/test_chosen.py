"""Which boxes are shown first."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.stages.boxed.chosen import A_CASE, ROLES, Chosen, choose_boxes, sorted_out

TARGET = TargetSpec("boxes", ("cell", "grain"))
LIMITS = {"cell": 0.5, "grain": 0.3}


def true(box: tuple[float, ...], name: str = "cell", ignored: bool = False) -> dict:
    return {"box": list(box), "class": name, "ignored": ignored, "risk": None}


def seen(box: tuple[float, ...], score: float, name: str = "cell") -> dict:
    return {"box": list(box), "class": name, "score": score, "risk": None}


def square(y: float, x: float, side: float = 10) -> tuple[float, ...]:
    return (y, x, y + side, x + side)


def case(name: str, truth: list, found: list, split: str = "test") -> dict:
    shape = json.dumps([400] * (len((truth + found)[0]["box"]) // 2 if truth + found else 2))
    facts = {"id": name, "path": name, "patient": name, "split": split, "shape": shape, "spacing_mm": None}
    return facts | {"truth": json.dumps(truth), "found": json.dumps(found)}


def roles(truth: list, found: list, matching: str = "iou") -> list:
    rows = sorted_out(pd.Series(case("a", truth, found)), TARGET, LIMITS, matching)
    return sorted((c.role, c.name, c.score, c.taken_for) for c in rows)


def test_each_true_box_is_met_once_by_the_best() -> None:
    assert roles([true(square(0, 0))], [seen(square(0, 0), 0.6), seen(square(0, 1), 0.9)]) == [("false", "cell", 0.6, ""), ("found", "cell", 0.9, "")]


def test_below_the_threshold_is_missed_and_says_how_faint_it_was() -> None:
    assert roles([true(square(0, 0))], [seen(square(0, 1), 0.2), seen(square(1, 0), 0.4)]) == [("missed", "cell", 0.4, "")]
    assert Chosen("a", "missed", "cell", square(0, 0), 0.4).box == sorted_out(
        pd.Series(case("a", [true(square(90, 90), ignored=True), true(square(0, 0))], [seen(square(1, 0), 0.4)])), TARGET, LIMITS)[0].box
    assert roles([true(square(0, 0))], [seen(square(30, 30), 0.4)]) == [("missed", "cell", None, "")]


def test_another_class_is_a_miss_and_a_false_box_that_name_each_other() -> None:
    assert roles([true(square(0, 0))], [seen(square(0, 0), 0.8, "grain")]) == [("false", "grain", 0.8, "cell"), ("missed", "cell", None, "grain")]


def test_what_is_not_judged_is_neither_missed_nor_false() -> None:
    assert roles([true(square(0, 0), ignored=True)], [seen(square(0, 1), 0.9)]) == []
    assert roles([true(square(0, 0), ignored=True)], []) == []


def test_the_middle_may_decide_instead_of_the_overlap() -> None:
    small = seen((4, 4, 4, 6, 6, 6), 0.9)
    ball = true((0, 0, 0, 10, 10, 10))
    assert [r[0] for r in roles([ball], [small])] == ["false", "missed"] and [r[0] for r in roles([ball], [small], "centre")] == ["found"]


def test_the_worst_come_first_and_no_image_or_class_fills_a_role() -> None:
    many = case("a", [true(square(0, 40 * i, 10 + i)) for i in range(6)], [])
    faint = case("b", [true(square(0, 0))], [seen(square(0, 0), 0.4)])
    alien = case("c", [true(square(0, 0, 4), "grain")], [seen(square(50, 50), 0.7), seen(square(90, 90), 0.95), seen(square(150, 90), 0.9)])
    chosen = choose_boxes(pd.DataFrame([many, faint, alien]), TARGET, LIMITS)
    missed = [c for c in chosen if c.role == "missed"]
    assert [c.id for c in missed] == ["a", "a", "c", "b"] and sum(c.id == "a" for c in missed) == A_CASE and len(missed) == ROLES["missed"]
    assert missed[0].box == square(0, 200, 15), "the largest of those that nothing meets"
    assert [c.score for c in chosen if c.role == "false"] == [0.95, 0.9] and not [c for c in chosen if c.role == "found"]


def test_classes_take_turns() -> None:
    cells = [case(f"c{i}", [], [seen(square(0, 0), 0.99 - i / 100)]) for i in range(6)]
    grains = [case(f"g{i}", [], [seen(square(0, 0), 0.5 - i / 100, "grain")]) for i in range(3)]
    chosen = choose_boxes(pd.DataFrame(cells + grains), TARGET, LIMITS)
    assert [(c.id, c.role) for c in chosen] == [("c0", "false"), ("c1", "false"), ("g0", "false"), ("g1", "false")]


def test_validation_stands_in_where_there_is_no_test() -> None:
    frame = pd.DataFrame([case("v", [true(square(0, 0))], [], "validation"), case("t", [], [seen(square(0, 0), 0.9)])])
    assert [c.id for c in choose_boxes(frame, TARGET, LIMITS)] == ["t"]
    assert [c.id for c in choose_boxes(frame[frame["split"] == "validation"], TARGET, LIMITS)] == ["v"]
    assert choose_boxes(frame.assign(truth="[]", found="[]"), TARGET, LIMITS) == [] and choose_boxes(frame, TARGET, {})


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"the cases lack a column: expected truth, got id, .* found; evaluate the run again"):
        choose_boxes(pd.DataFrame([case("a", [], [])]).drop(columns="truth"), TARGET, LIMITS)
