"""RISE (Petsiuk, Das and Saenko, *Randomized input sampling for explanation of black-box models*, BMVC 2018), in two and three dimensions.

It asks the network only for answers. What is hidden is blurred and not black, so that a mask is no new edge; and a place's weight is the
correlation of its visibility with the answer instead of the mean, so that a place which is seen often by chance does not look important.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score, undisturbed
from vesalius.stages.explain.occlusion import PATCH, blurred
from vesalius.stages.explain.veils import correlated

MASKS = {2: 400, 3: 240}
CELLS = {2: 7, 3: 4}
"""Of a mask along each axis; the paper has 7."""


@EXPLANATIONS.register("rise")
def rise(network: nn.Module, x: torch.Tensor, score: Score, *, masks: int | None = None, seed: int = 0, **_: Any) -> torch.Tensor:
    """How the score goes with what can be seen through random masks; see `base.Explanation`.

    Parameters
    ----------
    masks: how many. seed: of the masks.

    Raises
    ------
    OptionError: fewer than two masks.
    """
    ndim = x.ndim - 2
    masks = MASKS[ndim] if masks is None else masks
    if masks < 2:
        raise OptionError("too few random masks", expected="two or more", got=masks)
    with torch.no_grad(), undisturbed(network):
        return correlated(lambda seen: score(network(seen).float()), x, blurred(x, PATCH[ndim]), (CELLS[ndim],) * ndim, masks=masks, seed=seed)
