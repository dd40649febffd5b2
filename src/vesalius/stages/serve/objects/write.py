"""The DICOM objects of one finding: which kinds there are, and which of them an image and a finding can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError
from vesalius.formats.dicomsr import Placed, placed
from vesalius.registry import unknown
from vesalius.stages.serve.objects.capture import write_capture
from vesalius.stages.serve.objects.groups import Reported
from vesalius.stages.serve.objects.ids import Ids
from vesalius.stages.serve.objects.report import Signed, write_report
from vesalius.stages.writing import write_finding
from vesalius.stages.writing._reference import Reference, reference_to
from vesalius.stages.writing.base import Algorithm

KINDS = ("seg", "rtstruct", "sr", "sc")
MASK_KINDS = {"seg": "dicom-seg", "rtstruct": "rtstruct"}
LEFT_OUT = "object-left-out"


@dataclass(frozen=True)
class Imaged:
    """A finding with the images that it was made from.

    Parameters
    ----------
    document: see docs/clinic. source: where the images are stored. ids: names of the objects. by_person: the document is a doctor's correction.
    """

    document: Mapping[str, Any]
    source: Source
    ids: Ids
    by_person: bool = False

    @property
    def is_dicom(self) -> bool:
        return self.source.format.startswith("dicom")

    @cached_property
    def reference(self) -> Reference:
        return reference_to(self.source, "nothing")

    @cached_property
    def placed(self) -> Placed:
        return placed(self.source)


def checked_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds, each once, in the order in which they are made (a report names the segmentation).

    Raises
    ------
    OptionError: there is no such kind.
    """
    wrong = next((kind for kind in kinds if kind not in KINDS), None)
    if wrong is not None:
        raise unknown("object", wrong, list(KINDS))
    return tuple(kind for kind in KINDS if kind in kinds)


def write_objects(
    made: Imaged, out: Path, kinds: Sequence[str], *, finding: Finding | None = None, study: Study | None = None, picture: Path | None = None,
    signed: Signed | None = None, algorithm: Algorithm = "AUTOMATIC", seg: Path | None = None,
) -> tuple[list[str], list[dict[str, str]]]:
    """Write what was asked for into a folder: ``seg.dcm``, ``rtstruct.dcm``, ``sr.dcm``, ``sc.dcm``.

    Parameters
    ----------
    finding, study: for the kinds that hold masks. picture: a PNG, for the secondary capture. signed: a doctor who stands for the report.
    algorithm: who made the structures. seg: a segmentation that lies elsewhere and that the report names.

    Returns the names of the files, and a note on each kind that this image cannot have (no frame of reference, no identifiers).

    Raises
    ------
    OptionError: there is no such kind. RunError: an object does not say what was found when it is read back.
    """
    names: list[str] = []
    notes: list[dict[str, str]] = []
    if not made.is_dicom:
        return names, notes
    for kind in checked_kinds(kinds):
        try:
            if _one(kind, made, out, finding, study, picture, signed, algorithm, seg):
                names.append(f"{kind}.dcm")
        except (DataError, OptionError) as error:
            notes.append(_left_out(kind, error))
    return names, notes


def _one(kind: str, made: Imaged, out: Path, finding: Finding | None, study: Study | None, picture: Path | None, signed: Signed | None,
         algorithm: Algorithm, seg: Path | None) -> bool:
    """Write one object; False where the finding has nothing of that kind."""
    path = out / f"{kind}.dcm"
    if kind in MASK_KINDS:
        if finding is None or study is None or made.document["model"]["kind"] != "mask":
            return False
        written = write_finding(finding, made.source, out, [MASK_KINDS[kind]], study=study, stem=f".{kind}", uid=made.ids.uid, algorithm=algorithm)
        written[MASK_KINDS[kind]].replace(path)
        written["table"].unlink()
    elif kind == "sr":
        held = seg or out / "seg.dcm"
        write_report(path, Reported(made.document, made.source, made.reference, made.placed, made.ids, _header(held), made.by_person), signed)
    elif picture is None:
        return False
    else:
        write_capture(path, picture, made.document, made.reference, made.ids)
    return True


def _header(path: Path) -> Dataset | None:
    return pydicom.dcmread(path, stop_before_pixels=True) if path.is_file() else None


def _left_out(kind: str, error: DataError | OptionError) -> dict[str, str]:
    """The reason without the place, which may identify."""
    why = error.what + (f": expected {error.expected}" if error.expected else "")
    return {"code": LEFT_OUT, "en": f"No {kind.upper()} was written: {why}.", "zh": f"未生成 {kind.upper()}：{why}。"}
