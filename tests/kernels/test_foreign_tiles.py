"""Tiles and resampling as foreign libraries have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from vesalius.errors import OptionError
from vesalius.kernels.resample import decided, largest
from vesalius.kernels.tiling import places_by_step, profile, profiles, stream

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("blend", ["gaussian", "centred", "constant"])
@pytest.mark.parametrize("least", [0.0, 1e-3])
def test_a_constant_stays_a_constant_however_tiles_are_weighted_and_placed(blend: str, least: float) -> None:
    size, shape = (6, 8, 8), (13, 20, 7)
    x = torch.from_numpy(RNG.random((1, *shape)).astype(np.float32))
    slabs = stream(lambda t: t, x, size=size, n_out=1, weights=profiles(size, blend), least=least, starts=places_by_step(shape, size, 0.25))
    assert torch.allclose(torch.cat([raw for _, raw in slabs], 1), x, atol=1e-5)


def test_a_least_weight_moves_the_border_of_two_tiles() -> None:
    """Two tiles that say 0 and 1: the share of the second is that of its weights."""
    size, starts = (8, 8), [[0, 4], [0]]
    said = iter((0.0, 1.0))
    weights = profiles(size, "centred")
    slabs = stream(lambda t: torch.full_like(t, next(said)), torch.zeros(1, 12, 8), size=size, n_out=1, weights=weights, least=0.5, starts=starts)
    found = torch.cat([raw for _, raw in slabs], 1)[0]
    one = (weights[0][:, None] * weights[1]).clamp(min=0.5)
    assert torch.allclose(found[4:8].double(), one[:4] / (one[:4] + one[4:]), atol=1e-5)


def test_profiles_have_their_middle_where_the_library_has_it() -> None:
    assert int(profile(8).argmax()) == 4 and profiles((8,), "gaussian")[0][4] == 1
    centred = profiles((8,), "centred")[0]
    assert torch.allclose(centred, centred.flip(0)) and float(profiles((8,), "constant")[0].min()) == 1
    with pytest.raises(OptionError, match="unknown blend 'soft': expected gaussian, centred or constant"):
        profiles((8,), "soft")


def test_decisions_between_points_are_those_of_resampled_values() -> None:
    raw = RNG.standard_normal((3, 7, 9, 8)).astype(np.float32)
    steps, shape = (0.6, 0.45, 1.3), (12, 20, 6)
    expected = np.stack([affine_transform(plane, np.array(steps), output_shape=shape, order=1, mode="nearest") for plane in raw]).argmax(0)
    found = decided(((slice(i, i + 1), torch.from_numpy(raw[:, i : i + 1])) for i in range(7)), (7, 9, 8), shape, largest, steps=steps)
    assert np.mean(found[0] == expected) > 0.9999
    same = decided([(slice(0, 7), torch.from_numpy(raw))], (7, 9, 8), (7, 9, 8), largest, steps=(1.0, 1.0, 1.0))
    assert np.array_equal(same[0], raw.argmax(0))
