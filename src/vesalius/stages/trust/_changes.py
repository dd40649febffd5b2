"""What another day, another machine or another cut could make of the same picture, as functions of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from vesalius.transforms.intensity import Noise, Soften, Tone
from vesalius.transforms.spatial import Affine

Change = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]
"""A picture ``[1, C, (Z,) Y, X]`` in [0, 1], a direction (-1 or 1) and a source of noise."""
ZOOM, TURN_DEG, SHIFT = 0.15, 10.0, 0.08
CONTRAST, GAMMA, BRIGHTNESS, NOISE = 0.25, 0.35, 0.08, 0.03


def _placed(scale: float, turn_deg: float, shift: float, x: torch.Tensor, sign: int, source: torch.Generator) -> torch.Tensor:
    """Read from elsewhere: ``scale`` of the side is seen, turned and shifted within the last two axes."""
    ndim, angle = x.ndim - 2, math.radians(turn_deg) * sign
    matrix = torch.eye(ndim, ndim + 1) * scale
    matrix[0, 0] = matrix[1, 1] = scale * math.cos(angle)
    matrix[0, 1], matrix[1, 0] = -scale * math.sin(angle), scale * math.sin(angle)
    matrix[0, -1] = matrix[1, -1] = 2 * shift * sign
    return Affine().apply(x, matrix[None])


def _toned(brightness: float, contrast: float, log_gamma: float, x: torch.Tensor, sign: int, source: torch.Generator) -> torch.Tensor:
    tone = Tone(abs(brightness), abs(contrast), abs(log_gamma))
    return tone.apply(x.clone(), torch.tensor([[brightness, 1 + contrast, math.exp(log_gamma)]]))


def _softened(x: torch.Tensor, sign: int, source: torch.Generator) -> torch.Tensor:
    return Soften().apply(x, torch.ones(1))


def _noisy(x: torch.Tensor, sign: int, source: torch.Generator) -> torch.Tensor:
    return Noise().apply(x, torch.randn(x.shape, generator=source) * NOISE)


PLACED: dict[str, Change] = {
    "closer": partial(_placed, 1 - ZOOM, 0.0, 0.0), "farther": partial(_placed, 1 + ZOOM, 0.0, 0.0),
    "turned": partial(_placed, 1.0, TURN_DEG, 0.0), "shifted": partial(_placed, 1.0, 0.0, SHIFT),
}
"""Changes of what is in the picture and where."""
TONED: dict[str, Change] = {
    "brighter": partial(_toned, BRIGHTNESS, 0.0, 0.0), "darker": partial(_toned, -BRIGHTNESS, 0.0, 0.0),
    "harder": partial(_toned, 0.0, CONTRAST, 0.0), "flatter": partial(_toned, 0.0, -CONTRAST, 0.0),
    "middle_up": partial(_toned, 0.0, 0.0, -GAMMA), "middle_down": partial(_toned, 0.0, 0.0, GAMMA),
}
"""Changes of grey values, which have no meaning where these are measured (Hounsfield units)."""
FINE: dict[str, Change] = {"softer": _softened, "noisier": _noisy}


def changes_for(measured: bool) -> dict[str, Change]:
    """By name; ``measured``: the grey values are quantities (CT)."""
    return PLACED | ({} if measured else TONED) | FINE
