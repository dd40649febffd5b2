"""A training tile cut out of a prepared study, with its boxes: image and boxes moved by one map."""

from __future__ import annotations

import numpy as np
import torch

from vesalius.transforms.tileaugment import cut

VISIBLE, GLIMPSED = 0.5, 0.1
"""A box of which less than the first share lies in the tile is not judged there; less than the second, it is not there."""
LABEL, IGNORED, RISK = 0, 1, 2
"""Columns of a row of truth after the corners."""


def rows_of(boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Boxes as rows ``[N, 2 * ndim + 3]`` float32: low..., high..., label, ignored, risk (docs/architecture.md)."""
    return np.column_stack([boxes, labels, ignored, risk]).astype(np.float32)


def cut_with_boxes(
    image: np.ndarray, rows: np.ndarray, centre: np.ndarray, size: tuple[int, ...], matrix: np.ndarray,
) -> tuple[torch.Tensor, np.ndarray]:
    """A tile about ``centre`` (index, array order): image float32 ``[C, *size]`` and its rows ``[M, 2 * ndim + 3]`` in samples of the tile.

    Parameters
    ----------
    image: ``[C, …]`` of any float type. rows: see `rows_of`, in samples of ``image``. matrix: from steps in the tile to steps in the study.
    """
    nothing = np.broadcast_to(np.zeros(1, np.uint8), (1, *image.shape[1:]))
    centre = _snapped(centre, size, matrix)
    x, _ = cut(image, nothing, centre, size, matrix)
    return x, within(moved(rows, centre, size, matrix), size)


def _snapped(centre: np.ndarray, size: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """Where a tile that is only shifted or mirrored lies in truth: `cut` moves it by whole samples, and its boxes must follow."""
    if not np.array_equal(np.abs(matrix), np.eye(len(size))):
        return centre
    half = 0.5 * (np.array(size) - 1)
    return np.asarray(np.round(centre - half) + half)


def moved(rows: np.ndarray, centre: np.ndarray, size: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """Rows in samples of the tile. A turned box is the hull of the turned ellipsoid that the box holds: lesions and cells are
    round, so that the hull of its corners would be too large; without a turn it is exact."""
    d = len(size)
    back = np.linalg.inv(matrix)
    middle, half = (rows[:, :d] + rows[:, d : 2 * d]) / 2, (rows[:, d : 2 * d] - rows[:, :d]) / 2
    place = (middle - (centre + 0.5)) @ back.T + np.array(size) / 2
    reach = np.sqrt((half**2) @ (back.T**2))
    return np.concatenate([place - reach, place + reach, rows[:, 2 * d :]], 1).astype(np.float32)


def within(rows: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Rows clipped to a tile; of which little is left are not judged (see `VISIBLE`), of which hardly anything, gone."""
    d = len(size)
    low, high = np.clip(rows[:, :d], 0, size), np.clip(rows[:, d : 2 * d], 0, size)
    whole = np.maximum((rows[:, d : 2 * d] - rows[:, :d]).prod(1), 1e-6)
    share = (high - low).prod(1) / whole
    made = np.concatenate([low, high, rows[:, 2 * d :]], 1)
    made[:, 2 * d + IGNORED] = np.maximum(made[:, 2 * d + IGNORED], share < VISIBLE)
    return made[share > GLIMPSED].astype(np.float32)


def stacked(each: list[np.ndarray], ndim: int) -> torch.Tensor:
    """Rows of several tiles as one tensor ``[B, N, 2 * ndim + 3]``, padded with label -1."""
    most = max((len(rows) for rows in each), default=0)
    made = np.zeros((len(each), max(most, 1), 2 * ndim + 3), np.float32)
    made[:, :, 2 * ndim + LABEL] = -1
    for place, rows in zip(made, each, strict=True):
        place[: len(rows)] = rows
    return torch.from_numpy(made)


def pasted(parts: list[tuple[torch.Tensor, np.ndarray]], size: tuple[int, ...], rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """One tile of random parts of four others, meeting at a random place (of a volume: in the plane; every slice alike)."""
    d = len(size)
    meet = [int(n * rng.uniform(0.3, 0.7)) for n in size[-2:]]
    x, kept = torch.zeros_like(parts[0][0]), []
    for i, (tile, rows) in enumerate(parts):
        halves = [(0, m) if not half else (m, n) for m, n, half in zip(meet, size[-2:], (i // 2, i % 2), strict=True)]
        low = np.array([0] * (d - 2) + [a for a, _ in halves])
        extent = np.array([*size[: d - 2], *(b - a for a, b in halves)])
        start = np.array([int(rng.integers(0, n - e + 1)) for n, e in zip(size, extent, strict=True)])
        x[(slice(None), *map(slice, low, low + extent))] = tile[(slice(None), *map(slice, start, start + extent))]
        shift = np.concatenate([start, start]).astype(np.float32)
        inside = within(np.concatenate([rows[:, : 2 * d] - shift, rows[:, 2 * d :]], 1), tuple(extent))
        inside[:, : 2 * d] += np.concatenate([low, low])
        kept.append(inside)
    return x, np.concatenate(kept)
