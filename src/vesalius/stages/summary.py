"""The run in a few sentences, for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = {
    "auc": ("AUC", "AUC"), "ap": ("average precision", "平均精度"), "accuracy": ("accuracy", "准确率"), "sensitivity": ("sensitivity", "灵敏度"),
    "specificity": ("specificity", "特异度"), "kappa": ("kappa", "kappa"), "mae": ("mean absolute error", "平均绝对误差"), "r2": ("R²", "R²"),
}
SAYS = {
    "test": ("Test set ({n} images of {p} patients, looked at {looks} times):", "测试集（{p} 名患者的 {n} 张图像，已查看 {looks} 次）："),
    "gain": (
        "Against the best baseline ({over}): {value:+.3f} {metric} (95 % interval {low:+.3f} to {high:+.3f}).",
        "与最佳基线（{over}）相比：{metric} {value:+.3f}（95% 区间 {low:+.3f} 至 {high:+.3f}）。",
    ),
    "report": ("Report: {path}", "报告：{path}"),
    "doctor": ("Research use: a doctor decides.", "仅供研究使用：由医生作出判断。"),
}


def summary(run: Path, lang: str = "en") -> str:
    """Main figures with intervals, the gain over the best baseline, warnings, and where the report is."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    which = 1 if lang == "zh" else 0
    test = metrics["test"]
    first = next(iter(test.values()), {"n_images": 0, "n_patients": 0})
    lines = [SAYS["test"][which].format(n=first["n_images"], p=first["n_patients"], looks=metrics["looks_at_test"])]
    lines += [_figure(NAMES[name][which], test[name]) for name in NAMES if name in test]
    gain = metrics.get("gain")
    if gain:
        lines.append(SAYS["gain"][which].format(**gain))
    lines += [note[lang] for note in metrics.get("notes", [])]
    return "\n".join([*lines, SAYS["report"][which].format(path=run / "report.html"), SAYS["doctor"][which]])


def _figure(name: str, figure: dict[str, Any]) -> str:
    bounds = f" ({figure['low']:.3f} - {figure['high']:.3f})" if figure.get("low") is not None else ""
    return f"  {name:20} {figure['value']:.3f}{bounds}"
