"""The round trip: what was written is read back and compared with the finding, box by box."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesalius.core.boxes import boxes_mm
from vesalius.errors import FormatError, RunError
from vesalius.stages.boxed.findings import Lesion
from vesalius.stages.writing.boxes._base import APART, BoxWriter, Found, Held

SCORE_APART = 1e-4


def prove(writer: type[BoxWriter], found: Found, part: Path, path: Path) -> float:
    """Read a file back and compare it with the finding.

    Returns
    -------
    The largest distance of an edge from where it was found, in samples.

    Raises
    ------
    RunError: the file cannot be read back, or says something else than the finding (which box, and where).
    """
    try:
        held = writer.read(found, part)
    except FormatError as error:
        raise RunError(f"the {writer.name} file cannot be read back", where=path, expected="what was written", got=str(error), do="report this") from error
    if held is None:
        return 0.0
    if len(held) != len(found.lesions):
        raise _differs(writer, path, f"{len(found.lesions)} boxes", str(len(held)))
    return max((_apart(writer, found, lesion, each, path) for lesion, each in zip(found.lesions, held, strict=True)), default=0.0)


def _apart(writer: type[BoxWriter], found: Found, lesion: Lesion, held: Held, path: Path) -> float:
    box = np.array(lesion.box)
    off = float(np.abs(held.box - box).max())
    far = float(np.abs(boxes_mm(held.box[None], found.study.grid) - boxes_mm(box[None], found.study.grid)).max())
    same = held.name == lesion.name and _near(held.score, lesion.score) and (lesion.risk is None or _near(held.risk, lesion.risk))
    if off > APART or far > APART or not same:
        centre = ", ".join(f"{v:.1f}" for v in lesion.centre_mm)
        raise _differs(writer, path, f"'{lesion.name}' {lesion.score:.3f} at {np.round(box, 2).tolist()}, centre LPS ({centre}) mm",
                       f"'{held.name}' {held.score} at {np.round(held.box, 2).tolist()}")
    return off


def _near(held: float | None, wanted: float) -> bool:
    return held is None or abs(held - wanted) <= SCORE_APART


def _differs(writer: type[BoxWriter], path: Path, wanted: str, got: str) -> RunError:
    return RunError(f"the {writer.name} file does not say what was found", where=path, expected=wanted, got=got,
                    do="the file was removed; write the finding as another kind and report this")
