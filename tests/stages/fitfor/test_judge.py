"""What a model is given is judged: the like is let in, the unlike refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.fitfor.films import SIDE, changed, film, learnt, mapping, model
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import Fitness, judge

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Mapping:
    return model(tmp_path_factory.mktemp("model"))


def codes(fitness: Fitness, refusing: bool = True) -> list[str]:
    return [reason.code for reason in fitness.reasons if reason.refuses or not refusing]


def test_films_of_the_same_kind_are_let_in(chest: Mapping) -> None:
    judged = [judge(chest, film(seed)) for seed in range(5000, 5150)]
    assert sum(each.refused for each in judged) <= 3
    assert np.median([each.distance for each in judged]) < 0.5
    assert judge(chest, film(5000)) == judged[0]


@pytest.mark.parametrize(("change", "code"), [
    (lambda x: np.rot90(x, 1, (1, 2)), "quarter-turn"), (lambda x: np.rot90(x, 3, (1, 2)), "quarter-turn"), (lambda x: np.rot90(x, 2, (1, 2)), "half-turn"),
    (lambda x: x[:, ::-1], "upside-down"), (lambda x: 255 - x, "inverted"), (lambda x: x + RNG.normal(0, 30, x.shape), "noisy"),
])
def test_an_altered_film_is_refused_and_the_alteration_named(chest: Mapping, change: Callable[[np.ndarray], np.ndarray], code: str) -> None:
    judged = [judge(chest, changed(film(seed), change)) for seed in range(6000, 6040)]
    assert all(each.refused and each.distance is not None and each.distance > 1 for each in judged)
    assert sum(codes(each)[0] == code for each in judged) >= 38


def test_a_mirrored_film_is_let_in_with_a_warning(chest: Mapping) -> None:
    judged = [judge(chest, changed(film(seed), lambda x: x[:, :, ::-1])) for seed in range(6000, 6030)]
    assert sum("mirrored" in codes(each, refusing=False) for each in judged) >= 25
    assert not any("mirrored" in codes(each) for each in judged)


def test_other_pictures_are_refused_as_unlike(chest: Mapping) -> None:
    y, x = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE), indexing="ij")
    others = {"knee": 90 + 120 * np.exp(-(((x - 0.5) / 0.15) ** 2)) * (abs(y - 0.5) > 0.03), "cells": 200 - 90 * (np.sin(25 * x) * np.sin(25 * y) > 0.3),
              "noise": RNG.uniform(0, 255, (SIDE, SIDE))}
    for name, other in others.items():
        made = judge(chest, changed(film(1), lambda _, other=other: other[None]))
        assert made.refused and {"unlike", "unlike-inside"} & set(codes(made)), name
        assert "as far" in made.sentence() and "倍" in made.sentence("zh")


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_image_is_refused_also_without_statistics(chest: Mapping, value: int) -> None:
    empty = changed(film(1), lambda x: x * 0 + value)
    for each in (chest, mapping()):
        made = judge(each, empty)
        assert codes(made) == ["empty"] and "Nothing is on this image" in made.sentence() and made.distance is None
    nowhere = replace(empty, image=np.full((1, SIDE, SIDE), np.nan, np.float32))
    assert codes(judge(chest, nowhere)) == ["empty"]


@pytest.mark.parametrize(("study", "code", "told"), [
    (film(1, modality="MR"), "modality", "The modality is MR; the model was trained on CR."), (film(1, body_part="KNEE"), "body-part", "KNEE"),
    (Study(np.repeat(film(1).image, 8, 0).reshape(1, 8, SIDE, SIDE), Grid.plain((8, SIDE, SIDE))), "axes", "3 axes; the model reads 2"),
    (film(1, spacing=5.0), "spacing-far", "5 mm"), (film(1, side=9), "too-small", "9 samples"),
    (changed(film(1), lambda x: np.concatenate([x, x * 0.6, x * 0.3])), "colour", "colour picture"),
])
def test_what_the_file_says_is_enough_to_refuse(chest: Mapping, study: Study, code: str, told: str) -> None:
    made = judge(chest, study)
    assert code in codes(made) and told in made.sentence()


def test_lesser_disagreements_warn(chest: Mapping) -> None:
    for study, code in ((film(1, spacing=None), "spacing-unknown"), (film(1, spacing=1.2), "spacing"), (replace(film(1), bits=12), "bits"),
                        (film(1, side=3 * SIDE), "size")):
        assert code in codes(judge(chest, study), refusing=False)
    assert not judge(chest, film(1, modality=None, body_part="")).refused
    assert not judge(chest, film(1, modality="DX")).refused


def test_a_model_without_statistics_says_so_once_and_reads(tmp_path: Path) -> None:
    mapping().save(tmp_path)
    for each in (mapping(), Mapping.load(tmp_path)):
        made = judge(each, film(1))
        assert not made.refused and codes(made, refusing=False) == ["no-statistics"] and made.distance is None
        assert "holds no statistics of its training images" in made.reasons[0].en


def test_the_statistics_of_a_study_are_those_of_the_reference(chest: Mapping) -> None:
    made = judge(chest, film(5001))
    assert set(learnt().reference) - {"answer.ill"} == set(made.statistics)
    reference = learnt().reference
    assert len({len(values) for values in reference.values()}) == 1 and len(reference["brightness"]) == 60
    assert min(reference["brightness"]) - 0.1 < made.statistics["brightness"] < max(reference["brightness"]) + 0.1  # type: ignore[operator]
    assert made.statistics["modality"] == "CR"


def test_the_judgement_is_plain_values(chest: Mapping) -> None:
    plain = judge(chest, film(1, modality="MR")).to_dict(forced=True)
    assert plain["refused"] and plain["forced"] and plain["reasons"][0]["code"] == "modality" and plain["statistics"]["modality"] == "MR"
    assert not judge(chest, film(1)).to_dict(forced=True)["forced"]
