"""Occlusion (Zeiler and Fergus, ECCV 2014) with a blurred patch: what does the score lose when a place cannot be seen?

It asks the network only for answers, so it holds for any network. A patch fades into its surroundings and
shows the blurred image rather than black, so that the patch itself is no new edge.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score, to_unit, undisturbed

PATCH = {2: 1 / 5, 3: 1 / 3}
"""Patch edge as a share of each axis: 81 patches in 2-D and 125 in 3-D at the standard overlap of one half."""


@EXPLANATIONS.register("occlusion")
def occlusion(network: nn.Module, x: torch.Tensor, score: Score, *, patch: float | None = None, batch: int = 32, **_: Any) -> torch.Tensor:
    """Mean loss of score over the patches that cover each place; see `base.Explanation`.

    Parameters
    ----------
    patch: edge of the patch as a share of each axis, in (0, 1]; neighbouring patches overlap by one half.
    batch: how many occluded images the network sees at once.

    Raises
    ------
    OptionError: the patch is no share of the image.
    """
    share = PATCH[x.ndim - 2] if patch is None else patch
    if not 0 < share <= 1:
        raise OptionError("the occluding patch is no share of the image", expected="more than 0 and at most 1", got=share)
    with torch.no_grad(), undisturbed(network):
        hidden, base = blurred(x, share), score(network(x).float())
        heat, cover = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0])
        windows = list(_windows(tuple(x.shape[2:]), share, x))
        for start in range(0, len(windows), batch):
            veils = torch.stack(windows[start : start + batch])
            lost = base - score(network(torch.lerp(x, hidden, veils[:, None])).float())
            heat += torch.einsum("b,b...->...", lost.to(veils), veils)
            cover += veils.sum(0)
    return to_unit(heat / cover.clamp(min=1e-6))


def blurred(x: torch.Tensor, share: float) -> torch.Tensor:
    """``[B, C, (Z,) Y, X]`` without any detail smaller than ``share`` of an axis."""
    cells = max(1, round(0.5 / share))
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
    return F.interpolate(pool(x, cells), x.shape[2:], mode=mode, align_corners=False)


def _windows(size: tuple[int, ...], share: float, like: torch.Tensor) -> Iterator[torch.Tensor]:
    """Veils ``[(Z,) Y, X]`` in [0, 1]: separable ramps that cover the image with an overlap of one half."""
    axes = [_ramps(n, share, like) for n in size]
    for ramps in itertools.product(*axes):
        veil = ramps[0]
        for ramp in ramps[1:]:
            veil = veil[..., None] * ramp
        yield veil


def _ramps(n: int, share: float, like: torch.Tensor) -> list[torch.Tensor]:
    edge = max(2.0, share * n)
    steps = max(1, round((n - edge) / (edge / 2))) + 1 if n > edge else 1
    centres = torch.linspace(edge / 2, n - edge / 2, steps) if steps > 1 else torch.tensor([n / 2])
    places = torch.arange(n) + 0.5
    flat = [((edge / 2 - (places - c).abs()) / (edge / 4)).clamp(0, 1) for c in centres]
    return [ramp.to(like) for ramp in flat]
