"""Can the task be solved without the lesion? Small models that see only the border, the background, the file's facts, a few cells ...

Each is crossed over folds by patient on the same cases (`_small`) and judged against chance (labels dealt out anew, Holm 1979 over all of them) and against the
network on the test images (paired, by patient). A view *solves* the task when it is above chance and keeps at least `SOLVES` of what the whole picture
gives above chance; what is above chance but below that *hints* (large lesions reach the border, too).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.core.target import MARKED
from vesalius.kernels.crossridge import products
from vesalius.kernels.stats import Estimate
from vesalius.stages.trust._chance import crossed_with_chance
from vesalius.stages.trust._filefacts import columns_of, facts_of, most_telling
from vesalius.stages.trust._rival import against, network_said
from vesalius.stages.trust._small import Small, figure_of, folds_of, gram_of, plain_estimate, resampled, seconds_for, small_of, within
from vesalius.stages.trust._views import background_only, border_only, centre_out, intensities, low_resolution
from vesalius.stages.trust._viewwords import sentences_of
from vesalius.stages.trust._words import ALWAYS, FEW
from vesalius.stages.trust.base import Trust, not_for, trust_part

SOLVES = 0.6
LEVEL = 0.05
LEAST = 0.06
"""A figure less than this above chance is not worth a word."""
CHANCE = {"auc": 0.5, "r2": 0.0}
OF_MARKED = ("metadata", "background")
"""Views that have a meaning for masks and boxes: whether a structure is there at all."""
DESCRIBED = 12.0
"""Time of all views beside describing each picture once."""


@trust_part("shortcuts", order=20, share=2.0)
def shortcuts(trust: Trust) -> dict[str, Any]:
    """``views``: for each its ``figure``, ``p`` against chance (adjusted), ``share`` of what the whole picture gives, ``network_minus`` (paired, on the
    test) and ``verdict`` (solves, hints, no) or ``why`` it has no meaning; ``whole`` and ``network``: the figures they are compared with."""
    small = small_of(trust)
    if isinstance(small, str):
        return not_for(*(FEW if small == "few" else ALWAYS))
    some = within(small, trust.left_s, DESCRIBED * seconds_for(small), trust.seed)
    facts = facts_of([trust.cases[name].source for name in trust.frame["id"].iloc[some.rows]])
    columns = columns_of(facts)
    grams, absent = views_of(some, columns, marked=trust.target.kind in MARKED)
    found = judged(some, grams, trust)
    found["views"] |= {name: {"applies": False, "why": why} for name, why in absent.items()}
    if "metadata" in grams:
        found["views"]["metadata"]["told_by"] = most_telling(columns, some.truth)
    of = "presence" if trust.target.kind in MARKED else "label"
    known = {"applies": True, "metric": some.metric, "n_images": len(some), "of_images": small.n_all, "of": of}
    return known | found | {"sentences": sentences_of(found, some.metric)}


def views_of(small: Small, columns: dict[str, np.ndarray], *, marked: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Products of the cases as each view shows them, ``whole`` first; and the code of the reason why a view has no meaning."""
    pictures, absent = small.pictures, {}
    grams = {"whole": gram_of(pictures)}
    background = background_only(pictures)
    if background is None:
        absent["background"] = "body-fills"
    else:
        grams["background"] = gram_of(background)
    if columns:
        grams["metadata"] = products(*columns.values())
    else:
        absent["metadata"] = "files-alike"
    if marked:
        return grams, absent | dict.fromkeys(("border", "centre_out", "low_resolution", "intensities"), "marked")
    grams |= {"border": gram_of(border_only(pictures)), "centre_out": gram_of(centre_out(pictures))}
    return grams | {"low_resolution": products(low_resolution(pictures)), "intensities": products(intensities(pictures))}, absent


def judged(small: Small, grams: dict[str, np.ndarray], trust: Trust) -> dict[str, Any]:
    """The figure of every view, and what it means."""
    fold = folds_of(small, small.groups, trust.seed, "views")
    asked = {name: crossed_with_chance(gram, small, fold, trust.seed) for name, gram in grams.items()}
    said = {name: each for name, (each, _) in asked.items()}
    owner = small.groups.astype(str)
    drawn = resampled([figure_of(small, each, fold) for each in said.values()], owner, trust.seed)
    figures = {name: plain_estimate(drawn, m, owner) for m, name in enumerate(said)}
    p = holm({name: chance for name, (_, chance) in asked.items() if name != "whole"})
    network = network_said(trust, small)
    rivals = {name: against(trust, small, network, levelled(each, small.truth, fold)) for name, each in said.items()}
    best = _best(figures["whole"], rivals["whole"])
    views = {name: _view(figures[name], p[name], best, small.metric) | rivals[name] for name in said if name != "whole"}
    whole = figures["whole"].to_dict() if figures["whole"] else None
    return {"whole": whole, "network": rivals["whole"].get("network"), "views": views}


def levelled(said: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """What models say beside the mean that each of them has learnt, so that folds can be ranked together."""
    mean = np.stack([truth[fold != k].mean(0) for k in range(int(fold.max()) + 1)])
    return np.asarray(said - mean[fold] + truth.mean(0))


def holm(p: dict[str, float]) -> dict[str, float]:
    """p values adjusted for their number (Holm 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted, worst = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda each: p[each])):
        worst = max(worst, min(1.0, p[name] * (len(p) - rank)))
        adjusted[name] = worst
    return adjusted


def _best(whole: Estimate | None, rival: dict[str, Any]) -> float:
    """The better of what the small model gets from the whole picture and what the network gets."""
    values = [whole.value] if whole else []
    network = rival.get("network")
    return max(values + ([network["value"]] if network else []), default=float("nan"))


def _view(figure: Estimate | None, p: float, best: float, metric: str) -> dict[str, Any]:
    if figure is None:
        return {"applies": False, "why": "undefined"}
    gained, chance = figure.value - CHANCE[metric], CHANCE[metric]
    share = gained / (best - chance) if best - chance > LEAST else float("nan")
    share = float(np.sqrt(max(share, 0.0))) if metric == "r2" else share  # a correlation, which is on the scale of an AUC
    above = p < LEVEL and gained >= LEAST
    verdict = "no" if not above else "hints" if share < SOLVES else "solves"
    return {"applies": True, "figure": figure.to_dict(), "p": p, "share": share, "verdict": verdict}
