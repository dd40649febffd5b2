"""Has what comes in changed? Many statistics of a window of studies against a reference, with one false-alarm rate for all of them together.

Each statistic is turned into ranks; a window's place (Wilcoxon's scores) and spread (Mood's, *Annals of Mathematical Statistics* 25:514, 1954) are compared
with what random windows of the same size, drawn from reference and window together, would show. The largest of all the standardised sums is compared with its
own permutation distribution (Westfall and Young 1993), so that the false-alarm rate is exact whatever the statistics and however much they depend on one
another, as long as the studies of reference and window can be exchanged when nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from vesalius.errors import DataError
from vesalius.kernels.stats import CHUNK
from vesalius.seed import generator

FEWEST = 8
MOST_WORDS = 12
"""Values of a word that are told apart; rarer ones are taken together."""


@dataclass(frozen=True)
class Drift:
    """What a window shows.

    Parameters
    ----------
    p: that the largest sign of change is chance. each: ``{statistic: p}``, corrected for all of them. how: ``{statistic: "place" | "spread" | "words"}``, where
        its largest sign lies. direction: ``{statistic: -1 | 1}``, smaller or larger (narrower or wider) than in the reference; 0 of words.
    """

    p: float
    each: dict[str, float]
    how: dict[str, str]
    direction: dict[str, int]


def drift(
    reference: Mapping[str, Sequence[float | str | None]], window: Mapping[str, Sequence[float | str | None]], *, permutations: int = 1999, seed: int = 0,
) -> Drift:
    """Compare the statistics of a window with the reference.

    Parameters
    ----------
    reference, window: columns of numbers, or of words, of the same names; all of one side have one length. None (or NaN) where a study does not say
        it: how often that is so is compared too.

    Raises
    ------
    DataError: fewer than eight studies in either; the lengths or names disagree.
    """
    n, w = _length(reference), _length(window)
    if min(n, w) < FEWEST or reference.keys() != window.keys():
        raise DataError("these studies cannot be compared", expected=f"the same statistics of {FEWEST} studies on both sides", got=f"{n} and {w} studies")
    columns = [part for name in reference for part in _scores(name, [*reference[name], *window[name]])]
    if not columns:
        return Drift(1.0, {}, {}, {})
    scores = np.stack([values for _, _, values in columns], 1)
    spread = np.sqrt(w * n / ((n + w) * (n + w - 1)) * (scores**2).sum(0))
    seen = scores[n:].sum(0) / spread
    largest = np.sort(_largest(scores, spread, w, permutations, seed))
    p = (1 + permutations - np.searchsorted(largest, np.abs(seen) - 1e-9)) / (1 + permutations)
    return _told(columns, seen, p)


def _length(columns: Mapping[str, Sequence[float | str | None]]) -> int:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise DataError("the statistics of the studies do not fit", expected="one length", got=sorted(lengths))
    return lengths.pop()


def _largest(scores: np.ndarray, spread: np.ndarray, w: int, permutations: int, seed: int) -> np.ndarray:
    """The largest standardised sum of each random window, ``[permutations]``."""
    rng, total, made = generator(seed, "drift"), len(scores), []
    step = max(1, CHUNK * 100 // total)
    for start in range(0, permutations, step):
        drawn = rng.random((min(step, permutations - start), total))
        inside = drawn <= np.partition(drawn, w - 1, 1)[:, w - 1 : w]
        made.append(np.abs(inside.astype(np.float64) @ scores / spread).max(1))
    return np.concatenate(made)


def _scores(name: str, values: list[float | str | None]) -> list[tuple[str, str, np.ndarray]]:
    """Centred scores of a statistic: what is not known counts 0; columns that never vary are left out."""
    known = np.array([value is not None and value == value for value in values])
    parts = [("words", (~known).astype(float))]
    if any(isinstance(value, str) for value in values):
        said = [str(value) if there else "" for value, there in zip(values, known, strict=True)]
        common = sorted(set(said) - {""}, key=lambda word: (-said.count(word), word))[:MOST_WORDS]
        parts += [("words", np.array([each == word for each in said], float)) for word in common]
    elif known.any():
        ranks = np.zeros(len(values))
        numbers = np.array([float(value) for value, there in zip(values, known, strict=True) if there and value is not None])
        ranks[known] = (rankdata(numbers) - 0.5) / len(numbers) - 0.5
        mood = np.where(known, ranks**2, 0.0)
        mood[known] -= mood[known].mean()
        parts += [("place", ranks), ("spread", mood)]
    centred = [(name, how, column - column.mean()) for how, column in parts]
    return [(name, how, column) for name, how, column in centred if np.abs(column).max() > 1e-9]


def _told(columns: list[tuple[str, str, np.ndarray]], seen: np.ndarray, p: np.ndarray) -> Drift:
    each: dict[str, float] = {}
    how: dict[str, str] = {}
    direction: dict[str, int] = {}
    for place in np.argsort(-np.abs(seen), kind="stable"):
        name, kind, _ = columns[place]
        if name not in each:
            each[name], how[name] = float(p[place]), kind
            direction[name] = 0 if kind == "words" else int(np.sign(seen[place]))
    return Drift(float(p.min()), each, how, direction)
