"""A training tile cut out of a prepared study: where from, how turned, how toned; image and mask moved by one map.

The tile is sampled straight out of the whole study, so that a turn shows what lies beside it and not an invented border.
Outside the study the image is 0 (its mean) and the mask not judged.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vesalius.core.target import IGNORED

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class TileAugment:
    """How tiles vary. Each share is the probability that a tile is changed in this way.

    Parameters
    ----------
    rotate_deg: largest turn about each axis; ``flat`` turns only within the plane (coarse slices).
    scale: largest relative change of size. bend: largest displacement of a smooth random field, in samples.
    flip_axes: spatial axes (0 is the first) that may be mirrored.
    brightness, contrast, gamma: largest shift (in standard deviations), relative change, and exponent (log scale).
    noise: largest standard deviation. blur: largest sigma in samples. coarse: largest loss of resolution (a factor).
    """

    rotate_deg: float = 0.0
    flat: bool = False
    scale: float = 0.0
    bend: float = 0.0
    spatial_share: float = 0.5
    flip_axes: tuple[int, ...] = ()
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    coarse: float = 1.0
    tone_share: float = 0.3

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"flip_axes": list(self.flip_axes)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> TileAugment:
        return cls(**facts | {"flip_axes": tuple(facts["flip_axes"])})

    def matrix(self, ndim: int, rng: np.random.Generator) -> np.ndarray:
        """``[ndim, ndim]`` in array order: from steps in the tile to steps in the study."""
        matrix = np.eye(ndim)
        if rng.random() < self.spatial_share:
            for a, b in [(ndim - 2, ndim - 1)] if self.flat or ndim == 2 else [(1, 2), (0, 2), (0, 1)]:
                matrix = matrix @ _turn(ndim, a, b, math.radians(rng.uniform(-self.rotate_deg, self.rotate_deg)))
            matrix = matrix * math.exp(rng.uniform(-1, 1) * math.log1p(self.scale))
        for axis in self.flip_axes:
            if rng.random() < 0.5:
                matrix[axis] *= -1
        return matrix

    def tone(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Change the numbers of one tile ``[C, …]``; every channel apart."""
        return torch.stack([self._tone(channel, rng) for channel in x])

    def _tone(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        chance = rng.random(6) < self.tone_share
        if chance[0] and self.coarse > 1:
            x = _coarser(x, rng.uniform(1, self.coarse))
        if chance[1] and self.blur:
            x = _blurred(x, rng.uniform(0.3, max(self.blur, 0.31)))
        if chance[2] and self.brightness:
            x = x + rng.uniform(-self.brightness, self.brightness)
        if chance[3] and self.contrast:
            low, high, mean = x.min(), x.max(), x.mean()
            x = ((x - mean) * math.exp(rng.uniform(-1, 1) * math.log1p(self.contrast)) + mean).clamp(low, high)
        if chance[4] and self.gamma:
            x = _gamma(x, math.exp(rng.uniform(-self.gamma, self.gamma)))
        if chance[5] and self.noise:
            x = x + torch.from_numpy(rng.standard_normal(x.shape, np.float32)) * rng.uniform(0, self.noise)
        return x


def _turn(ndim: int, a: int, b: int, angle: float) -> np.ndarray:
    turn = np.eye(ndim)
    turn[a, a] = turn[b, b] = math.cos(angle)
    turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
    return turn


def _coarser(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Low resolution simulated: down by the nearest sample, up by linear interpolation."""
    small = [max(2, round(n / factor)) for n in x.shape]
    mode = "bilinear" if x.ndim == 2 else "trilinear"
    return F.interpolate(F.interpolate(x[None, None], small, mode="nearest-exact"), x.shape, mode=mode, align_corners=False)[0, 0]


def _blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    place = torch.arange(-2, 3, dtype=x.dtype)
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    convolve = F.conv2d if x.ndim == 2 else F.conv3d
    out = x[None, None]
    for axis in range(x.ndim):
        shape = [1] * x.ndim
        shape[axis] = 5
        pads = [0] * (2 * x.ndim)
        pads[2 * (x.ndim - 1 - axis)] = pads[2 * (x.ndim - 1 - axis) + 1] = 2
        out = convolve(F.pad(out, pads, mode="replicate"), kernel.view(1, 1, *shape))
    return out[0, 0]


def _gamma(x: torch.Tensor, exponent: float) -> torch.Tensor:
    """Gamma on the tile's own range; its mean and deviation are kept (Isensee 2021)."""
    low, spread, mean, deviation = x.min(), (x.max() - x.min()).clamp(min=1e-6), x.mean(), x.std()
    bent = ((x - low) / spread).clamp(1e-6, 1).pow(exponent)
    return (bent - bent.mean()) / bent.std().clamp(min=1e-6) * deviation + mean


def cut(
    image: np.ndarray, truth: np.ndarray, centre: np.ndarray, size: tuple[int, ...], matrix: np.ndarray, bend: np.ndarray | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A tile of a study about ``centre`` (index, array order): image float32 ``[C, *size]`` and mask uint8 ``[L, *size]``.

    Parameters
    ----------
    image: ``[C, …]`` of any float type. truth: ``[L, …]`` uint8. matrix: see `TileAugment.matrix`.
    bend: displacement ``[ndim, *size]`` in samples of the study, or None.
    """
    if bend is None and np.array_equal(np.abs(matrix), np.eye(len(size))):
        return _copied(image, truth, np.round(centre - 0.5 * (np.array(size) - 1)).astype(int), size, np.diag(matrix))
    return _sampled(image, truth, centre, size, matrix, bend)


def _copied(image: np.ndarray, truth: np.ndarray, start: np.ndarray, size: tuple[int, ...], signs: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    shape = image.shape[1:]
    source: Slices = tuple(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(start, size, shape, strict=True))
    target: Slices = tuple(slice(part.start - s, part.stop - s) for part, s in zip(source, start, strict=True))
    x = np.zeros((image.shape[0], *size), np.float32)
    y = np.full((truth.shape[0], *size), IGNORED, np.uint8)
    x[(slice(None), *target)], y[(slice(None), *target)] = image[(slice(None), *source)], truth[(slice(None), *source)]
    flipped = [1 + axis for axis in range(len(size)) if signs[axis] < 0]
    return torch.from_numpy(x).flip(flipped), torch.from_numpy(y).flip(flipped)


def _sampled(
    image: np.ndarray, truth: np.ndarray, centre: np.ndarray, size: tuple[int, ...], matrix: np.ndarray, bend: np.ndarray | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    ndim = len(size)
    steps = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size), indexing="ij"), -1)
    places = steps @ torch.from_numpy(matrix.T.astype(np.float32)) + torch.from_numpy(centre.astype(np.float32))
    if bend is not None:
        places = places + torch.from_numpy(np.moveaxis(bend, 0, -1).astype(np.float32))
    flat = places.reshape(-1, ndim)
    low = flat.amin(0).floor().long().clamp(min=0).numpy()
    high = np.minimum(flat.amax(0).ceil().long().numpy() + 2, image.shape[1:])
    low = np.minimum(low, np.maximum(high - 1, 0))
    high = np.maximum(high, low + 1)
    box: Slices = (slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
    extent = torch.tensor(high - low, dtype=torch.float32)
    grid = ((places - torch.from_numpy(low.astype(np.float32))) * 2 + 1) / extent - 1
    grid = grid.flip(-1)[None]
    x = torch.from_numpy(np.ascontiguousarray(image[box], np.float32))[None]
    y = torch.from_numpy(np.ascontiguousarray(truth[box]).astype(np.float32) + 1)[None]
    made = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    marked = F.grid_sample(y, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
    return made, torch.where(marked < 0.5, float(IGNORED), marked - 1).round().to(torch.uint8)


def smooth_field(size: tuple[int, ...], bend: float, rng: np.random.Generator, knots: int = 4) -> np.ndarray:
    """A smooth random displacement ``[ndim, *size]`` of at most ``bend`` samples: a coarse lattice of ``knots`` a side, interpolated."""
    ndim = len(size)
    lattice = torch.from_numpy(rng.uniform(-bend, bend, (1, ndim, *(knots,) * ndim)).astype(np.float32))
    mode = "bicubic" if ndim == 2 else "trilinear"
    return F.interpolate(lattice, size, mode=mode, align_corners=True)[0].numpy()
