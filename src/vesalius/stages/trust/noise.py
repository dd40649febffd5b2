"""How much of the figure is the luck of the seed: from repeated training, else from the members of the ensemble or the folds.

Two fits of the same plan give two figures. With ``--repeat`` the spread between seeds is known; the members of an ensemble differ by their seed alone and
estimate the spread of one network; folds differ by their patients too, so that their spread is an upper bound (the networks of folds are not asked
one by one: each has learnt from the validation images of the others). The spread on validation stands for that on the test.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from vesalius.stages.evaluate import folds_in
from vesalius.stages.judged import judged_of
from vesalius.stages.predict import raw_frame, raw_values, with_probabilities
from vesalius.stages.repeat import band_of, figures_of, read_repeats
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part
from vesalius.storage import plain

LEVEL = 0.95
NOT_KNOWN = ("One network was trained once: how much its figures hang on the seed is not known. 'vesalius fit ... --repeat 5' measures it.",
             "只训练了一个网络一次：其指标受随机种子影响的程度未知。可用“vesalius fit ... --repeat 5”测量。")


@trust_part("noise", order=55)
def noise(trust: Trust) -> dict[str, Any]:
    """The band of the primary figure, and its least difference between two runs that is not noise.

    Returns ``{"metric", "from": "seeds" | "members" | "folds", "n", "band": {FIGURE: {"mean", "sd", "low", "high", "n"}}, "values", "least", "sentences"}``.
    """
    metrics = json.loads(trust.run.metrics.read_text("utf-8"))
    for source, runs in (("seeds", read_repeats(trust.run).get("runs", [])), ("members", _members(trust, metrics)), ("folds", _folds(trust, metrics))):
        band = band_of(runs)
        if metrics["primary"] in band:
            return _told(source, runs, band, metrics["primary"])
    return not_for(*NOT_KNOWN)


def _members(trust: Trust, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Each network of the ensemble alone, on the prepared validation images; those of folds have learnt from most of them."""
    mapping, held = trust.mapping, trust.frame[trust.frame["split"] == "validation"]
    if trust.images is None or len(mapping.networks) < 2 or held.empty or folds_in(trust.predictions):
        return []
    runs: list[dict[str, Any]] = []
    for network in mapping.networks:
        if runs and trust.left_s == 0:
            break
        alone = replace(mapping, networks=[network])
        raw = raw_values(alone, trust.images, held.index.to_list(), jobs=trust.jobs, progress=trust.progress)
        runs.append({"figures": figures_of(with_probabilities(alone, raw_frame(alone, held, raw)), metrics, trust.target)})
    return runs


def _folds(trust: Trust, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Each fold by the network that has not seen it."""
    table = trust.predictions
    if folds_in(table) < 2:
        return []
    return [{"figures": _of_fold(rows, metrics, trust)} for _, rows in table[table["fold"] >= 0].groupby("fold")]


def _of_fold(rows: pd.DataFrame, metrics: dict[str, Any], trust: Trust) -> dict[str, float]:
    judged = judged_of(rows.assign(fold=-1, split="validation"), metrics, trust.target, "validation")
    values = judged.figures(np.ones((len(judged.ids), 1)))[:, 0]
    return {name: float(value) for name, value in zip(judged.names, values, strict=True) if np.isfinite(value)}


def least_difference(sd: float, n: int) -> float:
    """What two single runs of the same plan differ by in 5 % of the cases: t of n - 1 degrees of freedom, the square root of 2, and their deviation.

    >>> round(least_difference(0.01, 5), 4), round(least_difference(0.01, 1000), 4)
    (0.0393, 0.0278)
    """
    return float(stdtrit(max(n - 1, 1), (1 + LEVEL) / 2) * np.sqrt(2) * sd)


def _told(source: str, runs: list[dict[str, Any]], band: dict[str, dict[str, float]], metric: str) -> dict[str, Any]:
    own = band[metric]
    n, least = int(own["n"]), least_difference(own["sd"], int(own["n"]))
    facts = f"{own['mean']:.3f} ± {own['sd']:.3f} ({own['low']:.3f}–{own['high']:.3f})"
    en = {"seeds": f"The same plan with {n} seeds: {metric} on validation {facts}.",
          "members": f"The {n} networks of the ensemble, alone: {metric} on validation {facts}; the ensemble varies less than that.",
          "folds": f"The {n} folds: {metric} {facts}; they differ by their patients too, so that the noise of the seed is at most that."}[source]
    zh = {"seeds": f"同一方案用 {n} 个随机种子训练：验证集 {metric} 为 {facts}。",
          "members": f"集成中的 {n} 个网络单独评价：验证集 {metric} 为 {facts}；集成本身的波动更小。",
          "folds": f"{n} 折：{metric} 为 {facts}；各折患者也不同，因此随机种子造成的波动不会超过此值。"}[source]
    en += f" Two runs that differ by less than {least:.3f} may differ by noise alone."
    zh += f"两次训练相差不到 {least:.3f} 时，可能只是噪声。"
    found = {"metric": metric, "from": source, "n": n, "band": band, "values": [each["figures"].get(metric) for each in runs], "least": least}
    return dict(plain(found | {"sentences": [sentence(f"noise-{source}", "info", en, zh)]}))
