"""What each section of the page shows; `kinds` says which of them a kind of target has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vesalius.stages.report import charts, tables
from vesalius.stages.report.charts import Figure
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.pictured import ROLES, Group, labelled_case, pictured
from vesalius.stages.report.reasons import reason
from vesalius.stages.report.summary import classes_of, data_size_notes, gain_sentence
from vesalius.stages.report.tables import Table
from vesalius.stages.report.texts import Both, name_of, same, say


@dataclass(frozen=True)
class Section:
    """One part of the page. Without content it says why in ``lead``."""

    name: str
    lead: tuple[Both, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cases: tuple[Group, ...] = ()
    code: str = ""

    @property
    def title(self) -> Both:
        return say(f"h.{self.name}")


Maker = Callable[[RunFacts], Section | None]
"""Makes one section; None where the section has no meaning in this run."""


def section(name: str, files: str, figures: list[Figure | None], shown: list[Table | None], lead: list[Both] | None = None, has_file: bool = False) -> Section:
    """A section, or the sentence why it is left out."""
    drawn, listed = tuple(f for f in figures if f), tuple(t for t in shown if t)
    if not drawn and not listed:
        return Section(name, (say("missing_of" if has_file else "missing", files=files),))
    return Section(name, tuple(lead or ()), drawn, listed)


def results(facts: RunFacts) -> Section:
    return section("figures", "metrics.json", [], [tables.figures(facts)], has_file=bool(facts.metrics))


def curves(facts: RunFacts) -> Section:
    drawn = [charts.curve(facts, "roc"), charts.curve(facts, "pr"), charts.reliability(facts), charts.histogram(facts), charts.scatter(facts)]
    found = facts.metrics.get("calibration") or {}
    on = name_of("legend", facts.chosen_on)
    lead = [say("cal.method", method=name_of("method", found["method"]), on=on)] if found.get("method") else []
    calibrated = [tables.calibration(facts)] if any(drawn) else []
    return section("curves", "metrics.json", drawn, calibrated, lead, has_file=bool(facts.metrics))


def confusion(facts: RunFacts) -> Section:
    """Where an image has one class; elsewhere there is nothing to confuse."""
    return section("confusion", "metrics.json", [], [tables.confusion(facts)], has_file=bool(facts.metrics))


def classes(facts: RunFacts) -> Section:
    return section("classes", "metrics.json", [], [tables.per_class(facts)], has_file=bool(facts.metrics))


def baselines(facts: RunFacts) -> Section:
    said = gain_sentence(facts)
    lead = [said] if said else []
    return section("baselines", "metrics.json", [charts.forest(facts)], [tables.baselines(facts)], lead, has_file=bool(facts.metrics))


def data(facts: RunFacts, *more: Table | None) -> Section:
    """What the check found; ``more`` tables stand between the facts and the issues."""
    audit = facts.audit
    if not audit:
        return section("data", "audit.json", [], [])
    lead = [say("audit.lead", n=f"{audit.get('n_images', 0):,}", p=f"{audit.get('n_patients', 0):,}", layout=name_of("layout", str(audit.get("layout", "–"))))]
    if audit.get("patient_evidence"):
        lead.append(say("audit.evidence", evidence=reason(str(audit["patient_evidence"]).rstrip(". 。"))))
    issues = tables.issues(facts)
    return section("data", "audit.json", [], [tables.audited(facts), *more, issues], lead if issues else [*lead, say("audit.clean")], has_file=True)


def split(facts: RunFacts) -> Section:
    lead = []
    if facts.cohort is not None and "excluded_because" in facts.cohort:
        why = facts.cohort.loc[facts.cohort["split"] == "excluded", "excluded_because"].fillna("–").astype(str).value_counts()
        lead = [say("excluded", n=f"{n:,}", why=reason(str(told))) for told, n in list(why.items())[:10]]
    return section("split", "cohort.parquet", [], [tables.labels(facts)], lead, has_file=facts.cohort is not None)


def ranking(facts: RunFacts) -> Section | None:
    """Only where several networks were compared; those that could not be trained are named with the reason."""
    found = tables.ranking(facts)
    if found is None or facts.ranking is None:
        return None
    lost = facts.ranking[facts.ranking["reason"].notna()] if "reason" in facts.ranking else facts.ranking.iloc[:0]
    return Section("ranking", tuple(say("ranking.lost", network=row["network"], why=row["reason"]) for _, row in lost.iterrows()), tables=(found,))


def training(facts: RunFacts, *more: Figure | None) -> Section:
    """The learning curves; ``more`` figures follow them."""
    lead = []
    best = facts.best_epoch
    if best is not None and facts.history is not None:
        lead = [say("training.last" if facts.keeps_last else "training.kept", epochs=len(facts.history), best=best)]
    if len(facts.training) > 1 and lead:
        lead.append(say("training.first", n=len(facts.training)))
    if facts.started:
        lead.append(Both(facts.started["en"], facts.started["zh"]))
    return section("training", "log/history.csv", [*charts.learning(facts), *more], [], lead, has_file=facts.history is not None)


def datasize(facts: RunFacts) -> Section:
    return section("datasize", "metrics.json", [charts.data_size(facts)], [], data_size_notes(facts), has_file=bool(facts.metrics))


def plan(facts: RunFacts) -> Section:
    lead = [say("plan.lead"), say("plan.hash", hash=facts.plan.hash)] if facts.plan else []
    return section("plan", "plan.toml", [], [t for _, t in tables.plan(facts)], lead)


def model(facts: RunFacts) -> Section:
    if facts.weights_hash is None:
        return section("model", "model/weights.safetensors", [], [])
    target = facts.target
    lead = [say("model.files"), say("not_device"), say("doctor")]
    rows = [(say("col.kind"), name_of("kind", target.kind)), (say("col.class"), classes_of(target))] if target else []
    rows += [(say("col.network"), same(facts.plan.get("network.name", "–")))] if facts.plan else []
    shown = tables.table("model", say("h.model"), (say("col.name"), say("col.value")), rows, numeric=False)
    return Section("model", tuple(lead), tables=(shown,), code=f"vesalius predict {facts.run.resolve().name} IMAGE --out DIR")


def environment(facts: RunFacts) -> Section:
    lead = [] if facts.environment else [say("missing", files="environment.json")]
    return section("environment", "environment.json", [], [tables.environment(facts)], lead)


def cases(facts: RunFacts) -> Section:
    if not facts.cases:
        return section("cases", "explain/cases.json", [], [])
    groups, dropped = pictured(facts, ROLES, labelled_case)
    lead = [say("cases.lead")] + ([say("cases.capped", n=dropped)] if dropped else [])
    return Section("cases", tuple(lead), cases=tuple(groups))
