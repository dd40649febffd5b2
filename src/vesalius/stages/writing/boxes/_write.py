"""Write the boxes of one finding in several kinds of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes, Finding
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError
from vesalius.formats import open_study
from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found, found_of
from vesalius.stages.writing.boxes._proof import prove
from vesalius.storage import atomic_file


def write_boxes(
    finding: Finding, study_source: Source, out: Path, kinds: Sequence[str], *, study: Study | None = None, stem: str = "boxes",
    classes: Sequence[str] = (), candidates: Boxes | None = None, risk: str = "", model: str = "",
) -> dict[str, Path]:
    """Write the boxes of a finding; every file is read back and compared before it gets its name.

    Parameters
    ----------
    finding: with `Boxes` on the study's grid (without rows where nothing was found).
    study_source: the image that they were found in. study: the same image, when it is open already.
    out: a folder; it is made when it is absent. stem: how the files' names begin.
    kinds: of ``json``, ``coco`` (pictures only), ``csv``, ``png``, ``dicom-sr`` (DICOM images only).
    classes, candidates, risk, model: see `Found`.

    Returns the file of each kind.

    Raises
    ------
    RunError: a file that was read back does not say what was found (it is removed), or cannot be written.
    OptionError: there is no such kind, or it cannot hold the image. DataError: the finding has no boxes, or lies on another grid.
    """
    writers = [BOX_WRITERS.get(kind) for kind in dict.fromkeys(kinds)]
    opened = study if study is not None else open_study(study_source)
    found = found_of(finding, opened, study_source, classes=classes, candidates=candidates, risk=risk, model=model)
    for writer in writers:
        writer.check(opened, study_source, found.classes)
    return {writer.name: _written(writer, found, Path(out) / f"{stem}{writer.suffix}") for writer in writers}


def suited(study: Study, source: Source, classes: Sequence[str]) -> list[str]:
    """The kinds that are written for an image when nobody asks for others: JSON and a picture, and DICOM SR for a DICOM image that can have one."""
    try:
        BOX_WRITERS.get("dicom-sr").check(study, source, classes)
    except (OptionError, DataError):  # it has no identifiers or no place in the patient: nothing could refer to it
        return ["json", "png"]
    return ["json", "png", "dicom-sr"]


def _written(writer: type[BoxWriter], found: Found, path: Path) -> Path:
    """Write and prove a temporary file, then give it its name; what it raises leaves no file."""

    def whole(part: Path) -> None:
        writer.write(found, part)
        prove(writer, found, part, path)

    atomic_file(path, whole)
    return path
