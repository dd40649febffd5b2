"""What the changes of `stages.trust.robustness` cost a network, by how much its training films were moved and toned.

    python benchmarks/robustness.py DATA.npz [--epochs 10] [--scales 0.25] [--out FOLDER] [--seed 0]

The official test films are left out: 1,000 of the training films take their place, so that nothing here is chosen by them. The first fit
plans; each further one follows its plan with another largest change of size in ``train.augment``. Figures are of the validation films, with
the intervals of the report.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import vesalius
from vesalius.plan import Plan

HELD = 1000


def without_test(data: Path, out: Path, seed: int) -> Path:
    """A copy whose test films are training films."""
    given = np.load(data)
    order = np.random.default_rng(seed).permutation(len(given["train_images"]))
    rows = {"train": order[HELD:], "test": order[:HELD]}
    arrays = {f"{part}_{what}": given[f"train_{what}"][at] for part, at in rows.items() for what in ("images", "labels")}
    path = out / "films.npz"
    np.savez(path, **arrays, val_images=given["val_images"], val_labels=given["val_labels"])
    return path


def rescaled(plan: Path, scale: float, out: Path) -> Path:
    made = Plan.load(plan)
    augment = json.loads(json.dumps(made["train.augment"]))
    augment["affine"]["scale"] = scale
    path = out / f"plan-{scale}.toml"
    path.write_text(made.decide("train.augment", augment, f"scale {scale:.0%}: a trial").to_toml(), "utf-8")
    return path


def told(found: dict[str, Any]) -> None:
    rows = {"as it is": found["plain"]} | {row["what"][0]: row["figures"] for row in found["changes"].values()}
    for what, figures in rows.items():
        print(f"  {what:30s}", "  ".join(f"{name} {each['value']:.4f} ({each['low']:.3f}-{each['high']:.3f})" for name, each in figures.items()), flush=True)
    print("  mean balanced accuracy", round(float(np.mean([figures["balanced_accuracy"]["value"] for figures in rows.values()])), 4), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--scales", type=float, nargs="*", default=[0.25])
    parser.add_argument("--out", type=Path, default=Path("bench-robustness"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = without_test(options.data, options.out, options.seed)
    first = vesalius.fit(data, options.out / "planned", seed=options.seed, epochs=options.epochs)
    print(f"as planned, {options.epochs} epochs, seed {options.seed}", flush=True)
    told(json.loads((first / "trust.json").read_text("utf-8"))["robustness"])
    for scale in options.scales:
        run = vesalius.fit(data, options.out / f"scale-{scale}", seed=options.seed, plan=rescaled(first / "plan.toml", scale, options.out))
        print(f"scale {scale:.0%}, {options.epochs} epochs, seed {options.seed}", flush=True)
        told(json.loads((run / "trust.json").read_text("utf-8"))["robustness"])


if __name__ == "__main__":
    main()
