"""The run in a few sentences, for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = {
    "dice": ("mean Dice", "平均 Dice"), "nsd": ("surface Dice (NSD)", "表面 Dice（NSD）"), "hd95": ("HD95", "HD95"), "size_error": ("size error", "大小误差"),
    "lesion_f1": ("F1 of lesions", "病灶 F1 值"),
    "map50": ("mAP50", "mAP50"), "cpm": ("CPM", "CPM"), "map": ("mAP50-95", "mAP50-95"),
    "sensitivity_at_1fp": ("sensitivity at 1 FP", "1 个假阳性时的灵敏度"), "precision": ("precision", "精确率"),
    "count_mae": ("count error (MAE)", "计数误差（MAE）"),
    "auc": ("AUC", "AUC"), "ap": ("average precision", "平均精度"), "accuracy": ("accuracy", "准确率"), "sensitivity": ("sensitivity", "灵敏度"),
    "specificity": ("specificity", "特异度"), "kappa": ("kappa", "kappa"), "mae": ("mean absolute error", "平均绝对误差"), "r2": ("R²", "R²"),
}
SAYS = {
    "test": ("Test set ({n} images of {p} patients, looked at {looks} times):", "测试集（{p} 名患者的 {n} 张图像，已查看 {looks} 次）："),
    "each": ("  {name} of each structure: {figures}", "  各结构{name}：{figures}"),
    "each_class": ("  {name} of each class: {figures}", "  各类别{name}：{figures}"),
    "crossed": (
        "Cross-validation (another figure than the test's; {n} images of {p} patients, each marked by a network that had not seen it):",
        "交叉验证（与测试集结果不同；{p} 名患者的 {n} 张图像，每张由未见过它的网络标注）：",
    ),
    "crossed_whole": (
        "Cross-validation (another figure than the test's; {n} images of {p} patients, each judged by a network that had not learnt from it):",
        "交叉验证（与测试集结果不同；{p} 名患者的 {n} 张图像，每张由未用它训练的网络评价）：",
    ),
    "gain": (
        "Against the best baseline ({over}): {value:+.3f} {metric} (95 % interval {low:+.3f} to {high:+.3f}).",
        "与最佳基线（{over}）相比：{metric} {value:+.3f}（95% 区间 {low:+.3f} 至 {high:+.3f}）。",
    ),
    "report": ("Report: {path}", "报告：{path}"),
    "doctor": ("Research use: a doctor decides.", "仅供研究使用：由医生作出判断。"),
}
EACH = {"dice": ("each", ("Dice", " Dice")), "ap50": ("each_class", ("AP50", " AP50")), "count_mae": ("each_class", ("count error", "计数误差"))}
"""What is told of each structure or class."""
IN_CROSSED = 3
"""Figures of the cross-validation that are told."""


def summary(run: Path, lang: str = "en") -> str:
    """Main figures with intervals, the gain over the best baseline, warnings, and where the report is.

    Of masks also each structure's Dice, of boxes each class's AP50 and count error, and
    the cross-validated figures where there are folds, apart and named as such.
    """
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    which = 1 if lang == "zh" else 0
    lines = [SAYS["test"][which].format(**_counted(metrics["test"]), looks=metrics["looks_at_test"]), *_figures(metrics["test"], which, metrics.get("primary"))]
    lines += _each(metrics, which)
    lines += _crossed(metrics, which)
    gain = metrics.get("gain")
    if gain:
        lines.append(SAYS["gain"][which].format(**gain))
    lines += [note[lang] for note in metrics.get("notes", [])]
    return "\n".join([*lines, SAYS["report"][which].format(path=run / "report.html"), SAYS["doctor"][which]])


def _crossed(metrics: dict[str, Any], which: int) -> list[str]:
    """The figures from folds: of whole images they are those of validation."""
    whole = bool(metrics.get("cross_validated"))
    found = metrics.get("validation") if whole else metrics.get("cross_validation")
    if not found:
        return []
    said = SAYS["crossed_whole" if whole else "crossed"][which].format(**_counted(found))
    return [said, *_figures(found, which, metrics.get("primary"))[:IN_CROSSED]]


def _counted(figures: dict[str, Any]) -> dict[str, int]:
    """Images and patients of the figure that most of them have a part in."""
    most: dict[str, Any] = max(figures.values(), key=lambda figure: int(figure.get("n_images") or 0), default={})
    return {"n": most.get("n_images", 0), "p": most.get("n_patients", 0)}


def _figures(figures: dict[str, Any], which: int, first: str | None = None) -> list[str]:
    """A line a figure in the order of `NAMES`; the one by which the run is judged comes first."""
    names = [name for name in sorted(NAMES, key=lambda name: name != first) if (figures.get(name) or {}).get("value") is not None]
    return [_figure(NAMES[name][which], figures[name]) for name in names]


def _each(metrics: dict[str, Any], which: int) -> list[str]:
    """Dice of each structure, or AP50 and the count error of each class of boxes, where there are several."""
    seen, lines = metrics.get("per_class", {}).get("test", {}), []
    for key, (said, names) in EACH.items():
        found = [f"{name} {each[key]['value']:.3f}" for name, each in seen.items() if (each.get(key) or {}).get("value") is not None]
        if len(found) > 1:
            lines.append(SAYS[said][which].format(name=names[which], figures=("、" if which else ", ").join(found)))
    return lines


def _figure(name: str, figure: dict[str, Any]) -> str:
    bounds = f" ({figure['low']:.3f} - {figure['high']:.3f})" if figure.get("low") is not None else ""
    return f"  {name:20} {figure['value']:.3f}{bounds}"
