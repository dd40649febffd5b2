"""What may be wrong with the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.cohorts import cohort, picture
from vesalius.kernels.fingerprint import fingerprint
from vesalius.stages.check.audit import Issue
from vesalius.stages.check.facts import Fact
from vesalius.stages.check.pictures import picture_issues


def usual(n: int = 60) -> list[Fact]:
    return [Fact(f"{i}", hash=f"{i}", shape=(64, 64), bits=8, modality="CR", print=fingerprint(picture(i)[None])) for i in range(n)]


def issues(facts: list[Fact], ndim: int = 2) -> dict[str, Issue]:
    return {issue.code: issue for issue in picture_issues(cohort([], ndim=ndim), facts)}


def test_ordinary_images_raise_nothing() -> None:
    assert issues(usual()) == {}
    assert issues([]) == {}


@pytest.mark.parametrize("problem", ["unreadable", "empty", "truncated", "constant", "no_numbers"])
def test_each_problem_is_an_error_that_names_its_files(problem: str) -> None:
    found = issues([*usual(), Fact("bad", problem=problem), Fact("bad2", problem=problem)])[problem]
    assert found.severity == "error" and found.files == ("bad", "bad2") and found.n == 2
    assert found.en.startswith("2 ") and found.zh.startswith("2 ")


PLANTED = {
    "nan": {"nan": 2048},
    "other_dimensions": {"shape": (5, 64, 64), "print": None},
    "mixed_modality": {"modality": "CT"},
    "mixed_colour": {"colour": True},
    "mixed_bits": {"bits": 16},
    "odd_size": {"shape": (16, 16)},
    "mixed_size": {"shape": (64, 65)},
}


@pytest.mark.parametrize("code", PLANTED)
def test_what_was_planted_is_named_and_nothing_else_is(code: str) -> None:
    facts = usual()
    facts[7] = replace(facts[7], **PLANTED[code])  # type: ignore[arg-type]
    found = issues(facts)[code]
    assert code == "mixed_size" or found.files == ("7",)
    if code == "nan":
        assert "up to 50% of an image" in found.en


def test_files_are_at_most_twenty_but_all_are_counted() -> None:
    found = issues([*usual(), *(Fact(f"b{i}", problem="empty") for i in range(33))])["empty"]
    assert len(found.files) == 20 and found.n == 33


def test_portrait_and_landscape_are_told_apart_and_nearly_square_is_neither() -> None:
    shapes = [(80, 64)] * 40 + [(64, 80)] * 5 + [(64, 65)] * 5
    found = issues([replace(fact, shape=shape) for fact, shape in zip(usual(50), shapes, strict=True)])["mixed_orientation"]
    assert "40 portrait" in found.en and "5 landscape" in found.en and set(found.files) == {str(i) for i in range(40, 50)}
    assert "mixed_orientation" not in issues([replace(fact, shape=(80, 64 + 16 * (i % 2))) for i, fact in enumerate(usual(50))])


def test_axes_that_point_another_way_are_named() -> None:
    facts = [replace(fact, shape=(8, 64, 64), axes="LPS", print=None) for fact in usual(10)]
    facts[3] = replace(facts[3], axes="RAS")
    found = issues(facts, ndim=3)["mixed_axes"]
    assert found.severity == "warning" and found.files == ("3",) and "9 LPS, 1 RAS" in found.en


def test_a_picture_of_something_else_is_noticed() -> None:
    facts = usual()
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    facts[11] = replace(facts[11], print=fingerprint((255 - np.roll(picture(3), 25, 1))[None] // 3 + ramp[None]))
    assert issues(facts)["odd_picture"].files == ("11",)
