"""The section of the test of robustness: the same pictures, taken a little differently."""

from __future__ import annotations

from typing import Any

from vesalius.core.target import MARKED
from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH, Cell
from vesalius.stages.report.texts import Both, name_of, say
from vesalius.stages.report.trusted import left_out, result_of, said

STYLES = {"holds": "right", "threshold": "wrong", "order": "wrong", "worse": "wrong"}


def robustness(facts: RunFacts) -> Section | None:
    """A row a change, under the pictures as they are; None where ``trust.json`` has no ``robustness``."""
    found = result_of(facts, "robustness")
    if found is None:
        return None
    section = left_out(facts, "robustness", "robustness")
    if section is not None:
        return section
    names = list(found["plain"])
    head = (say("robustness.change"), *(name_of("metric", name) for name in names), say("robustness.verdict"))
    rows = [_row(say("change.none"), found["plain"], names, DASH)]
    rows += [_row(Both(*each["what"]), each["figures"], names, _verdict(each["verdict"], found)) for each in found["changes"].values()]
    lead = (*said(found), say("robustness.lead"), say("robustness.images", n=f"{found['n_images']:,}", all=f"{found['of_images']:,}"))
    unasked = found.get("unasked")
    lead += (say("robustness.unasked", what=Both(", ".join(en for en, _ in unasked), "、".join(zh for _, zh in unasked))),) if unasked else ()
    caption = say("robustness.caption_marked") if facts.target is not None and facts.target.kind in MARKED else say("robustness.caption")
    return Section("robustness", lead, tables=(tables.table("robustness", caption, head, rows),))


def _row(what: Both, figures: dict[str, Any], names: list[str], verdict: Both | Cell) -> list[Both | Cell]:
    return [what, *(with_interval(figures[name], "cell") if name in figures else DASH for name in names), verdict]


def _verdict(verdict: str, found: dict[str, Any]) -> Cell:
    named = "class" if verdict == "threshold" and found["threshold"] is None else verdict
    return Cell(say(f"verdict.{named}"), None, STYLES[verdict])
