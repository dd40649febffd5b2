"""Integrated gradients (Sundararajan, Taly and Yan, ICML 2017), by Captum: what each sample adds on the way from a blurred image to this one."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score, to_unit, undisturbed
from vesalius.stages.explain.occlusion import PATCH, blurred

STEPS = 24
SMOOTH = 0.025
"""Deviation of the blur of a map, of each side: single samples are specks that nobody can read."""
BATCH = 8


@EXPLANATIONS.register("integrated-gradients")
def integrated_gradients(network: nn.Module, x: torch.Tensor, score: Score, *, steps: int = STEPS, **_: Any) -> torch.Tensor:
    """Sum over channels of what each sample adds to the score, smoothed; see `base.Explanation`.

    Parameters
    ----------
    steps: images between the blurred one, which is the beginning, and this one.

    Raises
    ------
    OptionError: no step, or no gradient flows from the score to the image.
    """
    if steps < 1:
        raise OptionError("integrated gradients need steps", expected="1 or more", got=steps)
    captum = importlib.import_module("captum.attr")  # costs a second, which a prediction without this map need not pay
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        image = x.detach().clone()
        start = blurred(image, PATCH[x.ndim - 2])
        if not score(network(image.clone().requires_grad_(True)).float()).requires_grad:
            raise OptionError("no gradient flows through this network", expected="a network that can be differentiated", do="explain with 'occlusion'")
        made = captum.IntegratedGradients(lambda seen: score(network(seen).float()))
        parts = made.attribute(image, baselines=start, n_steps=steps, internal_batch_size=BATCH)
    return to_unit(smoothed(parts[0].detach().sum(0)))


def smoothed(heat: torch.Tensor) -> torch.Tensor:
    """A map without detail below `SMOOTH` of each side."""
    sigma = [SMOOTH * n for n in heat.shape]
    return torch.from_numpy(ndimage.gaussian_filter(heat.cpu().numpy().astype(np.float32), sigma))
