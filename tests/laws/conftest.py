"""Parts for the laws: one small mapping of each task, and studies on odd grids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.core.target import KINDS, TargetSpec
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping, network_of
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan

CLASSES = {
    "binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "multilabel": ("p", "q", "r"), "ordinal": ("0", "1", "2", "3"), "regression": (),
    "mask": ("s", "t"), "boxes": ("dot", "ring"),
}
SIZE = {2: (28, 28), 3: (20, 20, 20)}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_mapping(kind: str = "binary", network: str = "small-cnn", ndim: int = 2, size: tuple[int, ...] | None = None, channels: int = 1) -> Mapping:
    """A mapping with fresh weights from a seed."""
    output = output_for(TargetSpec(kind, CLASSES[kind]))  # type: ignore[arg-type]
    output.settle(np.array([0.0, 1.0, 3.0], np.float32) if kind == "regression" else np.array([0, 1]))
    reads = Reads(size or SIZE[ndim], channels=channels, window="percentile", low=1, high=99, mean=(0.5,) * channels, std=(0.25,) * channels)
    plan = Plan().decide("network.name", network, "a law").decide("network.options", {}, "a law")
    torch.manual_seed(0)
    return Mapping(reads, [build(network, channels=channels, n_out=output.n_out, size=reads.size)], output, plan)


def make_study(ndim: int = 2, seed: int = 0, shape: tuple[int, ...] | None = None, spacing_mm: tuple[float, ...] | None = None) -> Study:
    """A smooth picture or volume with a bright ball off its middle."""
    shape = shape or {2: (40, 32), 3: (18, 24, 30)}[ndim]
    spacing_mm = spacing_mm or {2: (0.8, 1.0), 3: (2.0, 1.0, 0.9)}[ndim]
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    centre = rng.uniform(-0.5, 0.5, (ndim,) + (1,) * ndim)
    image = 40 * np.sin(3 * places).sum(0) + 120 * (np.square(places - centre).sum(0) < 0.15) + rng.normal(0, 3, shape)
    return Study(image[None].astype(np.float32), Grid.plain(shape, spacing_mm), bits=16, source=f"study-{seed}")


def turned(study: Study, order: tuple[int, ...], flips: tuple[int, ...]) -> Study:
    """The same patient stored in another axis order, some axes backwards; the affine says so."""
    image = study.image.transpose(0, *(1 + axis for axis in order))
    old = np.eye(4)[[2, 1, 0, 3]]  # array order (z, y, x) to index (x, y, z)
    shuffle = np.zeros((4, 4))
    shuffle[3, 3] = 1
    for new, axis in enumerate(order):
        step = -1 if new in flips else 1
        shuffle[axis, new] = step
        shuffle[axis, 3] = image.shape[1 + new] - 1 if new in flips else 0
    affine = study.grid.affine_lps @ old @ shuffle @ old
    image = np.flip(image, [1 + axis for axis in flips]) if flips else image
    shape, spacing = image.shape[1:], tuple(study.grid.spacing_mm[axis] for axis in order)
    return Study(np.ascontiguousarray(image), Grid(shape, spacing, affine), bits=study.bits, source=study.source)


WHOLE = [kind for kind in KINDS if output_for(TargetSpec(kind, CLASSES[kind])).reading == "whole"]


def make_tiled(ndim: int = 3, network: str = "unet", exclusive: bool = True, spacing_mm: tuple[float, ...] | None = None,
               size: tuple[int, ...] | None = None, **options: object) -> TiledMapping:
    """A mapping that reads in tiles, with fresh weights from a seed; `make_study` needs several tiles of it."""
    output = output_for(TargetSpec("mask", CLASSES["mask"], values=((1,), (2,)), exclusive=exclusive))
    reads = TileReads(size or (16,) * ndim, spacing_mm=spacing_mm)
    plan = Plan().decide("network.name", network, "a law").decide("network.options", options, "a law")
    torch.manual_seed(0)
    return TiledMapping(reads, [build(network, channels=1, n_out=output.n_out, size=reads.size, **options)], output, plan)


def make_boxed(ndim: int = 2, network: str = "yolo-like", spacing_mm: tuple[float, ...] | None = None, size: tuple[int, ...] | None = None,
               risk: str = "", **options: object) -> BoxedMapping:
    """A mapping that detects, with fresh weights from a seed; whatever a box's score, it is in the finding."""
    output = output_for(TargetSpec("boxes", CLASSES["boxes"], risk=risk))
    output.facts["thresholds"] = dict.fromkeys(CLASSES["boxes"], 0.0)
    reads = TileReads(size or (32,) * ndim, spacing_mm=spacing_mm)
    plan = Plan().decide("network.name", network, "a law").decide("network.options", options | ({"risk": True} if risk else {}), "a law")
    torch.manual_seed(0)
    return BoxedMapping(reads, [network_of(plan, reads, output.n_out).eval()], output, plan)


@pytest.fixture(params=WHOLE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def ndim(request: pytest.FixtureRequest) -> int:
    return int(request.param)
