"""The figures of a run with boxes: FROC, agreement of counts, sensitivity by size, and whether scores can be believed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vesalius.kernels.stats import wilson
from vesalius.stages.report import charts
from vesalius.stages.report.boxfacts import POOLED, classes_of, counts_of, detections_of, sized, tally
from vesalius.stages.report.charts import Figure
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskcharts import log_ticks
from vesalius.stages.report.maskfacts import limits
from vesalius.stages.report.summary import OF_CLASS
from vesalius.stages.report.svg import N_STYLES, Plot, spread
from vesalius.stages.report.texts import Both, name_of, same, say

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives an image at which CPM looks (Setio et al., LUNA16, Med. Image Anal. 2017)."""
FROC_RANGE = (0.09, 11.0)
COUNTED = 6
"""Classes whose counts have a figure of their own."""
MOST_CLASSES = 16
BINS, SIZE_BINS = 10, 6
LEAST_SIZED = 6
"""True boxes from which sensitivity is told by size."""


def froc(facts: RunFacts) -> Figure | None:
    """Sensitivity against false positives an image (logarithmic), all classes together with their band, and each class."""
    curves = facts.metrics.get("froc", {}).get("test", {})
    names = sorted((name for name in curves if curves[name].get("fp_per_image")), key=lambda name: name != POOLED)[:N_STYLES]
    if len(names) == 2 and names[0] == POOLED:
        names = names[1:]  # of one class alone both curves are the same
    if not names:
        return None
    plot = Plot(FROC_RANGE, (0.0, 1.02), log_x=True).axes(say("axis.fp"), say("axis.tpr"), list(RATES))
    first = _within(curves[names[0]])
    if first["low"]:
        plot.band(first["x"], first["low"], first["high"], "s0")
    for i, name in list(enumerate(names))[::-1]:
        seen = _within(curves[name])
        plot.line(seen["x"], seen["y"], f"s{i}")
    keys = [(f"s{i}", say("froc.all") if name == POOLED else same(name)) for i, name in enumerate(names)]
    found = tally(facts)
    if found is not None and found.n_true and FROC_RANGE[0] <= found.false_per_image <= FROC_RANGE[1]:
        plot.dot(found.false_per_image, found.sensitivity, "point", 5)
        keys.append(("point", say("legend.operating")))
    return Figure("froc", plot.svg("froc"), say("cap.froc"), tuple(keys) if len(keys) > 1 else ())


def _within(curve: dict[str, Any]) -> dict[str, list[float]]:
    """A curve cut to the axis; it goes on level to both of its ends."""
    x = np.asarray(curve["fp_per_image"], float)
    order = np.argsort(x, kind="stable")
    x, low, high = x[order], *FROC_RANGE
    made: dict[str, list[float]] = {"x": [low, *x[(x > low) & (x < high)].tolist(), high]}
    for key, name in (("y", "sensitivity"), ("low", "low"), ("high", "high")):
        values = np.array([math.nan if v is None else float(v) for v in curve.get(name) or []], float)
        if len(values) != len(x) or np.isnan(values).all():
            made[key] = []
            continue
        values = values[order]
        before, after = values[x <= low], values[x < high]
        made[key] = [float(before[-1]) if len(before) else 0.0, *values[(x > low) & (x < high)].tolist(), float(after[-1]) if len(after) else 0.0]
    return made


def counts(facts: RunFacts) -> list[Figure | None]:
    """Bland-Altman of the count in each image, a figure a class; larger dots stand for more images."""
    return [_counts(facts, i, name) for i, name in enumerate(classes_of(facts)[:COUNTED])]


def _counts(facts: RunFacts, i: int, name: str) -> Figure | None:
    found = counts_of(facts, name)
    if found is None or len(found[0]) < 3 or not (found[0].any() or found[1].any()):
        return None
    means, gaps = (found[0] + found[1]) / 2, found[1] - found[0]
    stated = facts.metrics.get("counts", {}).get("test", {}).get(name) or {}
    bounds = tuple(float(stated[k]) for k in ("bias", "low", "high")) if all(stated.get(k) is not None for k in ("bias", "low", "high")) else limits(gaps)
    plot = Plot(spread([0.0, *means]), spread([-1.0, 1.0, *gaps, *bounds])).axes(say("axis.count_mean"), say("axis.count_gap"))
    plot.rule(plot.x[0], 0.0, plot.x[1], 0.0)
    for value, style in zip(bounds, ("solid", "thin", "thin"), strict=True):
        plot.rule(plot.x[0], value, plot.x[1], value, f"line {style} s{i}")
    places, n = np.unique(np.column_stack([means, gaps]), axis=0, return_counts=True)
    for (mean, gap), number in zip(places, n, strict=True):
        plot.dot(float(mean), float(gap), f"s{i} cloud", 2.6 + 7 * math.sqrt(number / max(len(means), 1)))
    return Figure(f"counts{i}", plot.svg(f"counts{i}"), say("cap.counts", name=name))


def reliability(facts: RunFacts) -> Figure | None:
    """Share of true boxes among those of a score, against the score."""
    seen = facts.metrics.get("curves", {}).get("test", {}).get("reliability") or _reliability(facts)
    return charts.reliability_of(seen, say("cap.reliability.boxes"), say("axis.score_box"), say("axis.share_true")) if seen else None


def _reliability(facts: RunFacts) -> dict[str, list[float]] | None:
    rows = detections_of(facts)
    judged = rows[rows["score"].notna() & rows["true"].notna()] if rows is not None else None
    if judged is None or len(judged) < BINS:
        return None
    bins = np.clip((judged["score"].to_numpy(float) * BINS).astype(int), 0, BINS - 1)
    grouped = judged.groupby(bins)
    return {"confidence": grouped["score"].mean().tolist(), "observed": grouped["true"].mean().tolist(), "n": grouped.size().tolist()}


def by_size(facts: RunFacts) -> Figure | None:
    """Share of the true boxes that were found at the operating point, by their size (bins of as many boxes each)."""
    found = sized(facts)
    if found is None or len(found.rows) < LEAST_SIZED or found.rows["size"].nunique() < 3:
        return None
    rows = found.rows.sort_values("size")
    low, high = float(rows["size"].iloc[0]) * 0.9, float(rows["size"].iloc[-1]) * 1.1
    plot = Plot((low, high), (0.0, 1.02), log_x=True).axes(say("axis.box_size", unit=found.unit), say("axis.tpr"), log_ticks(low, high))
    names = [name for name in classes_of(facts) if (rows["class"] == name).sum() >= LEAST_SIZED][:N_STYLES]
    for i, name in enumerate(names):
        _by_size(plot, rows.loc[rows["class"] == name, "size"].to_numpy(float), rows.loc[rows["class"] == name, "met"].to_numpy(bool), i)
    keys = tuple((f"s{i}", same(name)) for i, name in enumerate(names)) if len(names) > 1 else ()
    return Figure("bysize", plot.svg("bysize"), say("cap.bysize"), keys) if names else None


def _by_size(plot: Plot, sizes: np.ndarray, met: np.ndarray, i: int) -> None:
    parts = np.array_split(np.arange(len(sizes)), min(SIZE_BINS, max(1, len(sizes) // LEAST_SIZED)))
    middles, shares = [float(np.median(sizes[part])) for part in parts], [float(met[part].mean()) for part in parts]
    plot.line(middles, shares, f"s{i}")
    for middle, share, part in zip(middles, shares, parts, strict=True):
        low, high = wilson(int(met[part].sum()), len(part))
        plot.rule(middle, low, middle, high, f"line thin s{i}").dot(middle, share, f"s{i}", 3.6)


def by_class(facts: RunFacts) -> Figure | None:
    """The main figure of each class with its interval."""
    seen = facts.metrics.get("per_class", {}).get("test", {})
    key = OF_CLASS.get(facts.primary, facts.primary)
    rows = [("s0", same(name), each[key]) for name, each in seen.items() if (each.get(key) or {}).get("value") is not None]
    return charts.forest_of("byclass", rows[:MOST_CLASSES], say("cap.byclass.boxes", metric=class_figure(key)), rule=False) if len(rows) > 1 else None


def class_figure(name: str) -> Both:
    """A figure's name where it is of one class; ``ap`` is the mean over the overlaps of COCO here."""
    return say("boxmetric.ap") if name == "ap" else name_of("metric", name)
