"""The section that shows which answers cannot be ruled out at a stated error."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH, Table
from vesalius.stages.report.texts import Both, same, say
from vesalius.stages.report.trusted import left_out, result_of, said

SHOWN = ("coverage", "decided", "size", "error_decided", "error_all")
WORDS = ("conformal.coverage", "conformal.decided", "conformal.size", "conformal.wrong", "conformal.all_wrong")


def conformal(facts: RunFacts) -> Section | None:
    """Sets of each class and at several errors; None where ``trust.json`` has no ``conformal``."""
    found = result_of(facts, "conformal")
    if found is None:
        return None
    section = left_out(facts, "conformal", "conformal")
    if section is not None:
        return section
    shown = [made for made in (_classes(found), _errors(found)) if made is not None]
    return Section("conformal", (*said(found), *([say("conformal.note")] if shown else [])), tables=tuple(shown))


def cell(figure: dict[str, Any] | None) -> Both:
    return DASH if not figure or figure.get("value") is None else with_interval(figure, "cell")


def _classes(found: dict[str, Any]) -> Table | None:
    if not found.get("classes"):
        return None
    rows = []
    for name, each in list(found["classes"].items())[: tables.MOST_ROWS]:
        low, high = each["promised"]
        rows.append((same(name), same(f"{each['n_patients']:,}"), DASH if each["bound"] is None else same(f"{low:.2f} – {high:.2f}"), cell(each["test"])))
    head = map(say, ("col.class", "conformal.patients", "conformal.promised", "conformal.coverage"))
    return tables.table("conformal-classes", say("conformal.caption", error=f"{found['error']:.0%}"), head, rows)


def _errors(found: dict[str, Any]) -> Table | None:
    if not found.get("by_error"):
        return None
    rows = [(same(f"{each['error']:.0%}"), *(cell(each.get(name)) for name in SHOWN)) for each in found["by_error"]]
    return tables.table("conformal-errors", say("conformal.errors"), map(say, ("conformal.error", *WORDS)), rows)
