"""Partition: tiling a constant returns the constant; tiling anything returns what the definition gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vesalius.kernels.resample import decided, largest
from vesalius.kernels.tiled_labels import labels_of
from vesalius.kernels.tiling import gaussian, places, profile, stream

BLENDS = {
    "gaussian": profile,
    "even": lambda side: torch.ones(side, dtype=torch.float64),
    "hann": lambda side: torch.hann_window(side + 2, periodic=False, dtype=torch.float64)[1:-1],
    "lopsided": lambda side: torch.arange(1, side + 1, dtype=torch.float64),
}
sides = st.one_of(st.lists(st.tuples(st.integers(1, 14), st.integers(1, 8)), min_size=2, max_size=3))


@pytest.mark.parametrize("blend", BLENDS)
@settings(max_examples=40, deadline=None)
@given(sides=sides, overlap=st.floats(0, 0.9), batch=st.integers(1, 3))
def test_tiling_a_constant_returns_the_constant(blend: str, sides: list[tuple[int, int]], overlap: float, batch: int) -> None:
    shape, size = zip(*sides, strict=True)

    def constant(x: Tensor) -> Tensor:
        return torch.tensor([3.0, -2.0]).reshape(1, 2, *[1] * len(size)).expand(len(x), 2, *size)

    slabs = list(stream(constant, torch.zeros(1, *shape), size=size, n_out=2, overlap=overlap, batch=batch, weights=[BLENDS[blend](side) for side in size]))
    raw = torch.cat([each for _, each in slabs], 1)
    assert [where.start for where, _ in slabs] == [0, *[where.stop for where, _ in slabs[:-1]]]
    assert raw.shape == (2, *shape)
    assert torch.allclose(raw, torch.tensor([3.0, -2.0]).reshape(2, *[1] * len(size)), rtol=1e-5)


def of_the_whole(x: Tensor, size: tuple[int, ...], overlap: float) -> Tensor:
    """The definition: every tile times its weights, added up in one array, divided by the sum of the weights."""
    before = [max(0, (side - n) // 2) for n, side in zip(x.shape[1:], size, strict=True)]
    padded = torch.zeros(x.shape[0], *(max(n, side) for n, side in zip(x.shape[1:], size, strict=True)))
    own = tuple(slice(b, b + n) for b, n in zip(before, x.shape[1:], strict=True))
    padded[(slice(None), *own)] = x
    total, weight = torch.zeros(2, *padded.shape[1:]), torch.zeros(padded.shape[1:])
    for corner in itertools.product(*places(x.shape[1:], size, overlap)):
        where = tuple(slice(c + b, c + b + side) for c, b, side in zip(corner, before, size, strict=True))
        total[(slice(None), *where)] += gaussian(size) * positional(padded[(slice(None), *where)][None])[0]
        weight[where] += gaussian(size)
    return (total / weight)[(slice(None), *own)]


def positional(x: Tensor) -> Tensor:
    """A network whose answer depends on the place within the tile, so that blending is seen."""
    ramp = torch.linspace(-1, 1, x[0, 0].numel()).reshape(x.shape[2:])
    return torch.cat([x + ramp, x * ramp], 1)


@settings(max_examples=40, deadline=None)
@given(sides=sides, overlap=st.floats(0, 0.9), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_tiling_equals_its_definition(sides: list[tuple[int, int]], overlap: float, batch: int, seed: int) -> None:
    shape, size = zip(*sides, strict=True)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
    raw = torch.cat([each for _, each in stream(positional, x, size=size, n_out=2, overlap=overlap, batch=batch)], 1)
    assert torch.allclose(raw, of_the_whole(x, size, overlap), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(sides=sides, out=st.lists(st.integers(1, 20), min_size=3, max_size=3), anisotropic=st.booleans(), seed=st.integers(0, 99))
def test_labels_of_a_tiled_image_are_the_decision_on_its_raw_values(sides: list[tuple[int, int]], out: list[int], anisotropic: bool, seed: int) -> None:
    shape, size = zip(*sides, strict=True)
    x, shape_out, seen = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)), tuple(out[: len(shape)]), []
    got = labels_of(
        positional, x, size=size, n_out=2, shape_out=shape_out, decide=largest, anisotropic=anisotropic, observe=lambda where, raw: seen.append((where, raw))
    )
    raw = torch.cat([each for _, each in stream(positional, x, size=size, n_out=2)], 1)
    assert torch.equal(torch.cat([each for _, each in seen], 1), raw)
    assert np.array_equal(got, decided([(slice(0, shape[0]), raw)], shape, shape_out, largest, anisotropic=anisotropic))
