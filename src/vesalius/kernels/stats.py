"""Intervals whose unit is the patient: bootstrap, Wilson, and what an estimate is.

Images of one patient are not independent, so resampling draws patients and takes all their images
(Field and Welsh 2007). Intervals are BCa (Efron 1987), which corrects the bias and skewness that plain
percentiles have near the ends of a scale; the acceleration comes from a grouped jackknife. Few patients make every
bootstrap interval too narrow; its tails are those of Student's t instead of the normal (Hesterberg, *The American
Statistician* 2015, "expanded percentiles"). Shares and areas near 1 have Wilson's interval at the number of independent
images that has their variance (Korn and Graubard, *Survey Methodology* 1998, there for exact intervals). Measured coverage is
in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

from vesalius.errors import DataError, OptionError
from vesalius.seed import generator

LEVEL = 0.95
CHUNK = 2**18
"""Weights held at once: small enough to stay in the cache of an ordinary machine."""
JACK_GROUPS = 500
"""At most so many groups of patients are left out in turn; their third moment estimates the same acceleration."""
ALONE = "one patient: what holds for others is not known"
WIDEST = 6.0
"""Standard deviations: with two or three patients all draws lie within."""
DRAWN_LEAST = 20
"""An interval needs at least so many draws in which the figure exists."""

SCORE = "wilson at the effective number of images"

Weighted = Callable[[np.ndarray], np.ndarray]
"""From weights ``[N, B]`` (how often each image counts in each draw) to figures ``[B]`` or ``[M, B]``; NaN where undefined."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and what it rests on (patients and images of its own denominator)."""

    value: float
    low: float
    high: float
    n_patients: int
    n_images: int
    method: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values as in ``metrics.json``; the note only where there is one."""
        facts = {name: getattr(self, name) for name in ("value", "low", "high", "n_patients", "n_images", "method")}
        return facts | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Resampled:
    """Figures in the sample ``[M]``, in each draw ``[M, B]`` and with each group of patients left out ``[M, G]``.

    ``n_patients`` and ``n_images`` are those of the sample; 0 stands for many.
    """

    value: np.ndarray
    draws: np.ndarray
    left_out: np.ndarray
    n_patients: int = 0
    n_images: int = 0

    def interval(self, m: int = 0, method: str = "bca", level: float = LEVEL) -> tuple[float, float]:
        """The interval of figure m; it always holds the value. NaN when too few draws define the figure.

        ``method``: ``bca``; ``percentile``; ``centred`` (percentiles moved so that their mean is the value: for a
        figure such as ECE that resampling inflates); ``score`` (Wilson's at the effective number of images: for shares and areas
        within 0..1; where no patient left out changes the value it is the value alone).
        """
        value, draws = self.value[m], self.draws[m][np.isfinite(self.draws[m])]
        if len(draws) < DRAWN_LEAST or not np.isfinite(value):
            return float("nan"), float("nan")
        if method == "score":
            return _score(float(value), self.left_out[m], self.n_images, level)
        tails = _tails(self.n_patients, level)
        if method == "bca":
            tails = _bca_tails(value, draws, self.left_out[m], tails)
        elif method == "centred":
            draws = draws - draws.mean() + value
        elif method != "percentile":
            raise OptionError(f"unknown interval '{method}'", expected="bca, percentile, centred or score")
        low, high = np.quantile(draws, tails)
        return float(min(low, value)), float(max(high, value))

    def undefined(self, m: int = 0) -> float:
        """Share of the draws in which figure m does not exist."""
        return float(1 - np.isfinite(self.draws[m]).mean())


def _tails(n_patients: int, level: float) -> tuple[float, float]:
    """Shares of the draws beyond which the bounds lie, as wide as few patients ask for."""
    if n_patients < 2:
        return (1 - level) / 2, (1 + level) / 2
    z = float(stdtrit(n_patients - 1, (1 + level) / 2)) * np.sqrt(n_patients / (n_patients - 1))
    z = min(z, WIDEST)
    return NormalDist().cdf(-z), NormalDist().cdf(z)


def _score(value: float, left_out: np.ndarray, n_images: int, level: float) -> tuple[float, float]:
    """Wilson's interval for as many independent images as would vary like this; Student's t of the patients that take part."""
    left_out = left_out[np.isfinite(left_out)]
    influence = left_out - left_out.mean() if len(left_out) else np.zeros(1)
    variance = float(np.square(influence).sum()) * (1 - 1 / max(len(left_out), 2))
    if variance < 1e-18 or not 0 < value < 1:
        return value, value
    part = max(int((np.abs(influence) > 1e-12).sum()) - 1, 1)
    n = value * (1 - value) / variance
    return _wilson(value, min(n, n_images) if n_images else n, float(stdtrit(part, (1 + level) / 2)))


def _bca_tails(value: float, draws: np.ndarray, left_out: np.ndarray, tails: tuple[float, float]) -> tuple[float, float]:
    below = ((draws < value).mean() + (draws <= value).mean()) / 2
    left_out = left_out[np.isfinite(left_out)]
    influence = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    power = float(np.square(influence).sum())
    if not 0 < below < 1 or power == 0:
        return tails
    normal = NormalDist()
    z0, acceleration = normal.inv_cdf(float(below)), float((influence**3).sum() / (6 * power**1.5))
    shifted = [z0 + normal.inv_cdf(t) for t in tails]
    low, high = (normal.cdf(z0 + z / max(1 - acceleration * z, 1e-3)) for z in shifted)
    return low, high


def codes(patients: Any) -> tuple[np.ndarray, int]:
    """The number of the patient of each image, and how many patients there are."""
    names, place = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return place, len(names)


def resample(fn: Weighted, patients: Any, n: int = 2000, seed: int = 0, *, jackknife: bool = True) -> Resampled:
    """Draw patients with replacement n times and compute the figures of each draw.

    Parameters
    ----------
    fn: see `Weighted`; it is called with many draws at once, so that a figure costs passes over an
        array and not n calls.
    patients: ``[N]`` whose image each is.

    Raises
    ------
    DataError: no images.
    """
    place, people = codes(patients)
    if not people:
        raise DataError("a figure needs at least one image", expected="predictions of a split", got="none")
    value = np.atleast_2d(fn(np.ones((len(place), 1))))[:, 0]
    size = max(1, CHUNK // len(place))
    with threadpool_limits(1):  # the products are small: threads would only wait for one another on a busy machine
        draws = [np.atleast_2d(fn(counts[place])) for counts in _draws(people, n, size, seed)]
        left = [np.atleast_2d(fn(keep[place])) for keep in _leaves(people, size, seed)] if jackknife and people > 1 else []
    empty = np.full((len(value), 0), np.nan)
    return Resampled(value, np.concatenate([empty, *draws], axis=1), np.concatenate([empty, *left], axis=1), people, len(place))


def _draws(people: int, n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Counts ``[P, b]`` of each patient in b draws, chunk by chunk."""
    rng = generator(seed, "bootstrap")
    for start in range(0, n, size):
        b = min(size, n - start)
        drawn = rng.integers(0, people, (people, b)) * b + np.arange(b)
        yield np.bincount(drawn.ravel(), minlength=people * b).reshape(people, b).astype(np.float64)


def _leaves(people: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Weights ``[P, b]``: one group of patients is left out in each column."""
    groups = min(people, JACK_GROUPS)
    group = generator(seed, "jackknife").permutation(people) % groups
    for start in range(0, groups, size):
        yield (group[:, None] != np.arange(start, min(start + size, groups))).astype(np.float64)


def bootstrap(fn: Weighted, patients: Any, n: int = 2000, seed: int = 0, method: str = "bca") -> Estimate | None:
    """One figure with its patient bootstrap interval; None when the sample does not define it.

    >>> y = np.array([1., 0., 1., 1.])
    >>> bootstrap(lambda w: (w * y[:, None]).sum(0) / w.sum(0), list("abcd")).value
    0.75
    """
    found = resample(fn, patients, n, seed, jackknife=method in ("bca", "score"))
    return estimate(found, 0, method, codes(patients)[1], len(patients))


def estimate(found: Resampled, m: int, method: str, n_patients: int, n_images: int) -> Estimate | None:
    """Figure m of a resampling as an `Estimate`; None when it is undefined in the sample or in nearly all draws."""
    low, high = found.interval(m, method)
    if not np.isfinite(low):
        return None
    missed = found.undefined(m)
    note = f"undefined in {missed:.0%} of the resamples" if missed > 0.01 else ""
    said = SCORE if method == "score" else f"patient bootstrap ({method})"
    return Estimate(float(found.value[m]), low, high, n_patients, n_images, said, note)


def paired(first: Weighted, second: Weighted, patients: Any, n: int = 2000, seed: int = 0) -> tuple[Estimate | None, float]:
    """First minus second figure on the same images, and the two-sided p of no difference (both resampled together)."""
    found = resample(lambda weights: np.atleast_2d(first(weights)) - np.atleast_2d(second(weights)), patients, n, seed)
    draws = found.draws[0][np.isfinite(found.draws[0])]
    side = min((draws <= 0).sum(), (draws >= 0).sum()) + 1
    return estimate(found, 0, "bca", codes(patients)[1], len(patients)), float(min(1.0, 2 * side / (len(draws) + 1)))


def wilson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of a proportion k / n (Wilson 1927); (NaN, NaN) for n = 0.

    >>> [round(x, 3) for x in wilson(12, 13)]
    [0.667, 0.986]
    """
    if n <= 0:
        return float("nan"), float("nan")
    return _wilson(k / n, n, NormalDist().inv_cdf((1 + level) / 2))


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    wide = z * z / n
    centre = (share + wide / 2) / (1 + wide)
    half = z * np.sqrt(share * (1 - share) / n + wide / (4 * n)) / (1 + wide)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))

def settled(made: Estimate | None, bounded: bool) -> Estimate | None:
    """Where resampling finds no spread it would promise certainty: one patient, or patients that are all faultless.

    Parameters
    ----------
    bounded: the figure lies between 0 and 1.
    """
    if made is None or made.low < made.high:
        return made
    if made.n_patients == 1:
        low, high = (0.0, 1.0) if bounded else (made.value, made.value)
        return replace(made, low=low, high=high, method="none", note=ALONE)
    if not bounded or made.value not in (0.0, 1.0):
        return made
    low, high = wilson(made.value * made.n_patients, made.n_patients)
    return replace(made, low=low, high=high, method="wilson bound of a faultless figure")
