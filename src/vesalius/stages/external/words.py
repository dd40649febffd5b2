"""What must be said of an external set, in English and Chinese."""

from __future__ import annotations

from typing import Any

from vesalius.stages.judged import LOWER
from vesalius.stages.report.reasons import reason

Sentence = dict[str, str]
WHAT = {"covariate": ("patients", "患者"), "label": ("labels", "标签"), "output": ("answers of the model", "模型输出"), "acquisition": ("acquisition", "成像")}


def sentences_of(record: dict[str, Any]) -> list[Sentence]:
    """The drop first, then what the model would refuse, what shifted, what was left out."""
    return [_drop(record), *_unfit(record), *_shifted(record), *_left_out(record), *_again(record)]


def _said(code: str, severity: str, en: str, zh: str) -> Sentence:
    return {"code": code, "severity": severity, "en": en, "zh": zh}


def _drop(record: dict[str, Any]) -> Sentence:
    metric, n = record["metric"], record["n_patients"]
    gap, there, own = record["drop"].get(metric), record["external"].get(metric), record["own"].get(metric)
    if gap is None or there is None or own is None:
        return _said("external-undefined", "warning", f"{metric} is undefined on the external set ({n} patients): it does not hold every class.",
                     f"外部数据（{n} 名患者）上 {metric} 无定义：并非每个类别都有病例。")
    facts = f"{there['value']:.3f} (95 % {there['low']:.3f} … {there['high']:.3f}, n = {n})"
    change = f"{gap['value']:+.3f} ({gap['low']:+.3f} … {gap['high']:+.3f})"
    worse = gap["high"] < 0 if metric in LOWER else gap["low"] > 0
    better = gap["low"] > 0 if metric in LOWER else gap["high"] < 0
    if worse:
        return _said("external-drop", "warning", f"{metric} falls from {own['value']:.3f} to {facts}: own less external {change}.",
                     f"{metric} 由 {own['value']:.3f} 降为 {facts}：自身减外部 {change}。")
    if better:
        return _said("external-better", "ok", f"{metric} is {facts}, better than the {own['value']:.3f} of the own test: own less external {change}.",
                     f"{metric} 为 {facts}，优于自身测试集的 {own['value']:.3f}：自身减外部 {change}。")
    return _said("external-no-drop", "ok", f"{metric} is {facts}; no drop from {own['value']:.3f} is shown: own less external {change}.",
                 f"{metric} 为 {facts}；未显示相对于 {own['value']:.3f} 的下降：自身减外部 {change}。")


def _unfit(record: dict[str, Any]) -> list[Sentence]:
    found = record.get("fitness") or {}
    if not found.get("applies"):
        return [_said("external-unjudged", "info", "The model holds no statistics of its training images: whether it fits this set was not judged.",
                      "该模型未保存训练影像的统计信息：未判断它是否适用于该数据。")]
    refused, n = len(found["ids"]), found["n"]
    if not refused:
        return [_said("external-fits", "ok", f"The model would read all {n} cases.", f"模型会读取全部 {n} 例。")]
    share = found["refused"]
    facts = f"{100 * share['value']:.1f} % (95 % {100 * share['low']:.1f} … {100 * share['high']:.1f})"
    en = f"The model would refuse {refused} of {n} cases, {facts}, mostly because: {found['reasons'][0]['en']}"
    zh = f"模型会拒绝 {n} 例中的 {refused} 例，即 {facts}，主要原因：{found['reasons'][0]['zh']}"
    without = found["fit"].get(record["metric"])
    if without is not None:
        figure = f"{record['metric']} {without['value']:.3f} (95 % {without['low']:.3f} … {without['high']:.3f})"
        en, zh = f"{en} Without them {figure}.", f"{zh}不计这些病例时 {figure}。"
    return [_said("external-unfit", "warning", en, zh)]


def _shifted(record: dict[str, Any]) -> list[Sentence]:
    rows = [row for row in record["shift"] if row["shifted"]] + [row | {"what": "acquisition"} for row in record["acquisition"] if row["shifted"]]
    told = []
    for what, (en, zh) in WHAT.items():
        names = [row["name"] for row in rows if row["what"] == what]
        if names:
            told.append(_said(f"shift-{what}", "info", f"Shifted: {en} ({', '.join(names)}).", f"发生偏移：{zh}（{'、'.join(names)}）。"))
    if not told:
        told.append(_said("no-shift", "ok", "No shift of patients, labels or acquisition is shown.", "未显示患者、标签或成像方面的偏移。"))
    return told


def _left_out(record: dict[str, Any]) -> list[Sentence]:
    if not record["excluded"]:
        return []
    told = [(reason(why), n) for why, n in record["excluded"].items()]
    english, chinese = "; ".join(f"{n} ({why.en})" for why, n in told), "；".join(f"{n}（{why.zh}）" for why, n in told)
    return [_said("external-left-out", "warning", f"Left out: {english}.", f"未计入：{chinese}。")]


def _again(record: dict[str, Any]) -> list[Sentence]:
    if record["looks"] < 2:
        return []
    n = record["looks"]
    return [_said("external-again", "warning", f"This set has been scored {n} times with this run: it is no longer unseen by whoever chooses.",
                  f"本次训练已用该数据评价 {n} 次：对选择模型的人而言，它已不再是未见过的数据。")]
