"""U-Net: Ronneberger, Fischer, Brox, *U-Net: convolutional networks for biomedical image segmentation*, MICCAI 2015,
as Isensee et al., *nnU-Net*, Nature Methods 2021, plan it: strided convolutions down, transposed ones up, instance norm, leaky rectifier.

It gives the reference of medical segmentation. The skips carry what is fine; the depth gives what is around. ``small-unet`` is the same
with blocks of 2 samples as channels first (and back at the end), which a CPU computes some twenty times faster at the same width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._dense import SLOPE, Each, Style, UNet, axes, counts, ladder_of, n_heads, stack, start

LEAST_STEM = 8
"""Samples along an axis that a stem leaves."""


def unet(
    channels: int, n_out: int, size: tuple[int, ...], width: Each = 32, depth: int | None = None, strides: Sequence[Each] | None = None,
    kernels: Sequence[Each] | None = None, convs: Each = 2, convs_up: Each | None = None, norm: str = "instance", bias: bool = False,
    slope: float = SLOPE, deep_supervision: bool = False, max_width: int | None = None, stem_stride: Each | None = 1,
) -> nn.Module:
    """A U-Net.

    Parameters
    ----------
    width: channels of the finest level (each further one has twice as many), or of every level.
    depth: most levels; None for as many as leave at least 4 samples along each axis.
    strides: step of each level from the one before, the finest (1) first; a number, or one for each axis.
    kernels: of each level, odd; 3 by default.
    convs, convs_up: convolutions of each level of the encoder and of the decoder (as many as the encoder's by default), the
        finest first; a shorter list's last number holds for the rest.
    norm: ``"instance"``, ``"batch"`` or ``"group"``.
    bias: of the convolutions; a norm takes it away again, foreign weights may have it.
    slope: of the rectifier for negative numbers.
    deep_supervision: in training, give raw values at every level of the decoder but the coarsest.
    max_width: most channels of a level; 512 in 2-D and 320 in 3-D by default.
    stem_stride: blocks of so many samples become channels first, so that no convolution runs at full size; None for 2 along each
        axis that is long enough.

    Raises
    ------
    OptionError: levels, widths, strides, kernels, a norm or a stem that cannot be.
    """
    stem = _stem(size) if stem_stride is None else counts(axes(stem_stride, len(size)), len(size), "stem")
    ladder = ladder_of([-(-n // step) for n, step in zip(size, stem, strict=True)], width, depth, strides, kernels, max_width)
    style, n = Style(len(size), norm, bias, slope), len(ladder)
    down = counts(convs, n, "number of convolutions")
    up = counts(down if convs_up is None else convs_up, n - 1, "number of convolutions")
    stages: list[nn.Module] = []
    before = channels
    for step in stem:
        before *= step
    for each, kernel, stride, count in zip(ladder.widths, ladder.kernels, ladder.strides, down, strict=True):
        stages.append(stack(before, each, kernel, stride, count, style))
        before = each
    return start(UNet(stages, ladder, n_out, up, style, n_heads(n, deep_supervision), stem), slope)


def _stem(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 if n >= 2 * LEAST_STEM else 1 for n in size)


PAPER = "Ronneberger et al., U-Net, MICCAI 2015; Isensee et al., nnU-Net, Nature Methods 2021"
enter(NetworkInfo("unet", PAPER, 2021, (2, 3), 8, dense=True), unet)
SMALL_PAPER = f"{PAPER}; Shi et al., Real-time single image super-resolution, CVPR 2016"
enter(NetworkInfo("small-unet", SMALL_PAPER, 2021, (2, 3), 8, dense=True), partial(unet, stem_stride=None))
