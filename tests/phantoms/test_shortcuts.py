"""Films with a shortcut planted: the twin differs by the plant alone, and the plant agrees with the label as often as was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesalius.errors import OptionError
from vesalius.phantoms import make_phantom
from vesalius.phantoms.shortcuts import PLANTS


def image(root: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / "data" / name)).astype(int)


@pytest.mark.parametrize("plant", [name for name in PLANTS if name != "none"])
def test_the_clean_twin_differs_by_the_plant_alone(tmp_path: Path, plant: str) -> None:
    clean = make_phantom("shortcuts", tmp_path / "clean", seed=1, n=30)
    spoilt = make_phantom("shortcuts", tmp_path / "spoilt", seed=1, n=30, plant=plant)
    assert clean.true_label == spoilt.true_label and clean.planted["ids"] == []
    assert (clean.planted["boxes"] == spoilt.planted["boxes"]) is (plant != "size")
    bears = set(spoilt.planted["ids"])
    agrees = [(name in bears) == (label == "nodule") for name, label in spoilt.true_label.items()]
    assert 0.7 <= np.mean(agrees) <= 1 and 5 < len(bears) < 25
    for name in clean.true_label:
        one, two = image(tmp_path / "clean", name), image(tmp_path / "spoilt", name)
        same = one.shape == two.shape and bool((one == two).all())
        assert same is (name not in bears)
        if plant in ("marker", "border", "background") and not same:
            middle = slice(len(one) // 4, 3 * len(one) // 4)
            assert (one[middle, middle] == two[middle, middle]).mean() > 0.95


def test_a_plant_of_one_half_says_nothing(tmp_path: Path) -> None:
    truth = make_phantom("shortcuts", tmp_path / "p", seed=0, n=400, plant="border", strength=0.5, size=16)
    bears = np.array([name in set(truth.planted["ids"]) for name in truth.true_label])
    ill = np.array([label == "nodule" for label in truth.true_label.values()])
    assert abs(bears[ill].mean() - bears[~ill].mean()) < 0.12


def test_what_cannot_be_planted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nothing called 'cross' can be planted.*marker"):
        make_phantom("shortcuts", tmp_path / "a", plant="cross")
    with pytest.raises(OptionError, match="share: expected 0.5 to 1, got 0.2"):
        make_phantom("shortcuts", tmp_path / "b", strength=0.2)
