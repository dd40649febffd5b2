"""The section that says whether the network looks beside the body or at markers."""

from __future__ import annotations

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH
from vesalius.stages.report.texts import same, say
from vesalius.stages.report.trusted import left_out, result_of, said

KEYS = ("outside", "on_marker")


def attention(facts: RunFacts) -> Section | None:
    """Both shares; None where ``trust.json`` has no ``attention``."""
    found = result_of(facts, "attention")
    if found is None:
        return None
    section = left_out(facts, "attention", "attention")
    if section is not None:
        return section
    rows = [(say(f"attention.{key}"), with_interval(found[key], "cell") if found[key] else DASH, same(found[key]["n"]) if found[key] else DASH) for key in KEYS]
    shown = tables.table("attention", say("attention.caption"), (say("attention.where"), say("attention.share"), say("attention.n")), rows)
    lead = say("attention.lead", n=f"{found['n_cases']:,}", all=f"{found['of_cases']:,}")
    return Section("attention", (*said(found), lead), tables=(shown,))
