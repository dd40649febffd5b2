"""Where the network looks in positive test cases: beside the body, or on markers and letters that were burned in?

Grad-CAM of the class that the case has, at the network's own resolution. A case *looks outside* when more than half of its heat lies beside the body, and
*looks at a marker* when a marker (`kernels.body.markers_of`) is at least half as hot as the hottest place and twice as hot as the body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vesalius.core.target import MARKED, missing
from vesalius.errors import OptionError
from vesalius.kernels.body import body_of, markers_of
from vesalius.kernels.stats import wilson
from vesalius.seed import generator
from vesalius.stages.explain.gradcam import gradcam
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

MOST_CASES = 32
LEAST_CASES = 8
"""Cases below which a share says nothing."""
OUTSIDE = 0.5
HOT, OVER_BODY = 0.5, 2.0
WORTH = 0.2
"""Share of the cases from which the reader is warned."""


@trust_part("attention", order=24, share=1.0)
def attention(trust: Trust) -> dict[str, Any]:
    """``outside`` and ``on_marker``: share of the positive cases that look there, of those where it can be asked, with Wilson's interval;
    ``heat_outside``: mean share of the heat beside the body; ``marked``: cases that bear a marker."""
    if trust.images is None or trust.target.kind in MARKED:
        return not_for("The model answers place by place: where it looks is what it finds.", "模型逐处作答：它所看之处即其结论所在。")
    chosen = positive_cases(trust)
    if len(chosen) < LEAST_CASES:
        return not_for(f"The test set has fewer than {LEAST_CASES} positive patients.", f"测试集中的阳性患者少于 {LEAST_CASES} 名。")
    try:
        seen = _looked_at(trust, chosen)
    except OptionError as error:
        return not_for(f"Grad-CAM does not fit this network ({error}).", f"Grad-CAM 不适用于该网络（{error}）。")
    found = shares(seen)
    return {"applies": True, "method": "gradcam", "n_cases": len(seen), "of_cases": len(chosen), **found, "sentences": sentences_of(found, len(seen))}


def positive_cases(trust: Trust) -> np.ndarray:
    """Rows of test images, one a patient, drawn; of a binary target the positive ones, of several labels those with one, else all that have a label."""
    frame, target = trust.frame, trust.target
    known = np.array([not missing(label) for label in frame["label"]]) & (frame["split"] == "test").to_numpy()
    if target.kind == "binary":
        known &= (frame["label"].astype(str) == str(target.positive)).to_numpy()
    rows = generator(trust.seed, "attention").permutation(np.flatnonzero(known))
    first = np.unique(frame["patient"].to_numpy(str)[rows], return_index=True)[1]
    return np.asarray(rows[np.sort(first)])


def _looked_at(trust: Trust, rows: np.ndarray) -> list[dict[str, float | None]]:
    """What `looks` says of each case, until the time is over (`LEAST_CASES` at least)."""
    found: list[dict[str, float | None]] = []
    for row in rows[:MOST_CASES]:
        array = np.asarray(trust.images[row])  # type: ignore[index]
        heat = gradcam(trust.mapping.network, trust.mapping.encode_array(array)[None], _score(trust, row)).cpu().numpy()
        found.append(looks(array.astype(np.float32).mean(0), heat))
        trust.progress(len(found), min(len(rows), MOST_CASES), "cases looked at (attention)")
        if trust.left_s <= 0 and len(found) >= LEAST_CASES:
            break
    return found


def _score(trust: Trust, row: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """What is explained: the class that the case has (of several labels the strongest, of a regression the value)."""
    target = trust.target
    index = None if target.kind in ("multilabel", "regression") else int(target.encode([trust.frame["label"].iloc[row]])[0])
    return lambda raw: trust.mapping.output.explained(raw, index)


def looks(picture: np.ndarray, heat: np.ndarray) -> dict[str, float | None]:
    """``outside``: share of the heat beside the body; ``marker``: heat of the hottest marker and ``body``: of the body (both relative to the hottest place).

    Parameters
    ----------
    picture: grey, ``[(Z,) Y, X]``. heat: the same shape, in [0, 1].

    None where there is no body, no marker, or no heat at all.
    """
    body, total = body_of(picture), float(heat.sum())
    markers = markers_of(picture) if picture.ndim == 2 else np.zeros(picture.shape, bool)
    inside = body & ~markers
    return {"outside": float(heat[~body].sum() / total) if body.any() and total > 0 else None,
            "marker": float(heat[markers].max()) if markers.any() and total > 0 else None,
            "body": float(heat[inside].mean()) if inside.any() else None}


def shares(seen: list[dict[str, float | None]]) -> dict[str, Any]:
    """The share of the cases that look beside the body, and of those with a marker that look at it."""
    beside = [each["outside"] for each in seen if each["outside"] is not None]
    marked = [(each["marker"], each["body"] or 0.0) for each in seen if each["marker"] is not None]
    on = [heat >= HOT and heat >= OVER_BODY * body for heat, body in marked]
    heat_outside = float(np.mean(beside)) if beside else None
    return {"outside": _share([value > OUTSIDE for value in beside]), "on_marker": _share(on), "marked": len(marked), "heat_outside": heat_outside}


def _share(hits: list[bool]) -> dict[str, float] | None:
    if len(hits) < LEAST_CASES:
        return None
    low, high = wilson(sum(hits), len(hits))
    return {"value": sum(hits) / len(hits), "low": low, "high": high, "n": len(hits)}


def sentences_of(found: dict[str, Any], n: int) -> list[dict[str, str]]:
    """What the reader must know."""
    told = []
    for key, words in WORDS.items():
        share = found[key]
        if share is None:
            continue
        grave = share["value"] >= WORTH
        value, low, high = (f"{100 * share[name]:.0f} %" for name in ("value", "low", "high"))
        en, zh = words
        severity = "warning" if grave else "ok"
        told.append(sentence(f"attention-{key}", severity, en.format(value=value, low=low, high=high, n=share["n"]),  # type: ignore[arg-type]
                             zh.format(value=value, low=low, high=high, n=share["n"])))
    return told or [sentence("attention-unknown", "info", f"In none of {n} cases a body or a marker could be told from the background.",
                             f"{n} 个病例中均未能区分身体、标记与背景。")]


WORDS = {
    "outside": ("In {value} of the positive cases ({low} to {high}; n = {n}) the network looks mainly beside the body (Grad-CAM).",
                "在 {value} 的阳性病例中（{low} 至 {high}；n = {n}），网络主要关注身体以外的区域（Grad-CAM）。"),
    "on_marker": ("In {value} of the positive cases with a marker or letters ({low} to {high}; n = {n}) the network looks at these (Grad-CAM).",
                  "在含有标记或文字的阳性病例中，{value}（{low} 至 {high}；n = {n}）网络关注这些标记（Grad-CAM）。"),
}
