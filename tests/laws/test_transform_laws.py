"""Laws of every augmentation: drawn from a stream, applied purely, one case does not touch another, undone within half a voxel."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import pytest
import torch

import vesalius.transforms
from vesalius.transforms.spatial import Affine

OPTIONS: dict[str, dict[str, Any]] = {
    "Affine": {"rotate_deg": 12.0, "scale": 0.1, "shear": 0.05, "translate": 0.04, "flip_axes": (1,)},
    "Tone": {"brightness": 0.2, "contrast": 0.3, "gamma": 0.3},
    "Noise": {"sigma": 0.1},
    "Erase": {"share": 1.0},
    "Soften": {"share": 1.0},
}


def parts() -> list[type]:
    """Every class of the package that draws and applies."""
    modules = [importlib.import_module(f"vesalius.transforms.{m.name}") for m in pkgutil.iter_modules(vesalius.transforms.__path__)]
    classes = {c for m in modules for _, c in inspect.getmembers(m, inspect.isclass) if c.__module__ == m.__name__}
    return sorted((c for c in classes if hasattr(c, "draw") and hasattr(c, "apply")), key=lambda c: c.__name__)


def test_every_augmentation_has_its_options_here() -> None:
    assert {part.__name__ for part in parts()} == set(OPTIONS)


def images(ndim: int, n: int = 3) -> torch.Tensor:
    return torch.rand((n, 1, *(20 + axis for axis in range(ndim))), generator=torch.Generator().manual_seed(1))


def draw(part: Any, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    names = list(inspect.signature(part.draw).parameters)
    known = {"n": x.shape[0], "ndim": x.ndim - 2, "shape": tuple(x.shape), "generator": generator}
    return part.draw(*(known[name] for name in names))


@pytest.mark.parametrize("part", parts(), ids=lambda part: part.__name__)
@pytest.mark.parametrize("ndim", [2, 3])
class TestEveryAugmentation:
    def test_the_same_stream_draws_the_same(self, part: type, ndim: int) -> None:
        made, x = part(**OPTIONS[part.__name__]), images(ndim)
        assert torch.equal(draw(made, x), draw(made, x)) and not torch.equal(draw(made, x), draw(made, x, seed=1))

    def test_it_is_pure_and_keeps_shape_and_range(self, part: type, ndim: int) -> None:
        made, x = part(**OPTIONS[part.__name__]), images(ndim)
        before, params = x.clone(), draw(made, x)
        out = made.apply(x, params)
        assert torch.equal(x, before) and torch.equal(made.apply(x, params), out)
        assert out.shape == x.shape and out.dtype == x.dtype and not torch.equal(out, x)
        assert out.min() >= -1e-6 and out.max() <= 1 + 1e-6

    def test_one_case_does_not_touch_another(self, part: type, ndim: int) -> None:
        made, x = part(**OPTIONS[part.__name__]), images(ndim)
        params = draw(made, x)
        together = made.apply(x, params)
        apart = torch.cat([made.apply(x[i : i + 1], params[i : i + 1]) for i in range(len(x))])
        assert torch.allclose(together, apart, atol=1e-6)

    def test_without_strength_nothing_changes(self, part: type, ndim: int) -> None:
        made, x = part(), images(ndim)
        assert torch.allclose(made.apply(x, draw(made, x)), x, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_moved_comes_back_within_half_a_voxel(ndim: int) -> None:
    """A soft ball is moved and brought back; its centre of mass is where it was."""
    side = 40
    places = torch.stack(torch.meshgrid(*[torch.arange(float(side))] * ndim, indexing="ij"))
    centre = torch.tensor([17.0, 22.0, 19.0][:ndim])
    ball = torch.exp(-((places - centre.view(-1, *[1] * ndim)) ** 2).sum(0) / 18).expand(4, 1, *[side] * ndim).contiguous()
    affine = Affine(**OPTIONS["Affine"])
    params = draw(affine, ball)
    back = affine.undo(affine.apply(ball, params), params)
    for image in back[:, 0]:
        found = torch.stack([(image * axis).sum() / image.sum() for axis in places])
        assert (found - centre).abs().max() < 0.5


def test_every_option_of_every_augmentation_is_exercised() -> None:
    for part in parts():
        fields = {field.name for field in dataclasses.fields(part)}
        assert set(OPTIONS[part.__name__]) <= fields
