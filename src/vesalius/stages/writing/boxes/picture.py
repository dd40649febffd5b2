"""A finding with boxes as one picture for people: every box with its class and score; of a volume the slices of the surest boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vesalius.errors import FormatError
from vesalius.stages.boxed.drawing import HALO, View
from vesalius.stages.boxed.findings import Lesion, counts_of
from vesalius.stages.explain.pictures import sheet
from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found

EDGE_2D, EDGE_3D = 1024, 420
"""Longer edge in pixels of a picture, and of a slice of a volume."""
UPWARDS = 2.0
"""A picture is enlarged by this much at most."""
LINE = 14
"""Height of a line of text."""
MARGIN = 3
"""Of a word on the picture."""
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
PACKED = 4
"""Level of deflate: the sizes are nearly those of the highest, in a tenth of the time."""
COLUMNS = 3
MOST = 12
"""Slices on one sheet."""
CROWDED = 40
"""With more boxes in a picture than these only the legend names the classes."""


@BOX_WRITERS.register("png")
class PictureWriter(BoxWriter):
    """PNG: the image (2-D), or a sheet of the slices through the middle of the surest boxes, in radiological order; a legend counts the classes."""

    name = "png"
    suffix = ".png"

    @classmethod
    def write(cls, found: Found, part: Path) -> None:
        Image.fromarray(drawn(found)).save(part, "PNG", compress_level=PACKED)

    @classmethod
    def read(cls, found: Found, part: Path) -> None:
        """A picture holds no numbers to compare; it must be the one that was drawn."""
        with Image.open(part) as image:
            if not np.array_equal(np.asarray(image), drawn(found)):
                raise FormatError("the picture is not the one that was drawn", where=part)


def drawn(found: Found) -> np.ndarray:
    """The sheet, ``[Y, X, 3]`` uint8."""
    study, n = found.study, found.study.grid.shape
    if study.ndim == 2:
        return _marked(found, replace(View.whole(study, (0, 0, *n)), edge=int(min(EDGE_2D, max(UPWARDS * max(n), EDGE_3D)))), found.lesions)
    surest = sorted(found.lesions, key=lambda lesion: -lesion.score)
    cuts: dict[int | None, View] = {}
    for lesion in surest:
        view = replace(View.whole(study, lesion.box), edge=EDGE_3D)
        if len(cuts) < MOST:
            cuts.setdefault(view.cut, view)
    views = sorted(cuts.values(), key=lambda view: view.cut or 0) or [replace(View.whole(study, (0, 0, 0, *n)), edge=EDGE_3D)]
    return sheet([_marked(found, view, found.lesions) for view in views], COLUMNS)


def _marked(found: Found, view: View, lesions: tuple[Lesion, ...]) -> np.ndarray:
    """One slice with its boxes, the least sure first so that the surest lie on top, and the legend below."""
    base = view.picture()
    shown = [(lesion, corners) for lesion in lesions if (corners := view.corners(lesion.box, base.shape[:2])) is not None]
    counts = {name: n for name, n in counts_of([lesion.name for lesion, _ in shown]).items() if n}
    canvas = Image.new("RGB", (base.shape[1], base.shape[0] + LINE * (len(counts) + 1) + 4))
    canvas.paste(Image.fromarray(base))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(LINE - 3)
    shown.sort(key=lambda each: each[0].score)
    for lesion, corners in shown:
        _outline(pen, corners, found.colour(lesion.name))
    if len(shown) <= CROWDED:
        for lesion, corners in shown:
            _word(pen, corners, f"{lesion.name} {lesion.score:.2f}", found.colour(lesion.name), font, base.shape[1])
    where = "" if view.cut is None else f"slice {_slice(view) + 1} of {found.study.grid.shape[view.order[0]]}"
    _legend(pen, found, counts, base.shape[0] + 2, where, font)
    return np.asarray(canvas)


def _slice(view: View) -> int:
    """The slice as the file counts it, along its own axis."""
    cut = view.cut or 0
    return view.study.grid.shape[view.order[0]] - 1 - cut if 0 in view.flips else cut


def _outline(pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    """Dark below, the colour of the class above: seen on bright and on dark images."""
    x0, y0, x1, y1 = corners
    loop = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    pen.line(loop, fill=(0, 0, 0), width=2 + 2 * HALO)
    pen.line(loop, fill=colour, width=2)


def _word(pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], text: str, colour: tuple[int, int, int], font: Font, width: int) -> None:
    """Above the box, or inside where there is no room above."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x = min(max(corners[0], 0), max(width - (right - left) - MARGIN, 0))
    y = corners[1] - LINE - 1 if corners[1] > LINE else corners[1] + MARGIN
    pen.rectangle((x, y, x + right - left + MARGIN, y + bottom - top + MARGIN), fill=(0, 0, 0))
    pen.text((x + 1, y - top + 1), text, fill=colour, font=font)


def _legend(pen: ImageDraw.ImageDraw, found: Found, counts: dict[str, int], top: int, where: str, font: Font) -> None:
    for row, (name, n) in enumerate(counts.items()):
        y = top + row * LINE
        pen.rectangle((4, y + 2, 14, y + LINE - 3), outline=found.colour(name), width=2)
        pen.text((20, y - 1), f"{name}: {n}", fill=(235, 235, 235), font=font)
    pen.text((4, top + len(counts) * LINE - 1), where or ("" if counts else "nothing found"), fill=(160, 160, 160), font=font)
