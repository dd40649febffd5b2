"""What is explained of networks that answer place by place: a number for a class on its mask, and one for a box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vesalius.stages.explain.base import Score
from vesalius.stages.explain.drise import ious


class OneAnswer(nn.Module):
    """A network that gives one tensor, also where several scales are answered for (the finest comes first)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.network(x)
        first: torch.Tensor = made[0] if isinstance(made, (tuple, list)) else made
        return first


def mask_score(raw: torch.Tensor, k: int, *, exclusive: bool) -> Score:
    """From raw values ``[B, n_out, (Z,) Y, X]`` to the mean log odds ``[B]`` of class number ``k`` (from 0) over the samples that ``raw``
    ``[1, n_out, …]``, the answer to the whole image, gives to it.

    The samples stay the same while the image is changed: what is asked is whether *these* would still be found. Where the answer gives none,
    all samples count by their probability.
    """
    channel = k + int(exclusive)
    odds = _log_odds(raw.detach().float(), channel, exclusive)
    given = raw.argmax(1) == channel if exclusive else raw[:, channel] > 0
    weight = given.float() if bool(given.any()) else odds.sigmoid()
    weight = (weight / weight.sum().clamp(min=1e-12)).clone()
    return lambda seen: (_log_odds(seen.float(), channel, exclusive) * weight).flatten(1).sum(1)


def _log_odds(raw: torch.Tensor, channel: int, exclusive: bool) -> torch.Tensor:
    if not exclusive or raw.shape[1] == 1:
        return raw[:, channel]
    others = torch.cat([raw[:, :channel], raw[:, channel + 1 :]], 1).logsumexp(1)
    return raw[:, channel] - others


def mask_worth(raw: torch.Tensor, k: int, *, exclusive: bool) -> Score:
    """As `mask_score`, the mean probability ``[B]`` instead of the log odds."""
    channel = k + int(exclusive)
    given = raw.argmax(1) == channel if exclusive else raw[:, channel] > 0
    weight = given.float() if bool(given.any()) else _log_odds(raw.detach().float(), channel, exclusive).sigmoid()
    weight = (weight / weight.sum().clamp(min=1e-12)).clone()
    return lambda seen: (_log_odds(seen.float(), channel, exclusive).sigmoid() * weight).flatten(1).sum(1)


def box_score(box: Sequence[float], k: int) -> Score:
    """From candidates ``[B, M, 2 * ndim + n_out]`` to the logit ``[B]`` of class ``k`` of the one that has most of overlap times probability."""
    target = torch.as_tensor(box, dtype=torch.float32)

    def score(found: torch.Tensor) -> torch.Tensor:
        ndim = len(target) // 2
        logits = found[..., 2 * ndim + k].float()
        worth = (ious(found[..., : 2 * ndim].float(), target.to(found.device)) * logits.sigmoid()).detach()
        return logits.gather(1, worth.argmax(1, keepdim=True))[:, 0]

    return score
