"""Are planted gaps between groups found, and are none reported where there is none? Simulated test sets with known truth.

    python benchmarks/trust_subgroups.py [--studies 200] [--patients 300] [--draws 300] [--gaps 0.10 0.15] [--json FILE]

Each study has patients with one to three images (half of the variance is the patient's own), four columns (site, sex, age, scanner) and ill patients that are
commoner at one site. In the clean twin the AUC is .90 everywhere; with a gap it is lower at the rarer site (40 %). Reported are the share of studies in which
any gap is claimed (Holm over all columns, 5 %), and with a gap the share in which that of the site is claimed, each with Wilson's interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.kernels.stats import wilson
from vesalius.seed import generator
from vesalius.stages.judged import judged_of
from vesalius.stages.trust.subgroups import groups_of

TARGET = TargetSpec("binary", ("healthy", "ill"))
METRICS = {"primary": "auc", "operating_point": {"threshold": 0.5}}
AUC = 0.90


def distance(auc: float) -> float:
    """Between two normal distributions with this area under the ROC curve."""
    return 2**0.5 * NormalDist().inv_cdf(auc)


def study(seed: int, patients: int, gap: float) -> pd.DataFrame:
    """The judged images of one test set with its columns; the AUC at site B is ``gap`` lower."""
    rng = generator(seed, "subgroup study", gap)
    site = np.where(rng.random(patients) < 0.4, "B", "A")
    ill = (rng.random(patients) < np.where(site == "B", 0.3, 0.5)).astype(int)
    columns = {"site": site, "sex": rng.choice(["F", "M"], patients), "age": rng.integers(20, 90, patients), "scanner": rng.choice(["x", "y", "z"], patients)}
    far = np.where(site == "B", distance(AUC - gap), distance(AUC))
    whose = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    score = far[whose] * ill[whose] + 0.5**0.5 * (rng.normal(size=patients)[whose] + rng.normal(size=len(whose)))
    p = 1 / (1 + np.exp(-(score - score.mean())))
    facts = {"id": [f"i{i}" for i in range(len(whose))], "patient": [f"p{i}" for i in whose], "split": "test", "truth": ill[whose]}
    return pd.DataFrame(facts | {"p_healthy": 1 - p, "p_ill": p} | {name: values[whose] for name, values in columns.items()})


def claimed(seed: int, patients: int, gap: float, draws: int) -> list[str]:
    """The columns of which a gap is claimed."""
    frame = study(seed, patients, gap)
    found = groups_of(judged_of(frame, METRICS, TARGET), frame, TARGET, columns=["site", "sex", "age", "scanner"], seed=seed, n=draws)
    return [row["column"] for row in found["gaps"] if row["p_holm"] < 0.05]


def share(k: int, n: int) -> dict[str, Any]:
    low, high = wilson(k, n)
    return {"share": k / n, "low": low, "high": high, "k": k, "n": n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--gaps", type=float, nargs="*", default=[0.10, 0.15])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    record: dict[str, Any] = {"patients": given.patients, "draws": given.draws}
    clean = [claimed(seed, given.patients, 0.0, given.draws) for seed in range(given.studies)]
    record["no gap: any claimed"] = share(sum(bool(each) for each in clean), given.studies)
    for gap in given.gaps:
        made = [claimed(seed, given.patients, gap, given.draws) for seed in range(given.studies)]
        record[f"gap {gap:g}: found"] = share(sum("site" in each for each in made), given.studies)
        record[f"gap {gap:g}: another claimed"] = share(sum(any(name != "site" for name in each) for each in made), given.studies)
    print(json.dumps(record, indent=2))
    if given.json:
        given.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
