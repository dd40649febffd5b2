"""Boxes as arrays: where they are, what they hold, what is not judged.

A box is ``(low..., high...)`` in array order ``((z,) y, x)`` with continuous edges: sample i covers i .. i + 1, so that a box about
samples 3, 4 and 5 is ``(3, 6)`` and its size is 3 (the convention of COCO). The centre of sample i is at i + 0.5, which `Grid.world` calls index i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesalius.core.geometry import Grid


@dataclass(frozen=True)
class BoxTruth:
    """The boxes of one case on its study's own grid.

    Parameters
    ----------
    boxes: ``[N, 2 * ndim]`` float32. labels: ``[N]`` int64, index of the class.
    ignored: ``[N]`` bool: neither learnt from nor scored, and a prediction there is no mistake (VOC ``difficult``, COCO ``iscrowd``).
    risk: ``[N]`` float32: the second label of each box, 0 or 1 (NaN: not known); see `TargetSpec.risk`.
    aside: boxes that were set aside, each with its reason in a sentence.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    risk: np.ndarray
    aside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls, ndim: int) -> BoxTruth:
        """No box.

        >>> len(BoxTruth.empty(3)), BoxTruth.empty(3).boxes.shape
        (0, (0, 6))
        """
        return cls(np.zeros((0, 2 * ndim), np.float32), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Detected:
    """The boxes that a model finds in one study, on the study's own grid, the likeliest first.

    Parameters
    ----------
    boxes: ``[N, 2 * ndim]`` float32. labels: ``[N]`` int64. scores: ``[N]`` float32 in [0, 1].
    risk: ``[N]`` float32 in [0, 1]; NaN where the model gives none.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    risk: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def kept(self, chosen: np.ndarray) -> Detected:
        """Those of a mask or list of places."""
        return Detected(self.boxes[chosen], self.labels[chosen], self.scores[chosen], self.risk[chosen])

    @classmethod
    def empty(cls, ndim: int) -> Detected:
        return cls(np.zeros((0, 2 * ndim), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))


def boxes_mm(boxes: np.ndarray, grid: Grid) -> np.ndarray:
    """The corners of boxes in LPS mm: ``[N, 2, 3]``, of the low and of the high corner (on a turned grid they are not the least and largest).

    >>> boxes_mm(np.array([[0, 0, 2, 4]]), Grid.plain((10, 10), (2.0, 0.5))).tolist()
    [[[-0.25, -1.0, 0.0], [1.75, 3.0, 0.0]]]
    """
    corners = np.asarray(boxes, float).reshape(len(boxes), 2, grid.ndim)
    return grid.world(corners - 0.5)


def sizes_mm(boxes: np.ndarray, grid: Grid) -> np.ndarray:
    """Extent of boxes along each axis in array order, ``[N, ndim]`` in mm (samples where the grid's spacing is not known)."""
    corners = np.asarray(boxes, float).reshape(len(boxes), 2, grid.ndim)
    return (corners[:, 1] - corners[:, 0]) * np.asarray(grid.spacing_mm)
