"""Grad-CAM (Selvaraju et al., ICCV 2017) for any network, without a layer to choose.

The layer is found during one forward pass: the last module whose output is a map of the image (channels
first or last) or a sequence of tokens that lies on a grid. A transformer that answers from its class token
gives no gradient to the other tokens after its last attention; the search then goes back to the last layer
where the places of the image still take part in the answer.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score, to_unit, undisturbed

FINE = 4
"""Positions per axis from which a map is fine enough to be preferred over a later, coarser one."""
DENSE_FINE = 8
"""The same for a network that answers on every sample: coarser maps cannot show a small structure."""
MAX_PREFIX = 8
"""Most class and register tokens that may stand before the tokens of the image."""
MAX_ANISOTROPY = 2.0
"""Largest ratio between the strides of a map's axes (in samples of the input)."""
NEARLY_EQUAL = (1.02, 1.35)
"""Ratios of strides up to which a grid of tokens is exact or close; among equally good ones fewer prefix tokens are likelier."""


@dataclass(frozen=True)
class Place:
    """A layer's output that lies on the image: ``kind`` is first, last (where channels are) or tokens."""

    tensor: torch.Tensor
    kind: str
    grid: tuple[int, ...]
    prefix: int = 0

    def maps(self, values: torch.Tensor) -> torch.Tensor:
        """Values shaped like ``tensor`` as ``[C, *grid]``."""
        if self.kind == "first":
            return values[0]
        if self.kind == "last":
            return values[0].movedim(-1, 0)
        return values[0, self.prefix :].T.reshape(-1, *self.grid)

    @property
    def width(self) -> int:
        return int(self.tensor.shape[1 if self.kind == "first" else -1])


@EXPLANATIONS.register("gradcam")
def gradcam(network: nn.Module, x: torch.Tensor, score: Score, **_: Any) -> torch.Tensor:
    """Sum of a layer's maps weighted by their mean gradient; see `base.Explanation`.

    Raises
    ------
    OptionError: no layer of the network keeps the places of the image, or no gradient flows through it.
    """
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        found = looked_at(network, x, score)
        weight = found.gradient if found.local else mean_of(found.gradient)
        return to_unit(resized((found.maps * weight).sum(0), tuple(x.shape[2:])))


@dataclass(frozen=True)
class Looked:
    """A layer's maps ``[C, *grid]`` and the gradient of the score there; ``local``: the network answers place by place, not for the image."""

    maps: torch.Tensor
    gradient: torch.Tensor
    local: bool


def looked_at(network: nn.Module, x: torch.Tensor, score: Score) -> Looked:
    """The layer that shows best what the score rests on; call it where gradients are on.

    Of a network that answers for the whole image it is the last one where the places still take part in the answer; of one that answers on
    every sample the last at the coarsest resolution that still tells places apart (see `gradcam_mask`).

    Raises
    ------
    OptionError: no layer of the network keeps the places of the image, or no gradient flows through it.
    """
    seen, size = x.detach().clone().requires_grad_(True), tuple(x.shape[2:])
    with captured(network) as outputs:
        raw = network(seen)
    value = score(raw.float()).sum()
    dense = raw.ndim == x.ndim
    places = _dense_places([each for each in outputs if each is not raw], size) if dense else list(_places(outputs, size))
    if not places or not value.requires_grad:
        wanted = "maps or tokens through which a gradient flows"
        raise OptionError("no layer of this network keeps the places of the image", expected=wanted, do="explain with 'occlusion'")
    place, gradient = (_first_that_matters if dense else _last_that_matters)(places, value)
    return Looked(place.maps(place.tensor).detach(), place.maps(gradient).detach(), raw.ndim > 2)


def _dense_places(outputs: list[torch.Tensor], size: tuple[int, ...]) -> list[Place]:
    return [Place(each, "first", tuple(each.shape[2:])) for each in _dense_maps(outputs, size)]


def _first_that_matters(places: list[Place], value: torch.Tensor) -> tuple[Place, torch.Tensor]:
    for place in places:
        gradient = torch.autograd.grad(value, place.tensor, retain_graph=True, allow_unused=True)[0]
        if gradient is not None and gradient.any():
            return place, gradient
    return places[0], torch.zeros_like(places[0].tensor)


def mean_of(gradient: torch.Tensor) -> torch.Tensor:
    """The mean over all places, kept as axes of one."""
    return gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)


def resized(heat: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """A map ``[*grid]`` at the size of the image, linear."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(heat[None, None].float(), size, mode=mode, align_corners=False)[0, 0]


@contextmanager
def captured(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Outputs of all modules, in the order in which they finish; every hook is taken away afterwards."""
    outputs: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, torch.Tensor) and first.requires_grad and all(first is not known for known in outputs[-4:]):
            outputs.append(first)

    hooks = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _places(outputs: list[torch.Tensor], size: tuple[int, ...]) -> Iterator[Place]:
    """The outputs that lie on the image, in their order."""
    counts = {int(t.shape[1]) for t in outputs if t.ndim == 3 and token_grid(int(t.shape[1]), size)}
    for tensor in outputs:
        place = _tokens(tensor, size) if tensor.ndim == 3 else _map(tensor, size, counts)
        if place is not None and tensor.shape[0] == 1:
            yield place


def _tokens(tensor: torch.Tensor, size: tuple[int, ...]) -> Place | None:
    found = token_grid(int(tensor.shape[1]), size)
    return Place(tensor, "tokens", found[1], found[0]) if found else None


def _map(tensor: torch.Tensor, size: tuple[int, ...], counts: set[int]) -> Place | None:
    """A map of the image. Attention (tokens x tokens, tokens x width) has the same number of axes and is no map."""
    if tensor.ndim != len(size) + 2:
        return None
    for kind, grid in (("first", tuple(tensor.shape[2:])), ("last", tuple(tensor.shape[1:-1]))):
        if not counts & set(grid) and _lies_on(grid, size):
            return Place(tensor, kind, grid)
    return None


def _lies_on(grid: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return min(grid) >= 2 and all(g <= s for g, s in zip(grid, size, strict=True)) and _anisotropy(grid, size) <= MAX_ANISOTROPY


def _anisotropy(grid: tuple[int, ...], size: tuple[int, ...]) -> float:
    strides = [s / g for g, s in zip(grid, size, strict=True)]
    return max(strides) / min(strides)


def token_grid(count: int, size: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """How many tokens stand before the image's, and the grid of these; None when no grid fits.

    >>> token_grid(197, (224, 224)), token_grid(196, (224, 224)), token_grid(65, (32, 32, 32))
    ((1, (14, 14)), (0, (14, 14)), (1, (4, 4, 4)))
    """
    found = [
        (bisect(NEARLY_EQUAL, _anisotropy(grid, size)), prefix, grid)
        for prefix in range(MAX_PREFIX + 1)
        for grid in _factors(count - prefix, len(size))
        if _lies_on(grid, size)
    ]
    return min(found)[1:] if found else None


def _factors(n: int, axes: int) -> Iterator[tuple[int, ...]]:
    """All ways to write ``n`` as an ordered product of ``axes`` factors of at least 2."""
    if axes == 1:
        if n >= 2:
            yield (n,)
        return
    for first in range(2, n // 2 + 1):
        if n % first == 0:
            for rest in _factors(n // first, axes - 1):
                yield (first, *rest)


def _last_that_matters(places: list[Place], value: torch.Tensor) -> tuple[Place, torch.Tensor]:
    """The last place (of the last kind and, for tokens, width) whose gradient is not zero over the image, and the gradient.

    A score that depends on no place at all has the gradient 0 at the last one.
    """
    final = places[-1]
    coarse: tuple[Place, torch.Tensor] | None = None
    for place in reversed(places):
        if place.kind == final.kind == "tokens" and place.width != final.width:
            continue  # queries, keys and the inside of a perceptron are wider than the stream of tokens
        gradient = torch.autograd.grad(value, place.tensor, retain_graph=True, allow_unused=True)[0]
        if gradient is None or not place.maps(gradient).any():
            continue
        if min(place.grid) >= FINE:
            return place, gradient
        coarse = coarse or (place, gradient)
    return coarse or (final, torch.zeros_like(final.tensor))


def gradcam_mask(network: nn.Module, x: torch.Tensor, class_index: int, *, exclusive: bool = True) -> torch.Tensor:
    """Grad-CAM of a class for a network that answers on every sample (Seg-Grad-CAM, Vinogradova et al., AAAI 2020).

    What is explained is the mean log odds of the class over the samples that the network gives to it, or, where it gives none,
    over all samples weighted by its probability. The layer is the last one at the coarsest resolution of at least `DENSE_FINE`
    places along every axis: there the network knows the surroundings and still tells places apart. At a finer one the map
    would be little more than the answer itself. Each place is weighted by its own gradient (HiResCAM, Draelos and Carin,
    arXiv 2011.08891), not by the mean over all: where an instance norm follows, a shift of a whole channel changes nothing,
    so that the mean gradient is zero but for the border.

    Parameters
    ----------
    x: one tile ``[1, C, (Z,) Y, X]``.
    class_index: number of the raw value; with ``exclusive`` classes 0 is the background.
    exclusive: whether the raw values are of a soft-max, or each of a sigmoid of its own.

    Returns
    -------
    ``[(Z,) Y, X]`` float32 in [0, 1] as for every `base.Explanation`; the network is left as it was, also when it throws.

    Raises
    ------
    OptionError: there is no such class, or no layer before the answer keeps the places of the image.
    """
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(network):
        seen = x.detach().clone().requires_grad_(True)
        with captured(network) as outputs:
            answer = network(seen)
        raw = answer[0] if isinstance(answer, (tuple, list)) else answer
        if not 0 <= class_index < raw.shape[1]:
            raise OptionError("there is no such class to explain", expected=f"a number from 0 to {raw.shape[1] - 1}", got=class_index)
        maps = _dense_maps([each for each in outputs if each is not raw], tuple(seen.shape[2:]))
        if not maps or not raw.requires_grad:
            raise OptionError("no layer of this network keeps the places of the image", expected="maps before the answer, through which a gradient flows")
        return _dense_heat(maps, _mean_log_odds(raw.float(), class_index, exclusive), tuple(seen.shape[2:]))


def _mean_log_odds(raw: torch.Tensor, k: int, exclusive: bool) -> torch.Tensor:
    if exclusive and raw.shape[1] > 1:
        others = torch.cat([raw[:, :k], raw[:, k + 1 :]], 1).logsumexp(1)
        odds, given = raw[:, k] - others, raw.argmax(1) == k
    else:
        odds, given = raw[:, k], raw[:, k] > 0
    weight = given.float() if given.any() else odds.detach().sigmoid()
    return (odds * weight).sum() / weight.sum()


def _dense_maps(outputs: list[torch.Tensor], size: tuple[int, ...]) -> list[torch.Tensor]:
    """Maps of the image ``[1, C, *grid]``: first the coarsest that is fine enough, of equal ones the last; then finer, then coarser ones."""
    maps = [each for each in outputs if each.ndim == len(size) + 2 and each.shape[0] == 1 and strided(tuple(each.shape[2:]), size)]
    fine = [all(g >= min(DENSE_FINE, s) for g, s in zip(each.shape[2:], size, strict=True)) for each in maps]
    order = sorted(range(len(maps)), key=lambda i: (not fine[i], (1 if fine[i] else -1) * maps[i][0, 0].numel(), -i))
    return [maps[i] for i in order]


def strided(grid: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether the grid is the image's with a whole step along each axis; attention (tokens x tokens) rarely is."""
    steps = [{s // g, -(-s // g)} if g else set() for g, s in zip(grid, size, strict=True)]
    return all(any(step and g in (s // step, -(-s // step)) for step in found) for found, g, s in zip(steps, grid, size, strict=True))


def _dense_heat(maps: list[torch.Tensor], value: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """The first map through which a gradient flows, times its gradient and summed over channels; 0 where none does."""
    for tensor in maps:
        gradient = torch.autograd.grad(value, tensor, retain_graph=True, allow_unused=True)[0]
        if gradient is not None and gradient.any():
            return to_unit(resized((tensor[0] * gradient[0]).sum(0).detach(), size))
    return torch.zeros(size)
