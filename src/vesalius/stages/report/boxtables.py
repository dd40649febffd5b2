"""The tables of a run with boxes: each class, the operating point, counts, the images with most errors, and what the check said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vesalius.stages.report.boxcharts import class_figure
from vesalius.stages.report.boxfacts import classes_of, counts_of, errors_by_image, tally
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskfacts import limits, plain
from vesalius.stages.report.summary import number, rule_in_words, with_interval
from vesalius.stages.report.tables import DASH, MOST_FIGURES, MOST_ROWS, Cell, Table, table
from vesalius.stages.report.texts import Both, name_of, same, say

WORST = 12
SHORT = ("ap50", "ap", "cpm", "sensitivity", "precision", "count_mae")
"""Figures of each class where there are too many classes to show all."""


def classes(facts: RunFacts) -> Table | None:
    """Each class in the test: its true boxes and its figures with their intervals; a row a figure where the classes fit beside one another."""
    seen = facts.metrics.get("per_class", {}).get("test", {})
    names = list(dict.fromkeys(name for figures in seen.values() for name in figures))
    if not names:
        return None
    boxes = {name: _n(facts, name) for name in seen}
    if len(seen) <= MOST_FIGURES:
        rows = [(say("col.boxes"), *boxes.values())] if any(each is not DASH for each in boxes.values()) else []
        rows += [(class_figure(name), *(_figure(figures.get(name)) for figures in seen.values())) for name in names]
        return table("classes", say("cap.classes.boxes"), (say("col.figure"), *map(same, seen)), rows)
    names = [name for name in SHORT if name in names]
    rows = [(same(c), boxes[c], *(_figure(figures.get(name)) for name in names)) for c, figures in list(seen.items())[:MOST_ROWS]]
    return table("classes", say("cap.classes.boxes"), (say("col.class"), say("col.boxes"), *map(class_figure, names)), rows)


def _n(facts: RunFacts, name: str) -> Both:
    found = tally(facts, name)
    return DASH if found is None else same(f"{found.n_true:,}")


def _figure(figure: Mapping[str, Any] | None) -> Both:
    return DASH if not figure or figure.get("value") is None else with_interval(dict(figure), "cell")


def operating(facts: RunFacts) -> Table | None:
    """The operating point of each class, and what it does in the test."""
    points = facts.metrics.get("operating_point") or {}
    rows: list[tuple[Both, ...]] = []
    for name in [name for name in classes_of(facts) if isinstance(points.get(name), Mapping)][:MOST_ROWS]:
        found, rule = tally(facts, name), rule_in_words(str(points[name].get("rule", "")))
        head = (same(name), same(number(points[name].get("threshold"))), rule)
        if found is None:
            rows.append((*head, DASH, DASH, DASH, DASH))
            continue
        share = f"{100 * found.sensitivity:.0f} %" if found.n_true else "–"
        rows.append((*head, same(f"{found.n_true:,}"), same(f"{found.n_found:,} ({share})"), same(f"{found.n_false:,}"), same(number(found.false_per_image))))
    head_of = ("col.class", "col.threshold", "col.rule", "col.boxes", "col.n_found", "col.false_boxes", "col.fp")
    return table("operating", say("cap.operating"), map(say, head_of), rows) if rows else None


def counts(facts: RunFacts) -> Table | None:
    """Mean true count, its error, bias and limits of agreement in every image, by class."""
    stated, rows = facts.metrics.get("counts", {}).get("test", {}), []
    for name in classes_of(facts)[:MOST_ROWS]:
        found, figures = counts_of(facts, name), stated.get(name) or {}
        if found is None and not figures:
            continue
        mean = same(number(float(found[0].mean()))) if found is not None and len(found[0]) else DASH
        bias, low, high = _limits(figures, found)
        error = facts.metrics.get("per_class", {}).get("test", {}).get(name, {}).get("count_mae") or {"value": figures.get("mae")}
        bounds = f"{number(low)} … {number(high)}" if math.isfinite(low) else "–"
        n = figures.get("n", len(found[0]) if found is not None else None)
        rows.append((same(name), same("–" if n is None else f"{n:,}"), mean, _figure(error), same(number(bias)), same(bounds)))
    head = ("col.class", "col.images", "col.mean_count", "col.count_mae", "col.bias", "col.limits")
    return table("counts", say("cap.counts_table"), map(say, head), rows) if rows else None


def _limits(figures: Mapping[str, Any], found: Any) -> tuple[float, float, float]:
    if all(figures.get(key) is not None for key in ("bias", "low", "high")):
        return float(figures["bias"]), float(figures["low"]), float(figures["high"])
    return limits(found[1] - found[0]) if found is not None and len(found[0]) else (math.nan, math.nan, math.nan)


def worst(facts: RunFacts) -> Table | None:
    """The images with most errors at the operating point."""
    found = errors_by_image(facts)
    wrong = found[found["wrong"] > 0].head(WORST) if found is not None else None
    if wrong is None or wrong.empty:
        return None
    rows: list[list[Both | Cell]] = []
    for _, row in wrong.iterrows():
        rows.append([Cell(same(row["id"]), None, "path"), *(same(f"{row[column]:,}") for column in ("n_true", "n_missed", "n_false"))])
    return table("worst", say("cap.worst_images"), map(say, ("col.image", "col.boxes", "col.n_missed", "col.false_boxes")), rows)


def risk(facts: RunFacts) -> Table | None:
    """The second label of the boxes that were found, where there is one."""
    found = facts.metrics.get("risk") or {}
    rows = [(name_of("metric", name), _figure(figure)) for name, figure in found.items() if isinstance(figure, Mapping) and figure.get("value") is not None]
    name = found.get("name") or (facts.target.risk if facts.target is not None else "") or "risk"
    return table("risk", say("cap.risk_table", name=name), map(say, ("col.figure", "col.test")), rows) if rows else None


def checked(facts: RunFacts) -> Table | None:
    """The table ``boxes`` of the audit: number, images and median size of each class."""
    found = facts.audit.get("boxes")
    rows = [(name, each) for name, each in found.items() if isinstance(each, Mapping)] if isinstance(found, Mapping) else []
    columns = list(dict.fromkeys(key for _, each in rows for key in each))
    if not rows or not columns:
        return None
    shown = [(same(name), *(_fact(each.get(key)) for key in columns)) for name, each in rows[:MOST_ROWS]]
    return table("boxes", say("cap.boxes"), (say("col.class"), *(name_of("boxfact", key) for key in columns)), shown)


def _fact(value: Any) -> Both:
    """A number, or the lengths along each axis."""
    if isinstance(value, (list, tuple)):
        return same(" × ".join(_fact(each).en for each in value) or "–")
    if value is None or isinstance(value, str):
        return say("unit.pixels") if value == "pixel" else same(value or "–")
    return same(f"{value:,}") if isinstance(value, int) else plain(float(value))
