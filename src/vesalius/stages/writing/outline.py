"""The outline of a flat mask along the edges of its samples: exact, so that filling it gives the same samples."""

from __future__ import annotations

import numpy as np

STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Directions east, south, west, north as (y, x); the next one is a turn to the right."""


def loops_of(mask: np.ndarray) -> list[np.ndarray]:
    """Closed polygons ``[N, 2]`` (y, x) around the samples of a mask ``[Y, X]``; a sample's centre is whole, its corners are at halves.

    Outer borders run clockwise (as seen with y downwards) and those of holes the other way. Samples that touch at a corner
    only are apart. Filling by the even-odd rule gives the mask back.

    >>> loops_of(np.array([[False, False], [False, True]]))[0].tolist()
    [[0.5, 0.5], [0.5, 1.5], [1.5, 1.5], [1.5, 0.5]]
    """
    edges = _edges(mask)
    loops = (_walk(edges, start) for start in sorted(edges))  # the upper left corner of a loop comes first, where the direction changes
    return [np.array(loop, float) - 0.5 for loop in loops if loop]


def _edges(mask: np.ndarray) -> set[tuple[int, int, int]]:
    """Edges (corner y, corner x, direction) between a sample and what is not of the mask, with the sample on their right."""
    inside = np.pad(np.asarray(mask, bool), 1)
    core = inside[1:-1, 1:-1]
    neighbours = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])
    corners = ((0, 0), (0, 1), (1, 1), (1, 0))
    edges: set[tuple[int, int, int]] = set()
    for direction, (neighbour, (down, right)) in enumerate(zip(neighbours, corners, strict=True)):
        y, x = np.nonzero(core & ~neighbour)
        edges.update(zip((y + down).tolist(), (x + right).tolist(), [direction] * len(y), strict=True))
    return edges


def _walk(edges: set[tuple[int, int, int]], start: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Follow edges from one until they close, taking them out; corners where the direction changes. Nothing where the edge is gone already."""
    corners: list[tuple[int, int]] = []
    y, x, direction = start
    before = -1
    while (y, x, direction) in edges:
        edges.remove((y, x, direction))
        if direction != before:
            corners.append((y, x))
        y, x, before = y + STEPS[direction][0], x + STEPS[direction][1], direction
        direction = next((turn for turn in ((before + 1) % 4, before, (before + 3) % 4) if (y, x, turn) in edges), before)
    return corners
