"""What is particular to each family."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vesalius.networks import build
from vesalius.networks._layers import soften, wanted_reduction
from vesalius.networks.cost import cost
from vesalius.networks.vit import PatchEmbed, patch_for


def last_map(network: nn.Module, layer: nn.Module, size: tuple[int, ...], channels: int = 1) -> tuple[int, ...]:
    seen: list[tuple[int, ...]] = []
    hook = layer.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[2:])))
    with torch.no_grad():
        network.eval()(torch.zeros(1, channels, *size))
    hook.remove()
    return seen[-1]


@pytest.mark.parametrize(("size", "first"), [((28, 28), (28, 28)), ((224, 224), (56, 56)), ((100, 40), (50, 40)), ((32, 64, 20), (16, 16, 20))])
def test_small_resnet_begins_with_a_small_map(size: tuple[int, ...], first: tuple[int, ...]) -> None:
    network = build("small-resnet", channels=1, n_out=2, size=size, width=8)
    assert last_map(network, network.stem, size) == first


def test_small_resnet_starts_as_its_shortcuts() -> None:
    network = build("small-resnet", channels=1, n_out=2, size=(28, 28))
    blocks = [m for m in network.modules() if type(m).__name__ == "Block"]
    assert len(blocks) == 6
    assert all(not block.norm2.weight.any() for block in blocks)


def test_small_resnet_options() -> None:
    network = build("small-resnet", channels=3, n_out=2, size=(28, 28), width=16, depth=(1, 1), norm="group", squeeze_excite=True, dropout=0.0)
    kinds = {type(m).__name__ for m in network.modules()}
    assert "GroupNorm" in kinds and "BatchNorm2d" not in kinds and "SqueezeExcite" in kinds
    assert network.head.in_features == 32
    x = torch.rand(2, 3, 28, 28)
    assert torch.equal(network.train()(x), network.train()(x))  # no dropout, no batch statistics


def test_small_resnet_answers_the_same_in_channels_last() -> None:
    network = build("small-resnet", channels=1, n_out=2, size=(28, 28)).eval()
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        plain = network(x)
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, last, atol=1e-5)


def test_small_cnn_pools_a_large_image_down_before_its_dense_layer() -> None:
    assert cost(build("small-cnn", channels=1, n_out=2, size=(512, 512)), (1, 1, 512, 512)).params < 3e6


def test_strides_are_taken_back_axis_by_axis_and_weights_keep_their_shapes() -> None:
    whole, small = (build("resnet18", channels=1, n_out=2, size=size) for size in ((224, 224), (28, 96)))
    assert [p.shape for p in whole.parameters()] == [p.shape for p in small.parameters()]
    assert last_map(whole, whole.layer4, (224, 224)) == (7, 7)
    assert last_map(small, small.layer4, (28, 96)) == (4, 3)
    assert small.conv1.stride == (1, 2) and small.maxpool.stride == (1, 2) and small.maxpool.kernel_size == (1, 3)


def test_a_pool_without_stride_is_no_pool() -> None:
    network = soften(nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.MaxPool2d(2), nn.MaxPool2d(2)), (4, 4))
    assert network[0].stride == (1, 1) and isinstance(network[1], nn.Identity) and isinstance(network[2], nn.MaxPool2d)
    assert wanted_reduction((80, 81)) == (2, 1)


def test_vgg_has_the_papers_head_for_large_images_only() -> None:
    assert len(build("vgg11", channels=1, n_out=2, size=(64, 64)).classifier) == 2
    large = build("vgg11", channels=1, n_out=2, size=(64, 64), head="dense")
    assert [m.out_features for m in large.classifier if isinstance(m, nn.Linear)] == [4096, 4096, 2]
    normed = build("vgg11_bn", channels=1, n_out=2, size=(64, 64))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed.modules()) == 8


def test_squeezenet_rectifies_for_imagenet_only() -> None:
    assert isinstance(build("squeezenet", channels=1, n_out=2, size=(32, 32)).classifier[2], nn.Identity)
    assert isinstance(build("squeezenet", channels=1, n_out=1000, size=(32, 32)).classifier[2], nn.ReLU)


def test_patches_fit_and_the_rest_is_padded() -> None:
    assert patch_for((28, 224)) == (2, 16)
    embed = PatchEmbed((5, 6), (4, 4), 1, 8)
    assert embed.grid_size == (2, 2)
    x = torch.rand(1, 1, 5, 6)
    padded = torch.zeros(1, 1, 8, 8)
    padded[..., :5, :6] = x
    assert torch.allclose(embed(x), embed.proj(padded).flatten(2).transpose(1, 2))
    assert build("vit-tiny", channels=1, n_out=2, size=(30, 30), patch=8).patch_embed.grid_size == (4, 4)


def test_every_patch_of_a_vit_has_its_say() -> None:
    network = build("vit-tiny", channels=1, n_out=1, size=(16, 16), patch=4).eval()
    kept: list[torch.Tensor] = []

    def keep(_m: nn.Module, _i: object, out: torch.Tensor) -> None:
        out.retain_grad()
        kept.append(out)

    network.blocks[-1].register_forward_hook(keep)
    network(torch.rand(1, 1, 16, 16)).sum().backward()
    assert kept[0].shape[1] == 17
    assert (kept[0].grad[0, 1:].abs().sum(1) > 0).all()


def test_cnn_attention_sees_the_whole_image() -> None:
    """A far corner moves the map's other corner, which convolutions of this depth alone could not do."""
    network = build("cnn-attention", channels=1, n_out=2, size=(112, 112)).eval()
    maps: list[torch.Tensor] = []
    network.attention.register_forward_hook(lambda _m, _i, out: maps.append(out))
    x = torch.zeros(1, 1, 112, 112)
    y = x.clone()
    y[..., :8, :8] = 5
    with torch.no_grad():
        network(x), network(y)
    assert maps[0].shape[2:] == (14, 14)
    assert not torch.allclose(maps[0][..., -1, -1], maps[1][..., -1, -1], atol=1e-6)
