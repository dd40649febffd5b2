"""The boxes of a case on its image's own grid: as a file states them, or around the parts of its masks; what cannot be used is set aside and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from vesalius.core.boxes import BoxTruth
from vesalius.core.cohort import Case, MarkedBox
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec, missing
from vesalius.errors import DataError
from vesalius.formats.cases import open_truth

EDGE_SAMPLES = 0.01
"""A box may reach out of its image by so much unmentioned: files round shares of a side to six digits."""
INSIDE_SHARE = 0.5
"""A box with less than this part of any side inside of the image (its centre lies outside) is set aside; of others what lies outside is cut off."""
SHOWN = 8


@dataclass(frozen=True)
class Checked:
    """The boxes of one case after every one has been looked at; ``clipped`` names those that reached out of the image and were cut."""

    truth: BoxTruth
    clipped: tuple[str, ...] = ()


def open_boxes(case: Case, target: TargetSpec, study: Study) -> BoxTruth:
    """The boxes of a case on the study's own grid.

    Those of ``case.boxes``; where that is None, one around each part (samples that touch, corners too) of every class of the masks.
    Corners in mm are brought to the grid: the smallest box along its axes around the eight corners.

    Parameters
    ----------
    target: of kind boxes. study: the image, as `formats.cases.open_case` gives it.

    Raises
    ------
    DataError: the case is not marked, a box is of an unknown class or of another number of axes, a corner is no number, or the size that
        the file of the boxes states is not that of the image; of masks also what `formats.cases.open_truth` raises.
    """
    return checked_boxes(case, target, study).truth


def checked_boxes(case: Case, target: TargetSpec, study: Study) -> Checked:
    """As `open_boxes`, with what was cut."""
    _agrees(case, study)
    if case.boxes is not None:
        return checked(case.boxes, study.grid, target, case.id)
    if not case.masks:
        raise DataError("the image has no boxes", where=case.id, expected="boxes, or an entry that says that there is nothing",
                        do="mark it, or leave the image out")
    return Checked(_of_parts(open_truth(case, target, study), target))


def _agrees(case: Case, study: Study) -> None:
    stated, shape = case.stated, tuple(study.grid.shape)
    if stated is None or tuple(stated) == shape:
        return
    turned = sorted(stated) == sorted(shape)
    hint = "the axes are exchanged: turn the image as it was when it was marked (EXIF orientation), or correct the sizes"
    raise DataError("the image is not of the size that the file of its boxes states", where=f"{case.id}, {study.source}", expected=_size(stated),
                    got=_size(shape), do=hint if turned else "give the image that was marked, or correct the boxes and the sizes")


def _size(shape: Sequence[int]) -> str:
    """Width first, as image programs say it."""
    return " x ".join(str(int(n)) for n in reversed(shape))


def checked(marked: Sequence[MarkedBox], grid: Grid, target: TargetSpec, where: str) -> Checked:
    """Look at every box: none that is empty or lies outside of the image is let through.

    A box whose high edge is not above the low one, or of which less than `INSIDE_SHARE` of a side lies inside of the image, is set aside; what
    else reaches out is cut at the border. Each is told in a sentence.

    Raises
    ------
    DataError: see `open_boxes`.
    """
    held: list[tuple[np.ndarray, np.ndarray, MarkedBox]] = []
    aside, clipped = [], []
    for number, box in enumerate(marked, 1):
        _known(box, target, where)
        low, high = _on_grid(box, grid, where)
        inside = np.maximum(low, 0), np.minimum(high, grid.shape)
        if why := _unusable(low, high, inside, grid):
            aside.append(f"box {number} ({box.name}) of {where} {why}")
            continue
        if (inside[0] - low > EDGE_SAMPLES).any() or (high - inside[1] > EDGE_SAMPLES).any():
            clipped.append(f"box {number} ({box.name}) of {where} reaches out of the image of {_size(grid.shape)}: {_words(low, high)}")
        held.append((*inside, box))
    return Checked(_truth(held, target, grid.ndim, tuple(aside)), tuple(clipped))


def _unusable(low: np.ndarray, high: np.ndarray, inside: tuple[np.ndarray, np.ndarray], grid: Grid) -> str | None:
    """Why a box cannot be used, as the end of a sentence; None when it can."""
    if (high <= low).any():
        return f"has no extent: {_words(low, high)}"
    part = float((np.maximum(inside[1] - inside[0], 0) / (high - low)).min())
    if part < INSIDE_SHARE:
        share = "lies outside" if part <= 0 else f"lies outside by {1 - part:.0%}"
        return f"{share} of the image of {_size(grid.shape)}: {_words(low, high)}"
    return None


def _words(low: np.ndarray, high: np.ndarray) -> str:
    """Edges in words, x first."""
    axes = "xyz"[: len(low)]
    return ", ".join(f"{axis} {a:g} to {b:g}" for axis, a, b in zip(axes, low.round(2)[::-1], high.round(2)[::-1], strict=True))


def _known(box: MarkedBox, target: TargetSpec, where: str) -> None:
    if box.name not in target.classes:
        raise DataError("a box is of a class that nobody named", where=where, expected=f"one of {', '.join(target.classes[:SHOWN])}", got=f"'{box.name}'",
                        do="correct the file of the boxes, or its list of classes")
    if not np.isfinite([*box.low, *box.high]).all():
        raise DataError("a corner of a box is not a number", where=where, expected="finite numbers", got=f"{box.name} {box.low} to {box.high}",
                        do="correct the file of the boxes")


def _on_grid(box: MarkedBox, grid: Grid, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high edges in samples of the grid, array order, float64."""
    if box.world:
        return _from_world(box, grid, where)
    if len(box.low) != grid.ndim or len(box.high) != grid.ndim:
        raise DataError(f"the image is {grid.ndim}-D and a box is not", where=where, expected=f"{grid.ndim} edges at either end",
                        got=f"{len(box.low)} and {len(box.high)}", do="give the images that were marked")
    return np.array(box.low, float), np.array(box.high, float)


def _from_world(box: MarkedBox, grid: Grid, where: str) -> tuple[np.ndarray, np.ndarray]:
    """A box with no extent in mm stays one without (the hull of a turned one would have some)."""
    if not grid.spacing_known:
        raise DataError("the boxes are in mm and the image states no spacing", where=where, expected="an image with spacing and position (DICOM, NIfTI ...)",
                        got=_size(grid.shape), do="give the boxes in samples")
    axes = min(len(box.low), 3)
    corners = np.array(list(product(*zip(box.low, box.high, strict=True))), float)
    corners = np.concatenate([corners, np.zeros((len(corners), 3 - axes))], 1)
    index = grid.index(corners) + 0.5  # index i is the centre of sample i, which lies at i + 0.5 between edges
    low, high = index.min(0), index.max(0)
    empty = any(b <= a for a, b in zip(box.low[: grid.ndim], box.high[: grid.ndim], strict=False))
    return low, low if empty else high


def _truth(held: Sequence[tuple[np.ndarray, np.ndarray, MarkedBox]], target: TargetSpec, ndim: int, aside: tuple[str, ...]) -> BoxTruth:
    boxes = np.array([np.concatenate([low, high]) for low, high, _ in held], np.float32).reshape(-1, 2 * ndim)
    labels = np.array([target.classes.index(box.name) for *_, box in held], np.int64)
    return BoxTruth(boxes, labels, np.array([box.ignored for *_, box in held], bool), np.array([_risk(box, target) for *_, box in held], np.float32), aside)


def _risk(box: MarkedBox, target: TargetSpec) -> float:
    value = box.facts.get(target.risk) if target.risk else None
    return float("nan") if missing(value) else float(value)  # type: ignore[arg-type]


def _of_parts(truth: np.ndarray, target: TargetSpec) -> BoxTruth:
    """A box around each connected part of every class of a mask ``[L, (Z,) Y, X]``, class by class."""
    found: list[tuple[int, tuple[slice, ...]]] = []
    for k in range(len(target.classes)):
        marked = truth[0] == k + 1 if target.exclusive else (truth[k] != 0) & (truth[k] != IGNORED)
        parts, _ = ndimage.label(marked, np.ones((3,) * marked.ndim, int))
        found += [(k, part) for part in ndimage.find_objects(parts)]
    boxes = np.array([[*(each.start for each in part), *(each.stop for each in part)] for _, part in found], np.float32)
    n, ndim = len(found), truth.ndim - 1
    return BoxTruth(boxes.reshape(-1, 2 * ndim), np.array([k for k, _ in found], np.int64), np.zeros(n, bool), np.full(n, np.nan, np.float32))
