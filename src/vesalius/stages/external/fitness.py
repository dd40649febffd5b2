"""How many cases of another set the model would refuse to read, why, and what its figures are without them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vesalius.core.cohort import Case
from vesalius.formats.cases import open_case
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import FitFor, Fitness, judge
from vesalius.stages.judged import Judged
from vesalius.stages.trust._share import share_of
from vesalius.stages.work import Progress

LEAST = 2
"""Patients that must be left for figures."""


def fitness_of(mapping: Mapping, cases: dict[str, Case], judged: Judged, seed: int, n_boot: int, progress: Progress) -> dict[str, Any]:
    """``{"applies", "n", "refused" (a share with its interval), "reasons": [{"code", "en", "zh", "n"}], "warned", "fit": figures of the others, "ids"}``.

    Every judged case is held against what the model remembers of its training images, as `predict` does; all of them are scored all the same. ``fit`` is
    empty where none or nearly all are refused. ``{"applies": False}`` where the model remembers nothing.
    """
    if FitFor.load(getattr(mapping, "folder", None)) is None:
        return {"applies": False}
    ids = [str(name) for name in judged.ids]
    found = []
    for done, name in enumerate(ids, 1):
        found.append(judge(mapping, open_case(cases[name])))
        progress(done, len(ids), "cases held against the training images")
    refused = np.array([each.refused for each in found])
    return {
        "applies": True, "n": len(ids), "refused": share_of(refused, judged.patients, seed), "reasons": _reasons(found),
        "warned": sum(not each.refused and bool(each.reasons) for each in found), "fit": _figures(judged, ~refused, seed, n_boot),
        "ids": [name for name, away in zip(ids, refused, strict=True) if away],
    }


def _reasons(found: list[Fitness]) -> list[dict[str, Any]]:
    """The first reason of each refused case, the commonest first, with the sentence of one of them."""
    first = [each.reasons[0] for each in found if each.refused]
    told = {reason.code: reason for reason in reversed(first)}
    return [{"code": code, "en": told[code].en, "zh": told[code].zh, "n": n} for code, n in Counter(reason.code for reason in first).most_common()]


def _figures(judged: Judged, fit: np.ndarray, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
    if fit.all() or len(set(judged.patients[fit])) < LEAST:
        return {}
    return judged.kept(fit).assess(seed, n_boot)
