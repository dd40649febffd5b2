"""Attention rollout for transformers: Abnar and Zuidema, *Quantifying attention flow in transformers*, ACL 2020.

The attention of every layer is multiplied with that of the layers before it, half of each token staying where it is. Plain rollout is the same
for every class; here each attention counts by its own positive gradient (Chefer, Gur and Wolf, ICCV 2021), so that it depends on the score.
It is read while the network computes, so that any network is served that uses PyTorch's attention, multi-head attention or a soft-max of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score, to_unit, undisturbed
from vesalius.stages.explain.gradcam import captured, resized, token_grid

SOFTMAX = (torch.softmax, torch.Tensor.softmax, F.softmax)


@EXPLANATIONS.register("attention-rollout")
def attention_rollout(network: nn.Module, x: torch.Tensor, score: Score, **_: Any) -> torch.Tensor:
    """How much of each token reaches the answer through all layers; see `base.Explanation`.

    Raises
    ------
    OptionError: the network has no attention over the whole image (a convolutional one, or one with windows).
    """
    size = tuple(x.shape[2:])
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        seen = x.detach().clone().requires_grad_(True)
        with captured(network) as outputs, attending() as attentions:
            value = score(network(seen).float()).sum()
        looks = _of_image(attentions, size)
        if not looks or not value.requires_grad:
            wanted = "a transformer whose tokens attend to the whole image"
            raise OptionError("this network has no attention to roll out", expected=wanted, do="explain with 'gradcam' or 'occlusion'")
        gradients = torch.autograd.grad(value, looks, retain_graph=True, allow_unused=True)
        prefix, grid = token_grid(looks[0].shape[-1], size) or (0, ())
        reached = _asked(outputs, value, looks[0].shape[-1])
        for look, gradient in zip(reversed(looks), reversed(gradients), strict=True):
            reached = reached @ _flow(look, gradient)
    return to_unit(resized(reached[prefix:].reshape(grid).detach().float(), size))


def _flow(look: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor:
    """``[n, n]``: half of a token stays, half comes from where it looks, as far as that speaks for the score; rows sum to one."""
    one = torch.eye(look.shape[-1], dtype=look.dtype, device=look.device)
    if gradient is None:
        return one
    seen = (look * gradient).detach().clamp(min=0)[0]
    seen = seen.reshape(-1, *seen.shape[-2:]).mean(0)
    total = seen.sum(-1, keepdim=True)
    return (one + torch.where(total > 0, seen / total.clamp(min=1e-30), one)) / 2


def _asked(outputs: list[torch.Tensor], value: torch.Tensor, n: int) -> torch.Tensor:
    """How much each token of the last layer speaks for the score, ``[n]``: its numbers times their gradients."""
    for tensor in reversed([each for each in outputs if each.ndim == 3 and each.shape[:2] == (1, n)]):
        gradient = torch.autograd.grad(value, tensor, retain_graph=True, allow_unused=True)[0]
        if gradient is not None and gradient.any():
            worth = (tensor * gradient).detach()[0].sum(-1)
            return worth.clamp(min=0) if bool((worth > 0).any()) else worth.abs()
    return torch.full((n,), 1 / n, device=value.device)


def _of_image(attentions: list[torch.Tensor], size: tuple[int, ...]) -> list[torch.Tensor]:
    """Attention among all tokens of one image; of several numbers of tokens the one that most layers have."""
    fits = [each for each in attentions if each.shape[0] == 1 and each.requires_grad and token_grid(each.shape[-1], size)]
    counts = [each.shape[-1] for each in fits]
    most = max(counts, key=lambda n: (counts.count(n), n), default=0)
    return [each for each in fits if each.shape[-1] == most]


@contextmanager
def attending() -> Iterator[list[torch.Tensor]]:
    """The attention ``[B, heads, n, n]`` of every layer that computes inside the block, in its order; nothing of the network is changed."""
    with _Attending() as watch:
        yield watch.found


class _Attending(TorchFunctionMode):
    """Looks at calls of attention; fused ones, which never hold their attention, are computed step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Tensor] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._fused(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            out, look = func(*args, **kwargs | {"need_weights": True, "average_attn_weights": False})
            self.found.append(look)
            return out, look
        out = func(*args, **kwargs)
        if func in SOFTMAX and isinstance(out, torch.Tensor) and out.ndim >= 3 and out.shape[-1] == out.shape[-2]:
            self.found.append(out)
        return out

    def _fused(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, **_: Any,
    ) -> torch.Tensor:
        near = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            near = near.masked_fill(~torch.ones_like(near, dtype=torch.bool).tril(), float("-inf"))
        if attn_mask is not None:
            near = near.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else near + attn_mask
        look = near.softmax(-1)
        self.found.append(look)
        return look @ value
