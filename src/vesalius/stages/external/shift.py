"""What is different about another set: who the patients are, how often each label is, how the images were made, what the model answers.

Patients are the unit (the first row of each). Values are compared by the total variation distance and the chi-square test, numbers by the standardised
difference of the means and the test of Kolmogorov and Smirnov; all tests together are corrected by Holm. A difference is called a shift when it is both
sure and large (`LARGE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from vesalius.core.target import SEVERAL, TargetSpec, missing, text_of
from vesalius.kernels.contrast import holm
from vesalius.kernels.stats import wilson
from vesalius.plan import Plan
from vesalius.stages.cohortfile import COLUMNS
from vesalius.stages.evaluate import columns_of

SURE = 0.05
LARGE = {"tv": 0.1, "smd": 0.2}
"""A tenth of the patients would have to change their value; a fifth of a standard deviation (Cohen's small effect)."""
MANY_VALUES = 20


def shift_of(own: pd.DataFrame, other: pd.DataFrame, answers: tuple[pd.DataFrame, pd.DataFrame], target: TargetSpec) -> list[dict[str, Any]]:
    """Rows ``{"what": "covariate" | "label" | "output", "name", "kind": "values" | "numbers", "own", "external", "effect", "p", "p_holm", "shifted"}``.

    Parameters
    ----------
    own, other: rows of the cohorts with their clinical columns. answers: tables of the own test and of the other set.
    """
    columns = [name for name in other.columns if name in own.columns and name not in COLUMNS]
    a, b = (frame.drop_duplicates("patient") for frame in (own, other))
    rows = [_row("covariate", name, a[name], b[name]) for name in columns]
    rows += _labels(a["label"], b["label"], target)
    rows += [_row("output", name, *(frame.drop_duplicates("patient")[name] for frame in answers)) for name in _outputs(target) if name in answers[0]]
    made = [row for row in rows if row is not None]
    for row, p in zip(made, holm([row["p"] for row in made]), strict=True):
        measure = "tv" if row["kind"] == "values" else "smd"
        row |= {"p_holm": p, "shifted": bool(p < SURE and abs(row["effect"]) >= LARGE[measure])}
    return made


def _outputs(target: TargetSpec) -> list[str]:
    if target.kind in ("mask", "boxes"):
        return ["uncertainty", "size_predicted"]
    return columns_of(target, "p")[1:] if target.kind == "binary" else columns_of(target, "p")


def _labels(own: pd.Series, other: pd.Series, target: TargetSpec) -> list[dict[str, Any] | None]:
    if target.kind == "regression":
        return [_row("label", target.name, own, other)]
    if target.kind not in SEVERAL:
        return [_row("label", target.name, own, other)]
    marks = [target.encode([None if missing(v) and v != "" else v for v in labels]) for labels in (own, other)]
    return [_row("label", name, pd.Series(marks[0][:, k]), pd.Series(marks[1][:, k])) for k, name in enumerate(target.classes)]


def _row(what: str, name: str, own: pd.Series, other: pd.Series) -> dict[str, Any] | None:
    """One comparison; None where a side holds nothing, or text with very many values."""
    a, b = ([v for v in cells if not missing(v)] for cells in (own, other))
    if not a or not b:
        return None
    numbers = [_numbers(values) for values in (a, b)]
    if numbers[0] is not None and numbers[1] is not None and len(set(a) | set(b)) > 6:
        return {"what": what, "name": name, "kind": "numbers"} | compare_numbers(numbers[0], numbers[1])
    words = [[text_of(v) for v in values] for values in (a, b)]
    if len(set(words[0]) | set(words[1])) > MANY_VALUES:
        return None
    return {"what": what, "name": name, "kind": "values"} | compare_values(words[0], words[1])


def _numbers(values: list[Any]) -> np.ndarray | None:
    try:
        return np.array([float(v) for v in values])
    except (TypeError, ValueError):
        return None


def compare_numbers(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Means, their difference in standard deviations (other less own), and p of the same distribution."""
    spread = float(np.sqrt((own.var() + other.var()) / 2))
    effect = float((other.mean() - own.mean()) / spread) if spread else 0.0
    p = float(ks_2samp(own, other).pvalue)
    return {"own": {"mean": float(own.mean()), "sd": float(own.std())}, "external": {"mean": float(other.mean()), "sd": float(other.std())},
            "effect": effect, "p": p}


def compare_values(own: list[str], other: list[str]) -> dict[str, Any]:
    """Shares of each value with Wilson's interval, their total variation distance, and p of the same shares."""
    names = sorted(set(own) | set(other))
    counts = np.array([[values.count(name) for name in names] for values in (own, other)])
    shares = counts / counts.sum(1, keepdims=True)
    p = float(chi2_contingency(counts).pvalue) if len(names) > 1 else 1.0
    told = [{name: _share(int(n), int(row.sum())) for name, n in zip(names, row, strict=True)} for row in counts]
    return {"own": told[0], "external": told[1], "effect": float(np.abs(shares[0] - shares[1]).sum() / 2), "p": p}


def _share(k: int, n: int) -> dict[str, float]:
    low, high = wilson(k, n)
    return {"value": k / n, "low": low, "high": high, "n": n}


def acquisition_of(own: Mapping[str, Any], other: Mapping[str, Any], plan: Plan, images: np.ndarray | None) -> list[dict[str, Any]]:
    """How the images were made: shares of sizes, modalities and depths in both audits, and the brightness that the model sees.

    Parameters
    ----------
    own, other: contents of ``audit.json``. images: prepared images ``[N, C, (Z,) Y, X]``; their mean is compared with that of the training images.

    Returns rows ``{"name", "own", "external", "new"}``: the commonest value of each with its share, and the share of images with a value that the own set
    never has; of the brightness ``own`` and ``external`` are means in 0 .. 1 and ``effect`` is their difference in standard deviations of a training sample.
    """
    made = []
    for name in ("sizes", "modalities", "bits"):
        a, b = (_counted(audit.get(name)) for audit in (own, other))
        if a and b:
            new = sum(n for value, n in b.items() if value not in a) / sum(b.values())
            made.append({"name": name, "own": _commonest(a), "external": _commonest(b), "new": new, "shifted": new > LARGE["tv"]})
    if images is not None and plan.get("input.mean") is not None:
        made.append(_brightness(plan, images))
    return made


def _brightness(plan: Plan, images: np.ndarray) -> dict[str, Any]:
    scale = np.iinfo(images.dtype).max
    axes = tuple(i for i in range(images.ndim) if i != 1)
    mean = images.mean(axes, dtype=np.float64) / scale
    trained, spread = (np.asarray(plan[f"input.{name}"], float) for name in ("mean", "std"))
    effect = float(((mean - trained) / np.maximum(spread, 1e-6)).mean())
    return {"name": "brightness", "own": float(trained.mean()), "external": float(mean.mean()), "effect": effect, "shifted": abs(effect) > LARGE["smd"]}


def _counted(seen: Any) -> dict[str, int]:
    if isinstance(seen, list):
        return {" × ".join(map(str, each["shape"])): int(each["n"]) for each in seen}
    return {str(name): int(n) for name, n in (seen or {}).items()}


def _commonest(counts: dict[str, int]) -> dict[str, Any]:
    name = max(counts, key=lambda value: counts[value])
    return {"value": name, "share": counts[name] / sum(counts.values()), "n_values": len(counts)}
