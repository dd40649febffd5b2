"""Words that the sentences of several tests share, in English and Chinese."""

from __future__ import annotations

from typing import Any

Words = tuple[str, str]

METRIC: dict[str, Words] = {"auc": ("an AUC", "AUC"), "r2": ("an R²", "R²")}
FEW: Words = ("There are too few patients (20 at least, 5 of every class) for a small model to say anything.",
              "患者太少（至少需要 20 名，每类至少 5 名），小模型无法给出结论。")
ALWAYS: Words = ("Every case holds the same structures: whether one is there cannot be asked.", "每个病例都含有相同的结构：无法检验结构是否存在。")


def interval(figure: dict[str, Any], digits: int = 2) -> Words:
    """A figure with its 95 % interval.

    >>> interval({"value": 0.875, "low": 0.8, "high": 0.91})
    ('0.88 (0.80 to 0.91)', '0.88（0.80 至 0.91）')
    """
    value, low, high = (f"{float(figure[name]):.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})", f"{value}（{low} 至 {high}）"
