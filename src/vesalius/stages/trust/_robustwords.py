"""What the test of robustness says, in English and Chinese."""

from __future__ import annotations

from typing import Any

from vesalius.stages.trust._changes import ZOOM
from vesalius.stages.trust._moved import SIZE
from vesalius.stages.trust._words import Words
from vesalius.stages.trust.base import sentence

SAID: dict[str, Words] = {
    "closer": (f"cut {ZOOM:.0%} closer", f"取景放大 {ZOOM:.0%}"), "farther": (f"cut {ZOOM:.0%} wider", f"取景缩小 {ZOOM:.0%}"),
    "larger": (f"of a body {SIZE:.0%} larger", f"体型放大 {SIZE:.0%}"), "smaller": (f"of a body {SIZE:.0%} smaller", f"体型缩小 {SIZE:.0%}"),
    "turned": ("turned by 10°", "旋转 10°"), "shifted": ("shifted by 8%", "平移 8%"),
    "brighter": ("brighter", "变亮"), "darker": ("darker", "变暗"), "harder": ("of more contrast", "对比度增强"), "flatter": ("of less contrast", "对比度减弱"),
    "middle_up": ("lighter in the middle tones", "中间调提亮"), "middle_down": ("darker in the middle tones", "中间调压暗"),
    "softer": ("less sharp", "变模糊"), "noisier": ("noisier", "噪声增多"),
}
FIGURE: dict[str, Words] = {
    "auc": ("AUC", "AUC "), "r2": ("R²", "R² "), "kappa": ("kappa", "kappa "),
    "sensitivity": ("sensitivity", "灵敏度"), "specificity": ("specificity", "特异度"),
    "balanced_accuracy": ("balanced accuracy", "平衡准确率"), "accuracy": ("accuracy", "准确率"),
    "dice": ("Dice", "Dice "), "ppv": ("precision", "精确率"), "precision": ("precision", "精确率"), "map50": ("mAP50", "mAP50 "), "cpm": ("CPM", "CPM "),
}
VERDICTS = ("order", "worse", "threshold")


def sentences_of(found: dict[str, Any], names: tuple[str, ...]) -> list[dict[str, str]]:
    """The worst change of each verdict, and how many there are; good news when all hold."""
    by = {verdict: [name for name, row in found["changes"].items() if row["verdict"] == verdict] for verdict in VERDICTS}
    told = [_told(found, by[verdict], verdict, names) for verdict in VERDICTS if by[verdict]]
    if told:
        return told
    listed = [SAID[name] for name in found["changes"]]
    en, zh = ", ".join(each for each, _ in listed), "、".join(each for _, each in listed)
    told_zh = f"验证影像经{zh}处理后，回答质量基本不变。"
    return [sentence("robust", "ok", f"Validation images that are {en} are answered about as well as they were.", told_zh)]


def _told(found: dict[str, Any], changes: list[str], verdict: str, names: tuple[str, ...]) -> dict[str, str]:
    judged = names[:1] if verdict != "threshold" else ("balanced_accuracy",) if "balanced_accuracy" in names else names[1:]
    worst = min(changes, key=lambda name: min(minus["value"] for figure, minus in found["changes"][name]["minus"].items() if figure in judged))
    (what, what_zh), (en, zh) = SAID[worst], _moved(found, worst, names, verdict)
    others = [SAID[name] for name in changes if name != worst]
    also = f" So it goes, less, for images that are {', '.join(each for each, _ in others)}." if others else ""
    also_zh = f"以下改变也有较轻的同类影响：{'、'.join(each for _, each in others)}。" if others else ""
    if verdict == "order":
        lead = f"The model answers worse when the picture is {what}: {en}.{also}"
        return sentence("fragile-order", "warning", lead, f"影像{what_zh}时，模型的回答变差：{zh}。{also_zh}")
    if verdict == "worse":
        lead = f"What is marked fits less when the picture is {what}: {en}.{also}"
        return sentence("fragile-marks", "warning", lead, f"影像{what_zh}时，标记与真值的符合程度下降：{zh}。{also_zh}")
    lost, lost_zh = ("threshold", "阈值") if "sensitivity" in names else ("class that is named", "所判定的类别")
    lead = f"When the picture is {what}, the order of the answers holds and the {lost} does not: {en}. Where images are cut or toned otherwise "
    lead += f"(another hospital, another machine), check the {lost} on images of there before anyone uses it.{also}"
    lead_zh = f"影像{what_zh}时，回答的排序仍成立，但{lost_zh}不再适用：{zh}。若其他医院或设备的取景或灰度不同，使用前须用当地影像核对{lost_zh}。{also_zh}"
    return sentence("fragile-threshold", "warning", lead, lead_zh)


def _moved(found: dict[str, Any], change: str, names: tuple[str, ...], verdict: str) -> Words:
    """Figures from and to: the primary one, and that which has moved most beside it."""
    own, now, minus = found["plain"], found["changes"][change]["figures"], found["changes"][change]["minus"]
    beside = [name for name in names[1:] if name in minus and name in own]
    worst = [min(beside, key=lambda name: minus[name]["value"])] if beside and verdict == "threshold" else []
    shown = [name for name in (*worst, names[0]) if name in own and name in now]
    parts = [(FIGURE.get(name, (name, name)), f"{own[name]['value']:.3f}", f"{now[name]['value']:.3f}") for name in shown]
    en = ", ".join(f"{label} {before} becomes {after}" for (label, _), before, after in parts)
    return en, "，".join(f"{label}由 {before} 变为 {after}" for (_, label), before, after in parts)
