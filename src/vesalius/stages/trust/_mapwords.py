"""What is said of each kind of map, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vesalius.stages.trust._words import Words
from vesalius.stages.trust.base import sentence

NAMES: dict[str, Words] = {
    "gradcam": ("Grad-CAM", "Grad-CAM"), "gradcam++": ("Grad-CAM++", "Grad-CAM++"), "occlusion": ("Occlusion", "遮挡法"), "rise": ("RISE", "RISE"),
    "drise": ("D-RISE", "D-RISE"), "integrated-gradients": ("Integrated gradients", "积分梯度"), "attention-rollout": ("Attention rollout", "注意力展开"),
}
WHY: dict[str, Words] = {
    "same": ("it hardly changes when the network's weights are drawn anew, so that it shows the image and not what was learnt",
             "网络权重重新随机后它几乎不变，显示的是影像本身而不是网络所学"),
    "erasing": ("hiding its hot places was not shown to change the answer more than hiding others", "遮住其热点并未显示比遮住其他部位更能改变结果"),
    "pointing": ("its hottest place was not shown to lie in a marked lesion more often than chance", "其最热点落在已标注病灶内的比例并未显示高于随机水平"),
    "empty": ("it is empty for most cases", "多数病例的热力图为空"),
    "unfit": ("the method does not fit this network", "该方法不适用于此网络"),
    "few": ("there were too few cases to test it", "病例太少，无法检验"),
    "time": ("testing it would have taken too long", "检验所需时间过长"),
}


def said(methods: Mapping[str, dict[str, Any]], by_default: Sequence[str], instead: str | None = None) -> list[dict[str, str]]:
    """A sentence for each kind of map that the report would show, and one for the kind that is shown instead."""
    told = [_of(name, methods[name]) for name in by_default if name in methods]
    if instead is None:
        return told
    en, zh = NAMES.get(instead, (instead, instead))
    return [*told, sentence("explanations-instead", "info", f"{en} passed its tests and is shown instead.", f"{zh}通过检验，因此代为显示。")]


def left_untested(names: Sequence[str]) -> list[dict[str, str]]:
    """What was left out because the tests of trust may take only a share of the fit's time."""
    if not names:
        return []
    en, zh = (", ".join(NAMES.get(name, (name, name))[0] for name in names), "、".join(NAMES.get(name, (name, name))[1] for name in names))
    return [sentence("explanations-cut", "info", f"Not tested, to stay within a fifth of the fit's time: {en}; this page does not show them.",
                     f"为不超过训练时间的五分之一而未检验：{zh}；本页不显示这些热力图。")]


def _of(name: str, found: Mapping[str, Any]) -> dict[str, str]:
    en, zh = NAMES.get(name, (name, name))
    reasons = [WHY[code] for code in found["why"]]
    why_en, why_zh = ", and ".join(each[0] for each in reasons), "；".join(each[1] for each in reasons)
    if not found.get("tested", True):
        return sentence(f"explanations-{name}", "info", f"{en} is shown without a warrant: {why_en}.", f"{zh}未经检验而显示：{why_zh}。")
    if not found["shown"]:
        return sentence(f"explanations-{name}", "warning", f"{en} is not shown: {why_en}.", f"{zh}不予显示：{why_zh}。")
    n = found["n_cases"]
    good = f"{en} follows the network's weights and the places that its answer rests on ({n} cases)."
    return sentence(f"explanations-{name}", "ok", good, f"{zh}随网络权重改变，并指向其结果所依据的部位（{n} 例）。")
