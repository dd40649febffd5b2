"""The output for masks: its losses against plain definitions, its decisions, its finding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vesalius.core.finding import Mask
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.outputs import Batch, Output, output_for
from vesalius.outputs import _masklosses as losses
from vesalius.outputs.segment import Segment, judged_only

TWO = TargetSpec("mask", ("head", "tail"), values=((1,), (2,)))
NESTED = TargetSpec("mask", ("whole", "core"), values=((1, 2), (2,)), exclusive=False)


def segment(target: TargetSpec = TWO, **facts: object) -> Segment:
    made = output_for(target)
    assert isinstance(made, Segment)
    made.facts = dict(facts)
    return made


class Given(nn.Module):
    """A network that gives what it was told to."""

    def __init__(self, *maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return list(self.maps) if len(self.maps) > 1 else self.maps[0]


def blocks() -> torch.Tensor:
    truth = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    truth[0, 0, :4, :4], truth[0, 0, 4:, 4:] = 1, 2
    truth[1, 0, 2:6, 2:6] = 1
    return truth


def sure(truth: torch.Tensor, n: int) -> torch.Tensor:
    """Raw values that are certain of the truth."""
    return torch.nn.functional.one_hot(truth[:, 0].long().clamp(max=n - 1), n).movedim(-1, 1).float() * 40


def test_the_output_gives_a_background_and_a_channel_a_class() -> None:
    assert segment().n_out == 3 and segment().planes == 1
    assert segment(NESTED).n_out == 2 and segment(NESTED).planes == 2


@pytest.mark.parametrize("kind", ["dice+ce", "focal-tversky+ce", "dice+ce+boundary"])
def test_a_loss_is_least_for_the_truth_and_one_number_a_case(kind: str) -> None:
    truth = blocks()
    good = segment(loss=kind).loss(Given(sure(truth, 3)), Batch(torch.zeros(2, 1, 8, 8), truth))
    bad = segment(loss=kind).loss(Given(sure(truth.roll(3, -1), 3)), Batch(torch.zeros(2, 1, 8, 8), truth))
    assert good.shape == (2,) and bool((good < bad).all())
    assert kind.endswith("boundary") or float(good.max()) < 2e-3


def test_the_dice_loss_is_the_definition() -> None:
    p = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    held = (torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    whole = torch.ones_like(held, dtype=torch.bool)
    expected = 1 - 2 * (p * held).sum((1, 2, 3)) / (p.sum((1, 2, 3)) + held.sum((1, 2, 3)))
    assert torch.allclose(losses.dice_loss(p, held, whole), expected, atol=1e-4)
    together = losses.dice_loss(p, held, whole, together=True)
    assert torch.allclose(together, (1 - 2 * (p * held).sum() / (p.sum() + held.sum())).expand(3), atol=1e-4)


def test_samples_that_nobody_judged_change_nothing() -> None:
    truth, raw = blocks(), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth[:, :, :, 6:] = IGNORED
    other = raw.clone()
    other[:, :, :, 6:] += 100 * torch.randn(2, 3, 8, 2, generator=torch.Generator().manual_seed(1))
    for kind in ("dice+ce", "focal-tversky+ce"):
        first, second = (segment(loss=kind).loss_of(each, truth) for each in (raw, other))
        assert torch.allclose(first, second)
    assert np.array_equal(segment().counts(raw, truth), segment().counts(other, truth))


def test_overlapping_classes_are_judged_apart() -> None:
    truth = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    truth[0, 0, 1:7, 1:7], truth[0, 1, 3:5, 3:5] = 1, 1
    raw = (truth.float() * 2 - 1) * 40
    output = segment(NESTED)
    assert float(output.loss_of(raw, truth)) < 2e-3
    assert torch.equal(output.decide(raw[0]), truth[0])


def test_coarser_maps_of_deep_supervision_count_less() -> None:
    truth = blocks()
    fine, coarse = sure(truth, 3), sure(truth[:, :, ::2, ::2], 3)
    output, batch = segment(), Batch(torch.zeros(2, 1, 8, 8), truth)
    both = output.loss(Given(fine, coarse), batch)
    wrong_fine = output.loss(Given(-fine, coarse), batch)
    wrong_coarse = output.loss(Given(fine, -coarse), batch)
    assert bool((both < wrong_coarse).all()) and bool((wrong_coarse < wrong_fine).all())
    assert output.predict(Given(fine, coarse), batch.x).shape == fine.shape


def test_gradients_reach_raw_values_also_where_a_class_is_absent() -> None:
    raw = torch.zeros(2, 3, 8, 8, requires_grad=True)
    truth = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    segment().loss_of(raw, truth).sum().backward()
    assert raw.grad is not None and float(raw.grad.abs().min()) > 0


def test_judging_in_parts_is_judging_the_whole() -> None:
    truth = blocks().numpy()
    raw = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    whole, parts = segment().judge([(raw, truth)]), segment().judge([(raw[:1], truth[:1]), (raw[1:], truth[1:])])
    assert whole["loss"] == pytest.approx(parts["loss"]) and whole["score"] == pytest.approx(parts["score"])
    perfect = segment().judge([(sure(torch.from_numpy(truth), 3).numpy(), truth)])
    assert perfect["score"] == 1


def test_a_bias_moves_the_border() -> None:
    one = TargetSpec("mask", ("vessel",), values=((1,),))
    raw = torch.tensor([[[0.0, 0.0, 0.0]], [[-0.5, 0.5, 1.5]]])
    assert segment(one).decide(raw)[0, 0].tolist() == [0, 1, 1]
    assert segment(one, bias=[0.0, -1.0]).decide(raw)[0, 0].tolist() == [0, 0, 1]
    p = segment(one, bias=[0.0, -1.0]).probabilities(raw.numpy()[None])
    assert p.shape == (1, 1, 1, 3) and (p[0, 0, 0] >= 0.5).tolist() == [False, False, True]


def test_the_finding_names_what_is_there_and_measures_it() -> None:
    labels = np.zeros((1, 4, 10, 10), np.uint8)
    labels[0, 1:3, 2:6, 2:6] = 1
    study = Study(np.full((1, 4, 10, 10), 7, np.uint8), Grid.plain((4, 10, 10), (2.0, 1.0, 0.5)), source="a.nii")
    finding = segment().finding(labels, study)
    assert finding.label == "head" and finding.probability is None
    masks = [item for item in finding.items if isinstance(item, Mask)]
    assert len(masks) == 1 and masks[0].names == ("head", "tail") and masks[0].grid == study.grid
    assert finding.scores["head.volume_mm3"] == pytest.approx(32 * 1.0)


def test_outside_of_the_view_nothing_is_judged() -> None:
    truth, view = np.ones((1, 2, 2), np.uint8), np.array([[True, False], [True, True]])
    assert judged_only(truth, view).tolist() == [[[1, IGNORED], [1, 1]]] and judged_only(truth, None) is truth


def test_the_output_survives_its_record() -> None:
    output = segment(NESTED, loss="dice+ce", bias=[0.1, 0.2])
    again = Output.from_dict(output.to_dict())
    assert isinstance(again, Segment) and again.target == NESTED and again.facts == output.facts
