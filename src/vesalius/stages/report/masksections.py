"""The sections that only a mask run has, or that say more there."""

from __future__ import annotations

from vesalius.stages.report import charts, maskcharts, masktables, sections, tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskfacts import length_of, tolerance_of
from vesalius.stages.report.pictured import MASK_ROLES, masked_case, pictured
from vesalius.stages.report.sections import Section, section
from vesalius.stages.report.summary import doubt_sentence, gain_sentence, number, value_of, with_interval
from vesalius.stages.report.texts import Both, say

NOTED_EMPTY = frozenset({"both-empty", "truth-empty", "prediction-empty"})
"""Notes of the run that already count the empty masks."""


def results(facts: RunFacts) -> Section:
    """All figures, what they mean, and which masks were empty."""
    tolerance, unit = tolerance_of(facts), length_of(facts)
    measured = say("figures.tolerance", tolerance=tolerance, unit=unit) if tolerance else say("figures.unit", unit=unit)
    lead: list[Both] = [say("figures.lead"), measured]
    if facts.metrics.get("cross_validation"):
        lead.append(say("figures.crossed"))
    lead += masktables.empties(facts) if NOTED_EMPTY.isdisjoint(note.get("code") for note in facts.metrics.get("notes", [])) else []
    return section("figures", "metrics.json", [], [tables.figures(facts)], lead, has_file=bool(facts.metrics))


def classes(facts: RunFacts) -> Section:
    shown = [tables.per_class(facts), masktables.lesions(facts)]
    return section("classes", "metrics.json", [maskcharts.by_class(facts)], shown, has_file=bool(facts.metrics))


def cases(facts: RunFacts) -> Section:
    if not facts.cases:
        return section("cases", "explain/cases.json", [], [masktables.worst(facts)])
    groups, dropped = pictured(facts, MASK_ROLES, masked_case)
    lead = [say("masks.lead"), say("masks.maps")] + ([say("cases.capped", n=dropped)] if dropped else [])
    worst = masktables.worst(facts)
    return Section("cases", tuple(lead), tables=(worst,) if worst else (), cases=tuple(groups))


def sizes(facts: RunFacts) -> Section:
    drawn = [maskcharts.size_plot(facts), maskcharts.agreement_plot(facts)]
    return section("sizes", "predictions.parquet", drawn, [masktables.sizes(facts)], has_file=facts.predictions is not None)


def uncertainty(facts: RunFacts) -> Section:
    """Risk against coverage, and in words whether the uncertainty predicts the error."""
    said, found = doubt_sentence(facts), facts.metrics.get("uncertainty") or {}
    lead = [said] if said else []
    if said and found.get("spearman") is not None:
        values: dict[str, object] = {name: number(value_of(found[name])) for name in ("aurc", "aurc_best", "aurc_chance")}
        agrees = found["spearman"]
        values["spearman"] = with_interval(agrees if isinstance(agrees, dict) else {"value": agrees})
        lead.append(say("doubt.figures", **values))
    drawn = [maskcharts.risk(facts), maskcharts.doubt_plot(facts)]
    return section("uncertainty", "predictions.parquet", drawn, [], lead, has_file=facts.predictions is not None)


def data(facts: RunFacts) -> Section:
    return sections.data(facts, masktables.checked(facts))


def training(facts: RunFacts) -> Section:
    return sections.training(facts, maskcharts.minutes(facts))


def baselines(facts: RunFacts) -> Section | None:
    """Only where there are some: older runs have none."""
    shown, drawn, said = tables.baselines(facts), charts.forest(facts), gain_sentence(facts)
    lead = [say("maskbaselines.lead"), *([said] if said else [])]
    return section("baselines", "metrics.json", [drawn], [shown], lead) if shown or drawn else None


def datasize(facts: RunFacts) -> Section | None:
    """Only where it was measured."""
    return sections.datasize(facts) if charts.data_size(facts) else None
