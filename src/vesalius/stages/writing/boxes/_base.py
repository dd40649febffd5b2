"""What a writer of boxes gets (`Found`), what it reads back (`Held`) and what it has to be able to do (`BoxWriter`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes, Finding
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.registry import Registry
from vesalius.stages.boxed.findings import Lesion, lesions_of
from vesalius.stages.writing.base import COLOURS, fresh

APART = 0.01
"""An edge that is read back may differ by this part of a sample and its corner by so many mm (coordinates in DICOM have 32 bits)."""


@dataclass(frozen=True)
class Found:
    """The boxes of one finding on the study that they were found in.

    Parameters
    ----------
    study, source: the image and where it is stored.
    boxes: what counts as found. candidates: what the model holds possible besides, for the record only.
    classes: all that the model knows, in its order. risk: what the second label of a box is called (``"malignant"``), or ``""``.
    model: which model found them (its hash). uid: the UID of what has that name (``"sr"``, ``"sr/series"``, a tracking identifier).
    drawn: a person drew the boxes, so that no algorithm and no certainty is stated.
    """

    study: Study
    source: Source
    boxes: Boxes
    classes: tuple[str, ...]
    candidates: Boxes | None = None
    risk: str = ""
    model: str = ""
    uid: Callable[[str], str] = fresh
    drawn: bool = False

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        return lesions_of(self.boxes)

    def colour(self, name: str) -> tuple[int, int, int]:
        return COLOURS[self.classes.index(name) % len(COLOURS)]


@dataclass(frozen=True)
class Held:
    """One box as a file that was written holds it: ``box`` is ``[2 * ndim]`` on the study's grid, found through patient coordinates where the
    file has them. None: the kind does not hold it."""

    name: str
    box: np.ndarray
    score: float | None = None
    risk: float | None = None


def found_of(finding: Finding, study: Study, source: Source, *, classes: Sequence[str] = (), candidates: Boxes | None = None, risk: str = "",
             model: str = "") -> Found:
    """The boxes of a finding; several `Boxes` are one list.

    Raises
    ------
    DataError: the finding holds no boxes (none found is a `Boxes` without rows), lies on another grid than the study, or a box is no box.
    """
    held = [item for item in finding.items if isinstance(item, Boxes)]
    if not held:
        raise DataError("the finding has no boxes", where=finding.source, expected="boxes, be it none of them", got="other items",
                        do="write the finding of a detection")
    for each in (*held, *([] if candidates is None else [candidates])):
        _checked(each, study, finding.source)
    boxes = held[0] if len(held) == 1 else _joined(held)
    names = tuple(dict.fromkeys((*classes, *sorted({lesion.name for lesion in lesions_of(boxes)}))))
    return Found(study, source, boxes, names, candidates, risk, model)


def _checked(boxes: Boxes, study: Study, where: str) -> None:
    if boxes.grid != study.grid:
        raise DataError("the finding does not lie on the grid of the image", where=where, expected=f"{study.grid.shape} of {study.source}",
                        got=boxes.grid.shape, do="give the image that was read")
    array, ndim = np.asarray(boxes.array, float), study.grid.ndim
    lengths = {len(array), *(len(each) for each in (boxes.labels, boxes.scores, boxes.risk, boxes.ids) if each)}
    if array.ndim != 2 or array.shape[1] != 2 * ndim or len(lengths) > 1:
        raise DataError("the boxes of the finding are not complete", where=where, expected=f"[N, {2 * ndim}] with N labels and scores",
                        got=f"{array.shape}, {len(boxes.labels)} labels, {len(boxes.scores)} scores", do="report this")
    wrong = np.flatnonzero(~(np.isfinite(array).all(1) & (array[:, ndim:] > array[:, :ndim]).all(1)))
    if len(wrong):
        raise DataError("a box of the finding has no extent", where=where, expected="high > low along every axis", got=array[wrong[0]].tolist(),
                        do="report this")


def _joined(held: Sequence[Boxes]) -> Boxes:
    def every(name: str) -> tuple:  # type: ignore[type-arg]
        return tuple(value for each in held for value in getattr(each, name))

    return Boxes(np.concatenate([np.asarray(each.array, float) for each in held]), held[0].grid, every("labels"), every("scores"), every("risk"), every("ids"))


class BoxWriter(ABC):
    """One kind of file.

    Attributes
    ----------
    name: as in ``kinds``. suffix: of its file.
    """

    name: str = ""
    suffix: str = ""

    @classmethod
    def check(cls, study: Study, source: Source, classes: Sequence[str]) -> None:
        """Raise `OptionError` or `DataError` when findings in this image cannot be written in this kind; most kinds hold every finding."""
        return None

    @classmethod
    @abstractmethod
    def write(cls, found: Found, part: Path) -> None:
        """Write the file; its name is a temporary one."""

    @classmethod
    @abstractmethod
    def read(cls, found: Found, part: Path) -> list[Held] | None:
        """Read the file back, in the order of the finding; None for a picture, which it has compared itself."""


BOX_WRITERS: Registry[type[BoxWriter]] = Registry("kind of box file", "vesalius.stages.writing.boxes")
