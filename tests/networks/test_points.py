"""Which point answers for which box, and what the loss of points without anchors promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.kernels.boxes import iou
from vesalius.networks._points import MOST_POINTS, aligned, overlaps, point_loss, points_of

K = 2


def lattice(side: int, ndim: int, strides: tuple[int, ...] = (8, 16, 32)) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of all maps of a square tile and their strides."""
    points = [points_of((side // stride,) * ndim, stride) for stride in strides]
    return torch.cat(points), torch.cat([torch.full((len(each),), float(stride)) for each, stride in zip(points, strides, strict=True)])


def fresh(points: torch.Tensor, strides: torch.Tensor, k: int = K) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network says before it has learnt: rare classes, boxes as large as two cells."""
    reach = strides[:, None].expand_as(points)
    return torch.full((len(points), k), 0.01), torch.cat([points - reach, points + reach], 1)


def truth(*boxes: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


def test_points_are_the_centres_of_cells() -> None:
    assert points_of((2, 3), 4).tolist() == [[2, 2], [2, 6], [2, 10], [6, 2], [6, 6], [6, 10]]
    assert points_of((1, 1, 2), 8).tolist() == [[4, 4, 4], [4, 4, 12]]


@pytest.mark.parametrize("ndim", [2, 3])
def test_overlap_is_that_of_the_kernel_and_the_generalized_one_pulls_from_afar(ndim: int) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 8, (2, 30, ndim))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 8, low.shape)], -1)
    plain = overlaps(torch.tensor(boxes[0])[:, None], torch.tensor(boxes[1])[None])
    assert np.allclose(plain.numpy(), iou(boxes[0], boxes[1]), atol=1e-5)
    general = overlaps(torch.tensor(boxes[0])[:, None], torch.tensor(boxes[1])[None], True)
    assert (general <= plain + 1e-6).all() and (general > -1).all()
    near, far = truth((0, 0, 2, 2)), truth((5, 0, 7, 2), (9, 0, 11, 2))
    pulled = overlaps(near, far, True)
    assert (overlaps(near, far) == 0).all() and 0 > pulled[0] > pulled[1]
    assert overlaps(near, near, True).item() == pytest.approx(1, abs=1e-5)


def test_overlap_of_nothing_is_a_number() -> None:
    flat = truth((3, 3, 3, 3))
    assert torch.isfinite(overlaps(flat, flat, True)).all() and overlaps(flat, truth((5, 5, 2, 2))).item() == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), ndim=st.sampled_from([2, 3]), small=st.sampled_from([0.3, 3.0, 20.0]))
def test_every_box_gets_a_point_however_small_or_crowded(seed: int, n: int, ndim: int, small: float) -> None:
    side = 64
    points, strides = lattice(side, ndim)
    probability, boxes = fresh(points, strides)
    draw = np.random.default_rng(seed)
    low = draw.uniform(0, side - small, (n, ndim))
    each = np.concatenate([low, low + draw.uniform(0.2, 1, (n, ndim)) * small, draw.integers(0, K, (n, 1))], 1)
    mine, share = aligned(probability, boxes, points, strides, torch.tensor(each, dtype=torch.float32))
    counts = np.bincount(mine[mine >= 0].numpy(), minlength=n)
    assert counts.max() <= MOST_POINTS
    assert (share[mine < 0] == 0).all() and (share >= 0).all() and (share <= 1 + 1e-5).all()
    assert (counts > 0).all()


def test_a_point_answers_for_a_box_that_it_lies_in() -> None:
    points, strides = lattice(64, 2)
    mine, _ = aligned(*fresh(points, strides), points, strides, truth((4, 4, 30, 20, 0), (34, 34, 62, 62, 1)))
    for k, box in enumerate(((4, 4, 30, 20), (34, 34, 62, 62))):
        own = points[mine == k]
        assert len(own) and ((own > torch.tensor(box[:2])) & (own < torch.tensor(box[2:]))).all()


def test_a_box_between_the_points_is_answered_for_beside_its_middle_on_the_finest_map() -> None:
    points, strides = lattice(64, 2)
    mine, _ = aligned(*fresh(points, strides), points, strides, truth((7.5, 7.5, 8.5, 8.5, 0), (25, 25, 27, 27, 1)))
    assert (strides[mine == 1] == 8).all() and ((points[mine == 1] - 26).abs() <= 8).all() and (mine == 1).any()


def test_the_better_a_point_does_the_more_it_is_asked_for() -> None:
    """The point that already gives the box, and its class, has the largest target: its overlap."""
    points, strides = lattice(64, 2)
    probability, boxes = fresh(points, strides)
    best = int(((points - 12).abs().sum(1) + (strides != 8) * 99).argmin())
    boxes[best] = torch.tensor([2.0, 2, 23, 22])
    probability[best, 1] = 0.6
    mine, share = aligned(probability, boxes, points, strides, truth((2, 2, 22, 22, 1)))
    assert mine[best] == 0 and share.argmax() == best and share[best].item() == pytest.approx(20 / 21, abs=1e-3)


def test_two_boxes_at_one_place_share_the_points() -> None:
    points, strides = lattice(64, 2)
    mine, _ = aligned(*fresh(points, strides), points, strides, truth((10, 10, 40, 40, 0), (18, 18, 26, 26, 1)))
    assert set(mine.tolist()) == {-1, 0, 1}


def test_without_a_box_no_point_answers() -> None:
    points, strides = lattice(32, 2)
    mine, share = aligned(*fresh(points, strides), points, strides, torch.zeros(0, 5))
    assert (mine == -1).all() and (share == 0).all()


def rows(*boxes: tuple[float, ...]) -> torch.Tensor:
    """A batch of one case: low, high, label, ignored, risk; padded."""
    return torch.tensor([[*boxes, (0,) * (len(boxes[0]) - 3) + (-1, 0, 0)]], dtype=torch.float32)


NONE = rows((0, 0, 0, 0, -1, 0, 0))


def loss(raw: torch.Tensor, boxes: torch.Tensor, risk: torch.Tensor | None, given: torch.Tensor, side: int = 64) -> torch.Tensor:
    return point_loss(raw, boxes, risk, *lattice(side, 2), given)


def said(right: float, given: tuple[float, ...], side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and boxes of a network that says nothing but, at the points within the box, that box with a logit."""
    points, _ = lattice(side, 2)
    inside = ((points > torch.tensor(given[:2])) & (points < torch.tensor(given[2:4]))).all(1)
    raw = torch.full((1, len(points), K), -9.0)
    raw[0, inside, int(given[4])] = right
    boxes = torch.cat([points - 4, points + 4], 1)
    boxes[inside] = torch.tensor(given[:4])
    return raw, boxes[None]


BOX = (8.0, 8.0, 40.0, 40.0, 1.0, 0.0, float("nan"))


def test_what_is_right_costs_little_and_every_mistake_more() -> None:
    right = loss(*said(9.0, BOX), None, rows(BOX)).item()
    other = loss(*said(9.0, (*BOX[:4], 0)), None, rows(BOX)).item()
    missed = loss(*said(-9.0, BOX), None, rows(BOX)).item()
    invented = loss(*said(9.0, BOX), None, NONE).item()
    raw, boxes = said(9.0, BOX)
    shifted = loss(raw, boxes + 6, None, rows(BOX)).item()
    assert right < min(other, missed, invented, shifted)
    assert loss(*said(-9.0, BOX), None, NONE).item() < 0.1


def test_a_better_box_costs_less() -> None:
    raw, boxes = said(2.0, BOX)
    each = [loss(raw, boxes + off, None, rows(BOX)).item() for off in (0, 2, 4, 6)]
    assert each == sorted(each)


def test_an_ignored_box_is_neither_learnt_nor_background() -> None:
    """Whatever is said there costs nothing, and no point answers for it."""
    hidden = rows((*BOX[:5], 1.0, float("nan")))
    wrong, silent = loss(*said(9.0, BOX), None, hidden), loss(*said(-9.0, BOX), None, hidden)
    assert wrong.item() == pytest.approx(silent.item(), abs=1e-4) and loss(*said(9.0, BOX), None, NONE) > 10 * wrong
    raw = said(2.0, BOX)[0].requires_grad_()
    loss(raw, said(2.0, BOX)[1], None, hidden).sum().backward()
    points, _ = lattice(64, 2)
    inside = ((points > 8) & (points < 40)).all(1)
    assert raw.grad is not None and not raw.grad[0, inside].any() and raw.grad[0, ~inside].any()


def test_a_box_within_an_ignored_one_is_learnt_all_the_same() -> None:
    crowd = (0.0, 0.0, 64.0, 64.0, 0.0, 1.0, float("nan"))
    assert loss(*said(9.0, BOX), None, rows(BOX, crowd)) < 0.5 * loss(*said(-9.0, BOX), None, rows(BOX, crowd))


def test_the_risk_is_learnt_where_it_is_known() -> None:
    raw, boxes = said(9.0, BOX)
    sure = torch.full(raw.shape[:2], 5.0)
    known = [loss(raw, boxes, sure * sign, rows((*BOX[:6], value))).item() for sign in (1, -1) for value in (0.0, 1.0, float("nan"), -1.0)]
    high_0, high_1, high_unknown, high_less, low_0, low_1, low_unknown, _ = known
    assert high_1 < high_0 and low_0 < low_1 and high_unknown == high_less == low_unknown
    assert high_unknown <= high_1 + 1e-6 and high_unknown == pytest.approx(loss(raw, boxes, None, rows(BOX)).item())


def test_each_case_has_its_own_loss_and_padding_none() -> None:
    raw, boxes = said(2.0, BOX)
    two = loss(raw.repeat(2, 1, 1), boxes.repeat(2, 1, 1), None, torch.cat([rows(BOX), rows(BOX)]))
    assert two.shape == (2,) and torch.allclose(two[0], two[1]) and torch.allclose(two[:1], loss(raw, boxes, None, rows(BOX)))
    more = torch.cat([rows(BOX), NONE[:, :1].expand(1, 5, 7)], 1)
    assert torch.equal(loss(raw, boxes, None, more), loss(raw, boxes, None, rows(BOX)))


def test_gradients_are_finite_also_for_points_and_boxes_without_extent() -> None:
    raw, boxes = said(2.0, BOX)
    raw, flat = raw.requires_grad_(), (boxes.clone() * 0 + 20).requires_grad_()
    loss(raw, flat, None, rows(BOX, (20, 20, 20, 20, 0, 0, float("nan")))).sum().backward()
    assert raw.grad is not None and flat.grad is not None and torch.isfinite(raw.grad).all() and torch.isfinite(flat.grad).all()


@pytest.mark.gpu
def test_on_a_gpu_the_same_points_answer_and_the_loss_is_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    points, strides = lattice(64, 2)
    raw, boxes = said(2.0, BOX)
    here, there = (point_loss(raw.to(d), boxes.to(d), None, points.to(d), strides.to(d), rows(BOX).to(d)).cpu() for d in ("cpu", "cuda"))
    assert torch.allclose(here, there, rtol=1e-4)
