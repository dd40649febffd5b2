"""What the sections of the tests of trust have in common: the result of a test, and its sentences for the reader."""

from __future__ import annotations

from typing import Any

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.texts import Both

GRAVE = ("error", "warning")
SEVERITIES = (*GRAVE, "info", "ok")
SIGN = "⚠ "


def result_of(facts: RunFacts, name: str) -> dict[str, Any] | None:
    """What ``trust.json`` holds under a name; None where it holds nothing."""
    found = facts.trust.get(name)
    return found if isinstance(found, dict) and found else None


def said(found: dict[str, Any]) -> list[Both]:
    """The sentences of a result, the gravest first (and marked as such); why it does not apply where that is so."""
    rows = sorted(found.get("sentences") or [], key=lambda row: SEVERITIES.index(row["severity"]))
    told = [Both(f"{SIGN}{row['en']}", f"{SIGN}{row['zh']}") if row["severity"] in GRAVE else Both(row["en"], row["zh"]) for row in rows]
    why = found.get("why")
    return told or ([Both(why["en"], why["zh"])] if isinstance(why, dict) else [])


def left_out(facts: RunFacts, name: str, section: str) -> Section | None:
    """The section of a test that has no meaning for this run (a sentence why); None where the test gave figures."""
    found = result_of(facts, name)
    return Section(section, tuple(said(found))) if found is not None and found.get("applies") is False else None
