"""A mapping that detects: the same answer however tiles, mirror images, members and axes lie; saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.mapping import BoxedMapping, Mapping, network_of
from vesalius.outputs import output_for
from vesalius.plan import Plan

TARGET = TargetSpec("boxes", ("dot",))


class Dots(nn.Module):
    """Says a box of 6 samples about every local maximum above 0.5: a detector that is right by construction."""

    multiple = 1

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        d = x.ndim - 2
        pool = torch.nn.functional.max_pool2d if d == 2 else torch.nn.functional.max_pool3d
        top = (x[:, :1] == pool(x[:, :1], 5, 1, 2)) & (x[:, :1] > 0.5)
        made = torch.full((len(x), 40, 2 * d + 1), -50.0)
        for i, each in enumerate(top[:, 0]):
            for j, place in enumerate(each.nonzero()[:40]):
                made[i, j, :d], made[i, j, d : 2 * d] = place + 0.5 - 3, place + 0.5 + 3
                made[i, j, 2 * d] = 2.0
        return made


def mapping(size: tuple[int, ...], **options: object) -> BoxedMapping:
    reads = TileReads(size, 1, schemes=("full",), overlap=0.4, mean=(0.0,), std=(1.0,), **options)  # type: ignore[arg-type]
    return BoxedMapping(reads, [Dots()], output_for(TARGET), Plan())


def dotted(shape: tuple[int, ...], seed: int = 0, grid: Grid | None = None) -> tuple[Study, np.ndarray]:
    """A study with dots on a lattice, and their places."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(*(np.arange(7, n - 7, 13) for n in shape), indexing="ij"), -1).reshape(-1, len(shape))
    places = lattice[rng.random(len(lattice)) < 0.6]
    image = np.zeros((1, *shape), np.uint8)
    image[(0, *places.T)] = 255
    return Study(image, grid or Grid.plain(shape)), places


def centres(found: object, d: int) -> set[tuple[float, ...]]:
    boxes = found.boxes  # type: ignore[attr-defined]
    return {tuple(((box[:d] + box[d:]) / 2 - 0.5).round(2).tolist()) for box in boxes}


@pytest.mark.parametrize(("shape", "size"), [((90, 120), (32, 48)), ((40, 50, 44), (24, 24, 24)), ((20, 200), (32, 32))])
def test_every_object_is_found_once_whatever_the_tiles(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    study, places = dotted(shape)
    found = mapping(size).detect(study)
    assert len(found) == len(places)
    assert centres(found, len(shape)) == {tuple(map(float, place)) for place in places}


def test_mirror_images_and_members_are_fused_to_one() -> None:
    study, places = dotted((64, 64))
    several = mapping((32, 32))
    several.mirror = (0, 1)
    several.networks = [Dots(), Dots()]
    found = several.detect(study)
    assert centres(found, 2) == {tuple(map(float, place)) for place in places}
    assert np.allclose(found.scores, 1 / (1 + np.exp(-2.0)), atol=1e-5)


def test_a_turned_volume_gives_the_same_boxes_in_mm() -> None:
    study, places = dotted((40, 44, 36), grid=Grid.plain((40, 44, 36), (2.0, 1.0, 1.5)))
    turned = np.ascontiguousarray(study.image.transpose(0, 3, 1, 2)[:, ::-1])
    affine = study.grid.affine_lps[:, [1, 2, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 2] * (36 - 1)
    affine[:3, 2] *= -1
    other = Study(turned, Grid((36, 40, 44), (1.5, 2.0, 1.0), affine))
    for each in (study, other):
        box = mapping((24, 24, 24)).detect(each).boxes
        world = each.grid.world((box[:, :3] + box[:, 3:]) / 2 - 0.5)
        assert {tuple(row) for row in world.round(3).tolist()} == {tuple(row) for row in study.grid.world(places).round(3).tolist()}


def test_a_picture_is_brought_to_its_longest_side_and_back() -> None:
    rng = np.random.default_rng(1)
    image = np.zeros((1, 100, 160), np.uint8)
    places = [(20, 30), (60, 100), (80, 140)]
    for y, x in places:
        image[0, y - 4 : y + 4, x - 4 : x + 4] = 255
    image = image.repeat(2, 1).repeat(2, 2) + rng.integers(0, 9, (1, 200, 320)).astype(np.uint8) // 9
    found = mapping((96, 96), longest=160).detect(Study(image, Grid.plain((200, 320))))
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 4
    assert all(np.abs(middles - place).max(1).min() < 4.5 for place in places)


def test_another_number_of_axes_is_refused() -> None:
    with pytest.raises(DataError, match="wrong number of axes"):
        mapping((24, 24)).detect(dotted((30, 30, 30))[0])


def test_saved_and_loaded_it_answers_alike(tmp_path: object) -> None:
    plan = Plan().decide("network.name", "yolo-like", "").decide("network.options", {"width": 8}, "")
    reads = TileReads((64, 64), 1, schemes=("full",), overlap=0.3)
    output = output_for(TARGET)
    output.facts["thresholds"] = {"dot": 0.004}
    made = BoxedMapping(reads, [network_of(plan, reads, 1)], output, plan)
    made.save(tmp_path)  # type: ignore[arg-type]
    again = Mapping.load(tmp_path)  # type: ignore[arg-type]
    assert isinstance(again, BoxedMapping) and again.hash == made.hash
    study, _ = dotted((80, 90))
    first, second = made.detect(study, 0.0), again.detect(study, 0.0)
    assert np.array_equal(first.boxes, second.boxes) and np.array_equal(first.scores, second.scores)
    assert set(made.took) == {"prepare", "network", "suppress"}
