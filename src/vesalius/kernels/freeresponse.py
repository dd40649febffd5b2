"""How many lesions are found at how many false positives an image, where to cut the scores, and whether the counts are right.

FROC: Chakraborty, *Maximum likelihood analysis of free-response receiver operating characteristic data*, Medical Physics 1989. CPM is the mean
sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image (Niemeijer et al., *IEEE TMI* 2011; LUNA16, Setio et al. 2017). Agreement of counts:
Bland and Altman, *Lancet* 1986. Predictions that meet an ignored box count neither way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesalius.errors import OptionError
from vesalius.kernels.boxscores import FALSE, NEITHER, TRUE, Responses
from vesalius.kernels.figures import Ranked, ratio
from vesalius.kernels.stats import Weighted, resample

CPM_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CURVE_RATES = tuple(float(rate) for rate in np.geomspace(1 / 16, 16, 33))
"""Where a curve is drawn; the rates of CPM are among them."""
Z = 1.959963984540054
"""95 % of normal differences lie within so many standard deviations."""
HALF = 0.5


class Froc:
    """Free-response operating characteristic of one class, or of all together.

    Parameters
    ----------
    responses: matched predictions. t: which row of the verdicts.

    Called with rates (false positives a case) and weights ``[N, B]`` it gives the sensitivity ``[len(rates), B]``: the most that is reached
    at no more than this rate. NaN where no true box counts.
    """

    def __init__(self, responses: Responses, t: int = 0) -> None:
        self.hits = responses.false_first(t).hits()
        self.most = float((responses.verdict[t] == FALSE).sum() / len(responses.truth))
        """False positives a case where every prediction counts."""

    def __call__(self, rates: Sequence[float], weights: np.ndarray) -> np.ndarray:
        return self.hits.sensitivity_at(rates, weights)

    def cpm(self, weights: np.ndarray) -> np.ndarray:
        """Competition performance metric ``[B]``."""
        found: np.ndarray = self(CPM_RATES, weights).mean(0)
        return found

    def curve(self, patients: np.ndarray, n_boot: int = 2000, seed: int = 0, rates: Sequence[float] = CURVE_RATES) -> dict[str, list[float]]:
        """``{"fp_per_image", "sensitivity", "low", "high"}`` with a 95 % band of the patient bootstrap (percentiles, point by point); empty where
        no true box counts. ``low`` and ``high`` are absent where resampling gives none."""
        found = resample(lambda weights: self(rates, weights), patients, n_boot, seed, jackknife=False)
        if not np.isfinite(found.value).all():
            return {}
        band = np.array([found.interval(m, "percentile") for m in range(len(rates))])
        points = {"fp_per_image": list(map(float, rates)), "sensitivity": found.value.tolist()}
        return points | ({"low": band[:, 0].tolist(), "high": band[:, 1].tolist()} if np.isfinite(band).all() else {})


@dataclass(frozen=True)
class Counts:
    """What is found from a threshold on, by case: right and false predictions and true boxes, ``[N]`` each."""

    true: np.ndarray
    false: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, responses: Responses, threshold: float, t: int = 0) -> Counts:
        """Predictions whose score is at least the threshold."""
        kept = responses.scores >= threshold
        cases = len(responses.truth)
        found = [np.bincount(responses.case[kept & (responses.verdict[t] == mark)], minlength=cases).astype(float) for mark in (TRUE, FALSE)]
        return cls(found[0], found[1], responses.truth.astype(float))

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """``sensitivity precision f1 count_mae count_bias``, ``[5, B]``; NaN where undefined. A count is of what is not ignored."""
        true, false, truth = np.stack([self.true, self.false, self.truth]) @ weights
        excess, n = self.excess, weights.sum(0)
        counted = [ratio(np.abs(excess) @ weights, n), ratio(excess @ weights, n)]
        both = np.where(truth > 0, true + false + truth, 0.0)  # without a true box there is nothing to be found
        return np.stack([ratio(true, truth), ratio(true, true + false), ratio(2 * true, both), *counted])

    @property
    def excess(self) -> np.ndarray:
        """Predicted minus true count of each case ``[N]``."""
        return self.true + self.false - self.truth

    def agreement(self) -> dict[str, float]:
        """Bland and Altman: ``bias`` (mean of predicted minus true count), ``low`` and ``high`` (95 % limits of agreement; absent for one case),
        ``mae`` and ``n`` (cases)."""
        excess = self.excess
        facts = {"bias": float(excess.mean()), "mae": float(np.abs(excess).mean()), "n": len(excess)}
        half = Z * float(excess.std(ddof=1)) if len(excess) > 1 else None
        return facts if half is None else facts | {"low": facts["bias"] - half, "high": facts["bias"] + half}


@dataclass(frozen=True)
class Cuts:
    """All thresholds of one class, from the highest down: right and false predictions and sensitivity from each on, ``[C]``."""

    threshold: np.ndarray
    true: np.ndarray
    false: np.ndarray
    truth: int
    cases: int

    @classmethod
    def of(cls, responses: Responses, t: int = 0) -> Cuts:
        """A threshold lies half-way between neighbouring scores, so that it does not hang on the last digit of one box."""
        counted = responses.verdict[t] != NEITHER
        values, place = np.unique(-responses.scores[counted], return_inverse=True)
        right = responses.verdict[t][counted] == TRUE
        true, false = (np.bincount(place, each, len(values)).cumsum() for each in (right, ~right))
        edges = np.append(-values, 0.0)
        return cls((edges[:-1] + edges[1:]) / 2, true, false, int(responses.truth.sum()), len(responses.truth))

    @property
    def f1(self) -> np.ndarray:
        return ratio(2 * self.true, self.true + self.false + self.truth)

    def best(self) -> float:
        """The threshold with the best F1 (of equals the highest); `HALF` where nothing right is found."""
        return float(self.threshold[int(np.argmax(np.round(self.f1, 12)))]) if len(self.true) and self.true[-1] else HALF

    def at_rate(self, rate: float) -> float:
        """The lowest threshold with at most ``rate`` false positives a case; above every score where no threshold has so few, `HALF` without any
        prediction.

        Raises
        ------
        OptionError: the rate is negative.
        """
        if not rate >= 0:
            raise OptionError("a rate of false positives cannot be negative", expected="false positives an image, 0 or more", got=rate)
        if not len(self.false):
            return HALF
        fits = np.flatnonzero(self.false <= rate * self.cases + 1e-9)
        return float(self.threshold[fits[-1]]) if len(fits) else 1.0


def risk_auc(risk: np.ndarray, truth: np.ndarray, case: np.ndarray) -> Weighted:
    """Area under the ROC curve of the second label of matched boxes, as a function of weights of the cases ``[N, B] -> [B]``.

    Parameters
    ----------
    risk: ``[M]`` predicted. truth: ``[M]`` 0 or 1. case: ``[M]`` number of the case of each box.
    """
    ranked = Ranked(risk, truth)

    def figure(weights: np.ndarray) -> np.ndarray:
        return ranked(weights[case])["auc"]

    return figure
