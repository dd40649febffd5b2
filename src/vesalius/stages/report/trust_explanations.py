"""The section of the explanations' warrants, and which maps the page leaves out."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH, Cell, Table
from vesalius.stages.report.texts import Both, name_of, same, say
from vesalius.stages.report.trusted import result_of, said

MOST_COLUMNS = 12


def explanations(facts: RunFacts) -> Section | None:
    """A row a kind of map with its three tests, and the clinical columns; None where ``trust.json`` has no ``explanations``."""
    found = result_of(facts, "explanations")
    if found is None:
        return None
    lead, shown = [*said(found)], []
    if found.get("methods"):
        lead += [say("explanations.lead"), say("explanations.cases", n=f"{found['n_cases']:,}")]
        shown.append(_warrants(found["methods"]))
    if found.get("nearest"):
        lead.append(say("explanations.nearest", n=f"{found['nearest']['n_training']:,}"))
    if found.get("columns"):
        shown.append(_columns(found["columns"]))
    return Section("explanations", tuple(lead), tables=tuple(shown))


def _warrants(methods: dict[str, dict[str, Any]]) -> Table:
    head = tuple(say(f"explanations.{key}") for key in ("map", "rank", "ssim", "gain", "hits", "chance", "verdict"))
    return tables.table("explanations", say("explanations.caption"), head, [_row(name, each) for name, each in methods.items()])


def _row(name: str, found: dict[str, Any]) -> list[Both | Cell]:
    random, erased, pointing = (found.get(key) for key in ("randomised", "erased", "pointing"))
    figures: list[Both | Cell] = [with_interval(random[key], "cell") if random else DASH for key in ("rank", "ssim")]
    figures.append(with_interval(erased["over_moved"], "cell.signed") if erased else DASH)
    figures += [with_interval(pointing["hits"], "cell"), same(f"{pointing['chance']:.2f}")] if pointing else [DASH, DASH]
    key = "untested" if not found.get("tested", True) else "shown" if found["shown"] else "hidden"
    return [name_of("method", name), *figures, Cell(say(f"warrant.{key}"), None, {"shown": "right", "hidden": "wrong"}.get(key, ""))]


def _columns(columns: list[dict[str, Any]]) -> Table:
    head = (say("explanations.column"), say("explanations.importance"))
    rows = [(same(row["column"]), with_interval(row, "cell.signed")) for row in columns[:MOST_COLUMNS]]
    return tables.table("columns", say("explanations.columns"), head, rows)
