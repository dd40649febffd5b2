"""The section that shows how the error falls when doubtful cases are left to a doctor."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.charts import Figure
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import number, with_interval
from vesalius.stages.report.svg import Plot
from vesalius.stages.report.tables import DASH, Table
from vesalius.stages.report.texts import Both, same, say
from vesalius.stages.report.trust_conformal import cell
from vesalius.stages.report.trusted import left_out, result_of, said


def selective(facts: RunFacts) -> Section | None:
    """Curve and thresholds; None where ``trust.json`` has no ``selective``."""
    found = result_of(facts, "selective")
    if found is None:
        return None
    section = left_out(facts, "selective", "selective")
    if section is not None:
        return section
    return Section("selective", (*said(found), *_area(found)), (_curve(found),), (_promises(found),))


def _area(found: dict[str, Any]) -> list[Both]:
    if not found.get("aurc") or not found.get("aurc_best"):
        return []
    best, chance = number(found["aurc_best"]["value"]), number(found["aurc_chance"])
    return [say("selective.aurc", value=with_interval(found["aurc"]), best=best, chance=chance)]


def _curve(found: dict[str, Any]) -> Figure:
    x, y = found["curve"]["coverage"], found["curve"]["risk"]
    plot = Plot((0.0, 1.0), (0.0, max(0.02, 1.1 * max(y)))).axes(say("selective.kept"), say("selective.risk"))
    return Figure("selective", plot.line(x, y, "s0").svg("selective"), say("selective.caption"))


def _promises(found: dict[str, Any]) -> Table:
    rows = []
    for each in found["promises"]:
        if each["threshold"] is None:
            rows.append((same(f"{each['error']:.0%}"), say("selective.never"), DASH, DASH))
        else:
            rows.append((same(f"{each['error']:.0%}"), same(f"{each['threshold']:.3f}"), cell(each["test"]["coverage"]), cell(each["test"]["error"])))
    head = map(say, ("conformal.error", "selective.threshold", "selective.test_kept", "selective.test_error"))
    return tables.table("selective", say("selective.table", n=f"{found['n_calibrated']:,}", sure=f"{found['sure']:.0%}"), head, rows)
