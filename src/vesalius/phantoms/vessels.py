"""Pictures like those of the fundus of the eye: thin vessels that branch, within a round field of view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vesalius.errors import OptionError
from vesalius.phantoms.flaws import UNKNOWN_LABEL, Flaws, deal_flaws
from vesalius.phantoms.organs import flaws_by_id
from vesalius.phantoms.sheet import Item, png, truth_of, write_items
from vesalius.phantoms.truth import Truth
from vesalius.seed import generator

CLASSES = ("vessel",)
FINE = 4
"""Vessels are drawn this many times finer than the picture, so that their rims hold shares of a pixel."""
FIELD = 0.46
"""Radius of the field of view as a share of the side."""
RETINA = np.array([196.0, 108.0, 52.0])
BLOOD = np.array([0.66, 0.42, 0.52])
"""What a vessel lets through of red, green and blue."""


@dataclass(frozen=True)
class Branch:
    """A piece of a vessel: points ``[N, 2]`` (y, x) and its widths ``[N]``, both as shares of the side."""

    points: np.ndarray
    widths: np.ndarray


def grow(rng: np.random.Generator, start: np.ndarray, angle: float, width: float, left: int = 4) -> list[Branch]:
    """A wandering vessel and everything that branches off it; ``left`` generations may follow."""
    steps = int(rng.integers(14, 26))
    turns = np.cumsum(rng.normal(0, 0.13, steps)) + angle
    points = start + np.cumsum(np.stack([np.sin(turns), np.cos(turns)], -1) * 0.013, 0)
    widths = width * np.linspace(1, 0.82, steps)
    found = [Branch(np.vstack([start, points]), np.concatenate([[width], widths]))]
    if left == 0 or np.abs(points[-1] - 0.5).max() > 0.5:
        return found
    side, spread = float(rng.choice([-1.0, 1.0])), rng.uniform(0.25, 0.75, 2)
    found += grow(rng, points[-1], turns[-1] + side * spread[0] * 0.6, widths[-1] * 0.9, left - 1)
    return found + grow(rng, points[int(rng.integers(steps // 2, steps))], turns[-1] - side * spread[1], widths[-1] * rng.uniform(0.55, 0.8), left - 1)


def draw_tree(rng: np.random.Generator) -> tuple[np.ndarray, list[Branch]]:
    """Where the vessels enter the eye (y, x), and all of them."""
    disc = np.array([rng.uniform(0.44, 0.56), rng.choice([0.24, 0.76]) + rng.uniform(-0.03, 0.03)])
    inward = 0.0 if disc[1] < 0.5 else np.pi
    angles = inward + np.array([-1.15, -0.6, 0.5, 1.1, 2.6]) + rng.normal(0, 0.12, 5)
    return disc, [branch for angle in angles for branch in grow(rng, disc, float(angle), rng.uniform(0.017, 0.027))]


def coverage(branches: list[Branch], size: int) -> np.ndarray:
    """Share of each pixel that vessels cover: ``[Y, X]`` float64 in [0, 1]."""
    canvas = Image.new("L", (size * FINE, size * FINE))
    pen = ImageDraw.Draw(canvas)
    for branch in branches:
        xy, widths = branch.points[:, ::-1] * size * FINE, branch.widths * size * FINE
        for (start, end), width in zip(zip(xy[:-1], xy[1:], strict=True), widths[1:], strict=True):
            pen.line([*start, *end], fill=255, width=max(3, round(float(width))))
            radius = max(3.0, float(width)) / 2
            pen.ellipse([*(end - radius), *(end + radius)], fill=255)
    fine = np.asarray(canvas, float).reshape(size, FINE, size, FINE)
    return np.asarray(fine.mean((1, 3)) / 255)


def field_of_view(size: int) -> np.ndarray:
    """The round part of the picture that the camera sees: bool ``[Y, X]``."""
    y, x = np.mgrid[:size, :size]
    return np.asarray(np.hypot(y - (size - 1) / 2, x - (size - 1) / 2) <= FIELD * size)


def expose_fundus(rng: np.random.Generator, disc: np.ndarray, covered: np.ndarray, view: np.ndarray) -> np.ndarray:
    """``[Y, X, 3]`` uint8: shaded retina, bright disc, dark macula, vessels, spots that are none, and noise; black outside the view."""
    size = len(covered)
    y, x = np.mgrid[:size, :size] / size
    light = 1.06 - 0.9 * ((y - rng.uniform(0.35, 0.65)) ** 2 + (x - rng.uniform(0.35, 0.65)) ** 2)
    light -= 0.22 * np.exp(-((y - disc[0]) ** 2 + (x - (1 - disc[1])) ** 2) / 0.006)
    light += 0.06 * np.sin(9 * y + rng.uniform(0, 6)) * np.sin(8 * x + rng.uniform(0, 6))
    picture = light[..., None] * RETINA * rng.uniform(0.75, 1.1) * rng.uniform(0.92, 1.08, 3)
    glow = np.exp(-(((y - disc[0]) ** 2 + (x - disc[1]) ** 2) / 0.0022) ** 2)
    picture += glow[..., None] * np.array([50.0, 75.0, 60.0])
    for _ in range(int(rng.integers(4, 9))):
        spot = np.exp(-((y - rng.uniform(0.15, 0.85)) ** 2 + (x - rng.uniform(0.15, 0.85)) ** 2) / rng.uniform(0.00008, 0.0005))
        picture *= 1 + spot[..., None] * (rng.choice([-0.35, 0.3]))
    picture *= 1 - covered[..., None] * (1 - BLOOD) * rng.uniform(0.6, 1.0)
    return np.asarray((picture + rng.normal(0, rng.uniform(3, 7), picture.shape)).clip(0, 255) * view[..., None]).astype(np.uint8)


def make_vessels(
    out: Path, seed: int, n: int, *, size: int = 160, test: float = 0.34, empty: int = 0, other_grid: int = 0, unknown_label: int = 0, swapped: int = 0,
    shuffle: bool = False,
) -> Truth:  # fmt: skip
    """Colour PNG pictures in DRIVE's habit: ``training`` and ``test``, each with ``images``, ``1st_manual`` and ``mask`` (the field of view).

    Parameters
    ----------
    size: side in pixels.
    test: share of the pictures that lie in ``test``.
    empty, other_grid, unknown_label, swapped: how many masks of vessels have that flaw; see `Flaws`.
    shuffle: every mask shows another eye's vessels.

    Raises
    ------
    OptionError: a size that leaves no room for vessels, or impossible flaws.
    """
    if size < 64:
        raise OptionError("the pictures are too small for vessels", expected="size of 64 or more", got=size)
    flaws = deal_flaws(
        seed, [str(i) for i in range(n)], empty=empty, other_grid=other_grid, unknown_label=unknown_label, swapped=swapped, shuffle=shuffle,
    )  # fmt: skip
    cases = [_case(seed, number, size, number < round(test * n), flaws) for number in range(n)]
    write_items(out, [item for case in cases for item in case])
    options = {"size": size, "test": test, "empty": empty, "other_grid": other_grid, "unknown_label": unknown_label, "swapped": swapped, "shuffle": shuffle}
    facts = {"kind": "vessels", "seed": seed, "n": n, "options": options, "target": "mask", "target_kind": "mask", "classes": CLASSES}
    ids = [case[0].id for case in cases]
    planted = {
        "pixels": {case[0].id: case[0].planted["pixels"] for case in cases}, "masks": {case[0].id: case[1].id for case in cases},
        "views": {case[0].id: case[2].id for case in cases}, "split": {name: name.split("/")[0] for name in ids}, **flaws_by_id(flaws, ids),
    }  # fmt: skip
    return truth_of(out, [case[0] for case in cases], facts, planted)


def _case(seed: int, number: int, size: int, in_test: bool, flaws: Flaws) -> tuple[Item, Item, Item]:
    """The picture, its vessels and its field of view."""
    view, part, name = field_of_view(size), "test" if in_test else "training", f"{number + 1:02d}"
    disc, branches = draw_tree(generator(seed, "vessels", number))
    covered = coverage(branches * (number not in flaws.empty), size)
    true = (covered >= 0.5) & view
    other = flaws.shown(number)
    given = true if other == number else (coverage(draw_tree(generator(seed, "vessels", other))[1], size) >= 0.5) & view
    picture = expose_fundus(generator(seed, "vessels", "exposure", number), disc, covered, view)
    label, said = ("vessel" if each.any() else "" for each in (true, given))
    image = Item(png(picture), ".png", name, label, said, {}, {"pixels": int(true.sum())}, f"{part}/images/{name}_{part}.png")
    manual = Item(png(_flawed(given, number, flaws)), ".png", name, None, None, id=f"{part}/1st_manual/{name}_manual1.png")
    return image, manual, Item(png(view.astype(np.uint8) * 255), ".png", name, None, None, id=f"{part}/mask/{name}_{part}_mask.png")


def _flawed(marked: np.ndarray, number: int, flaws: Flaws) -> np.ndarray:
    """0 and 255, as DRIVE has them."""
    values = marked.astype(np.uint8) * 255
    if number in flaws.other_grid:
        values = values[: -len(values) // 8]
    if number in flaws.unknown_label:
        values = values.copy()
        values[60:64, 60:64] = UNKNOWN_LABEL
    return values
