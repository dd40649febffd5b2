"""The operating point of a mask with one structure: the threshold with the best mean Dice on validation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

BINS = 1000
LEAST, MOST = 0.1, 0.9
WORTH = 1e-3
"""A threshold other than one half must gain this much mean Dice on validation."""


def curves(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Histograms ``[2, BINS]`` of the probabilities of samples outside and inside of the structure (bool ``truth``)."""
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    return np.stack([np.bincount(place[~truth], minlength=BINS), np.bincount(place[truth], minlength=BINS)]).astype(np.float64)


def best_threshold(cases: Iterable[np.ndarray]) -> tuple[float, float, float]:
    """Threshold with the highest mean Dice over cases (see `curves`), that Dice, and the Dice at one half.

    The middle of the stretch of thresholds that come within 0.0005 of the best is taken, so that it does not hang on single
    samples. One half unless `WORTH` is gained; NaN Dice when no case holds the structure.
    """
    rows = [_dice(each) for each in cases if each[1].sum() > 0]
    if not rows:
        return 0.5, float("nan"), float("nan")
    mean = np.mean(rows, axis=0)
    cuts = np.arange(BINS) / BINS
    allowed = (cuts >= LEAST) & (cuts <= MOST)
    top = mean[allowed].max()
    half = float(mean[BINS // 2])
    if top - half < WORTH:
        return 0.5, half, half
    good = cuts[allowed & (mean >= top - 5e-4)]
    return float(np.median(good)), float(top), half


def _dice(counts: np.ndarray) -> np.ndarray:
    """Dice at each threshold: everything in a bin at or above it is marked."""
    above = counts[:, ::-1].cumsum(1)[:, ::-1]
    return 2 * above[1] / np.maximum(above.sum(0) + counts[1].sum(), 1)


def bias_of(threshold: float, exclusive: bool) -> list[float]:
    """What is added to the raw values so that a probability of ``threshold`` is the border."""
    shift = -float(np.log(threshold / (1 - threshold)))
    return [0.0, shift] if exclusive else [shift]
