"""What the shortcut tests say, in English and Chinese."""

from __future__ import annotations

from typing import Any

from vesalius.stages.trust._words import METRIC, Words, interval
from vesalius.stages.trust.base import sentence

NAMES: dict[str, Words] = {
    "border": ("the outer border (8 % of each side)", "外缘（每边 8 %）"),
    "centre_out": ("the picture with its middle (70 % of each side) blacked out", "遮去中央（每边 70 %）后的影像"),
    "background": ("the background beside the body", "身体以外的背景"),
    "metadata": ("the facts of the file (size, bits, spacing, machine, date; no pixel)", "文件信息（尺寸、位深、间距、设备、日期；不含像素）"),
    "low_resolution": ("the picture at 8 x 8", "8 x 8 的低分辨率影像"),
    "intensities": ("the intensity histogram (how bright and how noisy, not where)", "灰度直方图（只含亮度与噪声，不含位置）"),
}
PLACES = ("border", "centre_out", "background", "metadata")
"""Views that hold no lesion as a rule: what solves the task there is no disease."""
MEANS: dict[str, Words] = {
    "border": ("a marker, writing, a shading or how the picture was framed (or by a disease that reaches the rim)",
               "边缘处的标记、文字、阴影或取景方式（也可能是病变延伸至边缘）"),
    "centre_out": ("something at the sides, not what lies in the middle (or by a disease that lies there)", "两侧而非中央的内容（也可能是位于两侧的病变）"),
    "background": ("writing, markers or the machine's noise in the air", "背景中的文字、标记或设备噪声"),
    "metadata": ("how the picture was taken and stored", "影像的采集与存储方式"),
}


def sentences_of(found: dict[str, Any], metric: str) -> list[dict[str, str]]:
    """The plain sentences, the gravest first; good news when no view solves the task."""
    asked = {name: view for name, view in found["views"].items() if view.get("applies")}
    solved = [name for name, view in asked.items() if view["verdict"] == "solves"]
    told = [_solved(name, asked[name], found, metric) for name in solved]
    told += [_hinted(name, asked[name], metric) for name, view in asked.items() if view["verdict"] == "hints" and name in PLACES]
    if asked and not any(name in PLACES for name in solved):
        listed = [NAMES[name] for name in asked if name in PLACES]
        en, zh = ", ".join(name for name, _ in listed), "、".join(name for _, name in listed)
        told.append(sentence("no-shortcut", "ok", f"The task is not solved without the lesion from: {en}.", f"仅凭以下信息不能在看不到病灶时完成任务：{zh}。"))
    return told


def _solved(name: str, view: dict[str, Any], found: dict[str, Any], metric: str) -> dict[str, str]:
    (value, value_zh), (of, of_zh), (what, what_zh) = interval(view["figure"]), METRIC[metric], NAMES[name]
    whole, whole_zh = _beside(found)
    if name not in PLACES:
        en = f"Fine detail is hardly needed: {what} alone gives a small model {of} of {value}{whole}. "
        en += "Look whether exposure or machine differ between the classes."
        zh = f"几乎不需要细节：仅凭{what_zh}，小模型的 {of_zh} 即达 {value_zh}{whole_zh}。请核查各类别的曝光或设备是否不同。"
        return sentence(f"shortcut-{name}", "info", en, zh)
    means, means_zh = MEANS[name]
    by, by_zh = (f" (most: {view['told_by']})", f"（主要是 {view['told_by']}）") if view.get("told_by") else ("", "")
    en = f"The task can be solved without the lesion: {what} alone gives a small model {of} of {value}{whole}. The label may be told by {means}{by}."
    zh = f"无需看病灶即可完成任务：仅凭{what_zh}，小模型的 {of_zh} 即达 {value_zh}{whole_zh}。标签可能由{means_zh}得知{by_zh}。"
    return sentence(f"shortcut-{name}", "warning", en, zh)


def _hinted(name: str, view: dict[str, Any], metric: str) -> dict[str, str]:
    (value, value_zh), (of, of_zh), (what, what_zh) = interval(view["figure"]), METRIC[metric], NAMES[name]
    en = f"From {what} alone a small model has {of} of {value}: above chance, but far from the whole picture."
    return sentence(f"hint-{name}", "info", en, f"仅凭{what_zh}，小模型的 {of_zh} 为 {value_zh}：高于随机水平，但远不及完整影像。")


def _beside(found: dict[str, Any]) -> Words:
    """What the whole picture gives a small model, and the network on the test set."""
    en, zh = [], []
    if found.get("whole"):
        value, value_zh = interval(found["whole"])
        en.append(f"the whole picture gives it {value}")
        zh.append(f"完整影像为 {value_zh}")
    if found.get("network"):
        value, value_zh = interval(found["network"])
        en.append(f"the network has {value} on the test set")
        zh.append(f"网络在测试集上为 {value_zh}")
    return (f"; {', '.join(en)}", f"（{'，'.join(zh)}）") if en else ("", "")
