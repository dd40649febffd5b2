"""From a study to what a foreign model reads (nnU-Net, MONAI bundles), and labels back to the study's own grid.

The order is nnU-Net's (Isensee et al., Nature Methods 2021): axes, box of what is not 0, numbers, spacing. MONAI's (Cardoso et al., 2022)
has the spacing before the numbers, and samples are points there, not areas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, binary_fill_holes

from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.kernels.resample import resampled_image

WORLD = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Direction of a letter in LPS: world axis and sign."""
THICK = 3.0
"""Slices are thick where the spacing of one axis exceeds that of another by more than this; then the nearest one counts."""
EPS = 1e-8


@dataclass(frozen=True)
class ForeignTrace:
    """What was done to a study: axes taken in ``order``, then ``flips`` of them reversed, then cut to ``box``.

    ``shape`` is that of the turned study, ``thick`` whether planes of the first axis are taken whole by resampling,
    ``steps`` how many prepared samples a sample of the study is from the next where samples are points (None: they are areas).
    """

    grid: Grid
    order: tuple[int, ...]
    flips: tuple[int, ...]
    box: tuple[slice, ...]
    shape: tuple[int, ...]
    thick: bool
    steps: tuple[float, ...] | None = None

    @property
    def shape_out(self) -> tuple[int, ...]:
        """Of the part that was read, before it was resampled."""
        return tuple(part.stop - part.start for part in self.box)


def prepare_foreign(study: Study, reads: TileReads) -> tuple[np.ndarray, ForeignTrace]:
    """A study as a foreign model reads it, float32 ``[C, (Z,) Y, X]`` at its own extent, and the way back.

    A picture (2-D) is not turned. Without ``reads.spacing_mm``, or where the file states no spacing, samples stay.

    Raises
    ------
    DataError: other channels than the model reads.
    """
    _check(study, reads)
    order, flips = _turn(study.grid, reads)
    turned = np.flip(study.image.transpose(0, *(1 + axis for axis in order)), tuple(1 + axis for axis in flips))
    spacing = [study.grid.spacing_mm[axis] for axis in order]
    inside = _inside(turned) if reads.crop or any(reads.inside) else None
    box = _box(inside) if reads.crop and inside is not None else tuple(slice(0, n) for n in turned.shape[1:])
    image = turned[(slice(None), *box)].astype(np.float32)
    wanted = _wanted(spacing, reads) if study.grid.spacing_known else spacing
    if reads.manner == "monai":
        steps = tuple(then / now for now, then in zip(spacing, wanted, strict=True))
        image = _numbered(_at_points(image, steps), None, reads, study.bits)
        return image, ForeignTrace(study.grid, order, flips, box, turned.shape[1:], False, tuple(1 / step for step in steps))
    image = _numbered(image, None if inside is None else inside[box], reads, study.bits)
    shape = tuple(max(1, round(n * now / then)) for n, now, then in zip(image.shape[1:], spacing, wanted, strict=True))
    axis = thick_axis(spacing, wanted)
    if shape != image.shape[1:]:
        image = _resampled(image, shape, reads.order, axis)
    return image, ForeignTrace(study.grid, order, flips, box, turned.shape[1:], axis == 0)


def _numbered(image: np.ndarray, inside: np.ndarray | None, reads: TileReads, bits: int) -> np.ndarray:
    return np.stack([_scaled(plane, inside, reads, channel, bits) for channel, plane in enumerate(image)])


def _at_points(image: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Linear resampling where samples are points: the first ones lie on one another, the next ``steps`` input samples apart."""
    counts = [round((n - 1) / step) + 1 for n, step in zip(image.shape[1:], steps, strict=True)]
    if all(step == 1 for step in steps):
        return image
    return np.stack([affine_transform(plane, np.array(steps), output_shape=tuple(counts), order=1, mode="nearest") for plane in image])


def _wanted(spacing: list[float], reads: TileReads) -> list[float]:
    """The spacing after resampling; an axis with 0 keeps its own."""
    return [then or now for now, then in zip(spacing, reads.spacing_mm, strict=True)] if reads.spacing_mm else spacing


def _check(study: Study, reads: TileReads) -> None:
    if study.channels != reads.channels:
        raise DataError("the study has other channels than the model reads", where=study.source, expected=reads.channels, got=study.channels)


def _turn(grid: Grid, reads: TileReads) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Order of the axes and those of them (after ordering) that are reversed."""
    order: tuple[int, ...] = tuple(range(grid.ndim))
    flips: tuple[int, ...] = ()
    if reads.orient not in (None, "stored") and grid.ndim == 3:
        order, flips = towards(grid, str(reads.orient))
    if not reads.axes:
        return order, flips
    return tuple(order[axis] for axis in reads.axes), tuple(place for place, axis in enumerate(reads.axes) if axis in flips)


def towards(grid: Grid, code: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes of a volume in the order, and those reversed, so that they point as ``code`` says, the first axis first.

    >>> towards(Grid.plain((2, 3, 4)), "RAS")
    ((2, 1, 0), (0, 1))
    """
    directions = grid.affine_lps[:3, :3] / np.linalg.norm(grid.affine_lps[:3, :3], axis=0)
    strength, nearest = np.abs(directions), {}
    free = {0, 1, 2}
    for index_axis in np.argsort(-strength.max(axis=0)):
        world = max(free, key=lambda w: strength[w, index_axis])
        free.remove(world)
        nearest[world] = int(index_axis)
    order = tuple(2 - nearest[WORLD[letter][0]] for letter in code)
    flips = tuple(i for i, letter in enumerate(code) if directions[WORLD[letter][0], 2 - order[i]] * WORLD[letter][1] < 0)
    return order, flips


def _inside(image: np.ndarray) -> np.ndarray:
    """True where a channel is not 0, and in what such samples enclose; everywhere in an image of zeros."""
    found = np.any(image != 0, axis=0)
    return np.asarray(binary_fill_holes(found)) if found.any() else np.ones_like(found)


def _box(inside: np.ndarray) -> tuple[slice, ...]:
    parts = []
    for axis in range(inside.ndim):
        at = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        parts.append(slice(int(at[0]), int(at[-1]) + 1))
    return tuple(parts)


def _scaled(plane: np.ndarray, inside: np.ndarray | None, reads: TileReads, channel: int, bits: int) -> np.ndarray:
    """The numbers of one channel as the model reads them; see `TileReads.schemes`."""
    scheme, mean, std = reads.schemes[channel], reads.mean[channel], max(reads.std[channel], EPS)
    if scheme == "ct":
        return (np.clip(plane, reads.low[channel], reads.high[channel]) - mean) / std
    if scheme == "full":
        return (plane / (2**bits - 1) - mean) / std
    if scheme == "none":
        return plane
    if scheme == "unit":
        return (_unit(plane) - mean) / std
    masked = bool(reads.inside) and reads.inside[channel]
    own = (plane != 0) if masked and reads.manner == "monai" else inside if masked else None
    standard = _standard(plane, own)
    return standard if scheme == "zscore" else (_unit(standard) - mean) / std


def _unit(plane: np.ndarray) -> np.ndarray:
    low = plane.min()
    return np.asarray((plane - low) / max(plane.max() - low, EPS))


def _standard(plane: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """Mean 0 and deviation 1, of and within the samples ``inside`` only."""
    if inside is None:
        return np.asarray((plane - plane.mean()) / max(plane.std(), EPS))
    chosen, out = plane[inside], plane.copy()
    if chosen.size:
        out[inside] = (chosen - chosen.mean()) / max(chosen.std(), EPS)
    return out


def thick_axis(spacing: list[float], wanted: list[float]) -> int | None:
    """The one axis with thick slices, now or after resampling; None where there is none (or two).

    >>> thick_axis([5.0, 1.0, 1.0], [1.0, 1.0, 1.0]), thick_axis([1.0, 5.0, 5.0], [1.0, 1.0, 1.0])
    (0, None)
    """
    if len(spacing) < 3:
        return None
    for each in (spacing, wanted):
        if max(each) / min(each) > THICK:
            widest = [axis for axis, step in enumerate(each) if step == max(each)]
            return widest[0] if len(widest) == 1 else None
    return None


def _resampled(image: np.ndarray, shape: tuple[int, ...], order: int, thick: int | None) -> np.ndarray:
    if thick is None:
        return resampled_image(image, shape, order)
    moved = np.moveaxis(image, 1 + thick, 1)
    first = [shape[thick], *(n for axis, n in enumerate(shape) if axis != thick)]
    return np.ascontiguousarray(np.moveaxis(resampled_image(moved, first, order, anisotropic=True), 1, 1 + thick))
