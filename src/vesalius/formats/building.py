"""From what a layout has gathered to a `Cohort`: checks that every layout shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vesalius.core.cohort import Case, Cohort, MarkedBox, MaskFile, Source
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.formats.given import Given
from vesalius.formats.patients import Patients
from vesalius.formats.sources import ndims
from vesalius.formats.target_of import side_matters

RARE = 0.1
"""Images of the other dimension may be at most this part; more is a mixture that one network cannot read."""


@dataclass
class Row:
    """One image as a layout found it; ``channels``, ``masks``, ``view``, ``boxes`` and ``stated`` as in `Case`."""

    id: str
    source: Source
    label: Any = None
    split: str | None = None
    clinical: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[Source, ...] = ()
    masks: tuple[MaskFile, ...] = ()
    view: Source | None = None
    boxes: tuple[MarkedBox, ...] | None = None
    stated: tuple[int, ...] | None = None


def cohort_of(given: Given, layout: str, rows: Sequence[Row], target: TargetSpec, patients: Patients, notes: Sequence[str] = (), *,
              sided: Sequence[Any] = (), ndim: int | None = None) -> Cohort:
    """The cohort, sorted by id.

    Parameters
    ----------
    patients: in the order of ``rows``. sided: further names that may speak of left and right. ndim: when it is known already.

    Raises
    ------
    DataError: there is no image, or pictures and volumes are mixed.
    """
    if not rows:
        raise DataError("there are no images", where=given.data, expected="PNG, JPEG, TIFF, NIfTI, DICOM, NRRD or NumPy files",
                        do="give the folder that holds the images")
    if given.options.target == "boxes" and target.kind == "mask":
        target = replace(target, kind="boxes", name="boxes", reason=f"{target.reason}; a box around each part of a structure")
    axes, mixed = (ndim, None) if ndim else _ndim(given, rows)
    cases = [Case(row.id, row.source, patient, row.label, row.split, row.clinical, row.channels, row.masks, row.view, row.boxes, row.stated)
             for row, patient in zip(rows, patients.ids, strict=True)]
    cases.sort(key=_order)
    told = tuple(note for note in (*notes, mixed) if note)
    return Cohort(tuple(cases), target, axes, given.data, layout, patients.evidence, patients.known, told, side_matters([*target.classes, target.name, *sided]))


def _order(case: Case) -> tuple[str, int, str]:
    """By file, then by row for members such as ``train:17``."""
    name, _, member = case.id.partition("#")
    part, _, index = member.partition(":")
    return (f"{name}#{part}", int(index), "") if index.isdigit() else (name, -1, member)


def _ndim(given: Given, rows: Sequence[Row]) -> tuple[int, str | None]:
    known = ndims(tuple((row.id, row.source) for row in rows))
    counts = Counter(known.values())
    if not counts:
        return 2, "no image could be opened to see whether it is a picture or a volume"
    (most, n), *others = counts.most_common()
    if not others:
        return most, None
    other, few = others[0]
    example = next(name for name, axes in known.items() if axes == other)
    if few > RARE * len(known):
        raise DataError("pictures and volumes are mixed", where=given.data, expected="all 2-D or all 3-D",
                        got=f"{n} of {most}-D and {few} of {other}-D, e.g. {example}",
                        do="give them in two folders")
    return most, f"{few} images are {other}-D among {n} of {most}-D, e.g. {example}"
