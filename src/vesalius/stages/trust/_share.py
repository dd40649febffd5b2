"""Shares and means with their patient intervals, as plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vesalius.kernels.figures import ratio
from vesalius.kernels.stats import bootstrap, codes, wilson

DRAWS = 1000


def share_of(marks: np.ndarray, patients: np.ndarray, seed: int) -> dict[str, Any] | None:
    """The share of ``marks`` ``[N]`` (0 or 1) that are set, with a 95 % interval whose unit is the patient; None where there is no image.

    A share of 0 or 1 has Wilson's interval with one count a patient: resampling cannot see what has not happened.
    """
    marks = np.asarray(marks, float)
    if not len(marks):
        return None
    found = bootstrap(lambda w: ratio((w * marks[:, None]).sum(0), w.sum(0)), patients, DRAWS, seed, method="score")
    if found is None:
        return None
    if found.value in (0.0, 1.0):
        people = codes(patients)[1]
        low, high = wilson(found.value * people, people)
        found = replace(found, low=low, high=high, method="wilson, one count a patient")
    return found.to_dict()


def mean_of(values: np.ndarray, patients: np.ndarray, seed: int) -> dict[str, Any] | None:
    """The mean of ``values`` ``[N]`` with its patient interval; None where there is no image or one patient only."""
    values = np.asarray(values, float)
    if len(np.unique(patients)) < 2:
        return None
    found = bootstrap(lambda w: ratio((w * values[:, None]).sum(0), w.sum(0)), patients, DRAWS, seed)
    return None if found is None else found.to_dict()


def told(figure: dict[str, Any] | None, unit: str = " %", scale: float = 100.0) -> str:
    """A figure in words: ``91.2 % (88.0-94.1, n = 120)``.

    >>> told({"value": 0.5, "low": 0.25, "high": 0.75, "n_images": 4, "n_patients": 4})
    '50.0 % (25.0-75.0; n = 4)'
    """
    if figure is None:
        return "-"
    value, low, high = (f"{scale * figure[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value}{unit} ({low}-{high}; n = {figure['n_images']:,})"
