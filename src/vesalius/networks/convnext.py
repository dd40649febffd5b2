"""ConvNeXt: Liu et al., *A ConvNet for the 2020s*, CVPR 2022; the atto size: Wightman, timm 2022.

It gives the accuracy of a transformer with convolutions of 7. ``convnext-atto`` (3 million weights) is the
one for ordinary machines, ``convnext-tiny`` has 28 million.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._layers import soften, wanted_reduction


def convnext(kind: str, channels: int, n_out: int, size: tuple[int, ...], drop_path: float = 0.0) -> nn.Module:
    """ConvNeXt; ``drop_path`` is the share of residual branches left out in training (stochastic depth)."""
    made = library("timm").create_model(f"convnext_{kind}", in_chans=channels, num_classes=n_out, drop_path_rate=drop_path)
    return soften(made, wanted_reduction(size))


PAPER = "Liu et al., A ConvNet for the 2020s, CVPR 2022"
for _kind in ("atto", "tiny"):
    enter(NetworkInfo(f"convnext-{_kind}", PAPER, 2022, (2,), 16, "convnext", library="timm"), partial(convnext, _kind))
