"""What a reader of a mask run must keep in mind, in words, in English and Chinese."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vesalius.stages.notes import FEW_OF_CLASS, small_test
from vesalius.stages.notes import note as plain_note

NAMES = ("a mean Dice", "平均 Dice")
TEXTS = {
    "class-absent": (
        "No test case holds '{name}': how well it is drawn is not known.",
        "测试集中没有任何病例含有“{name}”：其勾画质量未知。",
    ),
    "never-drawn": (
        "'{name}' was never predicted on the test set although {n} cases hold it: its Dice is 0.",
        "测试集中有 {n} 例含有“{name}”，但从未被预测：其 Dice 为 0。",
    ),
    "prediction-empty": (
        "In {n} of {total} test cases that hold '{name}' nothing was predicted: Dice 0. HD95 does not exist there, so that its mean looks better than it is.",
        "在含有“{name}”的 {total} 例测试病例中，有 {n} 例没有任何预测：Dice 为 0。这些病例的 HD95 不存在，因此其均值显得偏好。",
    ),
    "truth-empty": (
        "'{name}' was predicted in {n} of {total} test cases that do not hold it: Dice 0, which counts in the mean.",
        "在不含“{name}”的 {total} 例测试病例中，有 {n} 例被误判为含有：Dice 为 0，并计入均值。",
    ),
    "both-empty": (
        "{n} of {total} test cases do not hold '{name}' and nothing was predicted there: right, but without a Dice; the mean leaves them out.",
        "{total} 例测试病例中有 {n} 例不含“{name}”，也未预测出任何区域：结果正确，但 Dice 无定义，未计入均值。",
    ),
    "unit-pixel": (
        "The files state no spacing: sizes and distances are counted in samples, not in mm.",
        "文件未注明像素间距：大小和距离以像素（体素）计，而非毫米。",
    ),
    "unit-mixed": (
        "Some files state a spacing and some do not: sizes and distances are in mm or in samples, and HD95 has no mean.",
        "部分文件注明了像素间距，部分没有：大小和距离的单位分别为毫米和像素，HD95 无法求平均。",
    ),
    "cross-validation": (
        "The cross-validated figures judge each case by the network of a fold that has not seen it; those of the test judge all networks together.",
        "交叉验证指标由未见过该病例的那一折网络给出；测试集指标由所有网络共同给出，二者不是同一模型。",
    ),
    "uncertainty-tells": (
        "Cases that the model calls uncertain are indeed drawn worse: rank correlation with the error {value} (95 % interval {low} to {high}).",
        "模型认为不确定的病例确实勾画得更差：与误差的秩相关为 {value}（95% 区间 {low} 至 {high}）。",
    ),
    "uncertainty-unclear": (
        "It is not shown that the uncertainty tells which cases are drawn badly: rank correlation with the error {value} (95 % interval {low} to {high}).",
        "尚不能证明不确定性可以指示勾画较差的病例：与误差的秩相关为 {value}（95% 区间 {low} 至 {high}）。",
    ),
}


def note(code: str, **facts: object) -> dict[str, str]:
    """One note with its code, in both languages."""
    english, chinese = (text.format(**facts) for text in TEXTS[code])
    return {"code": code, "en": english, "zh": chinese}


def notes_of(metrics: dict[str, Any], test: pd.DataFrame) -> list[dict[str, str]]:
    """The notes that the figures and the rows of the test call for, the most important first."""
    found = small_test(metrics["test"].get(metrics["primary"]), NAMES, int(test["patient"].nunique()), 3)
    for name in metrics["target"]["classes"]:
        found += _of_class(name, test[test["class"] == name])
    unit = metrics["tolerance"]["unit"]
    found += [note(f"unit-{unit}")] if unit != "mm" else []
    found += [note("cross-validation")] if "cross_validation" in metrics else []
    return found + _of_uncertainty(metrics.get("uncertainty", {}))


def _of_class(name: str, rows: pd.DataFrame) -> list[dict[str, str]]:
    """Empty masks of one class, counted; and few patients that have it."""
    n = {what: int((rows["note"] == what).sum()) for what in ("both empty", "truth empty", "prediction empty")}
    held = rows[~rows["note"].isin(["both empty", "truth empty"])]
    people, without = int(held["patient"].nunique()), len(rows) - len(held)
    found = [plain_note("few-of-class", (name, name), n=people)] if 0 < people < FEW_OF_CLASS else []
    if not people:
        found.append(note("class-absent", name=name))
    elif n["prediction empty"] == len(held):
        found.append(note("never-drawn", name=name, n=len(held)))
    elif n["prediction empty"]:
        found.append(note("prediction-empty", name=name, n=n["prediction empty"], total=len(held)))
    if n["truth empty"]:
        found.append(note("truth-empty", name=name, n=n["truth empty"], total=without))
    if n["both empty"]:
        found.append(note("both-empty", name=name, n=n["both empty"], total=len(rows)))
    return found


def _of_uncertainty(facts: dict[str, Any]) -> list[dict[str, str]]:
    if "spearman" not in facts:
        return []
    value, low, high = (f"{facts['spearman'][name]:.2f}" for name in ("value", "low", "high"))
    return [note("uncertainty-tells" if facts["spearman"]["low"] > 0 else "uncertainty-unclear", value=value, low=low, high=high)]
