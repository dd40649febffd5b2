"""The report of what `evaluate` really writes, for every kind of target."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.stages.evaluate import choose_operating_point, evaluate
from vesalius.stages.explain import choose_cases
from vesalius.stages.report import report


@pytest.mark.parametrize(("kind", "primary"), [("binary", "AUC"), ("multiclass", "AUC"), ("ordinal", "kappa"), ("multilabel", "AUC"), ("regression", "R²")])
def test_report_of_real_figures(kind, primary, run_of):
    run = run_of(kind)
    predictions, baselines = (pd.read_parquet(run / f"{name}.parquet") for name in ("predictions", "baselines"))
    target = TargetSpec.from_dict(json.loads((run / "metrics.json").read_text("utf-8"))["target"])
    operating = choose_operating_point(predictions, target, rule="sensitivity 0.9") if kind == "binary" else None
    calibration = {"method": "none" if kind == "regression" else "temperature", "parameters": {}, "before": {}, "after": {}, "chosen_on": "validation"}
    metrics = evaluate(predictions, baselines, target, calibration=calibration, operating=operating, n_boot=60)
    (run / "metrics.json").write_text(json.dumps(metrics | {"looks_at_test": 1, "data_size": []}), "utf-8")
    text = report(run).read_text("utf-8")
    assert f"the {primary} was {metrics['test'][metrics['primary']]['value']:.3f} (95 % interval" in text
    assert ("sensitivity of at least 0.9" in text) == (kind == "binary")
    assert "is beaten" in text and "78 patients in the test set" in text
    assert len(choose_cases(predictions, target, 2)) == (4 if kind == "regression" else 6)
