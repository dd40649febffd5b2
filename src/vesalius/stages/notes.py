"""What a reader must keep in mind, in words, in English and Chinese."""

from __future__ import annotations

from typing import Any

import pandas as pd

SMALL_TEST = 100
"""With fewer test patients than this, the width of the interval is said in words."""
FEW_OF_CLASS = 10
FEW_TO_DRAW = 10
"""Intervals that are drawn from fewer patients than this are too narrow: most draws are alike."""
SMALL_VALIDATION = 40

TEXTS = {
    "small-test": (
        "{n} patients in the test set: {name} of {value} could be anything from {low} to {high}.",
        "测试集只有 {n} 名患者：{name} {value} 的真实值可能在 {low} 到 {high} 之间。",
    ),
    "small-test-resampled": (
        "{n} patients in the test set: {name} of {value} could be anything from {low} to {high}, and an interval that was drawn from fewer than {least} "
        "patients is itself too narrow.",
        "测试集只有 {n} 名患者：{name} {value} 的真实值可能在 {low} 到 {high} 之间；而由不足 {least} 名患者重采样得到的区间本身就偏窄。",
    ),
    "few-of-class": (
        "Only {n} test patients have '{name}': its figures say little.",
        "测试集中仅有 {n} 名患者属于“{name}”：该类别的指标参考价值有限。",
    ),
    "one-class-test": (
        "The test set holds only one class, so that AUC is undefined and absent.",
        "测试集只包含一个类别，因此 AUC 无定义，未予给出。",
    ),
    "cross-validated": (
        "The validation figures are from {n} folds: each image is judged by the network of a fold that has not learnt from it (only its last epoch was "
        "chosen there); those of the test judge all networks together.",
        "验证指标来自 {n} 折交叉验证：每张图像由未用它训练的那一折网络评价（仅在其上选择了停止轮次）；测试集指标由所有网络共同给出。",
    ),
    "chosen-on-folds": (
        "{what} chosen on the answers of single folds, while the model averages the networks of all {n}: its probabilities may be somewhat too cautious. "
        "The test figures show how well they hold.",
        "{what}是根据各折单独网络的回答选择的，而最终模型对全部 {n} 折网络取平均：其概率可能略偏保守，是否成立以测试集指标为准。",
    ),
    "small-validation": (
        "{n} patients in validation: the threshold and the calibration rest on few cases.",
        "验证集只有 {n} 名患者：阈值和概率校准所依据的病例很少。",
    ),
    "not-calibrated": (
        "The probabilities are not calibrated: validation gave nothing to calibrate on.",
        "概率未经校准：验证集中没有可用于校准的数据。",
    ),
    "never-predicted": (
        "Never predicted on the test set: {classes}. Mean PPV and F1 must be read with that in mind.",
        "测试集中从未被预测的类别：{classes}。解读平均阳性预测值和 F1 时须注意这一点。",
    ),
    "gain-unclear": (
        "It is not shown that the network is better than the {over} baseline: the interval of the difference holds 0.",
        "尚不能证明网络优于 {over} 基线：差值的区间包含 0。",
    ),
    "more-patients-help": (
        "More patients would probably help: the last doubling to {n} patients brought a small model {gain} {metric} (95 % interval {low} to {high}).",
        "增加患者很可能有帮助：最近一次翻倍（至 {n} 名患者）使小模型的 {metric} 提高 {gain}（95% 区间 {low} 至 {high}）。",
    ),
    "more-patients-flat": (
        "More patients alone would probably help little: the last doubling to {n} patients brought a small model {gain} {metric} "
        "(95 % interval {low} to {high}).",
        "仅增加患者很可能帮助不大：最近一次翻倍（至 {n} 名患者）使小模型的 {metric} 变化 {gain}（95% 区间 {low} 至 {high}）。",
    ),
    "more-patients-unclear": (
        "Whether more patients would help cannot be said: the last doubling to {n} patients brought a small model {gain} {metric} "
        "(95 % interval {low} to {high}).",
        "尚无法判断增加患者是否有帮助：最近一次翻倍（至 {n} 名患者）使小模型的 {metric} 变化 {gain}（95% 区间 {low} 至 {high}）。",
    ),
}

NAMES = {"accuracy": ("an accuracy", "准确率"), "auc": ("an AUC", "AUC"), "kappa": ("a kappa", "kappa"), "r2": ("an R²", "R²")}


CHOSEN = {True: ("The calibration and the operating point were", "概率校准和判定阈值"), False: ("The calibration was", "概率校准")}
"""What was chosen on validation, with an operating point and without."""


def note(code: str, names: tuple[str, str] | None = None, **facts: object) -> dict[str, str]:
    """One note with its code, in both languages; ``names`` is a word that differs between them."""
    both = [TEXTS[code][k].format(**(facts | ({"name": names[k], "what": names[k]} if names else {}))) for k in (0, 1)]
    return {"code": code, "en": both[0], "zh": both[1]}


def small_test(figure: dict[str, Any] | None, names: tuple[str, str], people: int, digits: int) -> list[dict[str, str]]:
    """What a figure of few test patients could be; nothing where there are many, or where it is undefined."""
    if people >= SMALL_TEST or figure is None:
        return []
    value, low, high = (f"{figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    drawn = people < FEW_TO_DRAW and "bootstrap" in str(figure.get("method", ""))
    made = note("small-test-resampled" if drawn else "small-test", names, n=people, value=value, low=low, high=high, least=FEW_TO_DRAW)
    return [made | {"code": "small-test"}]


def notes_of(metrics: dict[str, Any], predictions: pd.DataFrame, data_size: list[dict[str, Any]] | None = None) -> list[dict[str, str]]:
    """The notes that the figures call for, the most important first."""
    people = {split: int(frame["patient"].nunique()) for split, frame in predictions.groupby("split")}
    found = _of_test(metrics, people["test"]) + _of_folds(metrics)
    if people.get("validation", 0) < SMALL_VALIDATION:
        found.append(note("small-validation", n=people.get("validation", 0)))
    if metrics["target"]["kind"] != "regression" and metrics["calibration"].get("method") == "none":
        found.append(note("not-calibrated"))
    gain = metrics.get("gain")
    if gain and gain["low"] <= 0 <= gain["high"]:
        found.append(note("gain-unclear", over=gain["over"]))
    return found + ([more_patients(data_size)] if data_size and len(data_size) > 1 and "gain" in data_size[-1] else [])


def _of_folds(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """That validation is cross-validated, and what was chosen on networks that the model averages."""
    n = metrics.get("cross_validated")
    if not n:
        return []
    chosen = metrics["target"]["kind"] != "regression" and metrics["calibration"].get("method") != "none"
    chosen_too = [note("chosen-on-folds", CHOSEN["operating_point" in metrics], n=n)] if chosen else []
    return [note("cross-validated", n=n), *chosen_too]


def _of_test(metrics: dict[str, Any], people: int) -> list[dict[str, str]]:
    test = metrics["test"]
    shown = "accuracy" if "accuracy" in test else metrics["primary"]
    found = small_test(test.get(shown), NAMES.get(shown, (shown, shown)), people, 2)
    if metrics["target"]["kind"] != "regression" and "auc" not in test:
        found.append(note("one-class-test"))
    classes = metrics["per_class"].get("test", {})
    for name, rows in classes.items():
        n = rows["sensitivity"]["n_patients"] if "sensitivity" in rows else 0
        if n < FEW_OF_CLASS:
            found.append(note("few-of-class", (name, name), n=n))
    never = [name for name, rows in classes.items() if "ppv" not in rows and "sensitivity" in rows]
    return found + ([note("never-predicted", classes=", ".join(never))] if never else [])


def more_patients(data_size: list[dict[str, Any]]) -> dict[str, str]:
    """Whether more patients would help, from the gain of the last doubling in `stages.datasize`."""
    last = data_size[-1]
    code = "more-patients-help" if last["gain_low"] > 0 else "more-patients-flat" if last["gain_high"] < last["worth"] else "more-patients-unclear"
    gain, low, high = (f"{last[name]:+.3f}" for name in ("gain", "gain_low", "gain_high"))
    metric = {"auc": "AUC", "r2": "R²"}.get(last["metric"], last["metric"])
    return note(code, n=int(last["n_patients"]), metric=metric, gain=gain, low=low, high=high)
