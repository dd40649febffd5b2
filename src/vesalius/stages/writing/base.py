"""What a writer gets (`Marked`) and what it has to be able to do (`Writer`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.uid import generate_uid

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding, Mask
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.registry import Registry

UNNAMED = "structure"
Algorithm = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
"""Who made a segment (PS3.3 C.8.20.2, Segment Algorithm Type)."""
COLOURS: Sequence[tuple[int, int, int]] = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127), (145, 209, 194), (132, 145, 180), (250, 200, 60),
                                           (200, 110, 200), (120, 200, 80), (80, 120, 250))
"""RGB for the classes in turn; apart also in lightness."""


def fresh(name: str) -> str:
    """A UID that no other object has, whatever the object is called in its file."""
    return str(generate_uid())


@dataclass(frozen=True)
class Marked:
    """The structures of one finding on the study that they were found in.

    Parameters
    ----------
    study, source: the image and where it is stored.
    names: of the structures; their numbers in a file are 1, 2 … in this order.
    maps: label maps ``[(Z,) Y, X]`` on the study's grid.
    places: for each structure which map it is in and its number there.
    uid: the UID of what has that name (``"seg"``, ``"seg/series"`` ...). algorithm: who made the structures.
    """

    study: Study
    source: Source
    names: tuple[str, ...]
    maps: tuple[np.ndarray, ...]
    places: tuple[tuple[int, int], ...]
    uid: Callable[[str], str] = fresh
    algorithm: Algorithm = "AUTOMATIC"

    @property
    def exclusive(self) -> bool:
        """Whether no sample can belong to two structures."""
        return len(self.maps) == 1

    def mask(self, structure: int) -> np.ndarray:
        """Samples of one structure (from 0), bool ``[(Z,) Y, X]``."""
        which, number = self.places[structure]
        return np.asarray(self.maps[which] == number)

    def colour(self, structure: int) -> tuple[int, int, int]:
        return COLOURS[structure % len(COLOURS)]

    def labels(self) -> np.ndarray:
        """All structures in one map, 0 and 1 .. K, uint8 (uint16 from 256 on); of structures that overlap the last one wins."""
        whole = np.zeros(self.study.grid.shape, np.uint8 if len(self.names) < 256 else np.uint16)
        for structure in range(len(self.names)):
            whole[self.mask(structure)] = structure + 1
        return whole


def marked_of(finding: Finding, study: Study, source: Source, *, uid: Callable[[str], str] = fresh, algorithm: Algorithm = "AUTOMATIC") -> Marked:
    """The structures of a finding's masks. Number n of a mask's array belongs to its n-th name; other numbers are nothing.

    Raises
    ------
    DataError: the finding holds no mask, or lies on another grid than the study.
    """
    masks = [item for item in finding.items if isinstance(item, Mask)]
    if not masks:
        raise DataError("the finding marks no structure", where=finding.source, expected="at least one mask", got="none",
                        do="write the finding of a segmentation")
    for mask in masks:
        if mask.grid != study.grid or mask.array.shape != study.grid.shape:
            raise DataError("the finding does not lie on the grid of the image", where=finding.source, expected=f"{study.grid.shape} of {study.source}",
                            got=mask.array.shape, do="give the image that was read")
    names = [(name, (which, n)) for which, mask in enumerate(masks) for n, name in enumerate(mask.names or (UNNAMED,), 1)]
    return Marked(study, source, tuple(name for name, _ in names), tuple(mask.array for mask in masks), tuple(place for _, place in names), uid, algorithm)


class Writer(ABC):
    """One kind of file.

    Attributes
    ----------
    name: as in ``kinds``. suffix: of its file.
    border: a sample of the structure's rim may differ when the file is read back (contours only hold what a reader makes of them).
    """

    name: str = ""
    suffix: str = ""
    border: bool = False

    @classmethod
    def check(cls, marked: Marked) -> None:
        """Raise `OptionError` or `DataError` when this finding cannot be written in this kind; most kinds hold every finding."""
        return None

    @classmethod
    @abstractmethod
    def write(cls, marked: Marked, part: Path) -> None:
        """Write the file; its name is a temporary one."""

    @classmethod
    @abstractmethod
    def read(cls, marked: Marked, part: Path) -> list[np.ndarray] | None:
        """Read the file back: for each structure its samples on the study's grid, found through patient coordinates; None for a picture."""


WRITERS: Registry[type[Writer]] = Registry("kind of file", "vesalius.stages.writing")
