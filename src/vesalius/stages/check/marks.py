"""What the masks of one case mark: gathered by the worker that has the image open, so that one case at a time is in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, SEPARATOR, TargetSpec
from vesalius.errors import DataError, FormatError
from vesalius.formats import open_truth, open_view
from vesalius.kernels.fingerprint import fingerprint
from vesalius.kernels.lesions import components

PROBLEMS = (("does not lie on the grid", "mask_grid"), ("nobody named", "mask_number"), ("overlap", "mask_overlap"), ("has no mask", "no_mask"))
"""What the error of a mask says to the code of the issue; any other is ``mask_unusable``."""

BOX_PROBLEMS = (("of a class that nobody named", "box_class"), ("not of the size", "box_size"), ("has no boxes", "no_boxes"))


@dataclass(frozen=True)
class Marks:
    """Masks of one case, counted.

    Parameters
    ----------
    sizes: samples of each class. parts: connected components of each class. covered: part of the judged samples that some
        class holds. digest: of the decoded truth; "" when nothing is marked.
    """

    sizes: tuple[int, ...]
    parts: tuple[int, ...]
    covered: float
    digest: str = ""

    def label(self, target: TargetSpec) -> str:
        """The classes that are there, as the label of a case says them."""
        return SEPARATOR.join(name for name, n in zip(target.classes, self.sizes, strict=True) if n)


def marks_of(case: Case, target: TargetSpec, study: Study) -> Marks:
    """Open the truth of a case and count.

    Raises
    ------
    DataError: see `vesalius.formats.open_truth`.
    """
    truth = open_truth(case, target, study)
    sizes, parts = _exclusive(truth[0], len(target.classes)) if target.exclusive else _apart(truth)
    held = (truth != 0) & (truth != IGNORED)
    judged = max(1, int((truth[0] != IGNORED).sum()))
    digest = hashlib.blake2b(np.ascontiguousarray(truth).data, digest_size=16).hexdigest() if any(sizes) else ""
    return Marks(sizes, parts, float(held.any(0).sum() / judged), digest)


def print_inside(case: Case, study: Study) -> np.ndarray | None:
    """The fingerprint of what lies inside the field of view, of a case that has one: its border, which all images share, says nothing.

    Raises
    ------
    DataError: the field of view lies on another grid.
    """
    view = open_view(case, study)
    if view is None or not view.any():
        return None
    mean = study.image[:, view].mean(1, dtype=np.float64).reshape(-1, *[1] * study.ndim)
    return fingerprint(np.where(view, study.image, mean).astype(np.float32))


def problem_of(error: DataError) -> str:
    """The code of what is wrong with the masks of a case."""
    if isinstance(error, FormatError):
        return "mask_unreadable"
    return next((code for words, code in PROBLEMS if words in error.what), "mask_unusable")


def box_problem_of(error: DataError, case: Case) -> str:
    """The code of what is wrong with the boxes of a case; of boxes that are taken from masks also those of masks."""
    known = next((code for words, code in BOX_PROBLEMS if words in error.what), None)
    return known or (problem_of(error) if case.boxes is None else "box_unusable")


def _exclusive(truth: np.ndarray, n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    boxes = ndimage.find_objects(np.where(truth == IGNORED, 0, truth), max_label=n)
    inside = [None if box is None else truth[box] == k for k, box in enumerate(boxes, 1)]
    return tuple(0 if mask is None else int(mask.sum()) for mask in inside), tuple(0 if mask is None else components(mask)[1] for mask in inside)


def _apart(truth: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    counts = [_exclusive(plane, 1) for plane in truth]
    return tuple(sizes[0] for sizes, _ in counts), tuple(parts[0] for _, parts in counts)
