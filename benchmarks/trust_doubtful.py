"""Planted wrong labels: precision at k over seeds, and what is named on the clean twins.

    python benchmarks/trust_doubtful.py [SEEDS] [IMAGES]

The phantom is ``binary-folders`` (films with and without fluid) with 5 % of the films in the wrong folder, and the same films rightly sorted. Only
the small baseline judges (no network), five folds by patient. k is the number of planted labels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.formats import open_study, recognise
from vesalius.kernels.stats import wilson
from vesalius.phantoms import make_phantom
from vesalius.stages.baselines import Task
from vesalius.stages.doubtful.rank import Judged, Question, features_of, judge

NOISE = 0.05


def judged(seed: int, n: int, noise: float) -> tuple[Judged, np.ndarray]:
    """The judgement, and which labels were planted wrong."""
    with tempfile.TemporaryDirectory() as folder:
        truth = make_phantom("binary-folders", Path(folder) / "phantom", seed=seed, n=n, mislabelled=noise)
        cohort = recognise(truth.data)
        frame = pd.DataFrame([{"id": c.id, "patient": c.patient, "label": c.label, "split": "train"} for c in cohort.cases])
        images = np.stack([open_study(case.source).image for case in cohort.cases])
    task = Task(images, frame, cohort.target, seed, 1)
    nothing = np.full((len(frame), cohort.target.n_out), np.nan)
    planted = frame["id"].isin(truth.planted.get("mislabelled", [])).to_numpy()
    return judge(Question(features_of(task), task.truth, task.patients, nothing, cohort.target), seed), planted


def main(seeds: int, n: int) -> None:
    hits = k = sure = sure_right = clean_sure = clean_doubted = cases = 0
    for seed in range(seeds):
        found, planted = judged(seed, n, NOISE)
        first = found.order[: planted.sum()]
        hits, k, cases = hits + int(planted[first].sum()), k + int(planted.sum()), cases + len(planted)
        sure, sure_right = sure + int(found.convinced.sum()), sure_right + int(planted[found.convinced].sum())
        clean, _ = judged(seed, n, 0.0)
        clean_sure, clean_doubted = clean_sure + int(clean.convinced.sum()), clean_doubted + int(clean.confident.sum())
        at = planted[first].mean()
        print(f"seed {seed}: precision at k {at:.2f} (k = {planted.sum()}), self-test {found.self_test and found.self_test['found']}, "
              f"convinced {found.convinced.sum()} ({planted[found.convinced].sum()} right); "
              f"clean: {clean.confident.sum()} doubted, {clean.convinced.sum()} convinced")
    for name, a, b in (("precision at k", hits, k), ("right among convinced", sure_right, sure), ("planted that are convinced", sure_right, k),
                       ("clean labels named with conviction", clean_sure, cases), ("clean labels doubted", clean_doubted, cases)):
        low, high = wilson(a, b)
        print(f"{name}: {a}/{b} = {a / max(b, 1):.3f} ({low:.3f}-{high:.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 400)
