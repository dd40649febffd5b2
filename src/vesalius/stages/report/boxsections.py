"""The sections that only a run with boxes has, or that say more there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.stages.report import boxcharts, boxtables, charts, maskcharts, sections, tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.pictured import BOX_ROLES, boxed_case, pictured
from vesalius.stages.report.sections import Section, section
from vesalius.stages.report.summary import gain_sentence, number
from vesalius.stages.report.texts import Both, name_of, say


def results(facts: RunFacts) -> Section:
    """All figures, what they mean, and FROC and precision-recall curves."""
    lead: list[Both] = [say("boxfigures.lead"), _matching(facts)]
    drawn = [boxcharts.froc(facts), charts.curve(facts, "pr")]
    return section("figures", "metrics.json", drawn, [tables.figures(facts), boxtables.risk(facts)], lead, has_file=bool(facts.metrics))


def _matching(facts: RunFacts) -> Both:
    """When two boxes are of one object, in the words of the run."""
    found: Any = facts.metrics.get("matching")
    rule = str(found.get("rule", "")) if isinstance(found, Mapping) else str(found or "")
    return say("matching.centre" if rule.startswith("centre") else "matching.iou")


def classes(facts: RunFacts) -> Section:
    drawn = [boxcharts.by_class(facts), boxcharts.by_size(facts)]
    return section("classes", "metrics.json", drawn, [boxtables.classes(facts), boxtables.operating(facts)], has_file=bool(facts.metrics))


def cases(facts: RunFacts) -> Section:
    worst = boxtables.worst(facts)
    if not facts.cases:
        return section("cases", "explain/cases.json", [], [worst])
    groups, dropped = pictured(facts, BOX_ROLES, boxed_case)
    lead = [say("boxcases.lead"), say("boxcases.maps")] + ([say("cases.capped", n=dropped)] if dropped else [])
    return Section("cases", tuple(lead), tables=(worst,) if worst else (), cases=tuple(groups))


def counting(facts: RunFacts) -> Section:
    """How far the number of boxes in an image can be believed."""
    files = "metrics.json" if facts.detections is not None else "detections.parquet"
    return section("counting", files, boxcharts.counts(facts), [boxtables.counts(facts)], [say("counting.lead")], has_file=facts.detections is not None)


def scores(facts: RunFacts) -> Section:
    """Whether a score is the share of true boxes."""
    found = facts.metrics.get("calibration") or {}
    on = name_of("legend", facts.chosen_on)
    lead = [say("cal.method", method=name_of("method", found["method"]), on=on)] if found.get("method") else []
    seen = found.get("test") or {}
    if seen.get("ece") is not None:
        lead.append(say("scores.test", ece=number(seen["ece"]), n=f"{seen.get('n', 0):,}"))
    drawn = boxcharts.reliability(facts)
    return section("scores", "detections.parquet", [drawn], [tables.calibration(facts)], lead, has_file=facts.detections is not None)


def baselines(facts: RunFacts) -> Section | None:
    """Only where there are some."""
    shown, drawn, said = tables.baselines(facts), charts.forest(facts), gain_sentence(facts)
    lead = [say("boxbaselines.lead"), *([said] if said else [])]
    return section("baselines", "metrics.json", [drawn], [shown], lead) if shown or drawn else None


def data(facts: RunFacts) -> Section:
    return sections.data(facts, boxtables.checked(facts))


def training(facts: RunFacts) -> Section:
    return sections.training(facts, maskcharts.minutes(facts))


