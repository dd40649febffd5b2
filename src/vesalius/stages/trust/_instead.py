"""Where a kind of map that the report would show has failed its test, the first further kind that passed is shown instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vesalius.formats import open_study
from vesalius.stages.explain.base import EXPLANATIONS, explain_study
from vesalius.stages.explain.cases import INDEX
from vesalius.stages.explain.pictures import png, views
from vesalius.stages.trust.base import Trust
from vesalius.storage import atomic_json, atomic_write


def instead_of(methods: Mapping[str, dict[str, Any]], by_default: tuple[str, ...]) -> str | None:
    """The first kind of map beyond the shown ones that was tested and passed; None where no shown one failed, or no other passed."""
    if all(methods[name]["shown"] for name in by_default if name in methods):
        return None
    return next((name for name, each in methods.items() if name not in by_default and each.get("tested", True) and each["shown"]), None)


def add_instead(trust: Trust, method: str) -> None:
    """Add the pictures of a kind of map to ``explain/cases.json`` of a run whose model answers for the whole image; nothing where there are no cases."""
    index = trust.run.explain / INDEX
    if trust.images is None or not index.is_file() or method not in EXPLANATIONS:
        return
    cases = json.loads(index.read_text("utf-8"))
    for case in cases:
        if case["id"] not in trust.cases or any(each["method"] == method for each in case["maps"]):
            continue
        study = open_study(trust.cases[case["id"]].source)
        file = f"{case['image'].removesuffix('.png')}_{method}.png"
        atomic_write(trust.run.explain / file, png(views(study, [explain_study(trust.mapping, study, method=method).array])[1]))
        case["maps"].append({"method": method, "file": file})
    atomic_json(index, cases)
