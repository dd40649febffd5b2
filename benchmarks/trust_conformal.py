"""Coverage of conformal sets and kept promises of selective prediction, over many drawn calibrations and tests.

    python benchmarks/trust_conformal.py [CALIBRATIONS]

Patients have one to five images that resemble one another; two classes, one of them rare. ``coverage`` is that of an image drawn from a new
patient of the class (stated: 90 %). A promise of abstaining is broken when the true error above its threshold (from 200,000 new images) is above the
stated one (stated: 5 % of
calibrations at most).
"""

from __future__ import annotations

import sys

import numpy as np

from vesalius.kernels.conformal import class_bounds, class_scores
from vesalius.kernels.selective import certainty_of, one_a_patient, select
from vesalius.kernels.stats import wilson
from vesalius.seed import generator

ERROR = 0.1


def drawn(rng: np.random.Generator, patients: int, most: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated probabilities, classes and patients."""
    whose = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    raw = rng.normal(-1.5, 2.5, patients)[whose] + rng.normal(0, 0.7, len(whose))
    p = 1 / (1 + np.exp(-raw))
    truth = (rng.random(patients)[whose] < p).astype(int)
    return np.stack([1 - p, p], 1), truth, whose


def main(times: int) -> None:
    rng = generator(0, "benchmark of conformal")
    new = drawn(rng, 200_000, 1)
    certainty, wrong = certainty_of(new[0]), new[0].argmax(1) != new[1]
    print(f"error of all answers {wrong.mean():.3f}")
    for patients in (40, 80, 160, 400):
        covered, kept, broken = [], [], 0
        for seed in range(times):
            p, truth, whose = drawn(rng, patients)
            held = class_scores(new[0]) <= class_bounds(p, truth, whose, ERROR)
            covered.append([held[new[1] == k, k].mean() for k in (0, 1)])
            rows = one_a_patient(whose, seed)
            made = select(certainty_of(p)[rows], (p.argmax(1) != truth)[rows].astype(float), ERROR)
            if made is not None:
                kept.append((certainty >= made.threshold).mean())
                broken += wrong[certainty >= made.threshold].mean() > ERROR
        mean, spread = np.mean(covered, 0), 1.96 * np.std(covered, 0) / np.sqrt(times)
        low, high = wilson(broken, max(len(kept), 1))
        print(f"{patients} patients: coverage {mean[0]:.3f} +- {spread[0]:.3f} and {mean[1]:.3f} +- {spread[1]:.3f}; a threshold in {len(kept)}/{times}, "
              f"mean share kept {np.mean(kept) if kept else 0:.2f}, broken {broken} ({low:.3f}-{high:.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
