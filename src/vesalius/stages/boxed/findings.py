"""What the boxes of a finding measure, lesion by lesion, in samples and in patient coordinates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from vesalius.core.boxes import Detected, sizes_mm
from vesalius.core.finding import Boxes
from vesalius.core.geometry import Grid

UNNAMED = "object"
DECIMALS = 4
"""Of a coordinate in samples."""
DIGITS = 8
"""Of a length in mm; microscopes have a spacing of some 0.0002 mm."""


@dataclass(frozen=True)
class Lesion:
    """One box of a finding.

    Parameters
    ----------
    number: 1, 2 … in the order of the finding; of a stream the number that stays with the object.
    name: its class. score: 0 .. 1. risk: probability of the second label, None where the model gives none.
    low, high: in samples, array order, with the edges of `core.boxes`.
    corners_mm: all 2^ndim corners, ``[2^ndim, 3]`` LPS mm, counted up in array order (the last axis changes fastest).
    size: extent along each array axis. volume: of the box (area in 2-D). Both in ``unit`` (``mm``, or ``pixel`` where the file states no spacing).
    """

    number: int
    name: str
    score: float
    risk: float | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    corners_mm: np.ndarray
    size: tuple[float, ...]
    volume: float
    unit: str

    @property
    def longest(self) -> float:
        """The longest edge."""
        return max(self.size)

    @property
    def box(self) -> tuple[float, ...]:
        return (*self.low, *self.high)

    @property
    def centre_mm(self) -> tuple[float, ...]:
        """LPS mm."""
        return tuple(float(v) for v in self.corners_mm.mean(0))

    @property
    def hull_mm(self) -> np.ndarray:
        """``[2, 3]``: the least and the greatest L, P and S of the corners; the same for every way in which one image is stored."""
        return np.stack([self.corners_mm.min(0), self.corners_mm.max(0)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; lengths along axes are in array order ``((z,) y, x)``, places in LPS mm."""
        made: dict[str, Any] = {
            "number": self.number, "class": self.name, "score": round(self.score, 6), "risk": None if self.risk is None else round(self.risk, 6),
            "low": rounded(self.low), "high": rounded(self.high), "unit": self.unit, "size": tidy(self.size), "longest": tidy([self.longest])[0],
            "volume" if len(self.size) == 3 else "area": tidy([self.volume])[0],
        }
        return made | {"centre_mm": tidy(self.centre_mm), "corners_mm": [tidy(corner) for corner in self.corners_mm]} if self.unit == "mm" else made


def lesions_of(boxes: Boxes) -> tuple[Lesion, ...]:
    """The boxes of a finding one by one, in its order.

    >>> (one,) = lesions_of(Boxes(np.array([[0, 0, 2, 4]]), Grid.plain((10, 10), (2.0, 0.5)), ("cell",), (0.9,)))
    >>> one.size, one.longest, one.centre_mm, one.unit
    ((4.0, 2.0), 4.0, (0.75, 1.0, 0.0), 'mm')
    """
    array = np.asarray(boxes.array, float).reshape(-1, 2 * boxes.grid.ndim)
    sizes = sizes_mm(array, boxes.grid)
    return tuple(_lesion(boxes, i, array[i], sizes[i]) for i in range(len(array)))


def as_boxes(detected: Detected, classes: Sequence[str], grid: Grid) -> Boxes:
    """What was detected as an item of a finding."""
    risk = () if np.isnan(detected.risk).all() else tuple(map(float, detected.risk))
    return Boxes(detected.boxes, grid, tuple(classes[k] for k in detected.labels), tuple(map(float, detected.scores)), risk)


def counts_of(names: Sequence[str], classes: Sequence[str] = ()) -> dict[str, int]:
    """Boxes of each class, 0 for those of ``classes`` that are not there.

    >>> counts_of(["b", "b"], ["a", "b"])
    {'a': 0, 'b': 2}
    """
    found = Counter(names)
    return {name: found[name] for name in dict.fromkeys((*classes, *sorted(found)))}


def _lesion(boxes: Boxes, i: int, box: np.ndarray, size: np.ndarray) -> Lesion:
    ndim = boxes.grid.ndim
    risk = float(boxes.risk[i]) if i < len(boxes.risk) and not np.isnan(boxes.risk[i]) else None
    return Lesion(
        boxes.ids[i] if boxes.ids else i + 1, boxes.labels[i] if boxes.labels else UNNAMED, float(boxes.scores[i]) if boxes.scores else 1.0, risk,
        tuple(map(float, box[:ndim])), tuple(map(float, box[ndim:])), corners_mm(box, boxes.grid), tuple(map(float, size)), float(np.prod(size)),
        "mm" if boxes.grid.spacing_known else "pixel",
    )


def corners_mm(box: np.ndarray, grid: Grid) -> np.ndarray:
    """All corners of one box ``[2 * ndim]``: ``[2^ndim, 3]`` LPS mm, the last axis changing fastest."""
    ends = np.asarray(box, float).reshape(2, grid.ndim)
    chosen = np.array(list(product((0, 1), repeat=grid.ndim)))
    return grid.world(np.take_along_axis(ends, chosen, 0) - 0.5)


def rounded(values: Iterable[float]) -> list[float]:
    """Coordinates in samples as they are written."""
    return [round(float(v), DECIMALS) for v in values]


def tidy(values: Iterable[float]) -> list[float]:
    """Lengths and places in mm as they are written.

    >>> tidy([0.1 + 0.2, -1000.12345678])
    [0.3, -1000.1235]
    """
    return [float(f"{float(v):.{DIGITS}g}") for v in values]
