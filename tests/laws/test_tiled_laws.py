"""Laws of mappings that read in tiles: grid, orientation, units, batch, file."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.core.finding import Mask
from vesalius.mapping import Mapping, TiledMapping
from vesalius.networks import describe, names

from .conftest import make_study, make_tiled, turned

TINY = {"width": 4, "depth": 3}


def dense_forms() -> list[object]:
    pairs = [(name, ndim) for name in names(dense=True) for ndim in describe(name).ndims]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1]}d", marks=[] if pair[0] in ("unet", "fcn") and pair[1] == 2 else [pytest.mark.slow]) for pair in pairs]


@pytest.mark.parametrize("exclusive", [True, False])
def test_grid_a_mask_lies_on_the_grid_of_its_study(ndim: int, exclusive: bool) -> None:
    mapping, study = make_tiled(ndim, exclusive=exclusive, spacing_mm=(1.3,) * ndim, **TINY), make_study(ndim)
    finding = mapping(study)
    masks = [item for item in finding.items if isinstance(item, Mask)]
    assert finding.grid == study.grid and len(masks) == (1 if exclusive else 2)
    assert all(mask.grid == study.grid and mask.array.shape == study.grid.shape for mask in masks)


def test_a_mask_is_the_same_alone_and_after_others(ndim: int) -> None:
    mapping, studies = make_tiled(ndim, **TINY), [make_study(ndim, seed) for seed in range(3)]
    first = [mapping.segment(study).labels for study in studies]
    again = [mapping.segment(study).labels for study in reversed(studies)]
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert len({labels.tobytes() for labels in first}) == 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_orientation_however_a_volume_is_stored_its_mask_is_the_same(order: tuple[int, ...]) -> None:
    mapping, study = make_tiled(3, spacing_mm=(1.5, 1.2, 1.0), **TINY), make_study(3)
    expected = mapping.segment(study).labels[0]
    for flips in ((), (0,), (1, 2)):
        other = turned(study, order, flips)
        found = mapping.segment(other).labels[0]
        place = np.argwhere(expected > -1)
        index = other.grid.index(study.grid.world(place)).round().astype(int)
        assert np.array_equal(found[tuple(index.T)], expected[tuple(place.T)])


def test_units_twice_the_spacing_is_eight_times_the_volume_and_twice_the_length() -> None:
    study = make_study(3)
    double = make_study(3, spacing_mm=tuple(2 * step for step in study.grid.spacing_mm))
    spacing = (2.0, 1.0, 0.9)
    first = make_tiled(3, spacing_mm=spacing, **TINY)(study).scores
    second = make_tiled(3, spacing_mm=tuple(2 * step for step in spacing), **TINY)(double).scores
    assert first["s.volume_mm3"] > 0 and second["s.volume_mm3"] == pytest.approx(8 * first["s.volume_mm3"])
    assert second["s.longest_diameter_mm"] == pytest.approx(2 * first["s.longest_diameter_mm"])


@pytest.mark.parametrize(("name", "ndim_"), dense_forms())
def test_file_what_is_loaded_marks_the_same(name: str, ndim_: int, tmp_path: Path) -> None:
    mapping, study = _of(name, ndim_), make_study(ndim_)
    mapping.save(tmp_path / "model")
    again = Mapping.load(tmp_path / "model")
    assert isinstance(again, TiledMapping) and again.hash == mapping.hash and again.reads == mapping.reads
    assert np.array_equal(again.segment(study).labels, mapping.segment(study).labels)


def _of(name: str, ndim: int) -> TiledMapping:
    return make_tiled(ndim, name, size=(max(32, describe(name).min_size),) * ndim)


def test_doubt_and_uncertainty_are_of_the_raw_values(ndim: int) -> None:
    mapping, study = make_tiled(ndim, **TINY), make_study(ndim)
    found = mapping.segment(study, uncertainty=True, probability=True)
    assert found.uncertainty is not None and found.probability is not None
    assert found.uncertainty.shape == study.grid.shape and 0 <= found.uncertainty.min() and found.uncertainty.max() <= 1
    assert found.probability.shape == (2, *study.grid.shape) and found.probability.sum(0).max() <= 1 + 1e-5
    assert 0 < found.doubt < 1
    with torch.no_grad():
        for weight in mapping.network.parameters():
            weight.mul_(3)
    assert mapping.segment(study).doubt < found.doubt
