"""What the terminal says of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vesalius.stages.summary import summary


def figure(value: float, n: int = 20, p: int = 10) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.01, "n_images": n, "n_patients": p}


@pytest.fixture
def run_with(tmp_path: Path):
    def write(**facts: Any) -> Path:
        (tmp_path / "metrics.json").write_text(json.dumps({"looks_at_test": 1} | facts), "utf-8")
        return tmp_path

    return write


def test_masks_in_both_languages(run_with: Any) -> None:
    run = run_with(
        test={"dice": figure(0.881, 18), "nsd": figure(0.97), "hd95": {"value": 1.25, "low": None, "high": None}, "iou": figure(0.8)},
        per_class={"test": {"anterior": {"dice": figure(0.89)}, "posterior": {"dice": figure(0.872)}, "rare": {"dice": {"value": None}}}},
        cross_validation={"dice": figure(0.862, 80, 40), "nsd": figure(0.95)}, notes=[{"code": "x", "en": "few patients", "zh": "患者很少"}],
    )  # fmt: skip
    lines = summary(run).splitlines()
    assert lines == [
        "Test set (20 images of 10 patients, looked at 1 times):",
        "  mean Dice            0.881 (0.861 - 0.891)", "  surface Dice (NSD)   0.970 (0.950 - 0.980)",
        "  HD95                 1.250", "  Dice of each structure: anterior 0.890, posterior 0.872",
        "Cross-validation (another figure than the test's; 80 images of 40 patients, each marked by a network that had not seen it):",
        "  mean Dice            0.862 (0.842 - 0.872)", "  surface Dice (NSD)   0.950 (0.930 - 0.960)", "few patients", f"Report: {run / 'report.html'}",
        "Research use: a doctor decides.",
    ]  # fmt: skip
    chinese = summary(run, "zh")
    assert "各结构 Dice：anterior 0.890、posterior 0.872" in chinese
    assert "交叉验证（与测试集结果不同；40 名患者的 80 张图像" in chinese and "患者很少" in chinese


def test_labels_have_no_line_of_masks(run_with: Any) -> None:
    gain = {"over": "hog", "value": 0.05, "low": 0.01, "high": 0.09, "metric": "auc"}
    each = {"test": {name: {"auc": figure(0.9)} for name in "ab"}}
    text = summary(run_with(test={"auc": figure(0.95), "f1": figure(0.9)}, per_class=each, gain=gain))
    assert text.splitlines()[1].startswith("  AUC                  0.950 (0.930 - 0.960)")
    assert "Against the best baseline (hog): +0.050 auc" in text and "structure" not in text and "Cross" not in text


def test_a_test_without_figures(run_with: Any) -> None:
    assert summary(run_with(test={})).startswith("Test set (0 images of 0 patients")
