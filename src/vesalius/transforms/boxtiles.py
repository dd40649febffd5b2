"""Boxes on a study's own grid, and the same boxes in the array that is read (`transforms.tiles`): there and back."""

from __future__ import annotations

import numpy as np

from vesalius.transforms.tiles import TileTrace
from vesalius.transforms.tilt import moved_boxes


def boxes_in(boxes: np.ndarray, trace: TileTrace) -> np.ndarray:
    """Boxes ``[N, 2 * ndim]`` of the study in samples of the prepared array."""
    if trace.tilted is not None:
        boxes = moved_boxes(boxes, trace.tilted)
    d, turned = len(trace.order), np.asarray(boxes, np.float64).reshape(-1, 2, len(trace.order))[:, :, list(trace.order)]
    for axis, n in _flipped(trace):
        turned[:, :, axis] = n - turned[:, ::-1, axis]
    return (turned * _factor(trace)).reshape(-1, 2 * d).astype(np.float32)


def boxes_out(boxes: np.ndarray, trace: TileTrace) -> np.ndarray:
    """The inverse of `boxes_in`, cut to the study."""
    d = len(trace.order)
    turned = np.asarray(boxes, np.float64).reshape(-1, 2, d) / _factor(trace)
    for axis, n in _flipped(trace):
        turned[:, :, axis] = n - turned[:, ::-1, axis]
    stored = np.clip(turned, 0, np.array(trace.stored))
    own = stored[:, :, np.argsort(trace.order)].reshape(-1, 2 * d)
    if trace.tilted is not None:
        own = moved_boxes(own, trace.tilted, back=True).clip(0, np.tile(trace.tilted.shape, 2))
    return own.astype(np.float32)


def _factor(trace: TileTrace) -> np.ndarray:
    return np.array(trace.shape) / np.array(trace.stored)


def _flipped(trace: TileTrace) -> list[tuple[int, int]]:
    """The mirrored axes as places in canonical order with their lengths; ``trace.flips`` counts in that order."""
    return [(axis, trace.stored[axis]) for axis in trace.flips]
