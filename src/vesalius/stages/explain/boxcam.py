"""Grad-CAM of one box: which places raise the logit of the box's class, in the layer that fits the box's size.

Selvaraju et al., ICCV 2017, with each place weighted by its own gradient (HiResCAM, Draelos and Carin, arXiv 2011.08891): the mean
gradient over the image would show every object of the class and not what this box rests on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import to_unit, undisturbed
from vesalius.stages.explain.drise import ious
from vesalius.stages.explain.gradcam import captured, resized, strided

CONTEXT = 1.5
"""The surroundings that a layer must see: the box, so many times larger."""
FINE, COARSE = 2.0, 8.0
"""Places of a layer along each side of the box: fewer cannot show where, and more show specks instead of parts."""
COVER = 0.5
"""Share of the surroundings through which a gradient must flow; closer to the answer a map is but a dot."""


def gradcam_box(network: nn.Module, x: torch.Tensor, box: Sequence[float], k: int) -> torch.Tensor:
    """``[(Z,) Y, X]`` float32 in [0, 1], relative to its own maximum; 0 everywhere where no candidate meets the box.

    What is explained is the logit of class ``k`` of the candidate with the largest product of overlap with ``box`` and probability. The
    layer is the last one that is fine enough for the box and in which the logit depends on the box's surroundings.

    Parameters
    ----------
    network: one that detects (docs/architecture.md); it is left as it was, also when it throws.
    x: one tile ``[1, C, (Z,) Y, X]``. box: ``low..., high...`` in samples of the tile.

    Raises
    ------
    OptionError: no gradient flows from the answer to a layer that keeps the places of the image.
    """
    size = tuple(x.shape[2:])
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        seen = x.detach().clone().requires_grad_(True)
        with captured(network) as outputs:
            answer = network(seen)[0]
        target = torch.as_tensor(box, dtype=torch.float32, device=x.device)
        logits = answer[:, 2 * len(size) + k].float()
        worth = (ious(answer[:, : 2 * len(size)].float(), target) * logits.sigmoid()).detach()
        maps = [each for each in outputs if each.ndim == x.ndim and each.shape[0] == 1 and strided(tuple(each.shape[2:]), size)]
        if not maps or not logits.requires_grad:
            wanted = "maps before the answer, through which a gradient flows"
            raise OptionError("no layer of this network keeps the places of the image", expected=wanted, do="explain with 'drise'")
        if not len(worth) or not worth.max() > 0:
            return torch.zeros(size)
        return _heat(maps, logits[int(worth.argmax())], [float(v) for v in box], size)


def _heat(maps: list[torch.Tensor], value: torch.Tensor, box: list[float], size: tuple[int, ...]) -> torch.Tensor:
    found = [(m, g) for m, g in zip(maps, torch.autograd.grad(value, maps, allow_unused=True), strict=True) if g is not None and g.any()]
    ranks = [_rank(gradient, box, size) for _, gradient in found]
    for i in sorted(range(len(found)), key=lambda i: (*ranks[i], i), reverse=True):
        heat = to_unit(resized((found[i][0][0] * found[i][1][0]).sum(0).detach(), size))
        if heat.any():  # of a box that was missed the best layer may hold nothing but what speaks against it
            return heat
    return torch.zeros(size)


def _rank(gradient: torch.Tensor, box: list[float], size: tuple[int, ...]) -> tuple[bool, bool, bool, float]:
    """How well a layer suits: it sees enough, it is fine enough, not too fine, and of those that see too little how much it sees."""
    ndim, grid = len(size), gradient.shape[2:]
    region, fine, coarse = [], True, True
    for low, high, n, g in zip(box[:ndim], box[ndim:], size, grid, strict=True):
        step, middle, half = n / g, (low + high) / 2, CONTEXT * (high - low) / 2
        first = min(max(math.floor((middle - half) / step), 0), g - 1)
        region.append(slice(first, max(math.ceil((middle + half) / step), first + 1)))
        fine, coarse = fine and (high - low) / step >= FINE, coarse and (high - low) / step <= COARSE
    cover = float((gradient[0].abs().sum(0)[tuple(region)] > 0).float().mean())
    return cover >= COVER, fine, coarse, 0.0 if cover >= COVER else cover
