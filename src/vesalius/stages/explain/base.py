"""What every explanation is, and how one study is explained on its own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from vesalius.core.finding import Picture
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.registry import Registry

if TYPE_CHECKING:
    from vesalius.mapping import Mapping

Score = Callable[[torch.Tensor], torch.Tensor]
"""Raw values ``[B, K]`` to the one number per case ``[B]`` that is explained."""


class Explanation(Protocol):
    """``[1, C, (Z,) Y, X]`` to a map ``[(Z,) Y, X]`` float32 in [0, 1]: how much each place speaks for the score.

    A map is relative to its own maximum; it is 0 everywhere when nothing speaks for the score. The network
    is left as it was: training mode, gradients, parameters, hooks and running statistics.
    """

    def __call__(self, network: nn.Module, x: torch.Tensor, score: Score, **options: Any) -> torch.Tensor: ...


EXPLANATIONS: Registry[Explanation] = Registry("explanation", "vesalius.stages.explain")


def explain_study(mapping: Mapping, study: Study, *, method: str = "gradcam", target: int | None = None, **options: Any) -> Picture:
    """Where the mapping looked in a study.

    Parameters
    ----------
    method: a name in ``EXPLANATIONS``.
    target: number of the class to explain; by default the class that the mapping answers (for a regression
        the value, for a multi-label target the strongest label).
    options: passed to the method.

    Returns
    -------
    A `Picture` named after the method, float32 in [0, 1], on the study's own grid.

    Raises
    ------
    OptionError: unknown method, or a class that the target does not have.
    """
    explain = EXPLANATIONS.get(method)
    index = _answer(mapping, study) if target is None else _valid(target, mapping)
    x, trace = mapping.encode(study)
    heat = explain(mapping.network, x[None], lambda raw: mapping.output.explained(raw, index), **options)
    return Picture(method, mapping.undo(heat.cpu().numpy(), trace), study.grid)


def _answer(mapping: Mapping, study: Study) -> int | None:
    """The class that the mapping answers; an operating point may choose another one than the largest raw value."""
    target = mapping.output.target
    if target.kind in ("multilabel", "regression"):
        return None
    return target.classes.index(mapping(study).label)


def _valid(index: int, mapping: Mapping) -> int:
    n = mapping.output.target.n_out
    if not 0 <= index < n:
        raise OptionError("there is no such class to explain", expected=f"a number from 0 to {n - 1}", got=index)
    return index


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; each module's own mode afterwards, also when the block throws."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def to_unit(heat: torch.Tensor) -> torch.Tensor:
    """Positive part of a map relative to its maximum: float32 in [0, 1]; a map without a positive (or finite) value is 0.

    >>> to_unit(torch.tensor([-1.0, 1.0, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    positive = torch.nan_to_num(heat.detach().float(), nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0)
    top = positive.max()
    return positive / top if top > 0 else positive
