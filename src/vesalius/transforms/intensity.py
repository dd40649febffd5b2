"""Intensity augmentation of batches in [0, 1]; each class draws parameters and applies them purely."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Tone:
    """Brightness (added), contrast (about the image's mean) and gamma, one draw per image.

    Parameters
    ----------
    brightness: largest shift, in units of the full range.
    contrast: largest relative change.
    gamma: largest |log gamma|.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``[n, 3]``: shift, contrast factor, gamma."""
        u = torch.rand((n, 3), generator=generator) * 2 - 1
        return torch.stack([u[:, 0] * self.brightness, 1 + u[:, 1] * self.contrast, (u[:, 2] * self.gamma).exp()], 1)

    def apply(self, x: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        shift, factor, gamma = (params[:, i].to(x).view(-1, *(1,) * (x.ndim - 1)) for i in range(3))
        if self.gamma:
            x = x.clamp(1e-4, 1).log_().mul_(gamma).exp_()
        mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        return torch.addcmul(mean + shift, x - mean, factor).clamp_(0, 1)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise whose deviation is drawn up to ``sigma`` per image."""

    sigma: float = 0.0

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        deviation = torch.rand((shape[0], *(1,) * (len(shape) - 1)), generator=generator) * self.sigma
        return torch.randn(shape, generator=generator) * deviation

    def apply(self, x: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        return (x + params.to(x)).clamp_(0, 1)


@dataclass(frozen=True)
class Erase:
    """A rectangle filled with the image's mean, so that no single spot decides (cutout, DeVries 2017).

    ``share`` of the images get one, with sides up to ``size`` of the image's.
    """

    share: float = 0.0
    size: float = 0.4

    def draw(self, n: int, ndim: int, generator: torch.Generator) -> torch.Tensor:
        """``[n, 2 * ndim]``: centre and half side, as shares of the image; a half side of 0 erases nothing."""
        centre = torch.rand((n, ndim), generator=generator)
        half = torch.rand((n, ndim), generator=generator) * self.size / 2
        use = torch.rand((n, 1), generator=generator) < self.share
        return torch.cat([centre, half * use], 1)

    def apply(self, x: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        ndim = x.ndim - 2
        inside = torch.ones((x.shape[0], 1, *x.shape[2:]), dtype=torch.bool, device=x.device)
        for axis in range(ndim):
            place = (torch.arange(x.shape[2 + axis], device=x.device) + 0.5) / x.shape[2 + axis]
            near = (place[None] - params[:, axis : axis + 1].to(x)).abs() < params[:, ndim + axis, None].to(x)
            inside &= near.view(x.shape[0], 1, *(-1 if a == axis else 1 for a in range(ndim)))
        return torch.where(inside, x.mean(dim=tuple(range(2, x.ndim)), keepdim=True), x)


@dataclass(frozen=True)
class Soften:
    """A small blur for a share of the images: films differ in sharpness."""

    share: float = 0.0

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        use = torch.rand(n, generator=generator) < self.share
        return torch.rand(n, generator=generator) * use

    def apply(self, x: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
        blurred = pool(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.lerp(x, blurred, params.to(x).view(-1, *(1,) * (x.ndim - 1)))
