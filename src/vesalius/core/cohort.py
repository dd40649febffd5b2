"""Which images there are, whose they are, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from vesalius.core.target import TargetSpec


@dataclass(frozen=True)
class Source:
    """Where one image is stored.

    Parameters
    ----------
    format: name of the reader in ``vesalius.formats``.
    path: the file, or the folder of a DICOM series.
    member: which part of the file, e.g. ``"train:17"`` of an npz or a SeriesInstanceUID; None for the whole.
    files: the files of a series, unsorted; empty for one file.
    """

    format: str
    path: str
    member: str | None = None
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}#{self.member}"


@dataclass(frozen=True)
class MaskFile:
    """One file that marks structures in an image.

    Parameters
    ----------
    source: where it is stored.
    name: the class that its non-zero samples stand for (a file for each structure, a DICOM segment or ROI); None for a
        label map whose numbers are told apart by `TargetSpec.values`.
    """

    source: Source
    name: str | None = None


@dataclass(frozen=True)
class MarkedBox:
    """One box as a file states it.

    Parameters
    ----------
    name: its class.
    low, high: corners. In samples: array order ``((z,) y, x)`` with the edges of `core.boxes`. In the world: LPS mm ``(x, y, z)``.
    world: whether the corners are LPS mm.
    ignored: neither learnt from nor scored (VOC ``difficult``, COCO ``iscrowd``).
    facts: what else the file says of it (``malignant``: 1 ...).
    """

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    world: bool = False
    ignored: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One image with its patient, its label and what a doctor would know besides.

    ``id`` is unique in the cohort and is the path relative to the data (posix style), with ``#member``.
    ``label`` is as the data states it (text, number, ``a|b`` for several) or None.
    ``split`` is the official one (train, validation, test) or None. ``clinical`` holds the further columns.
    ``channels`` are further files of the same study, one channel each after that of ``source``. ``masks`` mark its
    structures (empty: not marked); ``view`` is a mask of the field of view, outside of which nothing is scored.
    ``boxes`` mark what is to be detected (None: not marked; empty: marked, and there is nothing); where they are None and
    the target is one of boxes, they are those of the parts of the ``masks``. ``stated`` is the shape of the image in array order that the
    file of the boxes states, to be compared with the image's.
    """

    id: str
    source: Source
    patient: str
    label: Any = None
    split: str | None = None
    clinical: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[Source, ...] = ()
    masks: tuple[MaskFile, ...] = ()
    view: Source | None = None
    boxes: tuple[MarkedBox, ...] | None = None
    stated: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Cohort:
    """All cases of a data set.

    Parameters
    ----------
    cases: in a stable order (sorted by id).
    target: kind and classes of the label.
    ndim: 2 or 3 spatial axes.
    root: the folder or file that was given.
    layout: name of the reading that was recognised, e.g. ``"class-folders"``.
    patient_evidence: how the patient is known, in words.
    patient_known: False when nothing names the patient, so that each image counts as one.
    notes: what the user should know of the reading (files left out, labels without image ...).
    side_matters: True when the labels speak of left and right, so that no flip may be used.
    lost: files or entries that mark an image which is not there.
    """

    cases: tuple[Case, ...]
    target: TargetSpec
    ndim: int
    root: str
    layout: str
    patient_evidence: str = ""
    patient_known: bool = True
    notes: tuple[str, ...] = ()
    side_matters: bool = False
    lost: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> list[str]:
        """Distinct patients, in order of first appearance."""
        return list(dict.fromkeys(case.patient for case in self.cases))

    @property
    def has_official_split(self) -> bool:
        return any(case.split for case in self.cases)

    def truth(self) -> Any:
        """Encoded labels of all cases; see `TargetSpec.encode`."""
        return self.target.encode([case.label for case in self.cases])

    def clinical(self) -> pd.DataFrame:
        """The further columns, a row per case in the order of ``cases``."""
        return pd.DataFrame([dict(case.clinical) for case in self.cases], index=[case.id for case in self.cases])
