"""What every network that detects promises, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks import build, describe, names
from vesalius.networks._points import overlaps
from vesalius.networks.cost import cost

K = 2
N_OUT = K + 1
SMALL: dict[str, dict[str, object]] = {
    "yolo-like": {"width": 8}, "yolo": {"width": 8}, "faster-rcnn": {"width": 32, "hidden": 64, "n_proposals": 60}, "retinanet": {"width": 32},
}
LEARNING = {"yolo-like": 1e-2, "faster-rcnn": 1e-3, "retinanet": 1e-3}


class Made(NamedTuple):
    name: str
    ndim: int
    network: nn.Module

    @property
    def size(self) -> tuple[int, ...]:
        return (64,) * self.ndim

    def images(self, n: int) -> torch.Tensor:
        return torch.randn((n, 1, *self.size), generator=torch.Generator().manual_seed(0))

    def row(self, low: float, high: float, label: float = 0, ignored: float = 0, risk: float = 0) -> torch.Tensor:
        return torch.tensor([low] * self.ndim + [high] * self.ndim + [label, ignored, risk], dtype=torch.float32)

    def truth(self, *cases: list[torch.Tensor]) -> torch.Tensor:
        """Cases of rows, padded with a row more than the longest needs."""
        longest = max(len(case) for case in cases) + 1
        return torch.stack([torch.stack([*case, *[self.row(0, 0, -1)] * (longest - len(case))]) for case in cases])

    def loss(self, x: torch.Tensor, truth: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """With the same draw of samples each time."""
        torch.manual_seed(seed)
        out: torch.Tensor = self.network(x, truth)
        return out


def small(name: str, ndim: int, **options: object) -> nn.Module:
    return build(name, channels=1, n_out=N_OUT, size=(64,) * ndim, detects=True, risk=True, **(SMALL.get(name, {}) | options))


def pairs() -> list[object]:
    listed = [name for name in names(detects=True) if describe(name).name == name]
    return [pytest.param((name, ndim), id=f"{name}-{ndim}d") for name in listed for ndim in describe(name).ndims]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=pairs())
def made(request: pytest.FixtureRequest) -> Made:
    name, ndim = request.param
    torch.manual_seed(0)
    made = Made(name, ndim, small(name, ndim))
    settled(made.network, made.images(2))
    return made


def settled(network: nn.Module, x: torch.Tensor) -> None:
    """The norms know these images: with the statistics of a fresh network the answer hardly depends on the image."""
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))]
    before = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        network.train()(x)
    for m, momentum in zip(norms, before, strict=True):
        m.momentum = momentum


def same_candidates(a: torch.Tensor, b: torch.Tensor, d: int, tolerance: float = 1e-3) -> float:
    """Part of the hundred likeliest candidates of ``a`` that ``b`` has too, whatever their order."""
    chosen = a[a[:, 2 * d : 2 * d + K].amax(1).topk(min(100, len(a))).indices]
    off = (chosen[:, None] - b[None]).abs() / (1 + chosen[:, None].abs())
    return float((off.amax(-1).amin(1) < tolerance).float().mean())


def test_candidates_are_as_many_for_any_batch_and_alone_the_same(made: Made) -> None:
    network, x, d = made.network.eval(), made.images(3), made.ndim
    with torch.no_grad():
        together, again, alone = network(x), network(x), network(x[1:2])
    assert together.shape == (3, alone.shape[1], 2 * d + N_OUT) and together.dtype == torch.float32
    assert torch.equal(together, again)
    assert torch.isfinite(together).all()
    assert same_candidates(alone[0], together[1], d) >= 0.97
    assert same_candidates(together[0], together[1], d) < 0.5
    assert (together[..., d : 2 * d] > together[..., :d]).all()


def test_any_multiple_is_read(made: Made) -> None:
    assert 0 < made.network.multiple <= 32
    for factor in (1, 3):
        size = (factor * made.network.multiple,) + (2 * made.network.multiple,) * (made.ndim - 1)
        with torch.no_grad():
            assert made.network.eval()(torch.zeros(1, 1, *size)).shape[2] == 2 * made.ndim + N_OUT


def test_a_loss_for_each_case_of_its_own(made: Made) -> None:
    """In evaluation (no statistics of the batch) what another case holds changes nothing of a case's loss, but for a common factor."""
    network, x = made.network.eval(), made.images(2)
    one, other = [made.row(10, 30)], [made.row(4, 24, 1, 0, 1), made.row(30, 60)]
    losses = made.loss(x, made.truth(one, one))
    changed = made.loss(x, made.truth(other, one))
    assert losses.shape == (2,) and torch.isfinite(losses).all()
    assert not torch.isclose(losses[0], changed[0])
    if made.name != "yolo-like":  # whose sum is divided by the batch's mean
        alone = torch.cat([made.loss(x[:1], made.truth(one)), made.loss(x[:1], made.truth(other))])
        assert torch.allclose(torch.stack([losses[0], changed[0]]), alone, rtol=0.02)
    assert network(x).shape[0] == 2


def test_empty_cases_and_padding(made: Made) -> None:
    made.network.eval()
    x, empty = made.images(2), torch.zeros(2, 0, 2 * made.ndim + 3)
    nothing = made.loss(x, empty)
    assert torch.isfinite(nothing).all() and (nothing > 0).all()
    assert torch.allclose(nothing, made.loss(x, made.truth([], [])))
    rows = [made.row(10, 30, 1, 0, float("nan"))]
    padded = made.truth(rows, rows)
    assert torch.allclose(made.loss(x, padded), made.loss(x, torch.cat([padded, padded[:, -1:]], 1)))


def test_gradients_reach_every_weight_and_are_finite(made: Made) -> None:
    for parameter in made.network.parameters():  # blocks that start at zero would hide what comes before them
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05)
    made.loss(made.images(2), made.truth([made.row(8, 24, 0, 0, 1), made.row(30, 60, 1)], [])).sum().backward()
    assert [name for name, p in made.network.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in made.network.parameters())
    assert sum(bool(p.grad.abs().max() > 0) for p in made.network.parameters()) > 0.9 * len(list(made.network.parameters()))


def test_an_unknown_risk_teaches_nothing(made: Made) -> None:
    made.network.eval()
    x = made.images(1)
    losses = [made.loss(x, made.truth([made.row(10, 30, 0, 0, risk)])) for risk in (0.0, 1.0, float("nan"), -1.0)]
    assert torch.equal(losses[2], losses[3])
    assert losses[2] < losses[0] and losses[2] < losses[1]


def test_an_ignored_box_is_neither_learnt_nor_background(made: Made) -> None:
    """It is no true box; and where it covers the whole tile hardly anything is left to learn."""
    network, x = made.network.eval(), made.images(1)
    shown = made.loss(x, made.truth([made.row(8, 40)]))
    hidden = made.loss(x, made.truth([made.row(8, 40, 0, 1)]))
    assert not torch.isclose(shown, hidden)
    whole = made.loss(x, made.truth([made.row(-64, 128, 0, 1)]))
    nothing = made.loss(x, made.truth([]))
    assert whole < 0.05 * nothing + 1e-6
    assert torch.isfinite(network(x)).all()


def scene(made: Made) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright and a dark block on noise, and where they are."""
    x = 0.1 * made.images(1)
    x[(0, 0, *[slice(8, 28)] * made.ndim)] += 3
    x[(0, 0, *[slice(36, 56)] * made.ndim)] -= 3
    return x, made.truth([made.row(8, 28, 0, 0, 1), made.row(36, 56, 1, 0, 0)])


@pytest.mark.parametrize("steps", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_it_learns_one_image(made: Made, steps: int) -> None:
    """After twenty steps the loss has fallen by a third; after more both blocks are found, with their class and risk, where they are."""
    x, truth = scene(made)
    x, truth = x.expand(2, *x.shape[1:]), truth.expand(2, *truth.shape[1:])
    optimizer = torch.optim.AdamW(made.network.parameters(), LEARNING[made.name])
    losses = []
    for step in range(steps):
        loss = made.loss(x, truth, step).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(made.network.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) / 3 < 2 / 3 * losses[0]
    if steps > 20:
        with torch.no_grad():
            found = made.network.eval()(x[:1])[0]
        for row, label in zip(truth[0, :2], (0, 1), strict=True):
            best = found[found[:, 2 * made.ndim + label].argmax()]
            assert best[2 * made.ndim + label] > 0
            assert overlaps(best[: 2 * made.ndim], row[: 2 * made.ndim]) > 0.5
            assert (best[-1] > 0) == (row[-1] > 0.5)


def test_weights_survive_a_file_bit_for_bit(made: Made) -> None:
    other = small(made.name, made.ndim)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in made.network.state_dict().items()})))
    with torch.no_grad():
        assert torch.equal(made.network.eval()(made.images(1)), other.eval()(made.images(1)))


def test_the_cost_is_known_without_computing(made: Made) -> None:
    figures = cost(made.network, (2, 1, *made.size))
    assert figures.params == sum(p.numel() for p in made.network.parameters())
    assert figures.flops_per_image > figures.params
    assert figures.activation_bytes_per_image > 0


def test_networks_that_detect_are_a_kind_of_their_own() -> None:
    assert {"faster-rcnn", "retinanet", "yolo-like"} <= set(names(detects=True))
    assert not set(names(detects=True)) & (set(names(dense=True)) | set(names(dense=False)))
    assert "faster-rcnn" not in names(3, detects=True) and "retinanet" in names(3, detects=True)
    assert "unet" in names(detects=False) and "retinanet" not in names(detects=False)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("unet", {"detects": True}, "'unet' gives numbers for each sample, the task needs boxes: expected one of faster-rcnn, retinanet"),
        ("resnet18", {"detects": True}, "'resnet18' gives numbers for the whole image, the task needs boxes"),
        ("retinanet", {"dense": True}, "'retinanet' gives boxes, the task needs numbers for each sample"),
        ("retinanet", {"dense": False}, "'retinanet' gives boxes, the task needs numbers for the whole image"),
        ("retinanet", {"detects": False}, "'retinanet' gives boxes, the task needs no boxes"),
    ],
)
def test_another_kind_is_refused(name: str, asked: dict[str, bool], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(name, channels=1, n_out=2, size=(64, 64), **asked)


def test_size_and_axes_are_checked_against_networks_that_detect() -> None:
    with pytest.raises(OptionError, match=r"images are too small for 'retinanet'.*choose a larger --size or 'yolo-like'"):
        build("retinanet", channels=1, n_out=2, size=(64, 16))
    with pytest.raises(OptionError, match=r"'faster-rcnn' does not exist in 3-D: expected retinanet, yolo"):
        build("faster-rcnn", channels=1, n_out=2, size=(64, 64, 64))
