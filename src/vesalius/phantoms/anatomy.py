"""Draws a chest film from parameters: shapes of the real thing, every one of them known.

Coordinates are ``x`` to the image's right (the patient's left) and ``y`` downwards, both in [-1, 1]. Numbers
stand for attenuation: air is dark, bone is bright, as on a film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LUNG_X = 0.42
RIGHT, LEFT = -1, 1


@dataclass(frozen=True)
class Person:
    """The build of one patient; all lengths in half image widths."""

    lung_width: float
    lung_top: float
    lung_bottom: float
    heart_width: float
    heart_shift: float
    rib_step: float
    rib_phase: float
    rib_slope: float
    spine_width: float
    body_width: float
    clavicle: float
    vessels: int

    @property
    def cardiothoracic_ratio(self) -> float:
        """Width of the heart over the inner width of the chest; above 0.5 is called an enlarged heart."""
        return self.heart_width / (LUNG_X + self.lung_width)


@dataclass(frozen=True)
class Pose:
    """How one exposure differs from the next: turn (radian), shift, zoom, and how deep the breath was."""

    turn: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    breath: float = 0.0


@dataclass(frozen=True)
class Lesion:
    """A round nodule: centre, radius and peak contrast in the film's units."""

    x: float
    y: float
    radius: float
    contrast: float


@dataclass(frozen=True)
class Findings:
    """What is ill: nodules and the height of an effusion on either side (0 for none)."""

    nodules: tuple[Lesion, ...] = ()
    effusion_right: float = 0.0
    effusion_left: float = 0.0


def draw_person(rng: np.random.Generator, heart_width: float | None = None) -> Person:
    """A patient whose build varies as adults' do; the heart's half width may be given."""
    return Person(
        lung_width=rng.uniform(0.29, 0.38),
        lung_top=rng.uniform(-0.86, -0.72),
        lung_bottom=rng.uniform(0.42, 0.66),
        heart_width=rng.uniform(0.29, 0.37) if heart_width is None else heart_width,
        heart_shift=rng.uniform(0.08, 0.18),
        rib_step=rng.uniform(0.145, 0.19),
        rib_phase=rng.uniform(0, 1),
        rib_slope=rng.uniform(0.22, 0.42),
        spine_width=rng.uniform(0.09, 0.13),
        body_width=rng.uniform(0.84, 0.97),
        clavicle=rng.uniform(0.02, 0.22),
        vessels=int(rng.integers(2**31)),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """One exposure: up to 3.5 degrees of turn, 6 % of shift, 6 % of zoom."""
    return Pose(rng.uniform(-0.06, 0.06), (rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)), rng.uniform(0.94, 1.06), rng.uniform(-0.05, 0.05))


def place_nodule(rng: np.random.Generator, person: Person) -> Lesion:
    """A nodule inside a lung, clear of the heart and the diaphragm."""
    side = rng.choice([RIGHT, LEFT])
    x = side * (LUNG_X + rng.uniform(-0.1, 0.6) * person.lung_width * 0.75)
    y = rng.uniform(person.lung_top + 0.3, person.lung_bottom - 0.32)
    return Lesion(float(x), float(y), float(rng.uniform(0.085, 0.13)), float(rng.uniform(0.24, 0.34)))


def _step(distance: np.ndarray, width: float = 0.015) -> np.ndarray:
    return 0.5 * (1 + np.tanh(distance / (2 * width)))


def _axes(size: int, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    line = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    x, y = (x - pose.shift[0]) / pose.zoom, (y - pose.shift[1]) / pose.zoom
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    return cos * x + sin * y, cos * y - sin * x


def _chest_side(x: np.ndarray, y: np.ndarray, person: Person, side: int, breath: float) -> tuple[np.ndarray, np.ndarray]:
    """The half chest that a lung fills before the diaphragm cuts it, and the height of the diaphragm."""
    bottom = person.lung_bottom + breath + (0.05 if side == LEFT else 0.0)
    depth = np.clip((y - person.lung_top) / (bottom - person.lung_top), 0, 1)
    width = person.lung_width * (0.66 + 0.34 * depth**0.8)
    middle = (person.lung_top + bottom + 0.25) / 2
    half = (bottom + 0.25 - person.lung_top) / 2
    across = np.abs(x - side * LUNG_X) / width
    shape = across**2.6 + (np.abs(y - middle) / half) ** 2.6
    dome = bottom + 0.3 * across.clip(0, 1.2) ** 2
    return _step(1 - shape, 0.06), dome


def _ribs(x: np.ndarray, y: np.ndarray, person: Person) -> np.ndarray:
    behind = (y - person.rib_slope * np.abs(x) ** 1.5) / person.rib_step + person.rib_phase
    front = (y + 0.75 * person.rib_slope * np.abs(x) - 0.1) / (person.rib_step * 1.25) + person.rib_phase
    return 0.10 * (0.5 + 0.5 * np.cos(2 * np.pi * behind)) ** 3 + 0.05 * (0.5 + 0.5 * np.cos(2 * np.pi * front)) ** 4


def _vessels(x: np.ndarray, y: np.ndarray, person: Person) -> np.ndarray:
    """Branches that leave each hilum and thin out towards the rim."""
    rng = np.random.default_rng(person.vessels)
    total = np.zeros_like(x)
    for side in (RIGHT, LEFT):
        dx, dy = (x - side * 0.2) * side, y - (-0.08 if side == RIGHT else -0.12)
        radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        for start in np.linspace(-1.25, 1.25, 9) + rng.uniform(-0.15, 0.15, 9):
            bend = rng.uniform(-0.5, 0.5)
            off = radius * np.abs(np.sin((angle - start - bend * radius) / 1.0))
            thick = 0.022 * np.exp(-radius / 0.5) + 0.004
            total += np.exp(-((off / thick) ** 2)) * np.exp(-radius / 0.32) * (dx > -0.05)
        total += 0.8 * np.exp(-((radius / 0.09) ** 2))
    return 0.16 * total.clip(0, 1.4)


def _bones(x: np.ndarray, y: np.ndarray, person: Person) -> np.ndarray:
    spine = _step(person.spine_width - np.abs(x), 0.012)
    vertebrae = 0.75 + 0.25 * np.tanh(4 * np.cos(2 * np.pi * (y / 0.17 + person.rib_phase)))
    height = -0.62 - person.clavicle * (np.abs(x) - 0.1)
    clavicles = np.exp(-(((y - height) / 0.03) ** 2)) * _step(np.abs(x) - 0.1, 0.02) * _step(0.72 - np.abs(x), 0.03)
    return 0.13 * spine * vertebrae + 0.13 * clavicles


def _body(x: np.ndarray, y: np.ndarray, person: Person) -> np.ndarray:
    shoulder = -0.98 + 0.5 * np.clip(np.abs(x) - 0.22, 0, None) ** 1.2
    return _step(person.body_width + 0.1 * np.clip(-y, 0, 1) - np.abs(x), 0.02) * _step(y - shoulder, 0.02)


def _heart(x: np.ndarray, y: np.ndarray, person: Person) -> np.ndarray:
    dx, dy = x - person.heart_shift, y - person.lung_bottom + 0.3
    turned_x, turned_y = dx + 0.35 * dy, dy - 0.25 * dx
    heart = _step(1 - (turned_x / person.heart_width) ** 2 - (turned_y / 0.36) ** 2, 0.07)
    vessel_band = _step(0.15 - np.abs(x - 0.02), 0.02) * _step(0.2 - y, 0.05)
    knob = _step(1 - ((x - 0.15) / 0.09) ** 2 - ((y + 0.3) / 0.1) ** 2, 0.15)
    return np.maximum(heart, 0.75 * np.maximum(vessel_band, knob))


def _effusion(x: np.ndarray, y: np.ndarray, person: Person, findings: Findings, side: int, breath: float) -> np.ndarray:
    """Fluid at the base: its upper border is a meniscus that climbs the outer wall."""
    height = findings.effusion_right if side == RIGHT else findings.effusion_left
    if height <= 0:
        return np.zeros_like(x)
    outward = np.clip((x * side - LUNG_X) / person.lung_width, -1, 1)
    border = person.lung_bottom + breath + 0.12 - height * (0.75 + 0.35 * outward.clip(0, 1) ** 2 + 0.1 * outward)
    return _step(y - border, 0.018)


def chest_film(person: Person, pose: Pose, findings: Findings, size: int) -> np.ndarray:
    """Attenuation ``[Y, X]`` float64 about in [0, 1], before exposure and noise."""
    x, y = _axes(size, pose)
    body = _body(x, y, person)
    film = 0.66 * body * (0.92 + 0.08 * np.cos(2.2 * x))
    open_lung = np.zeros_like(x)
    for side in (RIGHT, LEFT):
        lung, dome = _chest_side(x, y, person, side, pose.breath)
        air = lung * _step(dome - y, 0.015)
        fluid = _effusion(x, y, person, findings, side, pose.breath)
        film -= 0.45 * air * (1 - fluid)
        open_lung = np.maximum(open_lung, air * (1 - fluid))
    film += open_lung * _vessels(x, y, person)
    film += body * (_ribs(x, y, person) * (0.35 + 0.65 * open_lung) + _bones(x, y, person))
    film += 0.34 * _heart(x, y, person) * open_lung
    stomach = _step(1 - ((x - 0.42) / 0.15) ** 2 - ((y - person.lung_bottom - 0.27) / 0.1) ** 2, 0.2)
    film -= 0.14 * stomach * body * (findings.effusion_left <= 0)
    for nodule in findings.nodules:
        square = 1 - ((x - nodule.x) ** 2 + (y - nodule.y) ** 2) / nodule.radius**2
        film += nodule.contrast * np.sqrt(square.clip(0, 1))
    return film


def expose(film: np.ndarray, rng: np.random.Generator, gain: float = 1.0, grain: float = 0.02) -> np.ndarray:
    """The developed film ``[Y, X]`` uint8: exposure, contrast curve, slow shading, quantum noise.

    The curve is drawn wide, so that brightness alone says little of the disease.
    """
    size = film.shape[0]
    coarse = Image.fromarray(rng.normal(0, 1, (5, 5)).astype(np.float32), mode="F").resize((size, size), Image.Resampling.BICUBIC)
    image = np.clip(film + 0.035 * np.asarray(coarse), 0, 1.1) / 1.1
    image = rng.uniform(0.75, 1.0) * gain * image ** rng.uniform(0.65, 1.5) + rng.uniform(0.0, 0.08)
    image = image + rng.normal(0, grain, image.shape)
    return (255 * image.clip(0, 1)).round().astype(np.uint8)


def stamp(image: np.ndarray, text: str, corner: str) -> np.ndarray:
    """A lead marker: white letters in a corner (``"upper-left"``, ``"upper-right"``, ``"lower-left"``, ``"lower-right"``)."""
    picture = Image.fromarray(image)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default_imagefont()
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    margin = 3
    x = margin if corner.endswith("left") else image.shape[1] - margin - (right - left)
    y = margin if corner.startswith("upper") else image.shape[0] - margin - (bottom - top)
    pen.text((x - left, y - top), text, fill=255, font=font)
    return np.asarray(picture)


def nodule_box(nodule: Lesion, pose: Pose, size: int) -> list[int]:
    """The nodule's box on the film in pixels, ``[y0, x0, y1, x1]``, half open."""
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    x = (cos * nodule.x - sin * nodule.y) * pose.zoom + pose.shift[0]
    y = (sin * nodule.x + cos * nodule.y) * pose.zoom + pose.shift[1]
    half = nodule.radius * pose.zoom
    edges = [(v + 1) / 2 * size for v in (y - half, x - half, y + half, x + half)]
    return [int(np.floor(e)) if i < 2 else int(np.ceil(e)) for i, e in enumerate(edges)]
