"""What a split by image would have shown: the same small model, crossed over folds by patient and over folds by image.

Both ways ask about every image once a repeat and learn from as many, so that the two figures differ by the leak alone; their difference is
resampled by patient (paired). Where no patient has two images and nothing is there twice, nothing can leak and nothing is claimed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.core.target import MARKED
from vesalius.kernels.crossridge import crossed
from vesalius.kernels.figures import mean_of
from vesalius.kernels.stats import Estimate, Weighted
from vesalius.stages.trust._small import (
    Small,
    figure_of,
    folds_of,
    gram_of,
    groups_of,
    plain_estimate,
    resampled,
    seconds_for,
    small_of,
    within,
)
from vesalius.stages.trust._words import ALWAYS, FEW, METRIC, interval
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

REPEATS = 3


@trust_part("leak", order=10, share=1.0)
def leak(trust: Trust) -> dict[str, Any]:
    """``honest`` and ``naive`` figure of the small model and their ``difference``, each with its interval; what would have crossed.

    For masks and boxes the small model says which structures are there at all.
    """
    crossing = would_cross(trust)
    if not crossing["images"]:
        return not_for("Every image is of a patient of its own and none is there twice: a split by image would be as honest as one by patient.",
                       "每张影像来自不同患者且无重复：按影像划分与按患者划分同样可靠。") | {"crossing": crossing}
    small = small_of(trust)
    if isinstance(small, str):
        return not_for(*(FEW if small == "few" else ALWAYS)) | {"crossing": crossing}
    some = within(small, trust.left_s / 2, seconds_for(small), trust.seed)
    if len(np.unique(some.groups)) == len(some):
        return not_for("Too few images could be looked at within the time.", "限定时间内可检查的影像太少。") | {"crossing": crossing}
    found = measured(some, trust.seed) | {"crossing": crossing, "of_images": small.n_all, "of": "presence" if trust.target.kind in MARKED else "label"}
    if "difference" not in found:
        return not_for(*FEW) | {"crossing": crossing}
    return found | {"sentences": sentences_of(found, crossing)}


def would_cross(trust: Trust) -> dict[str, int]:
    """Patients with several images, clusters of duplicates, the images of both, and those that this run's own split tears apart."""
    frame, groups = trust.frame, groups_of(trust.frame)
    counts = np.bincount(groups)
    twins = frame.loc[frame["duplicate_cluster"] >= 0, "duplicate_cluster"]
    torn = frame.groupby(groups)["split"].nunique()
    return {"patients": int((frame["patient"].value_counts() > 1).sum()), "duplicates": int((twins.value_counts() > 1).sum()),
            "images": int(counts[counts > 1].sum()), "torn": int(counts[torn.index[torn > 1]].sum())}


def measured(small: Small, seed: int, repeats: int = REPEATS) -> dict[str, Any]:
    """The figure both ways over some repeats, with intervals: ``honest``, ``naive``, ``difference`` and ``share_leaked``, the part of the
    images that a model asked by image had seen a mate of."""
    gram, alone = gram_of(small.pictures), np.arange(len(small))
    ways: dict[str, list[Weighted]] = {"honest": [], "naive": []}
    leaked = []
    for repeat in range(repeats):
        for way, groups in (("honest", small.groups), ("naive", alone)):
            fold = folds_of(small, groups, seed, way, repeat)
            ways[way].append(figure_of(small, crossed(gram, small.truth, fold), fold))
            leaked += [_leaked(small.groups, fold)] if way == "naive" else []
    made = _estimates(ways, small, seed)
    facts = {name: made[name].to_dict() for name in made}
    return {"applies": True, "metric": small.metric, **facts, "share_leaked": float(np.mean(leaked)), "repeats": repeats, "n_images": len(small)}


def _estimates(ways: dict[str, list[Weighted]], small: Small, seed: int) -> dict[str, Estimate]:
    """Each way's mean over its repeats, and naive minus honest, resampled together."""
    def mean(way: str) -> Weighted:
        return lambda weights: mean_of([figure(weights) for figure in ways[way]])

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.asarray(mean("naive")(weights) - mean("honest")(weights))

    owner = small.groups.astype(str)
    found = resampled([mean("honest"), mean("naive"), difference], owner, seed)
    each = {name: plain_estimate(found, m, owner) for m, name in enumerate(("honest", "naive", "difference"))}
    return {name: made for name, made in each.items() if made is not None}


def _leaked(groups: np.ndarray, fold: np.ndarray) -> float:
    """Share of the images of which another of the same group lies in another fold."""
    folds_held = np.zeros((groups.max() + 1, fold.max() + 1), bool)
    folds_held[groups, fold] = True
    return float((folds_held.sum(1) > 1)[groups].mean())


def sentences_of(found: dict[str, Any], crossing: dict[str, int]) -> list[dict[str, str]]:
    """What the reader must know: what a split by image would have shown, and whether this run's own split is one of that kind."""
    (honest, honest_zh), (naive, naive_zh) = interval(found["honest"]), interval(found["naive"])
    (of, of_zh), share = METRIC[found["metric"]], f"{100 * found['share_leaked']:.0f} %"
    torn = crossing["torn"]
    told = []
    if found["difference"]["low"] > 0:
        en = (f"A split by image would have shown {of} of {naive}; honest, by patient, is {honest}. So much a small model gains where {share} of the images "
              "show a patient that it has learnt from (or are duplicates).")
        zh = f"若按影像划分，{of_zh} 会显示为 {naive_zh}；按患者划分的真实值为 {honest_zh}（小模型；{share} 的影像在训练中有同一患者或重复的影像）。"
        told.append(sentence("leak-shown", "info", en, zh))
    else:
        en = (f"A split by image would have shown a small model {of} of {naive}, by patient it is {honest}: no difference is shown, although {share} of the "
              "images would have shown a patient of the training part (or been duplicates).")
        zh = f"按影像划分时小模型的 {of_zh} 为 {naive_zh}，按患者划分为 {honest_zh}：尽管 {share} 的影像在训练中有同源影像，未见差异。"
        told.append(sentence("leak-not-shown", "info", en, zh))
    if torn:
        grave, are, zh = ("error", "are", "因此偏高") if told[0]["code"] == "leak-shown" else ("warning", "may be", "可能偏高")
        en = f"The split of this run itself tears {torn} images from their mates: its figures {are} too good in this way."
        told.append(sentence("leak-in-this-split", grave, en, f"本次运行的划分本身把 {torn} 张同源影像分到了不同部分：其指标{zh}。"))  # type: ignore[arg-type]
    return told
