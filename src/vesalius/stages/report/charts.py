"""The figures of the report: facts in, `Figure` out; None where the facts do not suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.svg import N_STYLES, Plot, spread, ticks
from vesalius.stages.report.texts import Both, name_of, same, say, worded

UNIT = (0.0, 1.0)
ROW = 34
MOST_POINTS = 800
BINS = 20


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption and the keys (style, text) of its series."""

    name: str
    svg: Markup
    caption: Both
    keys: tuple[tuple[str, Both], ...] = ()
    wide: bool = False


def curve(facts: RunFacts, kind: str) -> Figure | None:
    """ROC (``kind`` roc) or precision-recall (pr) of each class in the test set; of a binary target also validation."""
    curves = facts.metrics.get("curves", {})
    series = [(c, name) for name, c in curves.get("test", {}).get(kind, {}).items()]
    if not series:
        return None
    plot = Plot(UNIT, (0.0, 1.02))
    plot.axes(say("axis.fpr"), say("axis.tpr")) if kind == "roc" else plot.axes(say("axis.recall"), say("axis.precision"))
    if kind == "roc":
        plot.rule(0, 0, 1, 1)
    keys = [(f"s{i}", same(name)) for i, (_, name) in enumerate(series[:N_STYLES])]
    others = list(curves.get("validation", {}).get(kind, {}).values())
    if len(series) == 1 and others:
        keys = [("s0", say("legend.test")), ("s1", name_of("legend", facts.chosen_on))]
        for seen in others:
            plot.line(seen["x"], seen["y"], "s1")
    for i, (points, _) in list(enumerate(series[:N_STYLES]))[::-1]:
        plot.line(points["x"], points["y"], f"s{i}")
    return Figure(kind, _operating(facts, plot, keys, kind).svg(kind), _capped(worded(f"cap.{kind}", facts.kind), len(series)), tuple(keys))


def _operating(facts: RunFacts, plot: Plot, keys: list[tuple[str, Both]], kind: str) -> Plot:
    """Where the test set lies at the operating point, on the ROC curve of a binary target."""
    seen = [facts.figure(name) for name in ("specificity", "sensitivity")]
    if kind == "roc" and facts.metrics.get("operating_point") and seen[0] and seen[1]:
        plot.dot(1 - seen[0]["value"], seen[1]["value"], "point", 5)
        keys.append(("point", say("legend.operating")))
    return plot


def _capped(caption: Both, k: int) -> Both:
    if k <= N_STYLES:
        return caption
    more = say("legend.more", n=N_STYLES, k=k)
    return Both(f"{caption.en} {more.en}", caption.zh + more.zh)


def reliability(facts: RunFacts) -> Figure | None:
    """Observed share against predicted probability in the test set."""
    seen = facts.metrics.get("curves", {}).get("test", {}).get("reliability")
    return reliability_of(seen, say("cap.reliability"), say("axis.confidence"), say("axis.observed"))


def reliability_of(seen: dict[str, Any] | None, caption: Both, x_label: Both, y_label: Both) -> Figure | None:
    """``confidence``, ``observed`` and ``n`` of bins as a curve; the larger the dot, the more of them."""
    if not seen or not any(seen.get("n") or []):
        return None
    plot = Plot(UNIT, (0.0, 1.02)).axes(x_label, y_label).rule(0, 0, 1, 1)
    points = [p for p in zip(seen["confidence"], seen["observed"], seen["n"], strict=True) if p[2]]
    plot.line([p[0] for p in points], [p[1] for p in points], "s0")
    most = max(p[2] for p in points)
    for x, y, n in points:
        plot.dot(x, y, "s0", 2.5 + 6.5 * (n / most) ** 0.5)
    return Figure("reliability", plot.svg("reliability"), caption)


def histogram(facts: RunFacts) -> Figure | None:
    """Probability of the positive class by true class (binary targets)."""
    target, rows = facts.target, _test(facts)
    if target is None or target.kind != "binary" or rows is None:
        return None
    edges = np.linspace(0, 1, BINS + 1)
    p, truth = rows[f"p_{target.classes[1]}"].to_numpy(float), rows["truth"].to_numpy(int)
    counts = [np.histogram(p[truth == k], edges)[0] for k in (0, 1)]
    plot = Plot(UNIT, (0.0, 1.05 * max(1, *(c.max() for c in counts)))).axes(say("axis.confidence"), say("axis.images"))
    for i in range(BINS):
        width, start = 1 / BINS, edges[i]
        for k, style in ((0, "s0"), (1, "s1")):
            plot.bar(start + width * (0.08 + 0.42 * k), start + width * (0.5 + 0.42 * k), float(counts[k][i]), style)
    keys = (("bar s0", same(target.classes[0])), ("bar s1", same(target.classes[1])))
    return Figure("histogram", plot.svg("histogram"), say("cap.histogram", positive=target.classes[1]), keys)


def _test(facts: RunFacts) -> pd.DataFrame | None:
    if facts.predictions is None:
        return None
    rows = facts.predictions[facts.predictions["split"] == "test"]
    return rows if len(rows) else None


def scatter(facts: RunFacts) -> Figure | None:
    """Predicted against true value (regression); at most 800 images, evenly taken in the order of the truth."""
    target, rows = facts.target, _test(facts)
    if target is None or target.kind != "regression" or rows is None:
        return None
    rows = rows.sort_values("truth")
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(int))]
    box = spread([*rows["truth"], *rows["value"]])
    plot = Plot(box, box).axes(say("axis.truth"), say("axis.value")).rule(box[0], box[0], box[1], box[1])
    for x, y in zip(rows["truth"], rows["value"], strict=True):
        plot.dot(float(x), float(y), "s0 cloud", 3.2)
    return Figure("scatter", plot.svg("scatter"), say("cap.scatter"))


def forest(facts: RunFacts) -> Figure | None:
    """The primary figure of the network and of each baseline with its interval."""
    network = facts.figure(facts.primary)
    rows = [("s0", say("network"), network)] if network else []
    for model, parts in facts.metrics.get("baselines", {}).items():
        if parts.get("test", {}).get(facts.primary):
            rows.append(("s7", name_of("baseline", model), parts["test"][facts.primary]))
    if network is None or len(rows) < 2:
        return None
    return forest_of("forest", rows, say("cap.forest", metric=name_of("metric", facts.primary)))


def forest_of(name: str, rows: Sequence[tuple[str, Both, dict[str, Any]]], caption: Both, rule: bool = True) -> Figure:
    """Figures below one another with their intervals: (style, name, figure); with ``rule`` a line through the first."""
    values = [v for _, _, f in rows for v in (f["value"], f.get("low"), f.get("high")) if v is not None]
    plot = Plot(spread(values), (len(rows) - 0.4, -0.6), width=720, height=ROW * len(rows) + 44, left=200, right=170, bottom=32)
    _forest_rows(plot, rows, rule)
    return Figure(name, plot.svg(name), caption, wide=True)


def _forest_rows(plot: Plot, rows: Sequence[tuple[str, Both, dict[str, Any]]], rule: bool) -> None:
    base = plot.height - plot.bottom
    for value in ticks(*plot.x):
        plot.rule(value, plot.y[0], value, plot.y[1], "grid")
        plot.text(plot.px(value), base + 18, same(f"{value:g}"), "middle")
    if rule:
        plot.rule(rows[0][2]["value"], plot.y[0], rows[0][2]["value"], plot.y[1])
    for i, (style, name, figure) in enumerate(rows):
        low, high = (figure["value"] if figure.get(end) is None else figure[end] for end in ("low", "high"))
        plot.rule(low, i, high, i, f"line solid {style}").dot(figure["value"], i, style, 5.5)
        plot.text(plot.left - 12, plot.py(i) + 4, name, "end", "label")
        plot.text(plot.width - plot.right + 14, plot.py(i) + 4, with_interval(figure, "cell"), "start", "label number")


def learning(facts: RunFacts) -> list[Figure]:
    """Losses, and the validation score, by epoch."""
    history = facts.history
    if history is None or "epoch" not in history or history.empty:
        return []
    losses = [name for name in ("train_loss", "validation_loss") if name in history]
    scored = "validation_score" in history and bool(history["validation_score"].notna().any())
    wanted = [(losses, "loss")] * bool(losses) + [(["validation_score"], "score")] * scored
    return [_by_epoch(history, columns, name, facts.best_epoch) for columns, name in wanted]


def _by_epoch(history: pd.DataFrame, columns: list[str], name: str, best: int | None) -> Figure:
    epochs = history["epoch"].to_list()
    box = spread([v for column in columns for v in history[column]])
    plot = Plot((min(epochs) - 0.5, max(epochs) + 0.5), box).axes(say("axis.epoch"), say(f"axis.{name}"))
    if best is not None:
        plot.rule(best, box[0], best, box[1])
    styles = {"train_loss": "s0", "validation_loss": "s1", "validation_score": "s1"}
    for column in columns:
        plot.line(epochs, history[column].to_list(), styles[column])
        if len(epochs) == 1:
            plot.dot(epochs[0], float(history[column].iloc[0]), styles[column])
    keys = tuple((styles[c], say("legend.train" if c == "train_loss" else "legend.validation")) for c in columns)
    return Figure(name, plot.svg(name), say(f"cap.{name}"), keys)


def data_size(facts: RunFacts) -> Figure | None:
    """The small model's figure against the number of training patients (logarithmic)."""
    rows = [row for row in facts.metrics.get("data_size", []) if row.get("value") is not None and row.get("n_patients")]
    if len(rows) < 2:
        return None
    counts = [float(row["n_patients"]) for row in rows]
    lows, highs = ([row["value"] if row.get(end) is None else row[end] for row in rows] for end in ("low", "high"))
    plot = Plot((min(counts) * 0.85, max(counts) * 1.18), spread([*lows, *highs]), log_x=True)
    metric = name_of("metric", str(rows[-1].get("metric") or facts.primary))
    plot.axes(say("axis.patients"), metric, counts).band(counts, lows, highs, "s0")
    plot.line(counts, [row["value"] for row in rows], "s0")
    for count, row in zip(counts, rows, strict=True):
        plot.dot(count, row["value"], "s0")
    return Figure("datasize", plot.svg("datasize"), say("cap.datasize", metric=metric))
