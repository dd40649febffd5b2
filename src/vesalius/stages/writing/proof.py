"""The round trip: what was written is read back and compared with the finding, sample by sample in patient coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from vesalius.errors import FormatError, RunError
from vesalius.stages.writing.base import Marked, Writer


def prove(writer: type[Writer], marked: Marked, part: Path, path: Path) -> dict[str, int]:
    """Read a file back and compare it with the finding.

    Returns
    -------
    For each structure how many samples differ: 0, or for contours those of the rim that were let through.

    Raises
    ------
    RunError: the file cannot be read back, or says something else than the finding (how many samples, and where).
    """
    try:
        held = writer.read(marked, part)
    except FormatError as error:
        raise RunError(f"the {writer.name} file cannot be read back", where=path, expected="what was written", got=str(error), do="report this") from error
    return {name: _differing(writer, marked, i, held[i], path) for i, name in enumerate(marked.names)} if held is not None else {}


def _differing(writer: type[Writer], marked: Marked, structure: int, got: np.ndarray, path: Path) -> int:
    wanted = marked.mask(structure)
    off = got != wanted
    wrong = off & ~_rim(wanted) if writer.border else off
    if wrong.any():
        first = np.argwhere(wrong)[0]
        place = ", ".join(f"{v:.1f}" for v in marked.study.grid.world(first))
        raise RunError(f"the {writer.name} file does not say what was found", where=path,
                       expected=f"{int(wanted.sum())} samples of '{marked.names[structure]}'",
                       got=f"{int(wrong.sum())} that differ, first at index {tuple(int(i) for i in first)}, LPS ({place}) mm",
                       do="the file was removed; write the finding as another kind and report this")
    return int(off.sum())


def _rim(mask: np.ndarray) -> np.ndarray:
    """Samples on either side of the border within a slice."""
    touching = ndimage.generate_binary_structure(2, 1)
    nearby = touching if mask.ndim == 2 else touching[None]
    return np.asarray(ndimage.binary_dilation(mask, nearby) & ~ndimage.binary_erosion(mask, nearby, border_value=1))
