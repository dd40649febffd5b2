"""What every network for each sample promises, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks import build, candidates, describe, names
from vesalius.networks._dense import fitting_strides, to_channels, to_samples
from vesalius.networks.cost import cost

N_OUT = 3
TOLERANCE = 2e-4
SMALL: dict[str, dict[str, object]] = {
    "unet": {"width": 8},
    "small-unet": {"width": 8},
    "residual-unet": {"width": 8, "blocks": (1, 2)},
    "attention-unet": {"width": 8},
    "dynunet": {"width": 8},
    "segresnet": {"width": 8},
    "fcn": {"depth": 10},
    "unetr": {"width": 4, "hidden": 24, "mlp": 24, "heads": 2},
    "swin-unetr": {"width": 12, "window": 4},
    "monai-net": {},
}
MULTIPLE = {"attention-unet": 16, "dynunet": 16, "segresnet": 8, "unetr": 16, "swin-unetr": 32}
"""For a tile of 64: tiles that these do not divide are refused, by name."""
ATTENTION = ("unetr", "swin-unetr")
SUPERVISED = ("unet", "small-unet", "residual-unet", "dynunet")


class Made(NamedTuple):
    name: str
    size: tuple[int, ...]
    network: nn.Module

    def images(self, n: int) -> torch.Tensor:
        return torch.rand((n, 2, *self.size), generator=torch.Generator().manual_seed(0))


def small(name: str, size: tuple[int, ...], channels: int = 2, n_out: int = N_OUT, **options: object) -> nn.Module:
    return build(name, channels=channels, n_out=n_out, size=size, dense=True, **(SMALL[name] | options))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=[pytest.param((name, ndim), id=f"{name}-{ndim}d") for name in names(dense=True) for ndim in describe(name).ndims])
def made(request: pytest.FixtureRequest) -> Made:
    """One network with few channels, reading tiles of two channels at a small size it can read."""
    name, ndim = request.param
    if name in ATTENTION:
        pytest.importorskip("einops")
    size = (max(32, describe(name).min_size),) * ndim
    torch.manual_seed(0)
    network = small(name, size)
    for parameter in network.parameters():  # blocks that start at zero would hide what comes before them
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05)
    return Made(name, size, network)


def test_a_value_for_each_sample_that_is_repeated_and_alone_the_same(made: Made) -> None:
    network, x = made.network.eval(), made.images(2)
    with torch.no_grad():
        together, again, alone = network(x), network(x), network(x[1:])
    assert together.shape == (2, N_OUT, *made.size)
    assert torch.equal(together, again)
    assert torch.allclose(together[1:], alone, atol=TOLERANCE * max(1.0, float(together.abs().max())))
    assert together.flatten(2).std(2).min() > 0


def test_the_smallest_tile_one_channel_and_one_class(made: Made) -> None:
    least = (describe(made.name).min_size,) * len(made.size)
    network = small(made.name, least, channels=1, n_out=1)
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 1, *least)).shape == (1, 1, *least)


def test_gradients_reach_every_weight(made: Made) -> None:
    network = made.network.train()
    network.zero_grad()
    loss = nn.functional.cross_entropy(network(made.images(2)), torch.randint(0, N_OUT, (2, *made.size)))
    loss.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert sum(bool(p.grad.abs().max() == 0) for p in network.parameters()) == 0


def test_the_cost_is_known_without_computing(made: Made) -> None:
    figures = cost(made.network, (2, 2, *made.size))
    assert figures.params == sum(p.numel() for p in made.network.parameters())
    assert figures.flops_per_image > figures.params
    assert figures.activation_bytes_per_image > 0


def test_weights_survive_a_file_bit_for_bit(made: Made) -> None:
    other = small(made.name, made.size)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in made.network.state_dict().items()})))
    x = made.images(1)
    with torch.no_grad():
        assert torch.equal(made.network.eval()(x), other.eval()(x))


@pytest.mark.parametrize("size", [(33, 47), (31, 22, 17), (8, 40, 64)])
@pytest.mark.parametrize("name", ["unet", "small-unet", "residual-unet", "fcn"])
def test_ours_read_tiles_of_any_size(name: str, size: tuple[int, ...]) -> None:
    if min(size) < describe(name).min_size:
        pytest.skip("smaller than the network reads")
    with torch.no_grad():
        assert small(name, size).eval()(torch.rand(1, 2, *size)).shape == (1, N_OUT, *size)


@pytest.mark.parametrize("name", MULTIPLE)
def test_a_tile_that_the_strides_do_not_divide_is_refused_with_the_one_that_fits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    by, near = MULTIPLE[name], round(70 / MULTIPLE[name]) * MULTIPLE[name]
    message = rf"'{name}' reads tiles of multiples of {by} x {by}: expected e.g. \(64, {near}\), got size \(64, 70\); choose such a tile or 'unet'"
    with pytest.raises(OptionError, match=message):
        small(name, (64, 70))


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize("size", [(64, 64), (32, 64, 32)])
def test_deep_supervision_gives_a_list_in_training_only(name: str, size: tuple[int, ...]) -> None:
    network = small(name, size, deep_supervision=True)
    x = torch.rand(2, 2, *size)
    outs = network.train()(x)
    assert isinstance(outs, list) and len(outs) > 1
    assert outs[0].shape == (2, N_OUT, *size)
    for finer, coarser in zip(outs, outs[1:], strict=False):
        assert all(a > b for a, b in zip(finer.shape[2:], coarser.shape[2:], strict=True))
    sum(nn.functional.cross_entropy(o, torch.zeros(2, *o.shape[2:], dtype=torch.long)) for o in outs).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.eval()(x).shape == (2, N_OUT, *size)


def test_strides_and_kernels_of_the_plan_are_followed() -> None:
    levels = {"strides": [1, (1, 2, 2), (1, 2, 2), 2], "kernels": [(1, 3, 3), (1, 3, 3), 3, 3]}
    network = build("unet", channels=1, n_out=2, size=(10, 64, 64), width=4, max_width=12, convs=(1, 2), convs_up=1, **levels)
    convs = [[(c.conv.out_channels, c.conv.kernel_size, c.conv.stride) for c in stage] for stage in network.encoder]
    assert convs[0] == [(4, (1, 3, 3), (1, 1, 1))]
    assert convs[1] == [(8, (1, 3, 3), (1, 2, 2)), (8, (1, 3, 3), (1, 1, 1))]
    assert convs[3][0] == (12, (3, 3, 3), (2, 2, 2))
    assert [up.kernel_size for up in network.up] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert [len(stage) for stage in network.decoder] == [1, 1, 1]


@pytest.mark.parametrize(("size", "coarsest"), [((40, 56, 40), (5, 4, 5)), ((8, 128, 128), (4, 4, 4)), ((512, 512), (4, 4)), ((31, 22), (4, 6))])
def test_levels_follow_from_the_size(size: tuple[int, ...], coarsest: tuple[int, ...]) -> None:
    network = build("unet", channels=1, n_out=1, size=size, width=1, max_width=1)
    maps: list[tuple[int, ...]] = []
    hook = network.encoder[-1].register_forward_hook(lambda _m, _x, y: maps.append(tuple(y.shape[2:])))
    with torch.no_grad():
        network(torch.zeros(2, 1, *size))
    hook.remove()
    assert maps == [coarsest]
    assert min(coarsest) >= 4 and max(coarsest) < 8


def test_samples_go_to_channels_and_back() -> None:
    x = torch.rand(2, 3, 4, 6, 8)
    packed = to_channels(x, (2, 1, 4))
    assert packed.shape == (2, 24, 2, 6, 2)
    assert torch.equal(to_samples(packed, (2, 1, 4)), x)
    assert torch.equal(to_channels(x[:, :, 0], (2, 2)), nn.functional.pixel_unshuffle(x[:, :, 0], 2))
    assert fitting_strides((48, 64, 48), depth=3) == ((1, 1, 1), (2, 2, 2), (2, 2, 2))


class WithoutSkips(nn.Module):
    """A U-Net whose encoder maps, all but the coarsest, arrive at the decoder as zeros."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for stage, width in zip(network.decoder, [up.out_channels for up in network.up], strict=True):
            stage.register_forward_pre_hook(lambda _m, xs, width=width: (torch.cat((xs[0][:, :width], torch.zeros_like(xs[0][:, width:])), 1),))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(x)
        return out


def thin_lines(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of lines one sample wide at random places, and which samples they are."""
    truth = torch.zeros(n, 32, 32, dtype=torch.long)
    for image in truth:
        rows = torch.randperm(32, generator=generator)[:4]
        columns = torch.randperm(32, generator=generator)[:4]
        image[rows, :] = 1
        image[:, columns] = 1
    return truth[:, None].float() + 0.1 * torch.randn(n, 1, 32, 32, generator=generator), truth


def overlap_after_training(network: nn.Module, steps: int) -> float:
    """Dice of unseen thin lines after a short training."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        x, y = thin_lines(8, generator)
        loss = nn.functional.cross_entropy(network.train()(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = thin_lines(16, generator)
    with torch.no_grad():
        found = network.eval()(x).argmax(1)
    return float(2 * (found * y).sum() / (found.sum() + y.sum()))


def test_the_skips_carry_fine_structure() -> None:
    """With its skips a U-Net reproduces lines of one sample; the same network without them, and a network that has none, cannot."""
    dice: dict[str, float] = {}
    for name in ("with", "without", "fcn"):
        torch.manual_seed(0)
        network = build("fcn", channels=1, n_out=2, size=(32, 32), depth=10) if name == "fcn" else build("unet", channels=1, n_out=2, size=(32, 32), width=4)
        dice[name] = overlap_after_training(WithoutSkips(network) if name == "without" else network, 40)
    assert dice["with"] > 0.95
    assert dice["without"] < 0.75
    assert dice["fcn"] < 0.75


def test_the_small_one_carries_fine_structure_without_computing_at_full_size() -> None:
    torch.manual_seed(0)
    network = build("small-unet", channels=1, n_out=2, size=(32, 32), width=16, depth=2)
    assert overlap_after_training(network, 60) > 0.95


def test_a_network_of_the_other_kind_is_refused() -> None:
    with pytest.raises(OptionError, match=r"'unet' gives numbers for each sample, the task needs numbers for the whole image: expected one of .*small-resnet"):
        build("unet", channels=1, n_out=2, size=(32, 32), dense=False)
    with pytest.raises(OptionError, match=r"'resnet18' gives numbers for the whole image, the task needs numbers for each sample: expected one of .*unet"):
        build("resnet18", channels=1, n_out=2, size=(32, 32), dense=True)
    assert not set(names(dense=True)) & set(names(dense=False))
    assert set(names(dense=True)) | set(names(dense=False)) | set(names(detects=True)) == set(names())


@pytest.mark.parametrize("name", ATTENTION)
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=f"'{name}' needs the package einops, which MONAI uses for it; pip install einops"):
        small(name, (64, 64))


def test_candidates_are_of_one_kind() -> None:
    dense, plain = candidates(3, (64, 64, 64), 1000, dense=True), candidates(3, (64, 64, 64), 1000)
    assert dense[0] == "small-unet" and all(describe(name).dense for name in dense) and "swin-unetr" in dense
    assert not any(describe(name).dense for name in plain)
    assert candidates(2, (32, 32), 20, dense=True) == ["small-unet", "unet"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet", {"width": 0}, "impossible levels of a U-Net: expected widths >= 1"),
        ("unet", {"kernels": [3, 4, 3], "depth": 3}, "odd kernels"),
        ("unet", {"strides": [2, 2]}, r"the first 1"),
        ("unet", {"strides": [1]}, "impossible levels of a U-Net: expected at least 2 levels"),
        ("dynunet", {"strides": [1, 2]}, "at least 3 levels"),
        ("unet", {"width": [8, 16], "depth": 3}, "each with a width, a stride and a kernel"),
        ("unet", {"stem_stride": (2, 2, 2)}, r"not a number for each axis: expected 2 numbers, got \(2, 2, 2\)"),
        ("unet", {"stem_stride": 0}, "impossible stem"),
        ("unet", {"convs": 0}, r"impossible number of convolutions: expected at least 1 at each level, got \(0,\)"),
        ("residual-unet", {"blocks": []}, "impossible number of blocks"),
        ("unet", {"norm": "layer"}, "unknown norm 'layer': expected instance, batch or group"),
        ("fcn", {"depth": 19}, "unknown depth of 'fcn': expected one of 10, 18, 34, 50, 101, got 19"),
        ("segresnet", {"width": 12}, "impossible 'segresnet': expected a width that is a multiple of 8"),
        ("swin-unetr", {"width": 20}, "impossible 'swin-unetr': expected a width that is a multiple of 12"),
        ("unetr", {"hidden": 30, "heads": 4}, "heads do not divide the transformer's dimension.*got hidden 30, heads 4"),
        ("small-unet", {"wdith": 3}, "'small-unet' has no option 'wdith'"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(name, channels=1, n_out=2, size=(64, 64), **options)
