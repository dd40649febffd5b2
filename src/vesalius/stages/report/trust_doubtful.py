"""The section that names the labels that are probably wrong."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.tables import DASH, Cell, Table
from vesalius.stages.report.texts import Both, name_of, same, say
from vesalius.stages.report.trusted import left_out, result_of, said

MOST_NAMED = 20


def doubtful(facts: RunFacts) -> Section | None:
    """The most doubtful labels; None where ``trust.json`` has no ``doubtful``."""
    found = result_of(facts, "doubtful")
    if found is None:
        return None
    section = left_out(facts, "doubtful", "doubtful")
    if section is not None:
        return section
    shown = _named(found["cases"][:MOST_NAMED])
    return Section("doubtful", tuple(said(found)), tables=(shown,) if shown else ())


def _named(cases: list[dict[str, Any]]) -> Table | None:
    if not cases:
        return None
    caption = say("doubtful.caption")
    if "likelier" not in cases[0]:
        rows: list[tuple[Both | Cell, ...]] = [(_id(each), name_of("split", each["split"]), Both(each["en"], each["zh"])) for each in cases]
        return tables.table("doubtful", caption, map(say, ("col.files", "col.split", "doubtful.what")), rows, numeric=False)
    rows = [
        (_id(each), name_of("split", each["split"]), same(each["label"]), same(each["likelier"]),
         DASH if each["p_likelier"] is None else same(f"{each['p_likelier']:.2f}"), say("doubtful.yes") if each["convinced"] else say("doubtful.no"))
        for each in cases
    ]
    head = map(say, ("col.files", "col.split", "doubtful.given", "doubtful.likelier", "doubtful.p", "doubtful.sure"))
    return tables.table("doubtful", caption, head, rows, numeric=False)


def _id(each: dict[str, Any]) -> Cell:
    return Cell(same(each["id"]), None, "path")
