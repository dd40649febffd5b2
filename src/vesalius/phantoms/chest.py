"""Draws one side of a chest in CT numbers: wall with ribs, lung, a tree of vessels, a fissure, and nodules whose surface is known.

Places are (z, y, x) in mm from the middle of the volume; numbers are HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

AIR_HU, LUNG_HU, FAT_HU, TISSUE_HU, VESSEL_HU, BONE_HU = -1000.0, -850.0, -90.0, 45.0, 40.0, 550.0
DIRECTIONS = 4000
"""Points on a nodule's surface from which its extent is taken."""


@dataclass(frozen=True)
class Space:
    """Where the voxels lie: coordinates of each axis in mm."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Space:
        z, y, x = ((np.arange(length) - (length - 1) / 2) * step for length, step in zip(shape, spacing_mm, strict=True))
        return cls((z, y, x))

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = (len(axis) for axis in self.axes)
        return z, y, x

    def window(self, low: np.ndarray, high: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
        """The voxels between two corners: their slices, and their places ``[n, m, k, 3]``."""
        cut = tuple(slice(*np.searchsorted(axis, (a, b))) for axis, a, b in zip(self.axes, low, high, strict=True))
        return cut, np.stack(np.meshgrid(*(axis[part] for axis, part in zip(self.axes, cut, strict=True)), indexing="ij"), -1)

    @property
    def points(self) -> np.ndarray:
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), -1)


@dataclass(frozen=True)
class Tube:
    """A piece of a vessel from one place to another, with the radius at each end in mm."""

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]


@dataclass(frozen=True)
class Nodule:
    """A nodule: bumps on a ball, and spikes that radiate from it when it is malignant.

    ``bumps`` are unit directions ``[N, 3]``, ``heights`` their shares of the radius, ``spikes`` unit directions ``[M, 3]``.
    The spikes belong neither to its box nor to its mask.
    """

    centre: np.ndarray
    radius: float
    bumps: np.ndarray
    heights: np.ndarray
    spikes: np.ndarray
    hu: float
    malignant: int

    def rim(self, unit: np.ndarray) -> np.ndarray:
        """Distance of the surface from the centre along unit directions ``[..., 3]``."""
        near = np.exp((unit @ self.bumps.T - 1) / 0.08)
        return np.asarray(self.radius * (1 + near @ self.heights))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """About the depth below the surface in mm, negative outside."""
        offset = points - self.centre
        away = np.linalg.norm(offset, axis=-1)
        return self.rim(offset / np.maximum(away, 1e-6)[..., None]) - away

    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners of the box about the surface."""
        unit = sphere(DIRECTIONS)
        surface = self.centre + self.rim(unit)[:, None] * unit
        return surface.min(0), surface.max(0)


def sphere(n: int) -> np.ndarray:
    """``n`` unit directions spread evenly over the sphere (Fibonacci's lattice), ``[n, 3]``."""
    z = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    return np.stack([z, np.sqrt(1 - z**2) * np.sin(turn), np.sqrt(1 - z**2) * np.cos(turn)], -1)


def _units(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.normal(size=(n, 3))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True))


def draw_nodule(rng: np.random.Generator, malignant: int, least_mm: float, most_mm: float) -> Nodule:
    """A nodule about the origin; a malignant one is larger as a rule, lobed and spiked, a benign one smooth.

    ``least_mm``, ``most_mm``: its diameter.
    """
    low, high = (max(least_mm, 6.0), most_mm) if malignant else (least_mm, max(min(18.0, most_mm), least_mm))
    diameter = float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))
    count, height = (int(rng.integers(7, 12)), rng.uniform(0.25, 0.45)) if malignant else (2, rng.uniform(0, 0.1))
    spikes = _units(rng, int(rng.integers(16, 26)) if malignant else 0)
    hu = rng.uniform(-520, -380) if rng.random() < 0.12 else rng.uniform(10, 70)
    drawn = Nodule(np.zeros(3), 1.0, _units(rng, count), np.full(count, height), spikes, float(hu), malignant)
    low_mm, high_mm = drawn.box_mm()
    return Nodule(np.zeros(3), diameter / float((high_mm - low_mm).mean()), drawn.bumps, drawn.heights, spikes, float(hu), malignant)


@dataclass(frozen=True)
class Chest:
    """One patient's side of a chest. The lung is a rounded box; its middle and half widths are in mm."""

    middle: np.ndarray
    half: np.ndarray
    wall_mm: float
    rib: tuple[float, float, float]
    fissure: np.ndarray
    tubes: tuple[Tube, ...]
    noise: float

    def depth(self, points: np.ndarray) -> np.ndarray:
        """About the depth below the lung's surface in mm, negative outside."""
        inside = (np.abs((points - self.middle) / self.half) ** 2.6).sum(-1) ** (1 / 2.6)
        return np.asarray((1 - inside) * self.half[1:].min())


def draw_chest(rng: np.random.Generator, extent_mm: float) -> Chest:
    """A chest whose lung fills most of a cube of that edge; the heart's side is at high x."""
    half = np.array([rng.uniform(0.62, 0.8), rng.uniform(0.4, 0.46), rng.uniform(0.36, 0.42)]) * extent_mm
    middle = np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)]) * extent_mm
    hilum = middle + np.array([rng.uniform(-0.1, 0.1) * extent_mm, rng.uniform(-0.1, 0.1) * extent_mm, half[2] * 0.92])
    bare = Chest(middle, half, rng.uniform(0.1, 0.2) * extent_mm, (rng.uniform(20, 28), rng.uniform(0, 6), rng.uniform(0.1, 0.5)),
                 np.array([rng.uniform(0.6, 1), rng.uniform(0.3, 0.9), rng.uniform(-0.2, 0.2)]), (), rng.uniform(18, 42))
    tubes: list[Tube] = []
    for _ in range(int(rng.integers(8, 12))):
        outward = np.array([rng.normal(0, 0.8), rng.normal(0, 0.8), -1.0])
        tubes += _grow(rng, bare, hilum + rng.normal(0, 3, 3), outward / np.linalg.norm(outward), rng.uniform(2.8, 5.0), 6)
    return Chest(bare.middle, bare.half, bare.wall_mm, bare.rib, bare.fissure, tuple(tubes), bare.noise)


def _grow(rng: np.random.Generator, chest: Chest, start: np.ndarray, along: np.ndarray, radius: float, left: int) -> list[Tube]:
    """A vessel that bends, and its two branches, until it is thin or meets the pleura."""
    found, place = [], start
    for _ in range(int(rng.integers(2, 4))):
        bent = along + rng.normal(0, 0.22, 3)
        along = bent / np.linalg.norm(bent)
        end = place + along * rng.uniform(3.5, 7.5)
        found.append(Tube(place, end, (radius, radius * 0.95)))
        place, radius = end, radius * 0.95
        if chest.depth(place) < 2:
            return found
    if left == 0 or radius < 0.6:
        return found
    aside = np.cross(along, _units(rng, 1)[0]) * rng.uniform(0.4, 0.9)
    for sign, share in ((1, rng.uniform(0.76, 0.9)), (-1, rng.uniform(0.64, 0.84))):
        turned = along + sign * aside
        found += _grow(rng, chest, place, turned / np.linalg.norm(turned), radius * share, left - 1)
    return found


def _fill(volume: np.ndarray, cut: tuple[slice, ...], share: np.ndarray, hu: float) -> None:
    """Raise the voxels of a window towards a number, in place; nothing gets darker."""
    held = volume[cut]
    np.maximum(held, held + share * (hu - held), out=held)


def add_tube(volume: np.ndarray, space: Space, tube: Tube, hu: float) -> None:
    """Put a piece of a vessel into the volume, in place; voxels on its rim hold their share."""
    reach = max(tube.radii) + 1.5
    cut, points = space.window(np.minimum(tube.start, tube.end) - reach, np.maximum(tube.start, tube.end) + reach)
    along = tube.end - tube.start
    place = ((points - tube.start) @ along / max(float(along @ along), 1e-6)).clip(0, 1)
    away = np.linalg.norm(points - tube.start - place[..., None] * along, axis=-1)
    radius = tube.radii[0] + place * (tube.radii[1] - tube.radii[0])
    _fill(volume, cut, (0.5 + radius - away).clip(0, 1), hu)


def expose_chest(chest: Chest, space: Space, rng: np.random.Generator) -> np.ndarray:
    """The chest without nodules and without noise: HU ``[Z, Y, X]`` float64."""
    points = space.points
    depth = chest.depth(points)
    volume = np.where(points[..., 2] > chest.middle[2], TISSUE_HU, FAT_HU + (TISSUE_HU - FAT_HU) * (depth > -6))
    pitch, phase, slope = chest.rib
    rib = np.cos(2 * np.pi * (points[..., 0] + slope * np.abs(points[..., 1]) + phase) / pitch) > 0.35
    volume = np.where(rib & (depth < -3) & (depth > -9) & (points[..., 2] < chest.middle[2] + 10), BONE_HU, volume)
    beyond = (-depth > chest.wall_mm) & (points[..., 2] < chest.middle[2])
    volume = np.where(beyond, AIR_HU, volume)
    texture = 22 * ndimage.gaussian_filter(rng.normal(size=space.shape), 3) * 12
    inside = (0.5 + depth).clip(0, 1)
    volume = volume + inside * (LUNG_HU + texture + 0.35 * points[..., 1] - volume)
    plane = np.abs((points - chest.middle) @ (chest.fissure / np.linalg.norm(chest.fissure)))
    volume += inside * 170 * np.exp(-((plane / 0.9) ** 2))
    for tube in chest.tubes:
        add_tube(volume, space, tube, VESSEL_HU)
    return np.asarray(volume)


def add_nodule(volume: np.ndarray, space: Space, nodule: Nodule) -> None:
    """Put a nodule with its spikes into the volume, in place."""
    low, high = nodule.box_mm()
    cut, points = space.window(low - 1.5, high + 1.5)
    _fill(volume, cut, (0.5 + nodule.depth(points)).clip(0, 1), nodule.hu)
    for unit in nodule.spikes:
        start, end = nodule.centre + unit * nodule.radius * 0.9, nodule.centre + unit * (nodule.radius * 1.5 + 2.5)
        add_tube(volume, space, Tube(start, end, (1.3, 0.5)), max(nodule.hu - 120, -500))


def grain(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Noise as a scanner's soft kernel leaves it: a little smooth, with that standard deviation."""
    rough = ndimage.gaussian_filter(rng.normal(size=shape), 0.6)
    return np.asarray(rough * (spread / rough.std()))
