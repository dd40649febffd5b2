"""Explanations of a real mapping: on the study's own grid, whatever its size and orientation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.explain import explain_study


@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
@pytest.mark.parametrize(("network", "shape", "size"), [
    ("small-resnet", (50, 70), (32, 32)), ("vit-tiny", (50, 70), (32, 32)), ("small-resnet", (12, 40, 30), (16, 16, 16)),
])
def test_map_lies_on_the_grid_of_the_study(method, network, shape, size):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reads = Reads(size)
    mapping = Mapping(reads, [build(network, channels=1, n_out=2, size=size)], output_for(TargetSpec("binary", ("healthy", "ill"))), Plan())
    plain = Grid.plain(shape, (4.0, 1.0, 1.0)[-len(shape) :])
    affine = plain.affine_lps.copy()
    affine[:2] *= -1
    grid = Grid(plain.shape, plain.spacing_mm, affine)
    study = Study(np.random.default_rng(0).integers(0, 255, (1, *shape), dtype=np.uint8), grid, source="one")
    picture = explain_study(mapping, study, method=method)
    assert picture.grid == grid and picture.array.shape == shape and picture.array.dtype == np.float32
    assert 0 <= picture.array.min() and picture.array.max() <= 1.0001
