"""A case with all its files: the image with its further channels, the truth that marks it, its field of view."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from vesalius.core.cohort import Case, MaskFile, Source
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.formats.dicomseg import segment_mask
from vesalius.formats.masks import described, found_numbers, laid_on, numbers_of, same_grid
from vesalius.formats.opening import content_hash, open_study
from vesalius.formats.rtstruct import roi_mask

UNKNOWN = 254
"""Marks a number that belongs to nothing while a label map is being read; it never leaves this module."""
MAX_CLASSES = 253
SOFT = tuple(range(128, 256))
"""`TargetSpec.values` of a mask with soft or JPEG edges: grey 128 and above is the structure, below it is background."""
SHOWN = 8
BY_POSITION: dict[str, Callable[[Source, Study], np.ndarray]] = {"dicom-seg": segment_mask, "rtstruct": roi_mask}
"""Formats of a mask that hold no grid of their own, or frames of one: bool ``[(Z,) Y, X]`` on the study's grid."""


def open_case(case: Case) -> Study:
    """The image of a case with all its channels, ``[C, (Z,) Y, X]``.

    Without further channels it is as the file says (1 channel, 3 for colour, or those of a 4-D file). With them each file
    gives one channel, that of ``case.source`` first.

    Raises
    ------
    FormatError: a file cannot be read. DataError: the files do not share one grid, or one of them is in colour.
    """
    first = open_study(case.source)
    if not case.channels:
        return first
    others = [_beside(first, source) for source in case.channels]
    image = np.concatenate([_grey(each) for each in (first, *others)])
    meta = {**first.meta, "nan": sum(int(each.meta.get("nan", 0)) for each in (first, *others))}
    return Study(image, first.grid, first.modality, max(each.bits for each in (first, *others)), first.window, first.source, meta)


def _beside(first: Study, source: Source) -> Study:
    study = open_study(source)
    if not same_grid(study.grid, first.grid):
        raise DataError("the channels of a case do not share one grid", where=str(source), expected=f"{described(first.grid)}, as {first.source}",
                        got=described(study.grid), do="resample them onto one grid, or correct the pairing")
    return study


def _grey(study: Study) -> np.ndarray:
    if any(not np.array_equal(study.image[0], each) for each in study.image[1:]):
        raise DataError("a file of several is one channel", where=study.source, expected="one channel a file", got=f"{study.channels} channels that differ",
                        do="store each channel in a grey file of its own")
    return study.image[:1]


def open_truth(case: Case, target: TargetSpec, study: Study) -> np.ndarray:
    """The truth of a case on the study's own grid, uint8 ``[L, (Z,) Y, X]``.

    Parameters
    ----------
    target: of kind mask. Exclusive: L = 1 with 0 background, 1 .. K the classes and 255 (`IGNORED`) not judged. Else L = K
        with 0, 1 and 255. Where 0 belongs to a class, every number that belongs to none is background.
    study: the image, as `open_case` gives it. Slices that were interpolated into it are not judged.

    Raises
    ------
    DataError: the case has no mask, a mask lies on another grid, holds a number that nobody named, or structures that
        exclude one another overlap.
    """
    if not case.masks:
        raise DataError("the image has no mask", where=case.id, expected="a mask beside it", do="add its mask, or leave the image out")
    if len(target.classes) > MAX_CLASSES:
        raise DataError("there are too many structures", where=case.id, expected=f"at most {MAX_CLASSES}", got=len(target.classes),
                        do="choose some with --label")
    truth = np.zeros((1 if target.exclusive else len(target.classes), *study.grid.shape), np.uint8)
    for mask in case.masks:
        if mask.name is not None and mask.name not in target.classes:
            continue
        numbers = _numbers(mask, study)
        if mask.name is None:
            _enter_map(truth, numbers, mask.source, target)
        else:
            _enter_structure(truth, numbers != 0, mask, target)
    truth[:, list(study.meta.get("filled_slices", ()))] = IGNORED
    return truth


def _numbers(mask: MaskFile, study: Study) -> np.ndarray:
    """The numbers of a mask on the study's grid; DICOM segments and contours are placed by their position in the patient."""
    if mask.source.format in BY_POSITION:
        return BY_POSITION[mask.source.format](mask.source, study)
    return laid_on(*numbers_of(mask.source), study, mask.source)


def known_numbers(target: TargetSpec) -> list[int]:
    """Numbers of a label map that mean something: the background, the classes, not judged."""
    held = {0, *(number for values in target.values for number in values)}
    return sorted(held | ({target.ignore} if target.ignore is not None else set()))


def _enter_map(truth: np.ndarray, numbers: np.ndarray, source: Source, target: TargetSpec) -> None:
    """Look every number up; a further map of the same case adds to the first (one file for each lesion)."""
    size = int(numbers.max(initial=0)) + 1
    for plane, table in zip(truth, _tables(target, size), strict=True):
        seen = np.take(table, numbers)
        if (seen == UNKNOWN).any():
            raise _unknown(numbers, source, target)
        plane[seen != 0] = seen[seen != 0]


def _tables(target: TargetSpec, size: int) -> list[np.ndarray]:
    """For each plane of the truth what a number of the map becomes."""
    known = np.full(max(size, 256), UNKNOWN, np.uint8)
    known[known_numbers(target)] = 0
    if any(0 in values for values in target.values):
        known[:] = 0
    if SOFT in target.values:
        known[: SOFT[0]] = 0
    tables = []
    for plane in range(1 if target.exclusive else len(target.classes)):
        table = known.copy()
        for k, values in enumerate(target.values):
            if target.exclusive or k == plane:
                table[[value for value in values if value < len(table)]] = k + 1 if target.exclusive else 1
        if target.ignore is not None:
            table[target.ignore] = IGNORED
        tables.append(table)
    return tables


def _unknown(numbers: np.ndarray, source: Source, target: TargetSpec) -> DataError:
    known = known_numbers(target)
    odd = {number: n for number, n in found_numbers(numbers).items() if number not in known}
    told = ", ".join(f"{number} ({n} samples)" for number, n in list(odd.items())[:SHOWN])
    named = [f"{'+'.join(map(str, values))} {name}" for name, values in zip(target.classes, target.values, strict=False)]
    return DataError("the mask holds a number that nobody named", where=str(source), expected=f"0 background, {', '.join(named[:SHOWN])}", got=told,
                     do="correct the mask, or name the number with --label NAME=NUMBER,... (ignore=NUMBER for samples that nobody judged)")


def _enter_structure(truth: np.ndarray, marked: np.ndarray, mask: MaskFile, target: TargetSpec) -> None:
    place = target.classes.index(str(mask.name))
    if not target.exclusive:
        truth[place][marked] = 1
        return
    there = truth[0][marked]
    overlap = (there != 0) & (there != place + 1)
    if overlap.any():
        other = target.classes[int(there[overlap][0]) - 1]
        raise DataError(f"the structures '{other}' and '{mask.name}' overlap", where=str(mask.source), expected="a sample in one structure at most",
                        got=f"{int(overlap.sum())} samples in both", do="correct the masks, or leave the case out")
    truth[0][marked] = place + 1


def open_view(case: Case, study: Study) -> np.ndarray | None:
    """The field of view, bool ``[(Z,) Y, X]`` on the study's grid (True inside); None when the case has none.

    Raises
    ------
    DataError: it lies on another grid.
    """
    if case.view is None:
        return None
    return laid_on(*numbers_of(case.view), study, case.view) != 0


def image_hash(case: Case) -> str:
    """sha256 of what the image and its further channels store; of an image of one file its `content_hash`."""
    return _joined([content_hash(source) for source in (case.source, *case.channels)])


def case_hash(case: Case, image: str | None = None) -> str:
    """sha256 of all that a case stores: image, channels, masks with their names, field of view, boxes. ``image``: its `image_hash`, where it is known.

    Raises
    ------
    FormatError: a file is absent or cannot be read.
    """
    marks = [f"mask {mask.name or ''} {content_hash(mask.source)}" for mask in case.masks]
    view = [f"view {content_hash(case.view)}"] if case.view is not None else []
    return _joined([image or image_hash(case), *marks, *view, *_boxes(case)])


def _boxes(case: Case) -> list[str]:
    """The boxes of a case as text that changes with anything a model may learn from them; a case that was never marked has none."""
    if case.boxes is None:
        return []
    held = [[box.name, *map(float, (*box.low, *box.high)), box.world, box.ignored, *sorted(f"{k}={v}" for k, v in box.facts.items())] for box in case.boxes]
    return [f"boxes {json.dumps([held, list(case.stated or ())])}"]


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()
