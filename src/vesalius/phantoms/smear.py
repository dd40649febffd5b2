"""Draws blood cells as light sees them: every cell takes away its share of red, green and blue, and overlapping cells take away more.

Lengths are pixels, places are (y, x). Light that passes is ``exp(-absorbance)`` (Beer and Lambert), so the order of drawing does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

CLASSES = ("Platelets", "RBC", "WBC")
HARMONICS = np.array([2, 3, 4, 5])
LEAST_VISIBLE = 0.3
"""A cell of which less than this share of its area lies in the picture is not drawn at all, so that nothing visible lacks a box."""


@dataclass(frozen=True)
class Stain:
    """How one patient's film was made: light behind it, what each dye takes away of red, green and blue, grain and focus."""

    light: np.ndarray
    red: np.ndarray
    violet: np.ndarray
    plasma: np.ndarray
    pallor: float
    scale: float
    blur: float
    noise: float


@dataclass(frozen=True)
class Cell:
    """One cell: its kind, mean radius in pixels, and the waves of its rim (a share of the radius for each of `HARMONICS`)."""

    kind: str
    radius: float
    waves: np.ndarray
    phases: np.ndarray
    strength: float
    pallor: float
    lobes: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    grain: int = 0

    def rim(self, angle: np.ndarray) -> np.ndarray:
        """Radius at each angle (radian)."""
        return self.radius * (1 + sum(a * np.cos(k * angle + p) for k, a, p in zip(HARMONICS, self.waves, self.phases, strict=True)))

    @property
    def reach(self) -> float:
        """No part of the cell lies farther than this from its centre."""
        return float(self.radius * (1 + np.abs(self.waves).sum()))


def draw_stain(rng: np.random.Generator) -> Stain:
    """A patient's stain, from pale to deep and from warm to cold."""
    return Stain(
        light=np.array([0.87, 0.87, 0.80]) * rng.uniform(0.85, 1.08) * rng.uniform(0.95, 1.05, 3),
        red=np.array([0.16, 0.50, 0.46]) * rng.uniform(0.7, 1.35) * rng.uniform(0.85, 1.15, 3),
        violet=np.array([0.95, 1.35, 0.36]) * rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3),
        plasma=np.array([0.02, 0.03, 0.03]) * rng.uniform(0, 2),
        pallor=rng.uniform(0.15, 0.75),
        scale=rng.uniform(0.86, 1.14),
        blur=rng.uniform(0.35, 0.9),
        noise=rng.uniform(0.008, 0.022),
    )


def _waves(rng: np.random.Generator, first: float, rest: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([rng.uniform(0, first), *rng.uniform(0, rest, 3)]), rng.uniform(0, 2 * np.pi, 4)


def draw_red(rng: np.random.Generator, stain: Stain, unit: float) -> Cell:
    """A red cell: a disc with a pale middle; ``unit`` is the usual radius of a red cell in pixels."""
    waves, phases = _waves(rng, 0.16, 0.025)
    pallor = 0.0 if rng.random() < 0.12 else float(np.clip(rng.normal(stain.pallor, 0.15), 0, 0.95))
    return Cell("RBC", unit * stain.scale * rng.uniform(0.84, 1.16), waves, phases, rng.uniform(0.75, 1.25), pallor)


def draw_white(rng: np.random.Generator, stain: Stain, unit: float) -> Cell:
    """A white cell: one large nucleus, a bent one, or two to five lobes, in pale grainy cytoplasm."""
    waves, phases = _waves(rng, 0.07, 0.025)
    radius = unit * stain.scale * rng.uniform(1.25, 2.1)
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.3, 0.2, 0.2, 0.2, 0.1]))
    spread, start = rng.uniform(1.0, 1.7), rng.uniform(0, 2 * np.pi)
    angles = start + spread * np.arange(count) + rng.normal(0, 0.15, count)
    away = np.array([0.12]) if count == 1 else rng.uniform(0.36, 0.5, count)
    sizes = np.array([rng.uniform(0.68, 0.86)]) if count == 1 else rng.uniform(0.3, 0.4, count) * (1.25 if count == 2 else 1)
    lobes = np.stack([away * np.sin(angles), away * np.cos(angles), sizes], -1)
    return Cell("WBC", radius, waves, phases, rng.uniform(0.8, 1.2), rng.uniform(0.5, 1.5), lobes, int(rng.integers(2**31)))


def draw_platelet(rng: np.random.Generator, stain: Stain, unit: float) -> Cell:
    """A platelet: a small grainy violet fleck with an uneven rim."""
    waves, phases = _waves(rng, 0.18, 0.1)
    return Cell("Platelets", unit * rng.uniform(0.27, 0.48), waves, phases, rng.uniform(0.4, 0.8), 0.0, grain=int(rng.integers(2**31)))


DRAWN = {"RBC": draw_red, "WBC": draw_white, "Platelets": draw_platelet}


def _grain(seed: int, shape: tuple[int, ...], width: float) -> np.ndarray:
    """A field of lumps about ``width`` pixels wide, mean 0 and spread 1."""
    lumps = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width, mode="wrap")
    return np.asarray(lumps / max(float(lumps.std()), 1e-6))


def _window(cell: Cell, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The corner (y, x) of a square about the cell, and the offsets y and x of its pixels from the cell's centre."""
    half = int(np.ceil(cell.reach)) + 3
    corner = np.floor(centre).astype(int) - half
    y, x = np.mgrid[: 2 * half + 1, : 2 * half + 1].astype(float)
    return corner, y + corner[0] + 0.5 - centre[0], x + corner[1] + 0.5 - centre[1]


def shadow(cell: Cell, centre: np.ndarray, turn: float, stain: Stain) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a cell takes away: its corner (y, x), its share of each pixel ``[h, w]`` and its absorbance ``[h, w, 3]``."""
    corner, y, x = _window(cell, centre)
    away, angle = np.hypot(y, x), np.arctan2(y, x) - turn
    rim = cell.rim(angle)
    share = (0.5 + rim - away).clip(0, 1)
    inward = away / rim
    if cell.kind == "RBC":
        depth = 1 - cell.pallor * np.exp(-((inward / 0.5) ** 2)) + 0.18 * np.exp(-(((inward - 0.9) / 0.09) ** 2))
        return corner, share, (share * depth * cell.strength)[..., None] * stain.red
    if cell.kind == "Platelets":
        depth = 0.75 + 0.25 * _grain(cell.grain, share.shape, max(0.7, cell.radius / 5))
        return corner, share, (share * depth.clip(0.25) * cell.strength * (1 - 0.5 * inward**2).clip(0.2))[..., None] * stain.violet
    return corner, share, _white(cell, share, (y, x), turn, stain)


def _white(cell: Cell, share: np.ndarray, offset: tuple[np.ndarray, np.ndarray], turn: float, stain: Stain) -> np.ndarray:
    """Absorbance of cytoplasm and nucleus."""
    y, x = (part / cell.radius for part in offset)
    cos, sin = np.cos(turn), np.sin(turn)
    y, x = y * cos - x * sin, y * sin + x * cos
    deep = np.full(share.shape, -np.inf)
    for at_y, at_x, size in cell.lobes:
        np.maximum(deep, (size - np.hypot(y - at_y, x - at_x)) * cell.radius, out=deep)
    grain = _grain(cell.grain, share.shape, max(0.7, cell.radius / 18))
    nucleus = (0.5 + deep).clip(0, 1) * share * (1 + 0.08 * grain) * cell.strength
    cytoplasm = share * cell.pallor * (0.16 + 0.04 * grain).clip(0.03)
    return nucleus[..., None] * stain.violet + (cytoplasm * (1 - nucleus.clip(0, 1)))[..., None] * (stain.violet * 0.6 + stain.red * 0.25)


@dataclass(frozen=True)
class Placed:
    """A cell in a picture, with its box (y0, x0, y1, x1) in pixels and the share of its area that lies in the picture."""

    cell: Cell
    centre: np.ndarray
    turn: float
    box: tuple[int, int, int, int]
    visible: float


def placed(cell: Cell, centre: np.ndarray, turn: float, shape: tuple[int, int]) -> Placed | None:
    """The cell with the box of its silhouette within the picture; None where too little of it can be seen."""
    corner, y, x = _window(cell, centre)
    inside = np.hypot(y, x) <= cell.rim(np.arctan2(y, x) - turn)
    rows, columns = (np.arange(inside.shape[axis]) + corner[axis] for axis in (0, 1))
    seen = inside & ((rows >= 0) & (rows < shape[0]))[:, None] & ((columns >= 0) & (columns < shape[1]))
    visible = float(seen.sum() / max(inside.sum(), 1))
    if visible < LEAST_VISIBLE:
        return None
    held_y, held_x = np.flatnonzero(seen.any(1)) + corner[0], np.flatnonzero(seen.any(0)) + corner[1]
    return Placed(cell, centre, turn, (int(held_y[0]), int(held_x[0]), int(held_y[-1]) + 1, int(held_x[-1]) + 1), visible)


def add_shadow(canvas: np.ndarray, corner: np.ndarray, dark: np.ndarray) -> None:
    """Add an absorbance ``[h, w, 3]`` to the canvas ``[Y, X, 3]`` in place; what reaches out is cut."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + dark.shape[:2], canvas.shape[:2])
    if (low < high).all():
        from_, to = low - corner, high - corner
        canvas[low[0] : high[0], low[1] : high[1]] += dark[from_[0] : to[0], from_[1] : to[1]]


def add_debris(rng: np.random.Generator, canvas: np.ndarray, stain: Stain, unit: float, pieces: int) -> None:
    """What is no cell: specks of dye smaller than platelets, dust out of focus, bright glints and broad smudges."""
    shape = np.array(canvas.shape[:2])
    for _ in range(pieces):
        centre, kind = rng.uniform(0, 1, 2) * shape, rng.choice(["speck", "dust", "glint", "smudge"], p=[0.35, 0.3, 0.25, 0.1])
        y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5 - centre[:, None, None]) / unit
        away = np.hypot(y, x)
        if kind == "speck":
            canvas += (0.9 * np.exp(-((away / rng.uniform(0.05, 0.1)) ** 4)))[..., None] * stain.violet
        elif kind == "dust":
            canvas += (0.10 * np.exp(-(((away - rng.uniform(0.08, 0.16)) / 0.045) ** 2)))[..., None]
        elif kind == "glint":
            canvas -= (0.45 * np.exp(-((np.hypot(y, 2.2 * x) / rng.uniform(0.07, 0.13)) ** 2)))[..., None]
        else:
            canvas += (rng.uniform(0.05, 0.14) * np.exp(-((np.hypot(y, x * rng.uniform(0.4, 1)) / rng.uniform(0.6, 1.6)) ** 2)))[..., None] * stain.violet


def expose_smear(rng: np.random.Generator, canvas: np.ndarray, stain: Stain) -> np.ndarray:
    """Absorbance ``[Y, X, 3]`` to a picture ``[Y, X, 3]`` uint8: uneven light, focus and grain."""
    height, width = canvas.shape[:2]
    y, x = np.mgrid[:height, :width] / height - 0.5
    slope = rng.normal(0, 0.06, 2)
    light = (1 + slope[0] * y + slope[1] * x - rng.uniform(0, 0.12) * (y**2 + x**2))[..., None] * stain.light
    seen = ndimage.gaussian_filter(light * np.exp(-canvas - stain.plasma), (stain.blur, stain.blur, 0))
    return np.asarray(((seen + rng.normal(0, stain.noise, seen.shape)) * 255).clip(0, 255).round()).astype(np.uint8)
