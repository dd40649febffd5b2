"""Only how bright the pixels are, not where: finds exposure, contrast and site effects."""

from __future__ import annotations

import numpy as np

from vesalius.stages.baselines.base import BASELINES, Task
from vesalius.stages.baselines.linear import linear_model, raw_of, standardised

BINS = 32
PIXELS = 2**16
"""At most about so many evenly spaced pixels of a channel are counted."""


@BASELINES.register("histogram")
def histogram(task: Task) -> np.ndarray:
    """Logistic regression (ridge for a regression) on square roots of the bin shares of each channel."""
    features, rows = standardised(intensity_features(task), task.train), task.train
    model, _ = linear_model(features[rows], task.truth[rows], task.patients[rows], task.target, task.seed)
    return raw_of(model(features), task.target)


def intensity_features(task: Task) -> np.ndarray:
    """Square roots of the shares of 32 bins, mean and spread of each channel: ``[N, C * 34]``.

    Bins go from 0 to the highest level of the training images.
    """
    n, channels = task.images.shape[:2]
    top = max((int(_pixels(task.images[i]).max()) for i in task.train), default=0) or 1
    features = np.zeros((n, channels, BINS + 2))
    for i in range(n):
        pixels = _pixels(task.images[i]).astype(np.float64) / top
        place = np.minimum((pixels * BINS).astype(int), BINS - 1) + np.arange(channels)[:, None] * BINS
        counts = np.bincount(place.ravel(), minlength=channels * BINS).reshape(channels, BINS)
        features[i, :, :BINS] = np.sqrt(counts / pixels.shape[1])
        features[i, :, BINS], features[i, :, BINS + 1] = pixels.mean(1), pixels.std(1)
    return features.reshape(n, -1)


def _pixels(image: np.ndarray) -> np.ndarray:
    flat = np.asarray(image).reshape(len(image), -1)
    return flat[:, :: max(1, flat.shape[1] // PIXELS)]
