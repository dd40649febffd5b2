"""Do 95 % intervals hold the truth 95 % of the time? Simulated studies whose true figures are known.

    python benchmarks/coverage.py [--studies 2000] [--draws 800] [--patients 30 100 300] [--only NAME ...] [--json FILE]

Each study draws patients with one to four images that share the patient's own level (most of the variance), computes the interval that
Vesalius prints, and counts how often it holds the true value, as does the same interval with every image taken for a patient of its own. The
error of a coverage near 95 % is one point for 2,000 studies (two standard errors).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
from scipy.stats import binom

from vesalius.core.target import TargetSpec
from vesalius.kernels.delong import delong_interval, delong_paired
from vesalius.kernels.figures import Ranked
from vesalius.kernels.scores import scores
from vesalius.kernels.stats import bootstrap, wilson
from vesalius.seed import generator

BINARY = TargetSpec("binary", ("healthy", "ill"))
NORMAL = NormalDist()
SHARED = 0.7
"""Share of the variance that the images of a patient have in common."""
USUAL, EASY = 1.4, 2.66
"""Distance of the classes in within-class standard deviations: true AUC .839 and .970."""
MANY = 400_000
"""Patients from whom a true value without a formula is taken."""

Interval = tuple[float, float]
Study = Callable[[np.random.Generator, int, int, bool], Interval]
"""From a random stream, the patients, the draws of a bootstrap and whether patients are known, to an interval."""


def images(rng: np.random.Generator, people: int) -> np.ndarray:
    """Whose image each is: one to four a patient."""
    return np.repeat(np.arange(people), rng.integers(1, 5, people))


def levels(rng: np.random.Generator, who: np.ndarray, shared: float = SHARED) -> np.ndarray:
    """Standard normal values ``[N]`` of which ``shared`` of the variance is the patient's."""
    return rng.normal(0, np.sqrt(shared), who[-1] + 1)[who] + rng.normal(0, np.sqrt(1 - shared), len(who))


def ranked(rng: np.random.Generator, people: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    who, ill = images(rng, people), (rng.random(people) < 0.4).astype(int)
    ill[:4] = 0, 1, 0, 1
    return who, ill[who], ill[who] * shift + levels(rng, who)


def of_classes(name: str, shift: float) -> Study:
    """A figure as `fit` scores it; called ill above the middle between the classes."""

    def study(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
        who, truth, score = ranked(rng, people, shift)
        p = 1 / (1 + np.exp(-(score - shift / 2)))
        # these figures need no draws but a few to be defined
        made = scores(BINARY, truth, np.stack([1 - p, p], 1), who if known else np.arange(len(who)), threshold=0.5, n_boot=40)[name]
        return made.low, made.high

    return study


def dice(rng: np.random.Generator, who: np.ndarray) -> np.ndarray:
    """Skewed scores of cases between 0 and 1, mean about .84, a few of them 0."""
    return np.where(rng.random(len(who)) < 0.02, 0.0, 1 / (1 + np.exp(-(2 + 1.1 * levels(rng, who)))))


def mean_dice(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
    who = images(rng, people)
    values = dice(rng, who)
    made = bootstrap(lambda w: (values @ w) / w.sum(0), who if known else np.arange(len(who)), draws)
    return (made.low, made.high) if made else (np.nan, np.nan)


def detections(rng: np.random.Generator, people: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patient, mark and score of detections; easy and hard patients, boxes that are missed come last."""
    who = np.repeat(images(rng, people), 3)
    true = rng.random(len(who)) < 0.5
    return who, true, 1.8 * true + levels(rng, who, 0.3)


def average_precision(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
    who, true, score = detections(rng, people)
    areas = Ranked(score, true)
    made = bootstrap(lambda w: areas(w)["ap"], who if known else np.arange(len(who)), 40, method="score")  # needs no draws but a few to be defined
    return (made.low, made.high) if made else (np.nan, np.nan)


def difference(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
    """AUC of a better minus that of a worse score, with images of both classes in a patient."""
    who = images(rng, people)
    truth = (rng.random(len(who)) < 0.4).astype(int)
    truth[:2], truth[-2:] = (0, 1), (1, 0)
    common = levels(rng, who)
    first, second = (shift * truth + np.sqrt(0.5) * common + np.sqrt(0.5) * levels(rng, who) for shift in (1.4, 1.0))
    found = delong_paired(truth, first, second, patients=who if known else None)
    return found.low, found.high


def area_alone(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
    who, truth, score = ranked(rng, people, USUAL)
    return delong_interval(truth, score, patients=who if known else None)


def share(rng: np.random.Generator, people: int, draws: int, known: bool) -> Interval:
    """One image a patient."""
    return wilson(rng.binomial(people, 0.92), people)


def true_values() -> dict[str, float]:
    rng = generator(0, "coverage", "truth")
    who, true, score = detections(rng, MANY)
    precise = float(Ranked(score, true)(np.ones((len(who), 1)))["ap"][0])
    usual, easy = NORMAL.cdf(USUAL / 2), NORMAL.cdf(EASY / 2)
    areas = [NORMAL.cdf(shift / np.sqrt(2)) for shift in (USUAL, EASY, 1.0)]
    return {
        "auc": areas[0], "auc near 1": areas[1], "accuracy": usual, "accuracy near 1": easy, "sensitivity": usual, "specificity": usual,
        "balanced accuracy": usual, "dice": float(dice(rng, images(rng, 4 * MANY)).mean()), "ap": precise, "auc, DeLong": areas[0],
        "difference of AUC, DeLong": areas[0] - areas[2], "share, Wilson": 0.92,
    }


STUDIES: dict[str, Study] = {
    "auc": of_classes("auc", USUAL), "auc near 1": of_classes("auc", EASY), "accuracy": of_classes("accuracy", USUAL),
    "accuracy near 1": of_classes("accuracy", EASY), "sensitivity": of_classes("sensitivity", USUAL), "specificity": of_classes("specificity", USUAL),
    "balanced accuracy": of_classes("balanced_accuracy", USUAL), "dice": mean_dice, "ap": average_precision, "auc, DeLong": area_alone,
    "difference of AUC, DeLong": difference, "share, Wilson": share,
}


def covered(name: str, truth: float, people: int, studies: int, draws: int, known: bool = True) -> tuple[float, float]:
    """Share of the studies whose interval holds the true value, and the mean width; a study without the figure counts nothing."""
    found = np.array([STUDIES[name](generator(number, "coverage", name, people), people, draws, known) for number in range(studies)])
    found = found[np.isfinite(found).all(1)]
    return float(((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()), float((found[:, 1] - found[:, 0]).mean())


def wilson_over(people: int) -> tuple[float, float]:
    """Mean and least exact coverage of Wilson's interval over true shares from .70 to .98: at one share it swings with the number of patients."""
    shares, k = np.linspace(0.7, 0.98, 281)[:, None], np.arange(people + 1)
    low, high = np.array([wilson(each, people) for each in k]).T
    held = (binom.pmf(k, people, shares) * ((low <= shares) & (shares <= high))).sum(1)
    return float(held.mean()), float(held.min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=800)
    parser.add_argument("--patients", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--json", type=Path)
    wish = parser.parse_args()
    truth, told = true_values(), []
    print("| figure | true value | " + " | ".join(f"{n} patients" for n in wish.patients) + f" | {wish.patients[0]}, images as patients |", flush=True)
    print("|---" * (len(wish.patients) + 3) + "|")
    for name in wish.only:
        rows = [covered(name, truth[name], people, wish.studies, wish.draws) for people in wish.patients]
        wrong = covered(name, truth[name], wish.patients[0], min(wish.studies, 500), wish.draws, known=False)[0]
        told.append({"figure": name, "truth": truth[name], "patients": wish.patients, "coverage": [row[0] for row in rows], "width": [row[1] for row in rows]})
        print(f"| {name} | {truth[name]:.3f} | " + " | ".join(f"{row[0]:.3f}" for row in rows) + f" | {wrong:.3f} |", flush=True)
    for people in wish.patients:
        print("Wilson, {} patients, shares .70 to .98: mean {:.4f}, least {:.4f}".format(people, *wilson_over(people)))
    if wish.json:
        wish.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
