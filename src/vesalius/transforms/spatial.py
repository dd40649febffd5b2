"""Spatial augmentation: one affine map per image, drawn, applied in one resampling, and undone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Affine:
    """Rotation, scaling, shear, translation and mirroring of a batch in one resampling.

    Parameters
    ----------
    rotate_deg: largest rotation (3-D: about each axis).
    scale: largest relative change of size, e.g. 0.15.
    shear: largest shear (tangent).
    translate: largest shift as a share of the image.
    flip_axes: array axes (0 is the first spatial axis) that may be mirrored; never one where the side matters.
    share: probability that an image is moved at all (mirroring is drawn apart, one half each).
    """

    rotate_deg: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    translate: float = 0.0
    flip_axes: tuple[int, ...] = ()
    share: float = 1.0

    def draw(self, n: int, ndim: int, generator: torch.Generator) -> torch.Tensor:
        """Matrices ``[n, ndim, ndim + 1]`` in torch's normalised coordinates (x first): where to read from."""
        move = torch.rand(n, generator=generator) < self.share
        matrix = self._rotation(n, ndim, generator) * _uniform((n, 1, ndim), math.log1p(self.scale), generator).exp()
        matrix = matrix + _uniform((n, ndim, ndim), self.shear, generator) * (1 - torch.eye(ndim))
        shift = _uniform((n, ndim, 1), 2 * self.translate, generator)
        matrix = torch.where(move[:, None, None], matrix, torch.eye(ndim))
        shift = torch.where(move[:, None, None], shift, torch.zeros(1))
        return torch.cat([matrix * self._signs(n, ndim, generator), shift], 2)

    def _rotation(self, n: int, ndim: int, generator: torch.Generator) -> torch.Tensor:
        turn = torch.eye(ndim).repeat(n, 1, 1)
        for a, b in [(0, 1), (0, 2), (1, 2)] if ndim == 3 else [(0, 1)]:
            angle = _uniform((n,), math.radians(self.rotate_deg), generator)
            step = torch.eye(ndim).repeat(n, 1, 1)
            step[:, a, a] = step[:, b, b] = angle.cos()
            step[:, a, b], step[:, b, a] = -angle.sin(), angle.sin()
            turn = turn @ step
        return turn

    def _signs(self, n: int, ndim: int, generator: torch.Generator) -> torch.Tensor:
        signs = torch.ones(n, 1, ndim)
        for axis in self.flip_axes:
            signs[:, 0, ndim - 1 - axis] = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
        return signs

    def apply(self, x: torch.Tensor, params: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
        """Resample ``[B, C, (Z,) Y, X]``; outside the image its border is repeated."""
        grid = F.affine_grid(params.to(x), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)

    def undo(self, x: torch.Tensor, params: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
        """Bring a moved batch (or a map of it) back: the inverse map of `apply`."""
        return self.apply(x, invert(params), mode)

    @property
    def idle(self) -> bool:
        """Whether it never changes anything."""
        still = self.share == 0 or not any((self.rotate_deg, self.scale, self.shear, self.translate))
        return still and not self.flip_axes


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def invert(params: torch.Tensor) -> torch.Tensor:
    """The inverse of affine matrices ``[B, n, n + 1]``."""
    linear = torch.linalg.inv(params[:, :, :-1])
    return torch.cat([linear, -linear @ params[:, :, -1:]], 2)
