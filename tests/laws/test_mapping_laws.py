"""Laws of every mapping: its grid, its batch, its orientation, its file."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vesalius.core.finding import Picture
from vesalius.mapping import Mapping
from vesalius.networks import describe, names
from vesalius.stages.explain import EXPLANATIONS, explain_study

from .conftest import make_mapping, make_study, turned

QUICK = {2: 28, 3: 24}
LIGHT = {"small-cnn", "small-resnet", "resnet18", "mobilenetv2", "vit-tiny", "cnn-attention", "squeezenet", "convnext-atto", "densenet121", "efficientnet-b0"}


def saved_forms() -> list[object]:
    pairs = [(name, ndim) for name in names(dense=False) for ndim in describe(name).ndims]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1]}d", marks=[] if pair[0] in LIGHT and pair[1] == 2 else [pytest.mark.slow]) for pair in pairs]


def test_grid_a_finding_lies_on_the_grid_of_its_study(kind: str, ndim: int) -> None:
    mapping, study = make_mapping(kind, ndim=ndim), make_study(ndim)
    finding = mapping(study)
    assert finding.grid == study.grid and finding.source == study.source
    assert all(np.isfinite(value) for value in finding.scores.values())
    assert len(finding.scores) == max(1, len(mapping.output.target.classes))


def _explained(method: str, ndim: int) -> Mapping:
    """A mapping that the method has something to say of: attention needs a transformer."""
    return make_mapping("binary", "cnn-attention", ndim) if method == "attention-rollout" else make_mapping(ndim=ndim)


@pytest.mark.parametrize("method", EXPLANATIONS.names())
def test_grid_an_explanation_lies_on_the_grid_of_its_study(method: str, ndim: int) -> None:
    study = make_study(ndim)
    picture = explain_study(_explained(method, ndim), study, method=method)
    assert isinstance(picture, Picture) and picture.grid == study.grid and picture.array.shape == study.grid.shape
    assert 0 <= picture.array.min() and picture.array.max() <= 1


def test_batch_a_study_answers_the_same_alone_and_among_others(kind: str, ndim: int) -> None:
    mapping = make_mapping(kind, "small-resnet", ndim)
    studies = [make_study(ndim, seed) for seed in range(4)]
    alone = [mapping(study).scores for study in studies]
    backwards = [mapping(study).scores for study in reversed(studies)]
    assert alone == backwards[::-1]
    raw = np.stack([mapping.raw(mapping.encode(study)[0]) for study in studies])
    together = mapping.output.probabilities(raw)
    apart = np.concatenate([mapping.output.probabilities(row[None]) for row in raw])
    assert np.array_equal(together, apart)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_orientation_however_a_volume_is_stored_its_finding_is_the_same(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    mapping, study = make_mapping(ndim=3), make_study(3)
    other = turned(study, order, flips)
    assert torch.equal(mapping.encode(study)[0], mapping.encode(other)[0])
    assert mapping(study).scores == mapping(other).scores


@pytest.mark.parametrize("method", EXPLANATIONS.names())
def test_orientation_an_explanation_points_to_the_same_world_mm(method: str) -> None:
    mapping, study = _explained(method, 3), make_study(3)
    other = turned(study, (2, 0, 1), (1,))
    first, second = (explain_study(mapping, each, method=method, target=1) for each in (study, other))
    peak = np.array(np.unravel_index(first.array.argmax(), first.array.shape))
    index = other.grid.index(study.grid.world(peak)).round().astype(int)
    assert second.array[tuple(index)] == pytest.approx(first.array.max(), abs=1e-5)


def test_units_twice_the_spacing_is_eight_times_the_volume_and_the_same_reading() -> None:
    mapping, study = make_mapping(ndim=3), make_study(3)
    double = make_study(3, spacing_mm=tuple(2 * step for step in study.grid.spacing_mm))
    assert double.grid.voxel_mm3 == pytest.approx(8 * study.grid.voxel_mm3)
    corner = np.array(study.grid.shape) - 1
    assert np.allclose(double.grid.world(corner), 2 * study.grid.world(corner))
    assert torch.equal(mapping.encode(study)[0], mapping.encode(double)[0])


@pytest.mark.parametrize(("name", "ndim_"), saved_forms())
def test_file_what_is_loaded_is_bit_equal_to_what_was_saved(name: str, ndim_: int, tmp_path: Path) -> None:
    size = (max(QUICK[ndim_], describe(name).min_size),) * ndim_
    mapping, study = make_mapping(network=name, ndim=ndim_, size=size), make_study(ndim_)
    mapping.save(tmp_path / "model")
    again = Mapping.load(tmp_path / "model")
    assert again.hash == mapping.hash and again.reads == mapping.reads
    assert again(study).to_dict() == mapping(study).to_dict()


def test_file_every_task_answers_the_same_after_loading(kind: str, tmp_path: Path) -> None:
    mapping, study = make_mapping(kind), make_study()
    mapping.save(tmp_path / "model", "card")
    again = Mapping.load(tmp_path / "model")
    assert again(study).to_dict() == mapping(study).to_dict()
    assert again.output.to_dict() == mapping.output.to_dict()


def test_file_the_weights_hold_nothing_that_runs(tmp_path: Path) -> None:
    mapping = make_mapping()
    mapping.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.md", "plan.toml", "weights.safetensors"]
    assert all(isinstance(value, torch.Tensor) for value in load_file(tmp_path / "weights.safetensors").values())
