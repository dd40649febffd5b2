"""The figures of a mask run: Dice against size, agreement of sizes, and whether the uncertainty predicts the error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from vesalius.stages.report.charts import Figure
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskfacts import agreement, doubted, limits, names_of, rows_of, running_mean, unit_of
from vesalius.stages.report.svg import N_STYLES, Plot, spread
from vesalius.stages.report.texts import Both, name_of, same, say

MOST_POINTS = 800
LINED_CLASSES = 2
"""Up to so many classes have their limits of agreement drawn; more would cover one another."""
DISPARATE = 10.0
"""Classes whose sizes differ by more than this are compared in per cent of the size."""


def dots(rows: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` rows, evenly taken."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(int))] if len(rows) else rows


def _keys(names: Sequence[str]) -> tuple[tuple[str, Both], ...]:
    return tuple((f"dot s{i}", same(name)) for i, name in enumerate(names)) if len(names) > 1 else ()


def by_class(facts: RunFacts) -> Figure | None:
    """Dice of every case, a column a class; the line is the median."""
    rows = rows_of(facts)
    if rows is None or rows["dice"].notna().sum() == 0:
        return None
    names = names_of(rows)[:N_STYLES]
    plot = Plot((-0.6, len(names) - 0.4), _unit_range(rows["dice"]), bottom=40).axes(same(""), name_of("metric", "dice"), [])
    for i, name in enumerate(names):
        values = dots(rows[(rows["class"] == name) & rows["dice"].notna()].sort_values("dice"))["dice"].to_numpy(float)
        for j, value in enumerate(values):
            plot.dot(i + _aside(j, len(values)), float(value), f"s{i} cloud", 3.2)
        if len(values):
            plot.rule(i - 0.32, float(np.median(values)), i + 0.32, float(np.median(values)), f"line solid s{i}")
        plot.text(plot.px(i), plot.height - plot.bottom + 20, same(name if len(name) < 24 else name[:22] + "…"), "middle", "label")
    return Figure("byclass", plot.svg("byclass"), say("cap.byclass"))


def _aside(j: int, n: int) -> float:
    """Sideways shift of a dot, the same on every call; a lone dot stands in the middle."""
    return 0.0 if n == 1 else 0.44 * ((j * 0.618034) % 1 - 0.5)


def _unit_range(values: pd.Series) -> tuple[float, float]:
    """From a round number below the lowest to just above 1."""
    low = math.floor(10 * float(values.min()) - 0.25) / 10
    return max(-0.02, low), 1.02


def size_plot(facts: RunFacts) -> Figure | None:
    """Dice against the true size, logarithmic; structures that are not there have no size."""
    rows = rows_of(facts)
    if rows is None or "size_true" not in rows:
        return None
    unit = unit_of(facts, rows)
    known = rows[(rows["size_true"] > 0) & rows["dice"].notna()]
    sizes = known["size_true"] / unit.divisor
    if len(known) < 2 or sizes.nunique() < 2:
        return None
    plot = Plot((float(sizes.min()) * 0.85, float(sizes.max()) * 1.18), _unit_range(known["dice"]), log_x=True)
    plot.axes(say("axis.size", unit=unit.name), name_of("metric", "dice"), log_ticks(*plot.x))
    names = names_of(known)[:N_STYLES]
    for i, name in enumerate(names):
        for _, row in dots(known[known["class"] == name].sort_values("size_true")).iterrows():
            plot.dot(float(row["size_true"]) / unit.divisor, float(row["dice"]), f"s{i} cloud", 3.4)
    return Figure("dicesize", plot.svg("dicesize"), say("cap.dicesize"), _keys(names))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values 1, 2 and 5 of every decade within the range; only the decades, or every other one, where those are too many.

    >>> log_ticks(30, 900), log_ticks(1, 1e4)
    ([50.0, 100.0, 200.0, 500.0], [1.0, 10.0, 100.0, 1000.0, 10000.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [float(f"{m}e{d}") for d in decades for m in (1, 2, 5) if low <= float(f"{m}e{d}") <= high]
    coarse = [value for value in fine if f"{value:e}"[0] == "1"]
    return fine if len(fine) <= most else coarse[:: -(-len(coarse) // most)]


def agreement_plot(facts: RunFacts) -> Figure | None:
    """Bland-Altman: predicted minus true size against their mean, with the bias and the limits of agreement."""
    rows = rows_of(facts)
    if rows is None or not {"size_true", "size_predicted"} <= set(rows.columns):
        return None
    unit = unit_of(facts, rows)
    pairs = dict(list(agreement(rows, unit).items())[:N_STYLES])
    if sum(len(means) for means, _ in pairs.values()) < 3:
        return None
    typical = [float(np.median(means)) for means, _ in pairs.values()]
    relative = max(typical) > DISPARATE * min(typical)
    shown = {name: (means, 100 * gaps / means if relative else gaps) for name, (means, gaps) in pairs.items()}
    plot = _agreement_axes(shown, relative, unit.name)
    for i, (means, gaps) in enumerate(shown.values()):
        if len(shown) <= LINED_CLASSES and len(gaps) > 2:
            for value, style in zip(limits(gaps), (f"line solid s{i}", f"line thin s{i}", f"line thin s{i}"), strict=True):
                plot.rule(plot.x[0], value, plot.x[1], value, style)
        for mean, gap in list(zip(means, gaps, strict=True))[:MOST_POINTS]:
            plot.dot(float(mean), float(gap), f"s{i} cloud", 3.4)
    return Figure("agreement", plot.svg("agreement"), say("cap.agreement.lines" if len(shown) <= LINED_CLASSES else "cap.agreement.dots"), _keys(list(shown)))


def _agreement_axes(shown: dict[str, tuple[np.ndarray, np.ndarray]], relative: bool, unit: Both) -> Plot:
    means, gaps = (np.concatenate([each[i] for each in shown.values()]) for i in (0, 1))
    bounds = [v for _, each in shown.values() for v in limits(each)] if len(shown) <= LINED_CLASSES else []
    box, label = spread([0.0, *gaps, *bounds]), say("axis.gap_share") if relative else say("axis.gap", unit=unit)
    if relative:
        low, high = float(means.min()) * 0.85, float(means.max()) * 1.18
        plot = Plot((low, high), box, log_x=True, left=66).axes(say("axis.mean_size", unit=unit), label, log_ticks(low, high))
    else:
        plot = Plot(spread(means), box, left=66).axes(say("axis.mean_size", unit=unit), label)
    return plot.rule(plot.x[0], 0.0, plot.x[1], 0.0)


def risk(facts: RunFacts) -> Figure | None:
    """Risk against coverage: the mean error of the surest part of the cases, beside the best order and chance."""
    rows = rows_of(facts)
    found = doubted(rows) if rows is not None else None
    if found is None:
        return None
    n, best = len(found.errors), running_mean(np.sort(found.errors))
    cover = [(i + 1) / n for i in range(n)]
    plot = Plot((0.0, 1.0), (0.0, max(float(found.risks.max()), float(best.max()), 1e-3) * 1.08)).axes(say("axis.coverage"), say("axis.risk"))
    plot.rule(0.0, float(found.errors.mean()), 1.0, float(found.errors.mean()))
    plot.line(cover, best.tolist(), "s2").line(cover, found.risks.tolist(), "s0")
    keys = (("s0", say("key.by_doubt")), ("s2", say("key.best_order")), ("ideal", say("key.chance_order")))
    return Figure("risk", plot.svg("risk"), say("cap.risk"), keys)


def doubt_plot(facts: RunFacts) -> Figure | None:
    """Each case's error against its uncertainty."""
    rows = rows_of(facts)
    found = doubted(rows) if rows is not None else None
    if found is None:
        return None
    plot = Plot(spread(found.doubts), (0.0, max(float(found.errors.max()), 1e-3) * 1.08)).axes(say("axis.doubt"), say("axis.error"))
    for doubt, error in list(zip(found.doubts, found.errors, strict=True))[:MOST_POINTS]:
        plot.dot(float(doubt), float(error), "s0 cloud", 3.6)
    return Figure("doubt", plot.svg("doubt"), say("cap.doubt"))


def minutes(facts: RunFacts) -> Figure | None:
    """Validation score against minutes of training."""
    history = facts.history
    if history is None or not {"seconds", "validation_score"} <= set(history.columns):
        return None
    known = history.dropna(subset=["seconds", "validation_score"])
    if len(known) < 2 or known["seconds"].nunique() < 2:
        return None
    spent, score = (known["seconds"] / 60).to_list(), known["validation_score"].to_list()
    plot = Plot((0.0, max(spent) * 1.03), spread(score)).axes(say("axis.minutes"), say("axis.score")).line(spent, score, "s1")
    return Figure("minutes", plot.svg("minutes"), say("cap.minutes"))
