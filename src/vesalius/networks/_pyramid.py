"""Backbones by name, and the pyramid of features on them: Lin et al., *Feature pyramid networks for object detection*, CVPR 2017.

Every backbone keeps the names of its library's weights under ``body``, so that pretrained weights fit (`networks.weights`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks._base import library
from vesalius.networks._layers import recolour
from vesalius.registry import unknown

DEEPEST = {2: 32, 3: 16}
"""Stride of the coarsest map of a backbone; a further one is pooled from it in 2-D."""
TIMM = {
    "mobilenet-v3-large": "mobilenetv3_large_100", "mobilenet-v3-small": "mobilenetv3_small_100", "efficientnet-lite0": "tf_efficientnet_lite0",
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50",
}
"""Our names of backbones to timm's; any other model of timm that gives features has its own name there."""
VOLUME_BLOCKS = {"resnet10": (1, 1, 1), "resnet18": (2, 2, 2), "resnet34": (3, 4, 6)}
"""3-D: residual blocks of the stages at strides 4, 8 and 16."""
VOLUME_WIDTHS = (32, 64, 128, 256)
"""3-D: half of those of the 2-D networks, whose maps have an axis less."""

VOLUMES = dict(zip((4, 8, 16), VOLUME_WIDTHS, strict=False))
SQUEEZED = {4: 256, 8: 512, 16: 512}
"""Channels of SqueezeNet's maps at their strides."""


class Pyramid(nn.Module):
    """Maps of a backbone, all of ``width`` channels, each informed by the coarser ones; ``strides`` of the maps, the finest first.

    ``[B, C, *size] -> [[B, width, *ceil(size / stride)] ...]``. With ``pooled`` the last map is every second sample of the one before.
    """

    def __init__(self, body: nn.Module, ndim: int, widths: Sequence[int], strides: Sequence[int], width: int, pooled: bool) -> None:
        super().__init__()
        self.body, self.pooled, self.ndim, self.width = body, pooled, ndim, width
        self.strides = [*strides, *([2 * strides[-1]] if pooled else [])]
        if ndim == 2:
            self.fpn = library("torchvision.ops").FeaturePyramidNetwork(list(widths), width)
        else:
            self.fpn = library("monai.networks.blocks.feature_pyramid_network").FeaturePyramidNetwork(ndim, list(widths), width)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = list(self.fpn(OrderedDict((str(i), each) for i, each in enumerate(self.body(x)))).values())
        if self.pooled:
            pool = F.max_pool2d if self.ndim == 2 else F.max_pool3d
            maps.append(pool(maps[-1], 1, 2))
        return maps


def pyramid(name: str, ndim: int, channels: int, finest: int, width: int) -> Pyramid:
    """A backbone with fresh weights under a pyramid.

    Parameters
    ----------
    name: 2-D: one of `TIMM`, ``squeezenet``, or a model of timm that gives features; 3-D: one of `VOLUME_BLOCKS`.
    finest: stride of the finest map, 4, 8 or 16. width: channels of every map.

    Raises
    ------
    OptionError: an unknown backbone, one without maps at these strides, or a stride or width that cannot be.
    """
    if finest not in (4, 8, 16) or width < 8 or width % 8:
        given = f"finest {finest}, width {width}"
        raise OptionError("impossible pyramid of features", expected="finest 4, 8 or 16, a width that is a multiple of 8", got=given)
    deepest = 16 if plain_name(name) == "squeezenet" else DEEPEST[ndim]
    wanted = [stride for stride in (4, 8, 16, 32) if finest <= stride <= deepest]
    body, widths = body_of(name, ndim, channels, wanted)
    return Pyramid(body, ndim, widths, wanted, width, pooled=ndim == 2)


def plain_name(name: str) -> str:
    return name.lower().replace("_", "-")


def body_of(name: str, ndim: int, channels: int, wanted: Sequence[int]) -> tuple[nn.Module, list[int]]:
    """A backbone that gives its maps at the strides ``wanted``, the finest first, and the channels of each; see `pyramid`.

    Raises
    ------
    OptionError: an unknown backbone, or one without maps at these strides.
    """
    plain = plain_name(name)
    given = {"squeezenet": SQUEEZED} if ndim == 2 else dict.fromkeys(VOLUME_BLOCKS, VOLUMES)
    if plain in given and not set(wanted) <= set(given[plain]):
        raise _without_maps(name, wanted, list(given[plain]))
    if ndim == 3:
        return _volume(plain, channels, wanted)
    if plain == "squeezenet":
        return Fires(channels, wanted), [SQUEEZED[stride] for stride in wanted]
    return _timm(name, channels, wanted)


def _without_maps(name: str, wanted: Sequence[int], strides: Sequence[int]) -> OptionError:
    return OptionError(f"the backbone '{name}' has no maps at these strides", expected=wanted, got=strides, do="choose another backbone or 'finest'")


def _timm(name: str, channels: int, wanted: Sequence[int]) -> tuple[nn.Module, list[int]]:
    timm = library("timm")
    theirs = TIMM.get(plain_name(name), name.removeprefix("timm:"))
    if not timm.is_model(theirs):
        raise unknown("backbone", name, [*TIMM, "squeezenet", *timm.list_models(f"{theirs[:4]}*")])
    options = {"features_only": True, "in_chans": channels, "pretrained": False}
    try:
        strides = timm.create_model(theirs, **options).feature_info.reduction()
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        raise OptionError(f"timm's '{theirs}' gives no maps of features", expected=f"e.g. {', '.join(TIMM)}", do="choose another backbone") from error
    if not set(wanted) <= set(strides):
        raise _without_maps(name, wanted, strides)
    made = timm.create_model(theirs, **options, out_indices=tuple(strides.index(stride) for stride in wanted))
    return made, made.feature_info.channels()


class Fires(nn.Module):
    """SqueezeNet 1.0 without its classifier (`networks.squeezenet`); its first convolution is padded, so that a map has size / stride samples."""

    def __init__(self, channels: int, wanted: Sequence[int]) -> None:
        super().__init__()
        made = recolour(library("torchvision.models").squeezenet1_0(weights=None), channels)
        self.ends = [{4: 5, 8: 10, 16: 12}[stride] for stride in wanted]
        self.features = nn.Sequential(*list(made.get_submodule("features").children())[: self.ends[-1] + 1])
        self.features[0].padding = (3, 3)  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for i, part in enumerate(self.features):
            x = part(x)
            if i in self.ends:
                maps.append(x)
        return maps


class Volume(nn.Module):
    """MONAI's n-D ResNet up to stride 16, with its names of weights."""

    def __init__(self, channels: int, blocks: Sequence[int], wanted: Sequence[int]) -> None:
        super().__init__()
        made = library("monai.networks.nets").ResNet(
            "basic", [*blocks, 1], list(VOLUME_WIDTHS), spatial_dims=3, n_input_channels=channels, conv1_t_stride=2, feed_forward=False, bias_downsample=False,
        )
        self.conv1, self.bn1, self.act, self.maxpool = made.conv1, made.bn1, made.act, made.maxpool
        self.layer1, self.layer2, self.layer3, self.wanted = made.layer1, made.layer2, made.layer3, list(wanted)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        maps = []
        for stride, stage in zip(VOLUMES, (self.layer1, self.layer2, self.layer3), strict=True):
            x = stage(x)
            if stride in self.wanted:
                maps.append(x)
        return maps


def _volume(name: str, channels: int, wanted: Sequence[int]) -> tuple[nn.Module, list[int]]:
    if name not in VOLUME_BLOCKS:
        raise unknown("backbone in 3-D", name, list(VOLUME_BLOCKS))
    return Volume(channels, VOLUME_BLOCKS[name], wanted), [VOLUMES[stride] for stride in wanted]
