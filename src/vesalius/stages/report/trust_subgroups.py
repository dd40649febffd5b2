"""The sections that show figures by group, and how much of a figure is the luck of the seed."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.charts import Figure, forest_of
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import number, signed, with_interval
from vesalius.stages.report.tables import DASH, Table
from vesalius.stages.report.texts import Both, name_of, same, say
from vesalius.stages.report.trusted import left_out, result_of, said

SHOWN = ("sensitivity", "specificity", "accuracy", "ppv", "precision", "brier", "nsd", "mae")
MOST_FIGURES, MOST_ROWS, MOST_DRAWN = 4, 60, 16
DRAWS = 2000


def subgroups(facts: RunFacts) -> Section | None:
    """Figures of each group and the gaps between them; None where ``trust.json`` has no ``subgroups``."""
    found = result_of(facts, "subgroups")
    if found is None:
        return None
    section = left_out(facts, "subgroups", "subgroups")
    if section is not None:
        return section
    lead = [*said(found), *([say("subgroups.fewer", n=found["draws"])] if found["draws"] < DRAWS else [])]
    drawn, shown = _forest(facts, found), [_groups(found), _gaps(found)]
    return Section("subgroups", tuple(lead), figures=(drawn,) if drawn else (), tables=tuple(each for each in shown if each))


def _rows(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{column}: {name}", row) for column, facts in found["columns"].items() for name, row in facts.get("groups", {}).items()]


def _forest(facts: RunFacts, found: dict[str, Any]) -> Figure | None:
    metric = found["metric"]
    every = facts.figure(metric)
    rows = [("s0", same(name), row["figures"][metric]) for name, row in _rows(found) if metric in row["figures"]][:MOST_DRAWN]
    if every is None or not rows:
        return None
    return forest_of("subgroups", [("s7", say("subgroups.all"), every), *rows], say("subgroups.forest", metric=name_of("metric", metric)))


def _groups(found: dict[str, Any]) -> Table | None:
    rows, metric = _rows(found)[:MOST_ROWS], found["metric"]
    there = {name for _, row in rows for name in row["figures"]}
    names = [metric, *(name for name in SHOWN if name in there and name != metric)][:MOST_FIGURES]
    shown = [(same(name), same(f"{row['n_patients']:,}"), *_figures(row, names)) for name, row in rows]
    head = (say("subgroups.group"), say("subgroups.patients"), *(name_of("metric", name) for name in names))
    return tables.table("subgroups", say("subgroups.caption"), head, shown) if shown else None


def _figures(row: dict[str, Any], names: list[str]) -> list[Both]:
    """The figures of a group; the reason in the first place where it is too small."""
    why = row.get("why")
    if why:
        return [Both(why["en"], why["zh"]), *[DASH] * (len(names) - 1)]
    return [with_interval(row["figures"][name], "cell") if name in row["figures"] else DASH for name in names]


def _gaps(found: dict[str, Any]) -> Table | None:
    if not found["gaps"]:
        return None
    rows = [(say("subgroups.against", column=gap["column"], group=gap["group"], other=gap["against"] or say("subgroups.others")),
             same(f"{signed(gap['value'])} ({signed(gap['low'])} … {signed(gap['high'])})"), same(number(gap["p_holm"])), same(number(gap["detectable"])))
            for gap in found["gaps"][:MOST_ROWS]]
    head = (say("subgroups.compared"), say("subgroups.value"), say("subgroups.p"), say("subgroups.least"))
    return tables.table("gaps", say("subgroups.gaps", metric=name_of("metric", found["metric"])), head, rows)


CAPTIONS = {"seeds": "noise.seeds", "members": "noise.members", "folds": "noise.folds"}
"""By what the band is from."""


def noise(facts: RunFacts) -> Section | None:
    """The band of the figures over the seeds; None where ``trust.json`` has no ``noise``."""
    found = result_of(facts, "noise")
    if found is None:
        return None
    section = left_out(facts, "noise", "noise")
    if section is not None:
        return section
    rows = [(name_of("metric", name), same(number(own["mean"])), same(number(own["sd"])), same(f"{number(own['low'])} … {number(own['high'])}"),
             same(str(int(own["n"])))) for name, own in found["band"].items()]
    head = (say("col.figure"), say("noise.mean"), say("noise.sd"), say("noise.range"), say("noise.n"))
    return Section("noise", tuple(said(found)), tables=(tables.table("noise", say(CAPTIONS[found["from"]]), head, rows),))
