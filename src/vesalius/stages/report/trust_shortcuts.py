"""The section of the shortcut tests: what a small model reaches without the lesion."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.tables import DASH, Cell
from vesalius.stages.report.texts import Both, name_of, same, say
from vesalius.stages.report.trusted import left_out, result_of, said

STYLES = {"solves": "wrong", "no": "right"}


def shortcuts(facts: RunFacts) -> Section | None:
    """A row a view, beside the whole picture; None where ``trust.json`` has no ``shortcuts``."""
    found = result_of(facts, "shortcuts")
    if found is None:
        return None
    section = left_out(facts, "shortcuts", "shortcuts")
    if section is not None:
        return section
    head = (say("shortcuts.view"), name_of("metric", found["metric"]), say("shortcuts.p"), say("shortcuts.network"), say("shortcuts.verdict"))
    rows = [_whole(found), *(_row(name, view) for name, view in found["views"].items())]
    lead = [*said(found), say("shortcuts.lead"), say("shortcuts.images", n=f"{found['n_images']:,}", all=f"{found['of_images']:,}")]
    lead += [say("small.presence")] if found["of"] == "presence" else []
    return Section("shortcuts", tuple(lead), tables=(tables.table("shortcuts", say("shortcuts.caption"), head, rows),))


def _whole(found: dict[str, Any]) -> list[Both | Cell]:
    return [say("view.whole"), with_interval(found["whole"], "cell") if found.get("whole") else DASH, DASH, DASH, DASH]


def _row(name: str, view: dict[str, Any]) -> list[Both | Cell]:
    if not view.get("applies"):
        return [name_of("view", name), DASH, DASH, DASH, Cell(say(f"view.why.{view['why']}"))]
    difference = view.get("network_minus")
    against = with_interval(difference, "cell.signed") if difference else DASH
    verdict = Cell(say(f"verdict.{view['verdict']}"), None, STYLES.get(view["verdict"], ""))
    return [name_of("view", name), with_interval(view["figure"], "cell"), same(f"{view['p']:.3f}"), against, verdict]
