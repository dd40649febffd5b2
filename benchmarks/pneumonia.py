"""PneumoniaMNIST (or another npz with an official split): `fit` with several seeds, everything chosen on validation.

    python benchmarks/pneumonia.py DATA.npz [--seeds 3] [--out FOLDER] [--budget 8m]

Prints each seed's test figures with intervals and the medians. The run folders stay for inspection.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import vesalius
from vesalius.stages.request import seconds_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="bench-pneumonia")
    parser.add_argument("--budget", default="8m")
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        run = vesalius.fit(options.data, Path(options.out) / f"seed-{seed}", seed=seed, budget_s=seconds_of(options.budget))
        metrics = json.loads((run / "metrics.json").read_text())
        training = json.loads((run / "log" / "training.json").read_text())
        row = {name: metrics["test"][name] for name in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")}
        rows.append(row | {"train_seconds": sum(member["seconds"] for member in training)})
        print(seed, json.dumps(rows[-1]), flush=True)
    for name in ("auc", "accuracy", "balanced_accuracy"):
        print(name, "median of", options.seeds, "seeds:", round(statistics.median(row[name]["value"] for row in rows), 4))
    print("training seconds:", [round(row["train_seconds"]) for row in rows])


if __name__ == "__main__":
    main()
