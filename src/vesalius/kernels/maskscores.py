"""Scores of one case: how well a predicted mask agrees with the true one.

A sample that nobody judged, or that lies outside the field of view, counts in nothing.

What holds when a mask is empty (a score is never replaced by a number that it does not have):

=================== ==== === =========== =========== === === ==== =================
note                dice iou sensitivity specificity ppv nsd hd95 auc
=================== ==== === =========== =========== === === ==== =================
"both empty"        NaN  NaN NaN         1           NaN NaN NaN  NaN
"truth empty"       0    0   NaN         as it is    0   0   NaN  NaN
"prediction empty"  0    0   0           1           NaN 0   NaN  as it is
=================== ==== === =========== =========== === === ==== =================

Both empty gives 0/0. To call it 1 would let the many cases without the structure hide how it is drawn in those that
have it, to call it 0 would punish a right answer; such cases are judged by their lesions and specificity instead, and
how many there are is said beside the mean (Maier-Hein, Reinke et al. 2024, Metrics Reloaded, doi 10.1038/s41592-023-02151-z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.kernels.lesions import match
from vesalius.kernels.surfaces import surface_scores

UNDEFINED = float("nan")
CHUNK = 2**22
"""Samples that are ranked at once."""
Box = tuple[slice, ...]


def score_case(
    truth: np.ndarray, predicted: np.ndarray, *, spacing_mm: tuple[float, ...], tolerance_mm: float,
    view: np.ndarray | None = None, probability: np.ndarray | None = None,
) -> dict[str, float | str]:
    """The scores of one class in one case, with the names of ``predictions.parquet``.

    Parameters
    ----------
    truth, predicted: bool ``[(Z,) Y, X]``.
    spacing_mm: in array order; ones where none is known, and distances are then in samples.
    tolerance_mm: of ``nsd``.
    view: bool as the masks, the samples that are judged; None: all.
    probability: float as the masks, of belonging to the class, for ``auc``; NaN without it.

    Returns ``dice iou sensitivity specificity ppv nsd hd95 auc size_true size_predicted n_true n_found n_false note``;
    lesions are matched one to one at an IoU of 0.5 (`lesions.match`). An undefined score is NaN.

    Raises
    ------
    DataError: the arrays differ in shape, or a probability is not a number.
    """
    truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
    _check(truth.shape, predicted=predicted, view=view, probability=probability)
    box = _joined([ndimage.find_objects(mask.view(np.uint8), 1)[0] for mask in (truth, predicted)], truth.shape)
    judged = None if view is None else view[box]
    n = truth.size if view is None else int(np.count_nonzero(view))
    found = _within(truth[box], predicted[box], judged, n, spacing_mm, tolerance_mm)
    return found | {"auc": UNDEFINED if probability is None else area(probability, truth, view)}


def score_study(
    truth: np.ndarray, predicted: np.ndarray, target: TargetSpec, *, spacing_mm: tuple[float, ...], tolerance_mm: float,
    view: np.ndarray | None = None, probability: np.ndarray | None = None,
) -> list[dict[str, float | str]]:
    """The scores of every class of one case: `score_case` with its ``class``, in the order of ``target.classes``.

    Parameters
    ----------
    truth: uint8 ``[L, (Z,) Y, X]`` as in ``docs/architecture.md``, 255 where it is not judged.
    predicted: uint8 the same, or a plane for each class ``[K, (Z,) Y, X]`` of 0 and 1.
    view: bool ``[(Z,) Y, X]``. probability: float ``[K, (Z,) Y, X]``, without the background.

    Raises
    ------
    DataError: the arrays do not fit one another or the target, or a probability is not a number.
    """
    planes = 1 if target.exclusive else len(target.classes)
    if len(truth) != planes or len(predicted) not in (planes, len(target.classes)):
        got = f"{len(truth)} and {len(predicted)}"
        raise DataError("the planes of the masks do not fit the target", expected=f"{planes} of truth, {planes} or {len(target.classes)} predicted", got=got)
    _check(truth.shape[1:], predicted=predicted[0], view=view, probability=None if probability is None else probability[0])
    common = _judged(truth[0], view) if target.exclusive else None
    rows: list[dict[str, float | str]] = []
    for k, (true, found) in enumerate(zip(_marks(truth, target), _marks(predicted, target), strict=True)):
        judged = common if target.exclusive else _judged(true.plane, view)
        box = _joined([true.box, found.box], truth.shape[1:])
        n = true.plane.size if judged is None else int(np.count_nonzero(judged))
        row = _within(true.inside(box), found.inside(box), None if judged is None else judged[box], n, spacing_mm, tolerance_mm)
        auc = UNDEFINED if probability is None else area(probability[k], true.inside(...), judged)
        rows.append({"class": target.classes[k]} | row | {"auc": auc})
    return rows


def area(probability: np.ndarray, truth: np.ndarray, view: np.ndarray | None = None) -> float:
    """Area under the ROC curve of the judged samples, exact (ties count one half); NaN unless both kinds are there.

    Only the rarer kind is sorted whole, the other chunk by chunk: besides the arrays it needs about as much memory as
    the rarer kind's probabilities.
    """
    inside = truth if view is None else truth & view
    outside = ~truth if view is None else ~truth & view
    few, many = probability[inside], probability[outside]
    if not len(few) or not len(many):
        return UNDEFINED
    swapped = len(few) > len(many)
    few, many = (many, few) if swapped else (few, many)
    few.sort()
    if np.isnan(few[-1]) or np.isnan(many).any():
        raise DataError("a probability is not a number", expected="probabilities of 0 to 1", got="NaN")
    below = sum(_ranked(few, np.sort(many[start : start + CHUNK])) for start in range(0, len(many), CHUNK))
    share = below / len(few) / len(many)
    return float(share if swapped else 1 - share)


def _ranked(few: np.ndarray, chunk: np.ndarray) -> float:
    """In how many pairs the one of the few is lower; half a pair where they are equal."""
    left = np.searchsorted(few, chunk, "left")
    equal = few[np.minimum(left, len(few) - 1)] == chunk
    right = np.searchsorted(few, chunk[equal], "right")
    return float(left.sum()) + float((right - left[equal]).sum()) / 2


def _within(
    truth: np.ndarray, predicted: np.ndarray, judged: np.ndarray | None, n: int, spacing_mm: tuple[float, ...], tolerance_mm: float
) -> dict[str, float | str]:
    """All scores but the AUC, from a box that holds both masks and a sample more; n samples are judged in the whole case."""
    if judged is not None:
        truth, predicted = truth & judged, predicted & judged
    n_true, n_predicted, both = (int(np.count_nonzero(mask)) for mask in (truth, predicted, truth & predicted))
    scores: dict[str, float | str] = {**_overlap(n_true, n_predicted, both, n)}
    scores |= surface_scores(truth, predicted, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm, judged=judged)
    scores |= {"size_true": n_true * float(np.prod(spacing_mm)), "size_predicted": n_predicted * float(np.prod(spacing_mm))}
    lesions = match(truth, predicted)
    scores |= {"n_true": lesions.n_true, "n_found": lesions.n_found, "n_false": lesions.n_false}
    return scores | {"note": _note(n_true, n_predicted)}


def _overlap(n_true: int, n_predicted: int, both: int, n: int) -> dict[str, float]:
    def ratio(top: int, bottom: int) -> float:
        return top / bottom if bottom else UNDEFINED

    either = n_true + n_predicted - both
    return {
        "dice": ratio(2 * both, n_true + n_predicted), "iou": ratio(both, either), "sensitivity": ratio(both, n_true),
        "specificity": ratio(n - either, n - n_true), "ppv": ratio(both, n_predicted),
    }


def _note(n_true: int, n_predicted: int) -> str:
    return {(True, True): "", (False, False): "both empty", (False, True): "truth empty", (True, False): "prediction empty"}[bool(n_true), bool(n_predicted)]


@dataclass(frozen=True)
class _Marked:
    """One class in an encoded mask: where ``plane`` holds ``number``, all of it within ``box`` (None: nowhere)."""

    plane: np.ndarray
    number: int
    box: Box | None

    def inside(self, box: Any) -> np.ndarray:
        return self.plane[box] == self.number


def _marks(masks: np.ndarray, target: TargetSpec) -> list[_Marked]:
    masks = masks.view(np.uint8) if masks.dtype == bool else masks
    if target.exclusive and len(masks) == 1:
        return [_Marked(masks[0], k + 1, box) for k, box in enumerate(ndimage.find_objects(masks[0], len(target.classes)))]
    return [_Marked(plane, 1, ndimage.find_objects(plane, 1)[0]) for plane in masks]


def _judged(plane: np.ndarray, view: np.ndarray | None) -> np.ndarray | None:
    marked = plane != IGNORED
    if marked.all():
        return view
    return marked if view is None else marked & view


def _joined(boxes: list[Box | None], shape: tuple[int, ...]) -> Box:
    """The box around both with a sample more on each side (a surface is judged with its neighbours); one sample where there is none."""
    known = [box for box in boxes if box is not None] or [(slice(0, 1),) * len(shape)]
    sides = zip(*known, strict=True)
    return tuple(slice(max(0, min(s.start for s in side) - 1), min(n, max(s.stop for s in side) + 1)) for side, n in zip(sides, shape, strict=True))


def _check(shape: tuple[int, ...], **others: np.ndarray | None) -> None:
    for name, other in others.items():
        if other is not None and other.shape != shape:
            raise DataError("the masks of a case do not fit", expected=f"shape {shape}", got=f"{name} of shape {other.shape}")
