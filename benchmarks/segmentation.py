"""Masks and boxes on public sets: `fit` as a user calls it, every figure with its interval, and the validation score against training minutes.

    python benchmarks/segmentation.py FOLDER --out RUN [--budget 60m] [--folds 5] [--seed 0] [-- further options of fit]

FOLDER is a data set with masks or boxes, e.g. Task04_Hippocampus of the Medical Segmentation Decathlon, DRIVE, the ISBI 2012 membranes
(``--patient none --label membrane=0``), or BCCD. The same command goes on where it was stopped. With ``--folds`` the cross-validated figures come
from networks that have not seen the case; the test figures are the ensemble's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

import vesalius
from vesalius.kernels.stats import bootstrap
from vesalius.stages.request import seconds_of

SHOWN = ("dice", "iou", "nsd", "hd95", "sensitivity", "specificity", "auc", "size_error", "lesion_f1", "map50", "map", "cpm", "sensitivity_at_1fp",
         "precision", "count_mae")
EACH = ("dice", "nsd", "ap50", "ap", "cpm", "count_mae")


def figures(metrics: dict, part: str) -> list[str]:
    """A line for each figure of a part, and for the main ones of each structure."""
    found = metrics.get(part) or {}
    lines = [f"  {name:12} {_told(found[name])}" for name in SHOWN if name in found]
    per_class = metrics["per_class"].get(part, {})
    return lines + [f"  {structure}: " + ", ".join(f"{name} {_told(rows[name])}" for name in EACH if name in rows)
                    for structure, rows in per_class.items()]


def _told(figure: dict) -> str:
    return f"{figure['value']:.4f} ({figure['low']:.4f} - {figure['high']:.4f}), {figure['n_patients']} patients"


def pixel_errors(cases: pd.DataFrame) -> list[str]:
    """Of one structure on pictures: share of wrong pixels, and 1 - F of what is not the structure (ISBI 2012), means over pictures with interval."""
    cases = cases[(cases.split == "test") & (cases.specificity < 1)]
    right = cases.sensitivity * cases.size_true
    false, missed = cases.size_predicted - right, cases.size_true - right
    pixels = cases.size_true + false / (1 - cases.specificity)
    rest = pixels - cases.size_true - false
    shares = {"wrong pixels": (false + missed) / pixels, "1 - F of the rest": 1 - 2 * rest / (2 * rest + false + missed)}
    return [f"  {name:18} {_mean(values.to_numpy(), cases.patient)}" for name, values in shares.items()]


def _mean(values: np.ndarray, patients: pd.Series) -> str:
    made = bootstrap(lambda weights: (weights * values[:, None]).sum(0) / weights.sum(0), patients)
    return f"{made.value:.4f} ({made.low:.4f} - {made.high:.4f}), {made.n_images} images" if made else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--budget", default="60m", help="training time of all networks together")
    parser.add_argument("--folds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    for name in ("label", "patient", "target", "layout", "network"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--split-by-image", action="store_true")
    given = parser.parse_args()
    options = {name: getattr(given, name) for name in ("label", "patient", "target", "layout")} | {"by_image": given.split_by_image}
    network = (given.network,) if given.network else ()
    run = vesalius.fit(given.data, Path(given.out), seed=given.seed, budget_s=seconds_of(given.budget), folds=given.folds, network=network, **options)
    metrics = json.loads((run / "metrics.json").read_text())
    for part in ("cross_validation", "validation", "test"):
        if part in metrics:
            print(part.replace("_", " "), *figures(metrics, part), sep="\n")
    if (run / "predictions.parquet").exists() and metrics["primary"] == "dice" and len(metrics["per_class"]["test"]) == 1:
        print("test, pixels", *pixel_errors(pd.read_parquet(run / "predictions.parquet")), sep="\n")
    for network_facts in json.loads((run / "log" / "training.json").read_text()):
        print("trained", json.dumps(network_facts))
    history = pd.read_csv(run / "log" / "history.csv")
    print("validation score of the tiles against training minutes (first network):")
    for row in history.iloc[:: max(1, len(history) // 12)].itertuples():
        print(f"  {row.seconds / 60:6.1f} min  {row.validation_score:.4f}")
    print("seconds of each step:", json.loads((run / "environment.json").read_text())["seconds"])


if __name__ == "__main__":
    main()
