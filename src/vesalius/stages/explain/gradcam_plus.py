"""Grad-CAM++ (Chattopadhay et al., WACV 2018): every place has its own weight, so that several lesions of one class are all shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vesalius.stages.explain.base import EXPLANATIONS, Score, to_unit, undisturbed
from vesalius.stages.explain.gradcam import looked_at, resized

TINY = 1e-12


@EXPLANATIONS.register("gradcam++")
def gradcam_plus(network: nn.Module, x: torch.Tensor, score: Score, **_: Any) -> torch.Tensor:
    """Maps of the layer that `gradcam` looks at, weighted by their positive gradients and these by equation 19 of the paper; see `base.Explanation`.

    Raises
    ------
    OptionError: no layer of the network keeps the places of the image, or no gradient flows through it.
    """
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        found = looked_at(network, x, score)
        weight = _share(found.maps, found.gradient) * found.gradient.clamp(min=0)
        if not found.local:
            weight = weight.sum(dim=tuple(range(1, weight.ndim)), keepdim=True)
        return to_unit(resized((found.maps * weight).sum(0), tuple(x.shape[2:])))


def _share(maps: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The weight of each place in its channel, for a score that is the exponential of what is explained; the paper has no negative maps."""
    total = maps.clamp(min=0).sum(dim=tuple(range(1, maps.ndim)), keepdim=True)
    below = 2 * gradient**2 + total * gradient**3
    return torch.where(below.abs() > TINY, gradient**2 / torch.where(below.abs() > TINY, below, 1.0), 0.0).clamp(min=0)
