"""One thing that is explained, whatever the task: an image, the number that is explained and, where it is known, the place it should rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from vesalius.errors import OptionError
from vesalius.stages.explain.base import EXPLANATIONS, Score

BATCH_SAMPLES = 4_000_000


@dataclass(frozen=True)
class Question:
    """What is asked of a network.

    Parameters
    ----------
    id, patient: whose image it is.
    x: ``[1, C, (Z,) Y, X]`` as the network reads it.
    score: raw values to the number ``[B]`` that is explained; worth: to the number that is followed while places are hidden (a probability).
    region: where the truth lies, bool ``[(Z,) Y, X]``; None where nobody marked it.
    facts: what a method of its own needs besides.
    """

    id: str
    patient: str
    x: torch.Tensor
    score: Score
    worth: Score
    region: np.ndarray | None = None
    facts: dict[str, object] = field(default_factory=dict)


Method = Callable[[nn.Module, Question], torch.Tensor]
"""A map ``[(Z,) Y, X]`` float32 in [0, 1]; see `base.Explanation`."""


def method_of(name: str, **options: object) -> Method:
    """A registered explanation as a method for questions.

    Raises
    ------
    OptionError: there is no such explanation.
    """
    explain = EXPLANATIONS.get(name)
    return lambda network, question: explain(network, question.x, question.score, **options)


def map_of(method: Method, network: nn.Module, question: Question) -> np.ndarray | None:
    """The map of a question; None where the method does not fit the network."""
    try:
        return method(network, question).cpu().numpy()
    except OptionError:
        return None


def worths(network: nn.Module, question: Question, images: torch.Tensor) -> np.ndarray:
    """What the network answers to variants of a question's image ``[n, C, (Z,) Y, X]``: ``[n]``."""
    size = max(1, min(32, BATCH_SAMPLES // max(images[0].numel(), 1)))
    with torch.inference_mode():
        found = [question.worth(network(images[i : i + size])).float() for i in range(0, len(images), size)]
    return torch.cat(found).cpu().numpy().astype(np.float64)
