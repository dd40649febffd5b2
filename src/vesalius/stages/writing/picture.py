"""A finding as one picture for people: for each structure the slice where it is largest, with outlines and names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vesalius.errors import FormatError
from vesalius.stages.explain.pictures import plane, scaled, sheet
from vesalius.stages.writing.base import WRITERS, Marked, Writer
from vesalius.stages.writing.outline import loops_of

EDGE = 420
"""Longer edge of one slice in pixels."""
LINE = 14
"""Height of a line of the legend."""
COLUMNS = 3
MOST = 12
"""Slices on one sheet; those of the largest structures are shown."""


@WRITERS.register("png")
class PictureWriter(Writer):
    """PNG: the image (2-D), or a sheet of slices, with an outline for every structure that is there."""

    name = "png"
    suffix = ".png"

    @classmethod
    def write(cls, marked: Marked, part: Path) -> None:
        Image.fromarray(drawn(marked)).save(part, "PNG")

    @classmethod
    def read(cls, marked: Marked, part: Path) -> None:
        """A picture holds no samples to compare; it must be the one that was drawn."""
        with Image.open(part) as image:
            if not np.array_equal(np.asarray(image), drawn(marked)):
                raise FormatError("the picture is not the one that was drawn", where=part)


def drawn(marked: Marked) -> np.ndarray:
    """The sheet, ``[Y, X, 3]`` uint8."""
    if marked.study.ndim == 2:
        return _outlined(marked, None)
    areas = np.stack([marked.mask(i).sum((1, 2)) for i in range(len(marked.names))])
    largest = [i for i in np.argsort(-areas.max(1), kind="stable")[:MOST] if areas[i].any()]
    slices = sorted({int(areas[i].argmax()) for i in largest}) or [marked.study.grid.shape[0] // 2]
    return sheet([_outlined(marked, k) for k in slices], COLUMNS)


def _outlined(marked: Marked, k: int | None) -> np.ndarray:
    """One slice with outlines, and the names of the structures in it below."""
    spacing = marked.study.grid.spacing_mm
    base = scaled(plane(marked.study, k), EDGE, spacing)
    masks = {i: marked.mask(i) if k is None else marked.mask(i)[k] for i in range(len(marked.names))}
    shown = {i: mask for i, mask in masks.items() if mask.any()}
    canvas = Image.new("RGB", (base.shape[1], base.shape[0] + LINE * (len(shown) + 1) + 4))
    canvas.paste(Image.fromarray(base))
    pen = ImageDraw.Draw(canvas)
    factor = np.array(base.shape[:2]) / marked.study.grid.shape[-2:]
    for i, mask in shown.items():
        for loop in loops_of(mask):
            corners = [(float(x), float(y)) for y, x in (np.vstack([loop, loop[:1]]) + 0.5) * factor]
            pen.line(corners, fill=marked.colour(i), width=1)
    _legend(pen, marked, list(shown), base.shape[0] + 2, "" if k is None else f"slice {k + 1} of {marked.study.grid.shape[0]}")
    return np.asarray(canvas)


def _legend(pen: ImageDraw.ImageDraw, marked: Marked, shown: list[int], top: int, where: str) -> None:
    font = ImageFont.load_default(LINE - 3)
    for row, i in enumerate(shown):
        y = top + row * LINE
        pen.rectangle((4, y + 2, 14, y + LINE - 3), fill=marked.colour(i))
        pen.text((20, y - 1), marked.names[i], fill=(235, 235, 235), font=font)
    pen.text((4, top + len(shown) * LINE - 1), where or ("" if shown else "nothing found"), fill=(160, 160, 160), font=font)
