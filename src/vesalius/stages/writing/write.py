"""Write one finding in several kinds of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.formats import open_study
from vesalius.stages.writing.base import WRITERS, Algorithm, Marked, Writer, fresh, marked_of
from vesalius.stages.writing.proof import prove
from vesalius.storage import atomic_file, atomic_json

TABLE = "table"


def write_finding(finding: Finding, study_source: Source, out: Path, kinds: Sequence[str], *, study: Study | None = None,
                  stem: str = "mask", uid: Callable[[str], str] = fresh, algorithm: Algorithm = "AUTOMATIC") -> dict[str, Path]:
    """Write the masks of a finding; every file is read back and compared before it gets its name.

    Parameters
    ----------
    finding: with one `Mask` (structures that exclude one another) or several (each may overlap the others).
    study_source: the image that it was found in. study: the same image, when it is open already.
    out: a folder; it is made when it is absent. stem: how the files' names begin.
    kinds: of ``nifti``, ``png``, ``dicom-seg``, ``rtstruct`` (the latter two only for DICOM). uid, algorithm: see `Marked`.

    Returns
    -------
    The file of each kind, and under ``"table"`` a JSON file beside them: the names of the numbers, and for each file how many samples
    of each structure differ from the finding after reading it back (0; contours may differ by a sample at the rim).

    Raises
    ------
    RunError: a file that was read back does not say what was found (it is removed), or cannot be written.
    OptionError: there is no such kind, or it cannot hold the image. DataError: the finding has no mask, or lies on another grid.
    """
    writers = [WRITERS.get(kind) for kind in dict.fromkeys(kinds)]
    marked = marked_of(finding, study if study is not None else open_study(study_source), study_source, uid=uid, algorithm=algorithm)
    for writer in writers:
        writer.check(marked)
    paths, proofs = {}, {}
    for writer in writers:
        paths[writer.name] = Path(out) / f"{stem}{writer.suffix}"
        proofs[writer.name] = _written(writer, marked, paths[writer.name])
    table = Path(out) / f"{stem}.json"
    numbers = {name: i for i, name in enumerate(marked.names, 1)}
    atomic_json(table, {"schema": 1, "source": finding.source, "classes": numbers, "overlapping": not marked.exclusive,
                        "files": {kind: path.name for kind, path in paths.items()}, "differing_samples": proofs})
    return {**paths, TABLE: table}


def _written(writer: type[Writer], marked: Marked, path: Path) -> dict[str, int]:
    """Write and prove a temporary file, then give it its name; what it raises leaves no file."""
    counts: dict[str, int] = {}

    def whole(part: Path) -> None:
        writer.write(marked, part)
        counts.update(prove(writer, marked, part, path))

    atomic_file(path, whole)
    return counts
