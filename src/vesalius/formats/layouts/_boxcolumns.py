"""Which columns of a table state a box, in which way, and whether in samples or in mm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PREFIX = re.compile(r"^(?:bbox|box|bb|bndbox|roi|nodule|lesion)_?(?=.)")
AXES = "xyz"
SIDES = {"x": ("left", "right"), "y": ("top", "bottom"), "z": ("front", "back")}
EXTENTS = {"x": ("width", "w"), "y": ("height", "h"), "z": ("depth", "d")}
DIAMETERS = ("diameter", "diam", "diameters")
Way = Literal["corners", "size", "centre"]


@dataclass(frozen=True)
class Columns:
    """The columns of a box.

    Parameters
    ----------
    way: ``corners`` (low and high), ``size`` (low corner and extent) or ``centre`` (centre and extent). first, second: columns in
        the order x, y(, z); of a diameter the same column for every axis. world: whether they are LPS mm.
    """

    way: Way
    first: tuple[str, ...]
    second: tuple[str, ...]
    world: bool

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.first, *self.second)))

    @property
    def told(self) -> str:
        unit = "LPS mm" if self.world else "samples from 0, edges"
        ways = {"corners": "low and high corners", "size": "low corner and size", "centre": "centre and size"}
        return f"columns {', '.join(self.all)} are boxes: {ways[self.way]} in {unit}"


def box_columns(names: Sequence[str]) -> Columns | None:
    """The columns that state a box; None when there are none.

    >>> box_columns(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]).way
    'centre'
    >>> box_columns(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]).all
    ('xmin', 'ymin', 'xmax', 'ymax')
    """
    plain = {_plain(name): name for name in reversed(names)}
    in_mm = {key.removesuffix("_mm"): name for key, name in plain.items() if key.endswith("_mm")}
    return _found(in_mm, world=True) or _found(plain | {key: name for key, name in in_mm.items() if key in DIAMETERS}, world=False)


def _plain(name: str) -> str:
    """``bbox_xMin`` is ``xmin``."""
    return PREFIX.sub("", re.sub(r"[\s\-.]+", "_", name.strip().lower()))


def _found(held: Mapping[str, str], world: bool) -> Columns | None:
    for way, spelt in (("corners", _corners), ("centre", _centre), ("size", _size)):
        pairs = [next(((held[a], held[b]) for a, b in spelt(axis) if a in held and b in held), None) for axis in AXES]
        known = [pair for pair in (pairs if pairs[2] else pairs[:2]) if pair]
        if pairs[0] and pairs[1]:
            first, second = tuple(a for a, _ in known), tuple(b for _, b in known)
            coordinates = len(known) == 3 and all("coord" in name.lower() for name in first)  # as in LUNA16: mm
            return Columns(way, first, second, world or coordinates)  # type: ignore[arg-type]
    return None


def _corners(axis: str) -> list[tuple[str, str]]:
    spelt = [("{}min", "{}max"), ("{}_min", "{}_max"), ("min_{}", "max_{}"), ("min{}", "max{}"), ("{}1", "{}2"), ("{}_1", "{}_2"), ("{}0", "{}1"),
             ("{}_start", "{}_end"), ("{}start", "{}end")]
    return [(a.format(axis), b.format(axis)) for a, b in spelt] + [SIDES[axis]]


def _extents(axis: str) -> list[str]:
    return [*EXTENTS[axis], f"size_{axis}", f"{axis}_size", f"d{axis}"]


def _size(axis: str) -> list[tuple[str, str]]:
    return [(low, extent) for low in (axis, SIDES[axis][0], f"{axis}min", f"{axis}_min") for extent in _extents(axis)]


def _centre(axis: str) -> list[tuple[str, str]]:
    spelt = ("coord{}", "coord_{}", "center_{}", "centre_{}", "{}_center", "{}_centre", "{}center", "c{}", "{}c")
    middles = [each.format(axis) for each in spelt]
    with_diameter = [(middle, extent) for middle in (*middles, axis) for extent in DIAMETERS]
    return with_diameter + [(middle, extent) for middle in middles for extent in _extents(axis)]
