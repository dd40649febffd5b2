"""Grad-CAM of a class of networks that answer on every sample."""

from __future__ import annotations

import copy

import monai.networks.nets as monai_nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain import gradcam_mask
from vesalius.stages.explain.gradcam import strided


def plain(ndim: int) -> nn.Module:
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    return nn.Sequential(conv(1, 8, 3, padding=1), nn.ReLU(inplace=True), conv(8, 8, 3, padding=1), nn.ReLU(inplace=True), conv(8, 3, 1))


def unet(ndim: int) -> nn.Module:
    return monai_nets.UNet(ndim, 1, 3, channels=(8, 16, 16), strides=(2, 2), num_res_units=1)


def segresnet(ndim: int) -> nn.Module:
    return monai_nets.SegResNet(ndim, 8, 1, 3, blocks_down=(1, 1, 1), blocks_up=(1, 1))


def attention(ndim: int) -> nn.Module:
    return monai_nets.AttentionUnet(ndim, 1, 3, channels=(8, 16, 16), strides=(2, 2), dropout=0.1)


BUILDS = {"plain": plain, "unet": unet, "segresnet": segresnet, "attention": attention}
every = pytest.mark.parametrize("build", BUILDS)


class Spots(nn.Module):
    """Marks as class 1 what is bright at half the resolution, as class 2 what is dark there: the truth of its explanation is known."""

    def __init__(self, listed: bool = False) -> None:
        super().__init__()
        self.see, self.pool, self.listed = nn.Conv2d(1, 2, 1, bias=False), nn.AvgPool2d(2), listed
        self.see.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        seen = F.relu(self.pool(self.see(x)))
        raw = torch.cat([torch.full_like(seen[:, :1], 0.5), seen], 1)
        fine = F.interpolate(raw, x.shape[2:])
        return [fine, raw] if self.listed else fine


def spots() -> tuple[torch.Tensor, tuple[slice, slice], tuple[slice, slice]]:
    x, bright, dark = torch.zeros(1, 1, 32, 32), (slice(4, 12), slice(4, 12)), (slice(20, 28), slice(18, 26))
    x[0, 0][bright], x[0, 0][dark] = 2.0, -2.0
    return x, bright, dark


def noise(ndim: int) -> torch.Tensor:
    return torch.randn(1, 1, *(32,) * ndim, generator=torch.Generator().manual_seed(0))


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules())


@every
@pytest.mark.parametrize("ndim", [2, 3])
def test_any_network_without_a_layer_to_choose(build: str, ndim: int) -> None:
    torch.manual_seed(0)
    network, x = BUILDS[build](ndim), noise(ndim)
    heats = [gradcam_mask(network, x, k) for k in range(3)]
    for heat in heats:
        assert heat.shape == x.shape[2:] and heat.dtype == torch.float32 and not heat.requires_grad
        assert 0 <= heat.min() and heat.max() <= 1
    assert max(float(heat.max()) for heat in heats) == 1 and not torch.equal(heats[0], heats[1])


@every
def test_changes_when_the_weights_are_randomised(build: str) -> None:
    torch.manual_seed(0)
    first, second, x = BUILDS[build](2), BUILDS[build](2), noise(2)
    assert torch.equal(gradcam_mask(first, x, 1), gradcam_mask(first, x, 1))
    assert (gradcam_mask(first, x, 1) - gradcam_mask(second, x, 1)).abs().mean() > 0.02


@pytest.mark.parametrize("listed", [False, True])
def test_finds_where_the_class_is(listed: bool) -> None:
    x, bright, dark = spots()
    for k, here, there in ((1, bright, dark), (2, dark, bright)):
        heat = gradcam_mask(Spots(listed), x, k)
        assert heat[here].mean() > 0.8 and heat[there].max() < 0.05
        away = heat.clone()
        away[here[0].start - 2 : here[0].stop + 2, here[1].start - 2 : here[1].stop + 2] = 0
        assert away.max() == 0


class Normed(Spots):
    """The same with an instance norm behind the coarse map: the mean gradient of each channel is then zero."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.norm(F.interpolate(F.relu(self.pool(self.see(x))), x.shape[2:]))
        return torch.cat([torch.full_like(seen[:, :1], 0.5), seen], 1)


def test_an_instance_norm_does_not_blind_it() -> None:
    x, bright, dark = spots()
    heat = gradcam_mask(Normed(), x, 1)
    assert heat[bright].mean() > 0.8 and heat[dark].mean() < 0.2


def test_a_class_that_is_nowhere_found_is_explained_by_its_probability() -> None:
    x, bright, _ = spots()
    heat = gradcam_mask(Spots(), 0.2 * x, 1)
    assert heat[bright].mean() > 0.8


def test_overlapping_classes_are_explained_one_by_one() -> None:
    x, bright, dark = spots()
    heat = gradcam_mask(Spots(), x, 2, exclusive=False)
    assert heat[dark].mean() > 0.8 and heat[bright].max() < 0.05


def test_a_map_of_another_axis_length_is_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 12, 40, 36)
    network = monai_nets.UNet(3, 1, 2, channels=(8, 16, 16), strides=((1, 2, 2), (1, 2, 2)), kernel_size=3)
    assert gradcam_mask(network, x, 1).shape == (12, 40, 36)


@every
def test_leaves_the_network_as_it_was(build: str) -> None:
    network = BUILDS[build](2).train()
    next(network.children()).eval()
    state, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    gradcam_mask(network, noise(2), 1)
    assert [m.training for m in network.modules()] == modes and hooks(network) == 0
    assert all(torch.equal(a, b) for a, b in zip(state.values(), network.state_dict().values(), strict=True))
    assert all(p.grad is None for p in network.parameters())


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = plain(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"no memory for {self.inside(x).shape}")


def test_leaves_no_hook_and_the_mode_when_it_throws() -> None:
    network = Broken().train()
    with pytest.raises(RuntimeError, match="no memory"):
        gradcam_mask(network, noise(2), 1)
    assert hooks(network) == 0 and all(m.training for m in network.modules())


def test_also_inside_inference_mode() -> None:
    network = Spots()
    with torch.inference_mode():
        assert gradcam_mask(network, spots()[0], 1).max() == 1


def test_what_cannot_be_explained_is_said() -> None:
    with pytest.raises(OptionError, match="there is no such class to explain: expected a number from 0 to 2, got 3"):
        gradcam_mask(Spots(), spots()[0], 3)
    with pytest.raises(OptionError, match="no layer of this network keeps the places of the image: expected maps before the answer"):
        gradcam_mask(nn.Conv2d(1, 2, 1), spots()[0], 1)


def test_maps_have_a_whole_step() -> None:
    assert strided((8, 8), (32, 32)) and strided((12, 11), (45, 45)) and strided((12, 10, 9), (12, 40, 36))
    assert not strided((196, 196), (224, 224)) and not strided((33, 8), (32, 32))
