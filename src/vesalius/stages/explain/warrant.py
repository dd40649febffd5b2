"""What speaks for a kind of map: three tests, each with its interval. A map that fails one is not shown unless it is asked for.

* *randomisation* (Adebayo 2018): with weights drawn anew the map must change; one that stays shows the image, not the network;
* *erasing* (Petsiuk 2018): hiding the hot places must change the answer more than hiding random ones, and than hiding those of the same map elsewhere;
* *pointing* (Zhang 2018), where lesions are marked: the hottest place must lie in one more often than a random place of the image would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from vesalius.kernels.figures import ratio
from vesalius.kernels.saliency import agreement, likeness, near, points_at
from vesalius.kernels.stats import bootstrap, wilson
from vesalius.stages.explain.erased import Areas, Erasing
from vesalius.stages.explain.questions import Method, Question, map_of
from vesalius.stages.explain.randomised import LEVELS, randomised

Progress = Callable[[int, int, str], None]
MOST_CASES, LEAST_CASES = 20, 8
"""Cases that a kind of map is tested on; fewer than the second say nothing."""
CASCADE_CASES, TWINS = 2, 4
"""Cases for which the steps between the learnt and the random network are looked at too; draws of random networks that take turns over the others."""
SAME = 0.5
"""Rank correlation or structural similarity with the map of the random network from which a map does not depend on the weights."""
ENOUGH, HINT = 16, 0.05
"""With fewer cases than the first a gain from the second on passes too, though its interval may reach 0: few cases hold nothing against a map."""
EMPTY = 0.5
"""A kind of map that is 0 everywhere for more than this share of the cases says nothing."""
DRAWS = 1000
PATIENCE, FLOOR_S = 2.0, 3.0
"""A kind of map whose least number of cases would take so many times its share of the time (and so many seconds) is not tested ..."""
SPARE = 1.0
"""... and one that is not shown unless asked for when they would take more than this share."""
LOOKS = (8, 12, 16)
"""After so many cases it is asked whether the verdict is clear already ..."""
CLEAR = 3.3
"""... that is, whether every mean lies so many standard errors on its side of the line (99.9 % both ways: three looks leave the verdict what it would be)."""
WHY = ("same", "erasing", "pointing", "empty", "unfit", "few", "time")
"""What is held against a kind of map: the weights do not matter; no better than a random order; does not point; empty; the method does not fit the
network; and why it was not tested: too few cases; no time. Only the last two leave it shown."""


@dataclass
class _Row:
    """One kind of map for one case."""

    patient: str
    rank: list[float]
    ssim: list[float]
    map: Areas
    random: Areas
    moved: Areas
    hit: tuple[bool, bool, float] | None


@dataclass
class _Asked:
    """What all kinds of map share for one case: hiding in random orders, and the networks that have forgotten."""

    question: Question
    erasing: Erasing
    random: Areas
    area: float | None


@dataclass
class Tested:
    """The rows of one kind of map, and how many cases it was empty for."""

    rows: list[_Row] = field(default_factory=list)
    empty: int = 0
    unfit: bool = False
    late: bool = False
    stopped: str = "all"

    @property
    def n(self) -> int:
        return len(self.rows) + self.empty


def warrants_of(
    network: nn.Module, questions: Sequence[Question], methods: Mapping[str, Method], *, seed: int = 0, limit_s: float = 60.0,
    spare: Sequence[str] = (), progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """The warrant of each kind of map for one network; see `warrant_of_rows` for what each holds.

    Parameters
    ----------
    questions: the cases, one a patient; at most `MOST_CASES` are used. methods: by name, the most important first.
    limit_s: seconds for all; each method has half of what is left. A method stops when its verdict is clear (see `settled`), or after `LEAST_CASES` cases when
        its time is over; one for which even they would take much longer than its share is not tested.
    spare: names that are tested only when `LEAST_CASES` cases fit into their share; not even begun when there is no time left.
    """
    end = time.perf_counter() + limit_s
    chosen = list(questions[:MOST_CASES])
    if len(chosen) < LEAST_CASES:
        return {name: untested("few", len(chosen)) for name in methods}
    twins, shared = _twins(network, chosen[0], seed), dict[int, _Asked]()
    made: dict[str, dict[str, Any]] = {}
    for done, (name, method) in enumerate(methods.items()):
        if progress is not None:
            progress(done, len(methods), f"explanations tested ({name})")
        left = max(0.0, end - time.perf_counter())
        seconds = left / min(2, len(methods) - done)
        if name in spare and not seconds:
            made[name] = untested("time", 0)
            continue
        most = SPARE * seconds if name in spare else max(PATIENCE * seconds, FLOOR_S)
        tested = _tested(network, twins, chosen, method, shared, (seconds, most), seed)
        made[name] = untested("time", tested.n) if tested.late else warrant_of_rows(tested, seed)
    return made


def untested(why: str, n_cases: int) -> dict[str, Any]:
    """A kind of map of which nothing is known; it is shown, and said to be so."""
    return {"n_cases": n_cases, "tested": False, "shown": True, "why": [why]}


def _twins(network: nn.Module, question: Question, seed: int) -> list[list[nn.Module]]:
    """Networks that have forgotten: the cascade of a first draw, and the last step of further draws (one alone may be like the network by luck)."""
    first = randomised(network, question.x, seed=seed)
    return [first, *(randomised(network, question.x, LEVELS[-1:], seed=seed + i) for i in range(1, TWINS))]


def _tested(
    network: nn.Module, twins: list[list[nn.Module]], questions: Sequence[Question], method: Method, shared: dict[int, _Asked],
    limits: tuple[float, float], seed: int,
) -> Tested:
    """``limits``: seconds after which a map that has had its least number of cases ends; and those within which it must have them."""
    tested, start = Tested(), time.perf_counter()
    for i, question in enumerate(questions):
        heat = map_of(method, network, question)
        if heat is None:
            tested.unfit = True
            return tested
        if not heat.any():
            tested.empty += 1
        else:
            if i not in shared:
                shared[i] = _asked(network, question, seed)
            drawn = twins[0] if i < CASCADE_CASES else twins[i % TWINS][-1:]
            tested.rows.append(_row(heat, drawn, method, shared[i], seed))
        spent = time.perf_counter() - start
        tested.late = tested.n < LEAST_CASES and spent / tested.n * LEAST_CASES > limits[1]
        if tested.late or (tested.n >= LEAST_CASES and spent > limits[0]):
            tested.stopped = "time" if tested.n < len(questions) else "all"
            break
        if tested.n in LOOKS and settled(tested):
            tested.stopped = "clear"
            break
    return tested


def settled(tested: Tested) -> bool:
    """Whether the verdict would hardly change with more cases: the map surely stays when the weights go (then it is hidden whatever else), or it surely passes
    all three tests."""
    rows = tested.rows
    if tested.empty or len(rows) < LEAST_CASES:
        return False
    alike = [_ends([getattr(row, name)[-1] for row in rows]) for name in ("rank", "ssim")]
    if max(low for low, _ in alike) >= SAME:
        return True
    gains = [_ends([row.map.between - getattr(row, name).between for row in rows])[0] for name in ("random", "moved")]
    pointing = _pointing(rows)
    points = pointing["passes"] if pointing is not None else all(row.hit is None for row in rows)
    return max(high for _, high in alike) < SAME and min(gains) > 0 and bool(points)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The mean less and plus `CLEAR` standard errors."""
    each = np.array(values, float)
    width = CLEAR * float(each.std(ddof=1)) / len(each) ** 0.5
    return float(each.mean()) - width, float(each.mean()) + width


def _asked(network: nn.Module, question: Question, seed: int) -> _Asked:
    erasing = Erasing.of(network, question)
    area = None if question.region is None or not question.region.any() else float(near(question.region).mean())
    return _Asked(question, erasing, erasing.of_random(seed), area)


def _row(heat: np.ndarray, twins: Sequence[nn.Module], method: Method, asked: _Asked, seed: int) -> _Row:
    question = asked.question
    others = [found if (found := map_of(method, twin, question)) is not None else np.zeros_like(heat) for twin in twins]
    rank, ssim = [agreement(heat, other) for other in others], [likeness(heat, other) if other.any() else 0.0 for other in others]
    hit = None
    if asked.area is not None and question.region is not None:
        hit = points_at(heat, question.region), bool(others[-1].any()) and points_at(others[-1], question.region), asked.area
    return _Row(question.patient, rank, ssim, asked.erasing.of_map(heat), asked.random, asked.erasing.of_moved(heat, seed), hit)


def warrant_of_rows(tested: Tested, seed: int = 0) -> dict[str, Any]:
    """The three tests of one kind of map.

    Returns ``{"n_cases", "tested", "shown", "why": [codes of `WHY`], "empty", "stopped": all|clear|time, "randomised", "erased", "pointing"}``; what was not
    tested has the first four only. ``randomised`` is ``{"rank", "ssim", "cascade": [{"share", "rank", "ssim"}], "passes"}``, ``erased`` is ``{"deletion",
    "insertion", "random", "moved", "over_random", "over_moved", "passes"}`` (areas of the map and of both kinds of chance; its gain in the area between the
    curves), ``pointing`` is ``{"hits", "randomised", "chance", "passes"}`` or None. Figures have their 95 % interval by patient;
    those of chance are means over the cases.
    """
    if tested.unfit:
        return {"n_cases": 0, "tested": True, "shown": False, "why": ["unfit"]}
    facts = {"n_cases": tested.n, "tested": True, "empty": tested.empty, "stopped": tested.stopped}
    if tested.empty > EMPTY * tested.n or len(tested.rows) < 2:
        return {**facts, "shown": False, "why": ["empty"]}
    found = {"randomised": _randomisation(tested.rows, seed), "erased": _erasing(tested.rows, seed), "pointing": _pointing(tested.rows)}
    codes = {"randomised": "same", "erased": "erasing", "pointing": "pointing"}
    why = [codes[name] for name, test in found.items() if test is not None and not test["passes"]]
    return {**facts, "shown": not why, "why": why, **found}


def _randomisation(rows: Sequence[_Row], seed: int) -> dict[str, Any]:
    rank, ssim = (_mean([getattr(row, name)[-1] for row in rows], rows, seed) for name in ("rank", "ssim"))
    full = [row for row in rows if len(row.rank) == len(LEVELS)]
    steps = [
        {"share": share, "rank": float(np.mean([row.rank[i] for row in full])), "ssim": float(np.mean([row.ssim[i] for row in full]))}
        for i, share in enumerate(LEVELS)
    ]
    return {"rank": rank, "ssim": ssim, "cascade": steps, "passes": bool(max(rank["value"], ssim["value"]) < SAME)}


def _erasing(rows: Sequence[_Row], seed: int) -> dict[str, Any]:
    gains = {f"over_{name}": _mean([row.map.between - getattr(row, name).between for row in rows], rows, seed) for name in ("random", "moved")}
    areas = {name: _mean([getattr(row.map, name) for row in rows], rows, seed) for name in ("deletion", "insertion")}
    chance = {kind: {name: float(np.mean([getattr(getattr(row, kind), name) for row in rows])) for name in areas} for kind in ("random", "moved")}
    sure = min(each["low"] for each in gains.values()) > 0
    hinted = len(rows) < ENOUGH and min(each["value"] for each in gains.values()) >= HINT
    return {**areas, **chance, **gains, "passes": bool(sure or hinted)}


def _pointing(rows: Sequence[_Row]) -> dict[str, Any] | None:
    game = [(row, row.hit) for row in rows if row.hit is not None]
    if len(game) < LEAST_CASES:
        return None
    chance = float(np.mean([hit[2] for _, hit in game]))
    hits, random = _share([hit[0] for _, hit in game]), _share([hit[1] for _, hit in game])
    return {"hits": hits, "randomised": random, "chance": chance, "passes": bool(hits["low"] > chance)}


def _mean(values: Sequence[float], rows: Sequence[_Row], seed: int) -> dict[str, Any]:
    """The mean with its patient interval; where it has none (all the same) the value alone."""
    each = np.array(values, float)
    found = bootstrap(lambda w: ratio((w * each[:, None]).sum(0), w.sum(0)), [row.patient for row in rows], DRAWS, seed)
    if found is not None:
        return found.to_dict()
    value, n = float(each.mean()), len({row.patient for row in rows})
    return {"value": value, "low": value, "high": value, "n_patients": n, "n_images": len(rows)}


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(hits), len(hits))
    return {"value": float(np.mean(hits)), "low": low, "high": high, "n": len(hits)}
