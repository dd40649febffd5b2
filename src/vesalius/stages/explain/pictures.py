"""Pictures for people: a slice of a study as 8-bit grey or colour, a heat map over it, several on one sheet.

Pure functions of arrays; `png` gives the bytes of a file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from vesalius.core.study import Study

COLOURS = "inferno"
"""Perceptually uniform, and its lightness alone already tells the order (print, colour blindness)."""
EDGE = 256
"""Longer edge of a picture in pixels."""
PERCENTILES = (0.5, 99.5)
SHEET_GREY = 24


def window_of(study: Study) -> tuple[float, float]:
    """The file's own VOI window; 0..255 for 8 bits; else the 0.5th and 99.5th percentile of the finite samples."""
    if study.window is not None:
        return study.window
    if study.image.dtype == np.uint8 and study.bits == 8:
        return 0.0, 255.0
    values = study.image[np.isfinite(study.image)] if study.image.dtype.kind == "f" else study.image
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def to_rgb(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """``[C, Y, X]`` in its own numbers to ``[Y, X, 3]`` uint8; samples that are not finite are black.

    >>> to_rgb(np.array([[[0, 5, 10]]]), (0, 10))[0, :, 0].tolist()
    [0, 128, 255]
    """
    low, high = window
    values = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    unit = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    grey = (unit * 255 + 0.5).astype(np.uint8)
    return np.moveaxis(grey[:3] if grey.shape[0] >= 3 else np.repeat(grey[:1], 3, axis=0), 0, -1)


def slice_of(array: np.ndarray) -> int:
    """The slice of a map ``[Z, Y, X]`` with the largest sum; the middle one of a map that is zero."""
    sums = array.reshape(array.shape[0], -1).sum(1)
    return int(sums.argmax()) if sums.max() > 0 else array.shape[0] // 2


def plane(study: Study, index: int | None = None) -> np.ndarray:
    """A 2-D study, or one slice (by default the middle) of a 3-D one, as ``[Y, X, 3]`` uint8."""
    image = study.image
    if study.ndim == 3:
        image = image[:, image.shape[1] // 2 if index is None else index]
    return to_rgb(image, window_of(study))


def overlay(rgb: np.ndarray, heat: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """A map ``[Y, X]`` in [0, 1] in colour over a picture ``[Y, X, 3]``; what is 0 stays as it was.

    The opacity grows with the square root of the map up to ``alpha``, so that the image stays readable.
    """
    unit = np.clip(np.nan_to_num(heat), 0, 1)
    colour = matplotlib.colormaps[COLOURS](unit)[..., :3] * 255
    share = (alpha * np.sqrt(unit))[..., None]
    return (rgb * (1 - share) + colour * share + 0.5).astype(np.uint8)


TRUTH, PREDICTION, BOTH = (64, 190, 255), (255, 150, 60), (255, 255, 255)
"""Colours of an outline that only the truth has, only the prediction, and both; they differ in lightness and to every eye."""
RIM = 2
"""Width of an outline in pixels."""
FILL = 0.3
"""Opacity of what is in one of the two masks alone."""


def outlined(rgb: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Both masks ``[Y, X]`` over a picture ``[Y, X, 3]``: their outlines, and lightly filled what only one of them holds.

    The outline lies inside the mask and is `RIM` pixels wide; scale the picture and the masks before.
    """
    shown = rgb.astype(np.float32)
    for only, colour in ((truth & ~predicted, TRUTH), (predicted & ~truth, PREDICTION)):
        shown[only] = shown[only] * (1 - FILL) + np.array(colour) * FILL
    rims = [mask & ~ndimage.binary_erosion(mask, iterations=RIM, border_value=1) for mask in (truth, predicted)]
    for rim, colour in ((rims[0], TRUTH), (rims[1], PREDICTION), (rims[0] & rims[1], BOTH)):
        shown[rim] = colour
    return (shown + 0.5).astype(np.uint8)


def scaled_mask(mask: np.ndarray, edge: int = EDGE, spacing_mm: tuple[float, ...] = (1.0, 1.0)) -> np.ndarray:
    """A bool mask ``[Y, X]`` at the size that `scaled` gives a picture of it; a thin structure does not vanish."""
    height, width = scaled_size(mask.shape, edge, spacing_mm)
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)) >= 128


def scaled_size(shape: tuple[int, ...], edge: int, spacing_mm: tuple[float, ...]) -> tuple[int, int]:
    """Height and width in pixels of a picture with true proportions and a longer edge of ``edge``.

    >>> scaled_size((10, 20), 100, (2.0, 1.0))
    (100, 100)
    """
    extent = [n * s for n, s in zip(shape[:2], spacing_mm[-2:], strict=True)]
    height, width = (max(1, round(e * edge / max(extent))) for e in extent)
    return height, width


def scaled(rgb: np.ndarray, edge: int = EDGE, spacing_mm: tuple[float, ...] = (1.0, 1.0)) -> np.ndarray:
    """The picture with true proportions and its longer edge of ``edge`` pixels."""
    height, width = scaled_size(rgb.shape, edge, spacing_mm)
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def views(study: Study, maps: Sequence[np.ndarray], edge: int = EDGE) -> list[np.ndarray]:
    """The study, then the study under each map ``[(Z,) Y, X]``; of a volume the slice where the first map is strongest."""
    index = (slice_of(maps[0]) if maps else study.grid.shape[0] // 2) if study.ndim == 3 else None
    flat = plane(study, index)
    heats = [heat if index is None else heat[index] for heat in maps]
    return [scaled(each, edge, study.grid.spacing_mm) for each in (flat, *(overlay(flat, heat) for heat in heats))]


def sheet(pictures: Sequence[np.ndarray], columns: int = 4, gap: int = 6) -> np.ndarray:
    """Pictures ``[Y, X, 3]`` side by side, row by row, each centred in a cell of the largest size."""
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), SHEET_GREY, np.uint8)
    for i, picture in enumerate(pictures):
        top = gap + (i // columns) * (height + gap) + (height - picture.shape[0]) // 2
        left = gap + (i % columns) * (width + gap) + (width - picture.shape[1]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def png(rgb: np.ndarray) -> bytes:
    """``[Y, X]`` or ``[Y, X, 3]`` uint8 as the bytes of a PNG file; not the smallest possible, for which a report of many pictures would wait."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()
