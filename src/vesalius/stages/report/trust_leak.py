"""The section that shows what a split by image would have shown."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import with_interval
from vesalius.stages.report.texts import Both, name_of, say
from vesalius.stages.report.trusted import left_out, result_of, said

WAYS = ("honest", "naive", "difference")


def leak(facts: RunFacts) -> Section | None:
    """Both figures of the small model and their difference; None where ``trust.json`` has no ``leak``."""
    found = result_of(facts, "leak")
    if found is None:
        return None
    section = left_out(facts, "leak", "leak")
    if section is not None:
        return section
    rows = [(say(f"leak.{way}"), with_interval(found[way], "cell")) for way in WAYS]
    head = (say("leak.way"), name_of("metric", found["metric"]))
    return Section("leak", (*said(found), *_how(found)), tables=(tables.table("leak", say("leak.caption"), head, rows),))


def _how(found: dict[str, Any]) -> list[Both]:
    """What was done, and of how many images."""
    key = "leak.sampled" if found["n_images"] < found["of_images"] else "leak.all"
    told = [say(key, n=f"{found['n_images']:,}", all=f"{found['of_images']:,}", repeats=found["repeats"])]
    return told + ([say("small.presence")] if found["of"] == "presence" else [])
