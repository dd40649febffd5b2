"""Boxes drawn over pictures: the truth solid, what was found dashed, what is not judged dotted; told apart without any colour.

A picture shows a volume in the plane of its finest samples, in radiological order, cut through the middle of the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from vesalius.core.study import Study
from vesalius.stages.explain.pictures import PREDICTION, TRUTH, overlay, scaled, scaled_size, to_rgb, window_of
from vesalius.stages.tiled.explain import shown_axes

GREY = (190, 190, 190)
STYLES = {"truth": (TRUTH, 0, 0), "found": (PREDICTION, 8, 5), "ignored": (GREY, 1, 7)}
"""Colour, and length of a dash and of a gap in pixels (0: solid)."""
WIDE, THIN = 4, 2
HALO = 1
"""Width of the dark rim on both sides of a line: it stands out on bright and on dark images."""
AROUND = 3.0
"""Side of a crop in longest sides of its box."""
LEAST = 24
"""Samples that a crop shows at least."""
EDGE = 320
"""Longer edge of a picture in pixels."""


@dataclass(frozen=True)
class Drawn:
    """One box to draw: its corners in samples of the study, how, and whether it is the one in question."""

    box: tuple[float, ...]
    style: str
    main: bool = False


@dataclass(frozen=True)
class View:
    """A study as its pictures show it: ``order`` of its axes, those that are turned round, and the slice (None in 2-D).

    ``rows`` and ``columns``: the part of the plane that is shown, in samples. ``edge``: longer edge of the picture in pixels.
    """

    study: Study
    order: tuple[int, ...]
    flips: tuple[int, ...]
    cut: int | None
    rows: tuple[int, int]
    columns: tuple[int, int]
    edge: int = EDGE

    @classmethod
    def whole(cls, study: Study, box: Sequence[float]) -> View:
        """All of the plane through the middle of a box."""
        order, flips = shown_axes(study)
        shape = [study.grid.shape[axis] for axis in order]
        view = cls(study, order, flips, None, (0, shape[-2]), (0, shape[-1]))
        if study.ndim == 2:
            return view
        low, high = view.turned(box)
        return replace(view, cut=min(max(int((low[0] + high[0]) / 2), 0), shape[0] - 1))

    @classmethod
    def about(cls, study: Study, box: Sequence[float]) -> View:
        """The surroundings of a box: a square in mm, inside the image as far as it reaches."""
        whole = cls.whole(study, box)
        low, high = whole.turned(box)
        spacing, limits = whole.spacing[-2:], (whole.rows[1], whole.columns[1])
        side = AROUND * max((b - a) * s for a, b, s in zip(low[-2:], high[-2:], spacing, strict=True))
        parts = []
        for a, b, s, n in zip(low[-2:], high[-2:], spacing, limits, strict=True):
            count = min(n, max(LEAST, round(side / s)))
            start = min(max(round((a + b) / 2 - count / 2), 0), n - count)
            parts.append((start, start + count))
        return replace(whole, rows=parts[0], columns=parts[1])

    @property
    def spacing(self) -> tuple[float, ...]:
        return tuple(self.study.grid.spacing_mm[axis] for axis in self.order)

    def turned(self, box: Sequence[float]) -> tuple[list[float], list[float]]:
        """Low and high corner of a box in the order of the picture's axes."""
        ndim = self.study.ndim
        low, high = ([float(corner[axis]) for axis in self.order] for corner in (box[:ndim], box[ndim:]))
        for axis in self.flips:
            n = self.study.grid.shape[self.order[axis]]
            low[axis], high[axis] = n - high[axis], n - low[axis]
        return low, high

    def picture(self) -> np.ndarray:
        """``[Y, X, 3]`` uint8 with true proportions; of several channels that are no colours the first."""
        image, window = self.study.image, window_of(self.study)
        if not (self.study.channels == 3 and image.dtype == np.uint8):
            image, window = image[:1], window_of(replace(self.study, image=image[:1]))
        planes = []
        for channel in image:
            turned = channel.transpose(self.order)
            turned = np.flip(turned, self.flips) if self.flips else turned
            planes.append((turned if self.cut is None else turned[self.cut])[slice(*self.rows), slice(*self.columns)])
        return scaled(to_rgb(np.stack(planes), window), self.edge, self.spacing)

    def places(self) -> np.ndarray:
        """Where the picture's pixels lie: index on the study's own grid, ``[ndim, Y, X]`` in array order (sample i is at i)."""
        height, width = scaled_size((self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]), self.edge, self.spacing)
        flat = [start + (np.arange(n) + 0.5) * (stop - start) / n - 0.5 for n, (start, stop) in ((height, self.rows), (width, self.columns))]
        grid = list(np.meshgrid(*flat, indexing="ij"))
        turned = grid if self.cut is None else [np.full_like(grid[0], self.cut), *grid]
        for axis in self.flips:
            turned[axis] = self.study.grid.shape[self.order[axis]] - 1 - turned[axis]
        return np.stack([turned[self.order.index(axis)] for axis in range(self.study.ndim)])

    def with_boxes(self, boxes: Sequence[Drawn]) -> np.ndarray:
        """The picture with boxes; of a volume those that the slice cuts."""
        rgb = self.picture()
        canvas = Image.fromarray(rgb)
        draw = ImageDraw.Draw(canvas)
        for each in sorted(boxes, key=lambda box: (box.main, box.style == "found")):
            corners = self.corners(each.box, rgb.shape[:2])
            if corners is not None:
                outline(draw, corners, each.style, WIDE if each.main else THIN)
        return np.asarray(canvas)

    def corners(self, box: Sequence[float], size: tuple[int, ...]) -> tuple[float, float, float, float] | None:
        """``x0, y0, x1, y1`` of a box in pixels of the picture; None where it is not in it."""
        low, high = self.turned(box)
        if self.cut is not None and not low[0] <= self.cut + 0.5 <= high[0]:
            return None
        parts = (self.rows, self.columns)
        pixels = [[(v - start) * n / (stop - start) for v in (a, b)] for a, b, n, (start, stop) in zip(low[-2:], high[-2:], size, parts, strict=True)]
        (y0, y1), (x0, x1) = pixels
        outside = y1 <= 0 or x1 <= 0 or y0 >= size[0] or x0 >= size[1]
        return None if outside else (x0, y0, x1, y1)

    def heated(self, heat: np.ndarray) -> np.ndarray:
        """A map of the picture's own size in [0, 1] over it."""
        return overlay(self.picture(), heat)


def outline(draw: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], style: str, width: int) -> None:
    """A rectangle in one of the `STYLES`, with a dark rim."""
    colour, dash, gap = STYLES[style]
    x0, y0, x1, y1 = corners
    pieces = [piece for a, b in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))) for piece in dashes(a, b, dash, gap)]
    for paint, wide in (((0, 0, 0), width + 2 * HALO), (colour, width)):
        for piece in pieces:
            draw.line(piece, fill=paint, width=wide)


def dashes(a: tuple[float, float], b: tuple[float, float], dash: int, gap: int) -> list[tuple[float, float, float, float]]:
    """The pieces of a line from a to b; one where ``dash`` is 0.

    >>> dashes((0, 0), (10, 0), 4, 2)
    [(0.0, 0.0, 4.0, 0.0), (6.0, 0.0, 10.0, 0.0)]
    """
    length = float(np.hypot(b[0] - a[0], b[1] - a[1]))
    if not dash or length <= dash:
        return [(float(a[0]), float(a[1]), float(b[0]), float(b[1]))]
    starts = np.arange(0.0, length, dash + gap)
    ends = np.minimum(starts + dash, length)
    step = np.array([b[0] - a[0], b[1] - a[1]]) / length
    return [tuple(float(v) for v in (*(np.array(a) + s * step), *(np.array(a) + e * step))) for s, e in zip(starts, ends, strict=True)]  # type: ignore[misc]
