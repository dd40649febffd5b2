"""The cases of a mask run that a reader should see first, and their pictures in the run folder (``explain/``).

A picture shows a volume in the plane of its finest samples, in radiological order (the patient's left is on the right).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from vesalius.core.finding import Picture
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.stages.explain.base import EXPLANATIONS, undisturbed
from vesalius.stages.explain.gradcam import gradcam_mask
from vesalius.stages.explain.pictures import outlined, overlay, png, scaled, scaled_mask, to_rgb, window_of
from vesalius.stages.explain.scores import OneAnswer, mask_score
from vesalius.storage import atomic_json, atomic_write
from vesalius.transforms.reading import canonical

if TYPE_CHECKING:
    from vesalius.mapping import TiledMapping

Progress = Callable[[int, int, str], None]
Opened = Callable[[str], tuple[Study, np.ndarray]]
ROLES = {"worst": 6, "best": 2, "middle": 2}
"""How many cases of each role; earlier roles choose first."""
ORDER = ("worst", "middle", "best")
INDEX = "cases.json"
EDGE = 384
"""Longer edge of a picture in pixels: thin structures need more than a film does."""
FLAT = 2.0
"""Samples that are so many times longer along one axis are shown in the plane across it."""
NEEDED = ("id", "patient", "split", "class", "dice")


def choose_masks(predictions: pd.DataFrame) -> list[tuple[str, str, str, float]]:
    """The cases that tell most: ``[(id, role, class, dice)]``, the worst first, each case once with the class that it has worst.

    Cases are ordered by their mean Dice over the classes where it is defined, ties by id; one where it is defined nowhere is
    left out. The test is used, and validation where there is none.

    Raises
    ------
    DataError: a column is missing.
    """
    missing = [name for name in NEEDED if name not in predictions]
    if missing:
        raise DataError("the predictions lack a column", expected=missing[0], got=", ".join(map(str, predictions.columns)), do="evaluate the run again")
    part = "test" if (predictions["split"] == "test").any() else "validation"
    rows = predictions[(predictions["split"] == part) & predictions["dice"].notna()].sort_values("id", kind="stable")
    means = rows.groupby("id")["dice"].mean().sort_values(kind="stable")
    weakest = rows.loc[rows.groupby("id")["dice"].idxmin()].set_index("id") if len(rows) else rows.set_index("id")
    chosen = _roles(list(map(str, means.index)))
    return [(case, role, str(weakest["class"][case]), float(weakest["dice"][case])) for role in ORDER for case in chosen[role]]


def _roles(ids: list[str]) -> dict[str, list[str]]:
    """Cases by role, from a list that goes from the worst to the best; few cases are not shown twice."""
    n = len(ids)
    middle = sorted(range(n), key=lambda i: (abs(2 * i - n + 1), i))
    orders = {"worst": range(n), "best": range(n - 1, -1, -1), "middle": middle}
    taken: set[int] = set()
    chosen: dict[str, list[str]] = {}
    for role, most in ROLES.items():
        mine = [i for i in orders[role] if i not in taken][: most if role != "worst" else min(most, -(-n // 2))]
        taken.update(mine)
        chosen[role] = [ids[i] for i in (mine if role == "worst" else sorted(mine))]
    return chosen


def explain_masks(mapping: TiledMapping, predictions: pd.DataFrame, opened: Opened, folder: Path, *, progress: Progress | None = None) -> None:
    """Write ``folder/cases.json`` and its pictures for the worst, some middle and the best cases (see `choose_masks`).

    Parameters
    ----------
    predictions: the run's ``predictions.parquet``.
    opened: the study of an id and its truth uint8 ``[L, (Z,) Y, X]``.

    Each case has the plain ``image``, the ``overlay`` (truth and prediction outlined), the ``uncertainty`` (entropy of the mean
    probability) and Grad-CAM of its worst class, in the slice of a volume where most samples are wrong; ``maps`` also holds the
    overlay in the slice where the structure is largest. Pictures are named by number, never by what a file says of itself.
    """
    chosen = choose_masks(predictions)
    rows = []
    for number, (case, role, name, dice) in enumerate(chosen):
        study, truth = opened(case)
        rows.append({"id": case, "role": role, "class": name, "dice": dice} | _explain(mapping, study, truth, name, folder, f"{number:02d}"))
        if progress is not None:
            progress(number + 1, len(chosen), "explain")
    atomic_json(folder / INDEX, rows)


def _explain(mapping: TiledMapping, study: Study, truth: np.ndarray, name: str, folder: Path, stem: str) -> dict[str, Any]:
    found = mapping.segment(study, uncertainty=True)
    target = mapping.output.target
    k = target.classes.index(name)
    uncertainty = found.uncertainty if found.uncertainty is not None else np.zeros(study.grid.shape, np.float32)
    known = judged(truth, target, k)  # what lies outside the field of view is no error, and is not drawn as one
    case = Case.of(study, of_class(truth, target, k), of_class(found.labels, target, k) & known, known, uncertainty)
    pictures = {"": case.picture(case.wrong), "overlay": case.overlay(case.wrong), "uncertainty": case.heated(uncertainty, case.wrong)}
    pictures["gradcam"] = case.heated(gradcam_on(mapping, study, k, case.centre), case.wrong)
    if case.largest is not None and case.largest != case.wrong:
        pictures["largest"] = case.overlay(case.largest)
    files = {what: f"{stem}_{what}.png" if what else f"{stem}.png" for what in pictures}
    for what, picture in pictures.items():
        atomic_write(folder / files[what], png(picture))
    maps = [{"method": what, "file": files[what]} for what in ("gradcam", "largest") if what in files]
    return {"image": files[""], "overlay": files["overlay"], "uncertainty": files["uncertainty"], "maps": maps}


def of_class(labels: np.ndarray, target: TargetSpec, k: int) -> np.ndarray:
    """Where a mask ``[L, (Z,) Y, X]`` holds class number ``k``: bool ``[(Z,) Y, X]``."""
    return np.asarray(labels[0] == k + 1 if target.exclusive else labels[k] == 1)


def judged(truth: np.ndarray, target: TargetSpec, k: int) -> np.ndarray:
    """Where somebody judged class number ``k``: bool ``[(Z,) Y, X]``."""
    return np.asarray(truth[0 if target.exclusive else k] != IGNORED)


@dataclass(frozen=True)
class Case:
    """A study turned so that its first axis is the one a picture is taken across; 2-D studies stay as they are.

    ``turn`` brings any array of the study's grid to that order. ``wrong`` and ``largest`` are slices (None in 2-D), ``centre``
    an index on the study's own grid where most is wrong.
    """

    study: Study
    truth: np.ndarray
    predicted: np.ndarray
    spacing_mm: tuple[float, ...]
    turn: Callable[[np.ndarray], np.ndarray]
    wrong: int | None
    largest: int | None
    centre: tuple[int, ...]

    @classmethod
    def of(cls, study: Study, truth: np.ndarray, predicted: np.ndarray, known: np.ndarray, doubt: np.ndarray) -> Case:
        """Where nothing is wrong the structure is looked at instead, and where there is none the most doubtful place."""
        order, flips = shown_axes(study)

        def turn(array: np.ndarray) -> np.ndarray:
            return np.flip(array.transpose(order), flips) if flips else array.transpose(order)

        masks = ((truth != predicted) & known, truth | predicted, doubt >= doubt.max())
        wrong = next(mask for mask in masks if mask.any())
        cut = _fullest(turn(wrong)) if study.ndim == 3 else None
        largest = _fullest(turn(truth if truth.any() else truth | predicted)) if study.ndim == 3 and (truth | predicted).any() else None
        spacing = tuple(study.grid.spacing_mm[axis] for axis in order)
        return cls(study, turn(truth), turn(predicted), spacing, turn, cut, largest, _centre(wrong, turn, cut))

    def picture(self, index: int | None) -> np.ndarray:
        """The slice as ``[Y, X, 3]`` uint8; of several channels that are no colours the first."""
        colours = self.study.channels == 3 and self.study.image.dtype == np.uint8
        study = self.study if colours else replace(self.study, image=self.study.image[:1])
        planes = np.stack([_cut(self.turn(channel), index) for channel in study.image])
        return scaled(to_rgb(planes, window_of(study)), EDGE, self.spacing_mm)

    def overlay(self, index: int | None) -> np.ndarray:
        masks = [scaled_mask(_cut(mask, index), EDGE, self.spacing_mm) for mask in (self.truth, self.predicted)]
        return outlined(self.picture(index), masks[0], masks[1])

    def heated(self, heat: np.ndarray, index: int | None) -> np.ndarray:
        """A map ``[(Z,) Y, X]`` in [0, 1] on the study's own grid over the slice."""
        flat = np.ascontiguousarray(_cut(self.turn(heat), index), np.float32)
        size = self.picture(index).shape[:2]
        fine = F.interpolate(torch.from_numpy(flat)[None, None], size, mode="bilinear", align_corners=False)[0, 0].numpy()
        return overlay(self.picture(index), fine)


def shown_axes(study: Study) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Order of the axes of a picture's volume, the one it is cut across first, and which of them (then) are turned round."""
    order, flips = canonical(study.grid)
    if study.ndim == 2:
        return order, ()
    spacing = [study.grid.spacing_mm[axis] for axis in order]
    across = int(np.argmax(spacing)) if max(spacing) / min(spacing) > FLAT else 0
    moved = [across, *(axis for axis in range(3) if axis != across)]
    turned = {moved.index(axis) for axis in flips}
    return tuple(order[axis] for axis in moved), tuple(sorted(turned ^ ({1} if across else set())))


def _fullest(mask: np.ndarray) -> int:
    """The slice with most samples of a mask ``[Z, Y, X]``."""
    return int(mask.reshape(len(mask), -1).sum(1).argmax())


def _cut(array: np.ndarray, index: int | None) -> np.ndarray:
    return array if index is None else array[index]


def _centre(mask: np.ndarray, turn: Callable[[np.ndarray], np.ndarray], index: int | None) -> tuple[int, ...]:
    """The sample of a mask, in the slice that is shown, that is nearest to the middle of those."""
    shown = np.zeros_like(mask)
    if index is None:
        shown = mask
    else:
        turn(shown)[index] = turn(mask)[index]
    places = np.argwhere(shown)
    return tuple(int(i) for i in places[np.linalg.norm(places - places.mean(0), axis=1).argmin()])


def explain_mask(mapping: TiledMapping, study: Study, k: int, labels: np.ndarray, *, method: str = "gradcam") -> Picture:
    """What class number ``k`` of a study's mask rests on, as a `Picture` float32 in [0, 1] on the study's own grid, 0 outside the tile that was asked.

    Parameters
    ----------
    labels: what the mapping marks, uint8 ``[planes, (Z,) Y, X]``; the tile lies about the middle of the class (of the study where it marks none).
    method: a name in ``EXPLANATIONS``.

    Raises
    ------
    OptionError: another method, one that does not fit the network, or a class that the target does not have.
    """
    classes = mapping.output.target.classes
    if not 0 <= k < len(classes):
        raise OptionError("there is no such class to explain", expected=f"a number from 0 to {len(classes) - 1}", got=k)
    held = of_class(labels, mapping.output.target, k)
    centre = _centre(held, lambda array: array, None) if held.any() else tuple(n // 2 for n in held.shape)
    return Picture(method, heat_on(mapping, study, k, centre, method), study.grid)


def gradcam_on(mapping: TiledMapping, study: Study, k: int, centre: tuple[int, ...]) -> np.ndarray:
    """`heat_on` by Grad-CAM."""
    return heat_on(mapping, study, k, centre, "gradcam")


def heat_on(mapping: TiledMapping, study: Study, k: int, centre: tuple[int, ...], method: str) -> np.ndarray:
    """A map of class number ``k`` in the tile about a sample, float32 ``[(Z,) Y, X]`` on the study's own grid, 0 outside the tile."""
    x, trace = mapping.encode(study)
    turned = [centre[axis] for axis in trace.order]
    turned = [n - 1 - i if axis in trace.flips else i for axis, (i, n) in enumerate(zip(turned, trace.stored, strict=True))]
    at = [i * m // n for i, m, n in zip(turned, trace.shape, trace.stored, strict=True)]
    tile, inner, outer = tile_about(x, at, mapping.reads.size)
    heat = _heat(mapping, torch.from_numpy(tile)[None].to(mapping.device), k, method)
    whole = torch.zeros(trace.shape)
    whole[outer] = heat.cpu()[inner]
    mode = "bilinear" if study.ndim == 2 else "trilinear"
    stored = F.interpolate(whole[None, None], trace.stored, mode=mode, align_corners=False)[0, 0].numpy()
    flipped = np.flip(stored, trace.flips) if trace.flips else stored
    return np.ascontiguousarray(flipped.transpose(np.argsort(trace.order)))


def tile_about(x: np.ndarray, at: list[int], size: tuple[int, ...]) -> tuple[np.ndarray, tuple[slice, ...], tuple[slice, ...]]:
    """The tile about a sample of ``[C, …]``, zeros beyond the image; where the image lies in the tile, and the tile in the image."""
    starts = [min(max(i - s // 2, 0), max(n - s, 0)) for i, s, n in zip(at, size, x.shape[1:], strict=True)]
    outer = tuple(slice(start, min(start + s, n)) for start, s, n in zip(starts, size, x.shape[1:], strict=True))
    inner = tuple(slice(0, part.stop - part.start) for part in outer)
    tile = np.zeros((len(x), *size), np.float32)
    tile[(slice(None), *inner)] = x[(slice(None), *outer)]
    return tile, inner, outer


def _heat(mapping: TiledMapping, tile: torch.Tensor, k: int, method: str) -> torch.Tensor:
    exclusive = mapping.output.target.exclusive
    if method == "gradcam":
        return gradcam_mask(mapping.network, tile, k + int(exclusive), exclusive=exclusive)
    network = OneAnswer(mapping.network)
    with torch.no_grad(), undisturbed(network):
        raw = network(tile)
    return EXPLANATIONS.get(method)(network, tile, mask_score(raw, k, exclusive=exclusive))
