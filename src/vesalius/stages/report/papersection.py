"""The section that leads to the model card and the reporting checklists, and says whether the run was reproduced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vesalius.errors import RunError
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import Section
from vesalius.stages.report.tables import Table, table
from vesalius.stages.report.texts import Both, same, say

FOLDER = "paperwork"


def paperwork(facts: RunFacts) -> Section | None:
    """What the paperwork holds, or how it is written; None before there are figures."""
    if not facts.metrics:
        return None
    again = _read(facts.run / "log" / "reproduced.json")
    said = [Both(en, zh) for en, zh in zip(again["en"], again["zh"], strict=True)] if again else []
    found = _read(facts.run / FOLDER / "paperwork.json")
    if found is None:
        return Section("paperwork", (*said, say("paper.none")), code=f"vesalius paperwork {facts.run.resolve().name}")
    return Section("paperwork", (say("paper.lead", folder=f"{FOLDER}/"), *said), tables=(_counted(found["checklists"]),))


def _counted(found: dict[str, Any]) -> Table:
    rows = [[same(each["title"]), *(same(each[name]) for name in ("n", "filled", "partly", "gap"))] for each in found.values()]
    return table("paper", say("cap.paper"), map(say, ("col.checklist", "col.items", "col.answered", "col.partly", "col.open")), rows)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise RunError("a file of the run folder is damaged", where=path, got=str(error), do="remove it and write it again") from error
