"""What every network of the registry that answers for a whole image promises, in 2-D and 3-D; tests/networks/test_dense.py has the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from vesalius.networks import NETWORKS, build, describe, names
from vesalius.networks.cost import cost

N_OUT = 3
TOLERANCE = 2e-5
HEAVY = {
    "alexnet", "vit-base", "resnet101", "seresnet50/3", "resnet50/3", "resnet34/3", "densenet169", "vgg13", "vgg13-bn", "vgg19", "vgg19-bn", "vgg16-bn",
    "convnext-tiny", "vit-small/3", "densenet121/3",
}


class Made(NamedTuple):
    name: str
    size: tuple[int, ...]
    network: nn.Module

    def images(self, n: int) -> torch.Tensor:
        return torch.rand((n, 1, *self.size), generator=torch.Generator().manual_seed(0))


def every() -> list[object]:
    pairs = [(name, ndim) for name in names(dense=False) for ndim in describe(name).ndims]
    return [pytest.param(p, id=f"{p[0]}-{p[1]}d", marks=[pytest.mark.slow] if {p[0], f"{p[0]}/{p[1]}"} & HEAVY else []) for p in pairs]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=every())
def made(request: pytest.FixtureRequest) -> Made:
    """One network at the least size it states (28 in 2-D where that is larger), grey."""
    name, ndim = request.param
    size = (max(28, describe(name).min_size) if ndim == 2 else describe(name).min_size,) * ndim
    torch.manual_seed(0)
    network = build(name, channels=1, n_out=N_OUT, size=size)
    for parameter in network.parameters():  # blocks that start at zero would hide what comes before them
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05)
    return Made(name, size, network)


def test_the_batch_changes_nothing_and_the_answer_is_repeated(made: Made) -> None:
    network, x = made.network.eval(), made.images(2)
    with torch.no_grad():
        together, again = network(x), network(x)
        alone = torch.cat([network(x[i : i + 1]) for i in range(2)])
    assert together.shape == (2, N_OUT)
    assert torch.equal(together, again)
    assert torch.allclose(together, alone, atol=TOLERANCE * max(1.0, float(together.abs().max())))
    assert not torch.equal(together[0], together[1])


def test_the_smallest_size_and_colour(made: Made) -> None:
    least = (describe(made.name).min_size,) * len(made.size)
    network = build(made.name, channels=3, n_out=1, size=least).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, *least)).shape == (1, 1)


def test_the_cost_is_known_without_computing(made: Made) -> None:
    figures = cost(made.network, made.images(2).shape)
    assert figures.params == sum(p.numel() for p in made.network.parameters())
    assert figures.flops_per_image > figures.params / 100
    assert figures.activation_bytes_per_image > 0


def test_weights_survive_a_file_bit_for_bit(made: Made) -> None:
    state = {k: v.contiguous() for k, v in made.network.state_dict().items()}
    other = build(made.name, channels=1, n_out=N_OUT, size=made.size)
    other.load_state_dict(load(save(state)))
    x = made.images(1)
    with torch.no_grad():
        assert torch.equal(made.network.eval()(x), other.eval()(x))


def test_two_steps_reach_every_weight_and_stay_finite(made: Made) -> None:
    network, x = made.network.train(), made.images(4)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for step in range(2):
        loss = nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0]))
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            untouched = [name for name, p in network.named_parameters() if p.grad is None]
            assert untouched == []
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
        optimizer.step()


ALIASES = {("yolo", "yolo-like")}


def test_every_network_says_where_it_comes_from() -> None:
    for name in NETWORKS:
        info = describe(name)
        assert info.name == name or (name, info.name) in ALIASES
        assert 1990 < info.year < 2027
        assert str(info.year) in info.paper or info.name == "small-resnet"
        assert info.licence and info.library and info.family in ("cnn", "convnext", "transformer")
