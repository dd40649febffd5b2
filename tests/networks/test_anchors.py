"""Anchors and pyramids: where they are, what they answer for, and what is refused."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import OptionError
from vesalius.networks import build
from vesalius.networks._anchors import adaptive, anchors_of, decoded, default_sides, encoded, flat, shared_out, unjudged
from vesalius.networks._points import overlaps
from vesalius.networks._pyramid import pyramid
from vesalius.networks.faster_rcnn import one_against_rest, proposals
from vesalius.networks.retinanet import focal


def test_anchors_lie_about_the_cells_with_their_area() -> None:
    made = anchors_of([(2, 3), (1, 1)], [8, 16], [[4.0], [10.0]], (1.0, 4.0))
    assert made.shape == (14, 4)
    assert made[0].tolist() == [2.0, 2.0, 6.0, 6.0]
    assert made[1].tolist() == [0.0, 3.0, 8.0, 5.0]
    assert made[-2].tolist() == [3.0, 3.0, 13.0, 13.0]
    assert torch.allclose((made[:12, 2:] - made[:12, :2]).prod(1), torch.tensor(16.0))


def test_anchors_in_volumes_keep_their_volume() -> None:
    made = anchors_of([(1, 1, 1)], [4], [[8.0]], (1.0, 0.5))
    assert made[0].tolist() == [-2.0] * 3 + [6.0] * 3
    sides = made[1, 3:] - made[1, :3]
    assert torch.isclose(sides.prod(), torch.tensor(512.0)) and torch.isclose(sides[0] / sides[1], torch.tensor(0.5))


def test_raw_values_lie_in_the_order_of_the_anchors() -> None:
    maps = torch.arange(2 * 3 * 2 * 2).float().reshape(1, 6, 2, 2)
    rows = flat([maps], 3)
    assert rows.shape == (1, 8, 3)
    assert rows[0, 3].tolist() == maps[0, 3:, 0, 1].tolist()


@pytest.mark.parametrize("d", [2, 3])
def test_boxes_come_back_from_their_anchors(d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    low, other = torch.rand(50, d, generator=generator) * 40, torch.rand(50, d, generator=generator) * 40
    boxes, anchors = torch.cat([low, low + 5 + other], 1), torch.cat([other, other + 3 + low], 1)
    for weights in ((1.0, 1.0), (10.0, 5.0)):
        assert torch.allclose(decoded(encoded(boxes, anchors, weights), anchors, weights), boxes, atol=1e-3)


def test_each_true_box_has_an_anchor_however_small_or_large() -> None:
    size, strides = (64, 64), (8, 16)
    shapes = [tuple(n // s for n in size) for s in strides]
    anchors = anchors_of(shapes, strides, [[12.0], [24.0]], (1.0,))
    boxes = torch.tensor([[20.0, 20, 32, 32], [3, 3, 4, 4], [0, 0, 64, 64], [40, 10, 60, 40]])
    mine = adaptive(anchors, [64, 16], boxes)
    assert set(mine.tolist()) == {-1, 0, 1, 2, 3}
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    for i in (0, 3):
        assert ((middle[mine == i] > boxes[i, :2]) & (middle[mine == i] < boxes[i, 2:])).all()
        assert overlaps(anchors[mine == i], boxes[i]).min() > overlaps(anchors, boxes[i]).mean()
    assert (adaptive(anchors, [64, 16], boxes[:0]) == -1).all()


def test_what_an_ignored_box_covers_or_meets_is_not_judged() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 10, 10], [0, 0, 13, 13], [6, 6, 14, 14], [0, 0, 40, 40]])
    assert unjudged(boxes, torch.tensor([[0.0, 0, 10, 10]])).tolist() == [True, True, True, False, False]
    assert not unjudged(boxes, boxes[:0]).any()


def test_sides_grow_and_are_shared_out() -> None:
    sides = default_sides((100, 260), 3)
    assert sides[0] == pytest.approx(100 / 26) and sides[-1] == pytest.approx(60) and sides[1] / sides[0] == pytest.approx(sides[2] / sides[1])
    assert default_sides((52, 52), 1) == [pytest.approx(2)]


def test_soft_max_and_sigmoid_say_the_same() -> None:
    raw = torch.randn(20, 4) * 5
    assert torch.allclose(one_against_rest(raw).sigmoid(), raw.softmax(1)[:, 1:], atol=1e-6)


def test_the_focal_loss_of_one_value() -> None:
    raw, p = torch.tensor([0.0, 2.0]), torch.tensor([0.5, 1 / (1 + torch.e**-2)])
    found = focal(raw, torch.tensor([1.0, 0.0]))
    assert torch.allclose(found, torch.stack([-0.25 * 0.5**2 * p[0].log(), -0.75 * p[1] ** 2 * (1 - p[1]).log()]), atol=1e-5)


def test_proposals_are_inside_apart_and_counted() -> None:
    boxes = torch.tensor([[[-5.0, -5, 10, 10], [-5, -5, 10, 9.5], [20, 20, 90, 90], [80, 80, 90, 90], [-5, -5, 10, 10]]])
    found, valid = proposals(torch.tensor([[3.0, 2, 1, 0, 2.5]]), boxes, [4, 1], (64, 64), 5)
    assert valid.tolist() == [[True, True, True, False, False]]
    assert found[0, :3].tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 64, 64]]


def test_a_network_whose_proposals_are_few_fills_up() -> None:
    network = build("faster-rcnn", channels=1, n_out=2, size=(64, 64), width=8, hidden=8, ratios=[1, 1.01]).eval()
    with torch.no_grad():
        out = network(torch.zeros(2, 1, 64, 64))
    none = out[..., 4:].amax(-1) == -50
    assert none.any() and not none.all() and (out[..., 4:][none] == -50).all()


@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "mobilenet-v3-small", "resnet18", "squeezenet", "efficientnet-lite0", "timm:convnext_atto"])
def test_maps_have_the_strides_they_state(backbone: str) -> None:
    made = pyramid(backbone, 2, 1, 8, 16).eval()
    with torch.no_grad():
        maps = made(torch.zeros(1, 1, 64, 128))
    assert [tuple(each.shape[1:]) for each in maps] == [(16, -(-64 // stride), -(-128 // stride)) for stride in made.strides]


@pytest.mark.parametrize("finest", [4, 8, 16])
def test_maps_of_volumes(finest: int) -> None:
    made = pyramid("resnet10", 3, 2, finest, 8).eval()
    with torch.no_grad():
        maps = made(torch.zeros(1, 2, 32, 16, 32))
    assert [tuple(each.shape[2:]) for each in maps] == [(32 // s, 16 // s, 32 // s) for s in (4, 8, 16) if s >= finest]


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("faster-rcnn", (64, 64), {"backbone": "resnt18"}, "unknown backbone 'resnt18': expected one of resnet18"),
        ("faster-rcnn", (64, 64), {"backbone": "vit_tiny_patch16_224"}, r"has no maps at these strides: expected \[8, 16, 32\], got \[16, 16"),
        ("faster-rcnn", (64, 64), {"finest": 6}, "impossible pyramid of features: expected finest 4, 8 or 16, a width that is a multiple of 8, got finest 6"),
        ("retinanet", (64, 64), {"width": 20}, "impossible pyramid of features.*width 20"),
        ("retinanet", (64, 64, 64), {"backbone": "squeezenet"}, "unknown backbone in 3-D 'squeezenet': expected one of resnet"),
        ("yolo-like", (64, 64), {"backbone": "squeezenet"}, r"'squeezenet' has no maps at these strides: expected \[8, 16, 32\], got \[4, 8, 16\]"),
        ("yolo-like", (64, 64, 64), {"backbone": "resnet10", "levels": 4}, r"'resnet10' has no maps.*got \[4, 8, 16\]"),
        ("retinanet", (64, 64), {"anchors": []}, r"impossible anchors: expected sides in samples, each greater than 0, got \[\]"),
        ("retinanet", (64, 64), {"anchors": [4, 0]}, "impossible anchors"),
        ("retinanet", (64, 64), {"ratios": [1, 0]}, r"impossible anchors: expected ratios of sides, each greater than 0, got \[1, 0\]"),
        ("faster-rcnn", (64, 64), {"ratios": []}, r"impossible 'faster-rcnn': expected ratios greater than 0, .* at least 1, got ratios \[\]"),
        ("faster-rcnn", (64, 64), {"n_proposals": 0}, "impossible 'faster-rcnn'.*n_proposals 0"),
    ],
)
def test_impossible_options_are_refused(name: str, size: tuple[int, ...], options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(name, channels=1, n_out=2, size=size, **options)


def test_anchors_of_the_plan_are_followed() -> None:
    made = build("retinanet", channels=1, n_out=1, size=(64, 64), anchors=[8, 16, 32], ratios=[1])
    assert made.sides == [[8, 16, 32]] * 4 and made.ratios == [1]
    assert shared_out([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]


def test_a_model_of_timm_without_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr("timm.create_model", none)
    with pytest.raises(OptionError, match="timm's 'resnet18' gives no maps of features: expected e.g. mobilenet-v3-large.*; choose another backbone"):
        pyramid("resnet18", 2, 1, 8, 16)


@pytest.mark.parametrize(
    ("size", "options", "multiple"),
    [((64, 64), {"backbone": "squeezenet", "levels": 2}, 16), ((64, 64), {"backbone": "resnet18"}, 32), ((32, 32, 32), {"backbone": "resnet10"}, 16)],
)
def test_our_one_stage_detector_on_another_backbone(size: tuple[int, ...], options: dict[str, object], multiple: int) -> None:
    made, d = build("yolo-like", channels=1, n_out=2, size=size, width=8, **options), len(size)
    assert made.multiple == multiple
    truth = torch.tensor([[[4.0] * d + [24.0] * d + [0, 0, 0]]]).expand(2, 1, 2 * d + 3)
    made(torch.randn(2, 1, *size), truth).sum().backward()
    assert all(p.grad is not None for p in made.parameters())
    with torch.no_grad():
        least = made.eval()(torch.zeros(1, 1, *(multiple,) * d))
    assert least.shape == (1, sum((multiple // stride) ** d for stride in made.strides), 2 * d + 2)
