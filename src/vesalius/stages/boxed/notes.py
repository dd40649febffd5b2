"""What a reader of a run with boxes must keep in mind, in words, in English and Chinese."""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.kernels.freeresponse import CPM_RATES
from vesalius.kernels.stats import codes
from vesalius.stages.boxed.sheet import ALL, Sheet
from vesalius.stages.boxed.tables import Part
from vesalius.stages.notes import FEW_OF_CLASS, SMALL_VALIDATION, small_test
from vesalius.stages.notes import note as plain_note

NAMES = {"map50": ("an mAP50", "mAP50"), "cpm": ("a CPM", "CPM")}
TEXTS = {
    "boxes-counted-all": (
        "The figures of the test rest on {n} true boxes in {images} images ({each}).",
        "测试集指标基于 {images} 幅图像中的 {n} 个真实框（{each}）。",
    ),
    "boxes-counted": (
        "The figures of the test rest on {n} true boxes in {images} images ({each}); {ignored} further boxes are not judged.",
        "测试集指标基于 {images} 幅图像中的 {n} 个真实框（{each}）；另有 {ignored} 个框不参与评判。",
    ),
    "class-absent": (
        "No test image holds '{name}': how well it is found is not known.",
        "测试集中没有任何图像含有“{name}”：其检出能力未知。",
    ),
    "never-found": (
        "'{name}' was never found on the test set from its threshold on although {n} boxes of it are there.",
        "测试集中有 {n} 个“{name}”，但在其阈值以上从未被检出。",
    ),
    "no-negatives": (
        "Every test image holds a box: how often something is marked in an image without any is not known.",
        "测试集的每幅图像都含有目标：模型在没有目标的图像中误报的频率未知。",
    ),
    "few-false": (
        "The model lists at most {rate} false boxes an image here: at higher rates the sensitivity of the FROC curve stays as it is.",
        "模型在此最多给出每幅图像 {rate} 个误报框：在更高的误报率下，FROC 曲线的灵敏度保持不变。",
    ),
    "counts-biased": (
        "Counts of '{name}' are on average {value} an image away from the truth (95 % interval {low} to {high}): too {way}.",
        "“{name}”的计数平均每幅图像偏差 {value}（95% 区间 {low} 至 {high}）：{way_zh}。",
    ),
    "cross-validated": (
        "The validation figures are from {n} folds: each image is judged by the network of a fold that has not learnt from it, and the scores and "
        "thresholds were settled on these answers; those of the test judge all networks fused.",
        "验证指标来自 {n} 折交叉验证：每张图像由未用它训练的那一折网络评价，分数校准和阈值也据此确定；测试集指标由所有网络融合给出。",
    ),
    "threshold-unchosen": (
        "No right box of '{name}' on validation: its threshold is 0.5, which nothing supports.",
        "验证集中没有正确检出的“{name}”：其阈值取 0.5，没有依据。",
    ),
}


def note(code: str, **facts: object) -> dict[str, str]:
    """One note with its code, in both languages."""
    english, chinese = (text.format(**facts) for text in TEXTS[code])
    return {"code": code, "en": english, "zh": chinese}


def notes_of(metrics: dict[str, Any], parts: dict[str, tuple[Part, Sheet]]) -> list[dict[str, str]]:
    """The notes that the figures and the cases call for, the most important first.

    Parameters
    ----------
    metrics: the figures so far. parts: the cases of each split and their figures.
    """
    part, sheet = parts["test"]
    primary, people = metrics["primary"], codes(part.patients)[1]
    found = small_test(metrics["test"].get(primary), NAMES[primary], people, 3) + [_boxes(metrics["boxes"]["test"], len(part.ids))]
    for name in part.classes:
        found += _of_class(name, metrics)
    if sheet.held.any(0).all():
        found.append(note("no-negatives"))
    found += [note("cross-validated", n=metrics["cross_validated"])] if "cross_validated" in metrics else []
    held = codes(parts["validation"][0].patients)[1] if "validation" in parts else 0
    found += [plain_note("small-validation", n=held)] if held < SMALL_VALIDATION else []
    found += [plain_note("not-calibrated")] if metrics["calibration"].get("method") == "none" else []
    gain = metrics.get("gain")
    if gain and gain["low"] <= 0 <= gain["high"]:
        found.append(plain_note("gain-unclear", over=gain["over"]))
    return found + _of_rates(sheet)


def _boxes(boxes: dict[str, dict[str, int]], images: int) -> dict[str, str]:
    each = ", ".join(f"{name} {facts['true']}" for name, facts in boxes.items())
    total, ignored = (sum(facts[what] for facts in boxes.values()) for what in ("true", "ignored"))
    return note("boxes-counted" if ignored else "boxes-counted-all", n=total, images=images, each=each, ignored=ignored)


def _of_class(name: str, metrics: dict[str, Any]) -> list[dict[str, str]]:
    boxes, figures = metrics["boxes"]["test"][name], metrics["per_class"]["test"][name]
    if not boxes["true"]:
        return [note("class-absent", name=name)]
    found = [plain_note("few-of-class", (name, name), n=boxes["patients"])] if boxes["patients"] < FEW_OF_CLASS else []
    if figures.get("sensitivity", {}).get("value") == 0:
        found.append(note("never-found", name=name, n=boxes["true"]))
    if metrics["operating_point"][name]["rule"].endswith("(nothing to choose on)"):
        found.append(note("threshold-unchosen", name=name))
    bias = figures.get("count_bias")
    if bias and bias["n_patients"] > 1 and not bias["low"] <= 0 <= bias["high"]:
        value, low, high = (f"{bias[what]:+.2f}" for what in ("value", "low", "high"))
        way, way_zh = ("many", "偏多") if bias["value"] > 0 else ("few", "偏少")
        found.append(note("counts-biased", name=name, value=value, low=low, high=high, way=way, way_zh=way_zh))
    return found


def _of_rates(sheet: Sheet) -> list[dict[str, str]]:
    """Whether the list of boxes ends before the highest rate of CPM."""
    rate = sheet.froc[ALL].most
    return [note("few-false", rate=f"{rate:.2g}")] if rate < max(CPM_RATES) and np.isfinite(rate) else []
