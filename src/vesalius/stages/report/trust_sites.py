"""The section that says whether site and machine are written in the image."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH, Cell
from vesalius.stages.report.texts import Both, same, say
from vesalius.stages.report.trusted import left_out, result_of, said

STYLES = {"usable": "wrong", "inseparable": "wrong", "hidden": "right"}


def sites(facts: RunFacts) -> Section | None:
    """A row a column; None where ``trust.json`` has no ``sites``."""
    found = result_of(facts, "sites")
    if found is None:
        return None
    section = left_out(facts, "sites", "sites")
    if section is not None:
        return section
    head = (say("sites.column"), say("sites.values"), say("sites.image"), say("sites.label"), say("sites.verdict"))
    rows = [_row(name, row) for name, row in found["columns"].items()]
    lead = (*said(found), say("shortcuts.images", n=f"{found['n_images']:,}", all=f"{found['of_images']:,}"))
    return Section("sites", lead, tables=(tables.table("sites", say("sites.caption"), head, rows),))


def _row(name: str, row: dict[str, Any]) -> list[Both | Cell]:
    values = same(", ".join(f"{value} ({n:,})" for value, n in row["values"].items()))
    figures = [with_interval(row[key], "cell") if row[key] else DASH for key in ("from_image", "label_from_it")]
    return [same(name), values, *figures, Cell(say(f"sites.{row['verdict']}"), None, STYLES.get(row["verdict"], ""))]
