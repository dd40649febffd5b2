"""Do the maps show what the network rests on? Each kind of map with its warrant (see `explain.warrant`), the nearest training cases of each class, and
the clinical columns that matter. The maps that fail are not shown in the report; ``explain/warrant.json`` holds the figures too."""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.core.target import MARKED
from vesalius.stages.baselines.base import Task
from vesalius.stages.explain.columns import column_importance
from vesalius.stages.explain.warrant import LEAST_CASES, warrants_of
from vesalius.stages.trust._asked import SHOWN, Region, methods_of, questions_of
from vesalius.stages.trust._instead import add_instead, instead_of
from vesalius.stages.trust._mapwords import left_untested, said
from vesalius.stages.trust._nearcases import add_nearest
from vesalius.stages.trust.base import Trust, not_for, trust_part
from vesalius.storage import atomic_json, plain

WARRANT = "warrant.json"
FEW = (f"The test set has fewer than {LEAST_CASES} patients whose maps could be tested.", f"可用于检验热力图的测试集患者少于 {LEAST_CASES} 名。")


@trust_part("explanations", order=26, share=4)
def explanations(trust: Trust) -> dict[str, Any]:
    """See `warranted_maps`; the pictures of nearest cases and the importance of columns come with it where they have a meaning."""
    found = warranted_maps(trust)
    if found.get("instead"):
        add_instead(trust, found["instead"])
    near, columns = add_nearest(trust), _columns(trust)
    return found | ({"nearest": near} if near else {}) | ({"columns": columns} if columns else {})


def warranted_maps(trust: Trust, region: Region | None = None) -> dict[str, Any]:
    """``{"applies", "of": whole|tiles|boxes, "methods": {NAME: warrant}, "by_default": [NAME], "n_cases", "instead": NAME or None,
    "untested": [NAME] (for lack of time), "sentences"}``; ``instead`` is shown where one of those by default has failed.

    Parameters
    ----------
    region: where the lesion of a case lies, where the target itself does not say so (see `questions_of`).
    """
    reading = trust.mapping.output.reading
    network, questions = questions_of(trust, region)
    if len(questions) < LEAST_CASES:
        return not_for(*FEW) | {"methods": {}}
    methods = methods_of(reading, network)
    by_default = SHOWN[reading]
    spare = [name for name in methods if name not in by_default]
    made = warrants_of(network, questions, methods, seed=trust.seed, limit_s=trust.left_s, spare=spare, progress=trust.progress)
    kept = {name: plain(each) for name, each in made.items() if name in by_default or each["why"] not in (["unfit"], ["time"])}
    instead = instead_of(kept, by_default) if reading == "whole" else None
    record = {"of": reading, "n_cases": len(questions), "by_default": list(by_default), "methods": kept, "instead": instead}
    trust.run.explain.mkdir(parents=True, exist_ok=True)
    atomic_json(trust.run.explain / WARRANT, {"schema": 1} | record)
    cut = [name for name, each in made.items() if each["why"] == ["time"] and name not in by_default]
    return {"applies": True, **record, "untested": cut, "sentences": [*said(kept, by_default, instead), *left_untested(cut)]}


def _columns(trust: Trust) -> list[dict[str, Any]] | None:
    if trust.target.kind in MARKED or trust.images is None:
        return None
    task = Task(np.zeros((len(trust.frame), 1, 1, 1), np.uint8), trust.frame, trust.target, trust.seed)
    return column_importance(task)


