"""The cases that tell most, with their pictures inside the page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both, name_of, say

PICTURE_BYTES = 3_300_000
"""Pictures beyond this are left in the folder: as text they take a third more, and the page stays below 5 MB."""
ROLES = ("best", "worst", "uncertain")

Group = tuple[Both, tuple[dict[str, Any], ...]]


def pictured(facts: RunFacts) -> tuple[list[Group], int]:
    """The cases by role, and how many pictures were left in the folder because the page would grow too large."""
    left, dropped = PICTURE_BYTES, 0
    groups: list[Group] = []
    for role in ROLES:
        shown = []
        for case in (c for c in facts.cases if c["role"] == role):
            pictures, size = _pictures(facts, case, left)
            dropped += 1 + len(case.get("maps", [])) - len(pictures)
            left -= size
            if pictures:
                shown.append(_case(facts, case, pictures))
        if shown:
            groups.append((name_of("role", role), tuple(shown)))
    return groups, dropped


def _pictures(facts: RunFacts, case: dict[str, Any], left: int) -> tuple[list[dict[str, Any]], int]:
    """Pictures of a case as data URIs while there is room; only files that lie in ``explain/`` itself."""
    wanted = [(case["image"], None), *((m["file"], m["method"]) for m in case.get("maps", []))]
    found, size = [], 0
    for file, method in wanted:
        path = facts.run / "explain" / Path(str(file)).name
        if not path.is_file() or path.stat().st_size + size > left:
            continue
        data = path.read_bytes()
        size += len(data)
        name = say("case.image", id=case["id"]) if method is None else say("case.map", method=name_of("method", method), id=case["id"])
        short = None if method is None else name_of("method", method)
        found.append({"uri": "data:image/png;base64," + base64.b64encode(data).decode(), "alt": name, "short": short})
    return found, size


def _case(facts: RunFacts, case: dict[str, Any], pictures: list[dict[str, Any]]) -> dict[str, Any]:
    regression = facts.target is not None and facts.target.kind == "regression"
    right = None if regression else set(str(case["label"]).split("|")) == set(str(case["predicted"]).split("|"))
    lines = [say("case.truth", label=case["label"]), say("case.predicted", label=case["predicted"])]
    if case.get("probability") is not None:
        lines.append(say("case.p", p=f"{case['probability']:.3f}"))
    sign = None if right is None else say("case.right" if right else "case.wrong")
    return {"id": case["id"], "pictures": pictures, "lines": lines, "right": right, "sign": sign}
