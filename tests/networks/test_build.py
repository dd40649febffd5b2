"""From a name to a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks import NETWORKS, build, candidates, describe, names


def build_small(name: str, **options: object) -> nn.Module:
    return build(name, channels=1, n_out=2, size=(32, 32), **options)


@pytest.mark.parametrize("written", ["ResNet18", "resnet_18", "resnet-18", "RESNET18"])
def test_a_name_is_known_however_it_is_written(written: str) -> None:
    assert describe(written).name == "resnet18"


def test_names_by_dimension() -> None:
    assert "vgg16" in names(2) and "vgg16" not in names(3)
    assert {"small-cnn", "small-resnet", "resnet18", "densenet121", "vit-tiny", "cnn-attention", "efficientnet-b0"} <= set(names(3))
    assert names() == sorted(set(names(2)) | set(names(3))) == NETWORKS.names()


def test_an_unknown_name_answers_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"unknown network 'small-resnt': expected one of small-resnet.*timm:NAME"):
        describe("small-resnt")
    with pytest.raises(OptionError, match=r"timm has no network 'resnet18x'.*resnet18"):
        describe("timm:resnet18x")
    with pytest.raises(OptionError, match=r"unknown library 'keras': expected timm:NAME or torchvision:NAME"):
        describe("keras:resnet50")


def test_a_bare_name_that_one_library_knows_is_taken() -> None:
    assert describe("shufflenet_v2_x0_5").name == "torchvision:shufflenet_v2_x0_5"
    assert describe("ghostnet_050").name == "timm:ghostnet_050"


def test_a_bare_name_that_two_libraries_know_is_asked_back() -> None:
    with pytest.raises(OptionError, match=r"two libraries know the network 'resnet152': expected timm:resnet152 or torchvision:resnet152; say which"):
        describe("resnet152")


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224", "torchvision:shufflenet_v2_x0_5", "timm:test_convnext"])
@pytest.mark.parametrize("channels", [1, 3])
def test_foreign_networks_read_the_size_and_channels(name: str, channels: int) -> None:
    network = build(name, channels=channels, n_out=5, size=(64, 64)).eval()
    with torch.no_grad():
        assert network(torch.rand(2, channels, 64, 64)).shape == (2, 5)


def test_a_foreign_network_with_parallel_strides_keeps_those_it_needs() -> None:
    network = build("torchvision:regnet_x_400mf", channels=1, n_out=2, size=(28, 28)).eval()
    assert network.stem[0].stride == (1, 1) and network.training is False
    with torch.no_grad():
        assert network(torch.rand(1, 1, 28, 28)).shape == (1, 2)


def test_a_foreign_network_takes_its_own_options_and_refuses_others() -> None:
    network = build("timm:resnet10t", channels=1, n_out=2, size=(64, 64), drop_rate=0.25)
    assert network.drop_rate == 0.25
    with pytest.raises(OptionError, match=r"timm cannot build 'resnet10t'.*speed"):
        build("timm:resnet10t", channels=1, n_out=2, size=(64, 64), speed=3)
    with pytest.raises(OptionError, match=r"torchvision cannot build 'alexnet'.*speed"):
        build("torchvision:alexnet", channels=1, n_out=2, size=(64, 64), speed=3)


def test_a_foreign_network_that_cannot_read_the_size_says_so() -> None:
    with pytest.raises(OptionError, match=r"'torchvision:alexnet' cannot read images of this size: got size \(8, 8\)"):
        build("torchvision:alexnet", channels=1, n_out=2, size=(8, 8))
    with pytest.raises(OptionError, match=r"'torchvision:vit_b_32' reads square images"):
        build("torchvision:vit_b_32", channels=1, n_out=2, size=(64, 32))


def test_constraints_name_the_bad_value() -> None:
    with pytest.raises(OptionError, match=r"'vgg16' does not exist in 3-D: expected .*small-resnet.*got size \(16, 16, 16\)"):
        build("vgg16", channels=1, n_out=2, size=(16, 16, 16))
    with pytest.raises(OptionError, match=r"too small for 'resnet18': expected at least 16 samples.*got size \(32, 8\)"):
        build("resnet18", channels=1, n_out=2, size=(32, 8))
    with pytest.raises(OptionError, match="inputs and outputs.*got channels 0, n_out 2"):
        build("small-cnn", channels=0, n_out=2, size=(32, 32))
    with pytest.raises(OptionError, match="'small-cnn' has no option 'wdith': expected one of width, hidden, dropout"):
        build_small("small-cnn", wdith=3)
    with pytest.raises(OptionError, match="'resnet18' has no option 'width': expected no options"):
        build_small("resnet18", width=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("small-resnet", {"width": 0}, "impossible 'small-resnet'.*got width 0"),
        ("small-resnet", {"depth": ()}, "impossible 'small-resnet'"),
        ("small-resnet", {"dropout": 1.0}, "0 <= dropout < 1"),
        ("small-resnet", {"norm": "layer"}, "unknown norm 'layer': expected batch or group"),
        ("vgg11", {"head": "tall"}, "unknown head 'tall': expected auto or dense or pool"),
        ("cnn-attention", {"dim": 30, "heads": 4}, "heads do not divide the dimension.*got dim 30, heads 4"),
        ("vit-tiny", {"patch": 0}, "impossible patch"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_small(name, **options)


def test_candidates_fit_the_data() -> None:
    few, many = candidates(2, (28, 28), 200), candidates(2, (28, 28), 20_000)
    assert few[0] == many[0] == "small-resnet"
    assert set(few) < set(many) and "vit-tiny" in many and "vit-tiny" not in few
    assert "mobilenetv2" not in candidates(3, (28, 28, 28), 20_000)
    assert "resnet18" not in candidates(2, (12, 12), 200)
    for name in candidates(3, (16, 28, 28), 20_000):
        assert 3 in describe(name).ndims


def test_the_family_of_foreign_networks_is_guessed_from_their_names() -> None:
    assert describe("timm:vit_tiny_patch16_224").family == "transformer"
    assert describe("timm:convnext_femto").family == "convnext"
    assert describe("timm:resnet10t").family == "cnn"
