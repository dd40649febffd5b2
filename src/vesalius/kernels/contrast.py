"""Whether two groups of patients differ, how many tests were made, and how many patients would have been needed.

Groups are compared by permutation of patients within strata (Edgington 1995; Good 2005): where the strata are the truth, the share of ill patients may differ
between the groups without being taken for a gap. Several tests are corrected by Holm (*Scandinavian Journal of Statistics* 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from vesalius.errors import DataError, OptionError
from vesalius.kernels.stats import CHUNK, LEVEL, Weighted, codes
from vesalius.seed import generator

POWER = 0.8


def permutation_p(figure: Weighted, units: Any, inside: np.ndarray, *, strata: Any = None, n: int = 2000, seed: int = 0) -> float:
    """Two-sided p that the figure inside and outside a group differ by chance; NaN where the figure is undefined on one side.

    Parameters
    ----------
    figure: see `kernels.stats.Weighted`; of cases with weight 0 it must know nothing.
    units: ``[N]`` what is permuted as a whole, as a rule the patient. inside: ``[N]`` bool, the same for all cases of a unit.
    strata: ``[N]``; units change places only with those of their own stratum (that of their first case). n: permutations.

    Raises
    ------
    DataError: the lengths disagree, or a unit lies on both sides.
    """
    place, count = codes(units)
    inside = np.asarray(inside, bool)
    if len(inside) != len(place):
        raise DataError("units and groups do not fit", expected=f"{len(place)} marks", got=len(inside))
    held = np.bincount(place, inside, count) / np.bincount(place, minlength=count)
    if ((held > 0) & (held < 1)).any():
        raise DataError("a patient lies inside and outside the group", expected="whole patients", got=f"{int(((held > 0) & (held < 1)).sum())} divided")
    value = _gap(figure, inside[:, None].astype(float))[0]
    if not math.isfinite(value):
        return float("nan")
    layers = np.zeros(count, int)
    if strata is not None:
        layers[place[::-1]] = codes(strata)[0][::-1]
    drawn = _permuted(figure, place, held > 0.5, layers, n, seed)
    drawn = drawn[np.isfinite(drawn)]
    tolerance = 1e-12 * max(1.0, abs(value))
    return float((1 + (np.abs(drawn) >= abs(value) - tolerance).sum()) / (1 + len(drawn)))


def _permuted(figure: Weighted, place: np.ndarray, member: np.ndarray, layers: np.ndarray, n: int, seed: int) -> np.ndarray:
    rng, size, found = generator(seed, "permutation"), max(1, CHUNK // len(place)), []
    rows = [np.flatnonzero(layers == layer) for layer in np.unique(layers)]
    with threadpool_limits(1):
        for start in range(0, n, size):
            marks = np.repeat(member[:, None].astype(float), min(size, n - start), axis=1)
            for mine in rows:
                marks[mine] = rng.permuted(marks[mine], axis=0)
            found.append(_gap(figure, marks[place]))
    return np.concatenate(found)


def _gap(figure: Weighted, weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.atleast_2d(figure(weights))[0] - np.atleast_2d(figure(1 - weights))[0])


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; NaN stays and does not count as a test.

    >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    made, known = np.full(len(values), np.nan), np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    made[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(each) for each in made]


def detectable(spread: float, tests: int = 1, level: float = LEVEL, power: float = POWER) -> float:
    """The difference that a test of this standard error would have shown with this power; Bonferroni for several tests.

    >>> round(detectable(0.01), 4)
    0.028
    """
    return (_z(1 - (1 - level) / (2 * max(tests, 1))) + _z(power)) * spread


def needed(n: int, spread: float, difference: float, level: float = LEVEL, power: float = POWER) -> int:
    """Patients that would show the difference, where n patients give this standard error.

    >>> needed(100, 0.05, 0.05)
    785

    Raises
    ------
    OptionError: the difference is 0.
    """
    if not difference:
        raise OptionError("no number of patients shows a difference of nothing", expected="a difference other than 0", got=difference)
    return max(1, math.ceil(n * (detectable(spread, 1, level, power) / difference) ** 2))


def _z(share: float) -> float:
    return NormalDist().inv_cdf(share)
