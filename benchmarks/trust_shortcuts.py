"""Are planted leaks and shortcuts found, and are clean twins left in peace?

    python benchmarks/trust_shortcuts.py [--sets 20] [--n 200] [--first 0]

For every seed one clean data set and a twin with each plant (`phantoms.shortcuts`) are made, checked and split, and the tests of trust are asked as
they are after a fit (without a network: the small model on the whole picture stands in). Shares have their 95 % Wilson interval.

* sensitivity: the plant's own test says "solves" (site: "usable");
* specificity: in the clean twin no test says so (a site at which nothing differs: not "usable"), per test and over all of them;
* leak: patients with up to four films (planted), the same number of films of as many patients (clean).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.reads import Reads
from vesalius.formats import recognise
from vesalius.kernels.stats import wilson
from vesalius.phantoms import make_phantom
from vesalius.stages.check import audit_cohort
from vesalius.stages.prepare import prepare_all
from vesalius.stages.run import RunFolder
from vesalius.stages.split import split_cohort
from vesalius.stages.trust import TRUST, Trust
from vesalius.stages.work import used_of

CAUGHT_BY = {"marker": "border", "border": "border", "background": "background", "size": "metadata"}
PLACES = ("border", "centre_out", "background", "metadata")


class NoNetwork:
    reads = Reads((64, 64))


def trust_of(folder: Path, seed: int, n: int, *, audited: bool = False, **options: Any) -> Trust:
    """A phantom as it is after a fit; where it is not audited no duplicates are looked for."""
    made = make_phantom("shortcuts", folder, seed=seed, n=n, **options)
    cohort = recognise(made.data)
    if audited:
        frame = used_of(split_cohort(audit_cohort(cohort, jobs=1), seed=seed).frame)
    else:
        frame = pd.DataFrame([{"id": c.id, "hash": c.id, "patient": c.patient, "label": c.label, "duplicate_cluster": -1, **c.clinical} for c in cohort.cases])
        frame["split"] = np.array(["train", "train", "train", "validation", "test"])[np.arange(len(frame)) % 5]
    cases = {case.id: case for case in cohort.cases}
    chosen = [cases[name].source for name in frame["id"]]
    prepared = prepare_all(frame["id"].tolist(), chosen, frame["hash"].tolist(), NoNetwork.reads, folder / "cache", jobs=1)
    images = np.asarray(prepared.images)
    return Trust(RunFolder(folder), NoNetwork(), frame, images, pd.DataFrame(), cohort.target, cases, seed, deadline=time.perf_counter() + 600)  # type: ignore[arg-type]


def solved(found: dict[str, Any]) -> set[str]:
    return {name for name, view in found["views"].items() if view.get("verdict") == "solves" and name in PLACES}


def one_seed(seed: int, n: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for plant in ("none", "site", *CAUGHT_BY):
        with tempfile.TemporaryDirectory() as folder:
            trust = trust_of(Path(folder), seed, n, plant=plant)
            start = time.perf_counter()
            views = TRUST.get("shortcuts")(trust)
            row[f"{plant}: seconds"] = time.perf_counter() - start
            row[plant] = sorted(solved(views))
            row[f"{plant}: auc"] = {name: round(view["figure"]["value"], 3) for name, view in views["views"].items() if view["applies"]}
            if plant in ("none", "site"):
                row[f"{plant}: usable"] = TRUST.get("sites")(trust)["columns"]["site"]["verdict"] == "usable"
    for name, most in (("clean leak", 1), ("planted leak", 4)):
        with tempfile.TemporaryDirectory() as folder:
            row[name] = leaks(TRUST.get("leak")(trust_of(Path(folder), seed, n, audited=True, per_patient=most)))
    return row


def leaks(found: dict[str, Any]) -> bool:
    return any(row["code"] == "leak-shown" for row in found.get("sentences", []))


def told(hits: list[bool]) -> dict[str, Any]:
    low, high = wilson(sum(hits), len(hits))
    return {"value": round(sum(hits) / len(hits), 3), "low": round(low, 3), "high": round(high, 3), "n": len(hits)}


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    sensitivity = {plant: told([view in row[plant] for row in rows]) for plant, view in CAUGHT_BY.items()}
    sensitivity |= {"site": told([row["site: usable"] for row in rows]), "leak": told([row["planted leak"] for row in rows])}
    specificity = {view: told([view not in row["none"] for row in rows]) for view in PLACES}
    specificity |= {"site": told([not row["none: usable"] for row in rows]), "leak": told([not row["clean leak"] for row in rows])}
    specificity["all of them"] = told([not row["none"] and not row["none: usable"] and not row["clean leak"] for row in rows])
    seconds = np.mean([row[f"{plant}: seconds"] for row in rows for plant in ("none", *CAUGHT_BY)])
    return {"data sets": len(rows), "sensitivity": sensitivity, "specificity": specificity, "seconds a data set (shortcuts)": round(float(seconds), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    given = parser.parse_args()
    rows = []
    for seed in range(given.first, given.first + given.sets):
        rows.append(one_seed(seed, given.n))
        print(json.dumps({"seed": seed} | rows[-1]), flush=True)
    print(json.dumps(summed(rows), indent=1))


if __name__ == "__main__":
    main()
