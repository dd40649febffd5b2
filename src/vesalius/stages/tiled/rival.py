"""The classic rival of a run with masks: a classifier of samples, learnt from the training cases and judged as the network is.

    CACHE/<key>/baseline-<key>.npz   the samples that were drawn; a killed run need not look through the training cases again
    RUN/log/baseline.json            how its odds were moved on validation
        log/baseline/                scores and masks of each judged case, as the network's lie in the run folder
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.seed import generator
from vesalius.stages.request import Request
from vesalius.stages.tiled.baseline import Boosted, Examples, best_shift, examples_of, small_of
from vesalius.stages.tiled.design import BUDGET_S
from vesalius.stages.tiled.evaluate import Judge, judged
from vesalius.stages.tiled.filters import n_features, thinned
from vesalius.stages.tiled.store import TileStore
from vesalius.storage import atomic_json, atomic_write

Progress = Callable[[int, int, str], None]
NAME = "boosted"
MOST_TRAINING, MOST_VALIDATION = 60, 40
"""Training cases that it learns from, and validation cases on which its odds are chosen: it has few numbers to learn."""
DRAWN = 40_000
"""Samples that it learns from, of all training cases together."""
TREES, MOST_TREES, LEAST_TREES = 60, 180, 20
"""Rounds of boosting; all classes together grow about so many trees at most; every class at least so many."""
MOST_SAMPLES, LEAST_SAMPLES = 1_500_000, 4_096
"""Samples of the grid on which one case is looked at."""
MOST_NUMBERS = 100_000_000
"""Features of one case at most: 400 MB."""
SHARE, LEAST_S = 0.05, 120.0
"""Part of the budget that it may take, or so many seconds where that is less."""
FEATURE_S, TREE_S = 40e-9, 80e-9
"""Seconds of one feature, and of one tree, of one sample on an ordinary core. Numbers of the machine are not asked: the same data gives the same baseline."""


@dataclass(frozen=True)
class Recipe:
    """How much is looked at: cases to learn from, samples of each case's grid, samples drawn in all, rounds of boosting."""

    cases: int
    samples: int
    drawn: int
    trees: int


def recipe_for(frame: pd.DataFrame, target: TargetSpec, reads: TileReads, budget_s: float | None) -> Recipe:
    """What fits into a twentieth of the budget, or two minutes; of the cohort's rows the column ``split`` counts."""
    n = {part: int((frame["split"] == part).sum()) for part in ("train", "validation", "test")}
    features, kinds = n_features(reads.channels, reads.ndim), len(target.classes) + (1 if target.exclusive and len(target.classes) > 1 else 0)
    trees = min(TREES, max(LEAST_TREES, MOST_TREES // kinds))
    learnt, chosen = min(n["train"], MOST_TRAINING), min(n["validation"], MOST_VALIDATION)
    looked = learnt + chosen + n["validation"] + n["test"]
    each = looked * features * FEATURE_S + (looked - learnt) * trees * kinds * TREE_S
    samples = int(max(SHARE * (budget_s or BUDGET_S), LEAST_S) / max(each, 1e-9))
    most = min(MOST_SAMPLES, MOST_NUMBERS // features)
    return Recipe(learnt, int(np.clip(samples, LEAST_SAMPLES, most)), DRAWN, trees)


def learnt_baseline(store: TileStore, frame: pd.DataFrame, used: pd.DataFrame, target: TargetSpec, request: Request, log: Path, progress: Progress) -> Boosted:
    """The classifier of samples, learnt from training cases, its odds chosen on validation cases.

    Parameters
    ----------
    store: the prepared cases, a row for each of ``frame``. used: the rows of all parts, for the time that it may take.
    """
    recipe = recipe_for(used, target, store.reads, request.budget_s)
    examples = _examples(store, spread(frame, "train", recipe.cases), target, recipe, request.seed, progress)
    model = Boosted(examples, target, store.reads, most=recipe.samples, trees=recipe.trees, seed=request.seed)
    shift = _chosen(model, store, spread(frame, "validation", MOST_VALIDATION), log / "baseline.json", recipe, progress)
    model.task.facts["bias"] = model.shifted(shift)
    return model


def spread(frame: pd.DataFrame, split: str, most: int) -> list[int]:
    """At most so many rows of a part, evenly."""
    rows = np.flatnonzero(frame["split"].to_numpy() == split)
    return [int(row) for row in rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]] if len(rows) else []


def _examples(store: TileStore, rows: list[int], target: TargetSpec, recipe: Recipe, seed: int, progress: Progress) -> Examples:
    key = hashlib.sha256(json.dumps([rows, asdict(recipe), seed]).encode()).hexdigest()[:16]
    path = store.path / f"baseline-{key}.npz"
    if path.is_file():
        with np.load(path) as held:
            return Examples(*(held[name] for name in ("features", "truth", "held", "judged")))
    parts = []
    for done, row in enumerate(rows, 1):
        rng = generator(seed, "baseline", row)
        parts.append(examples_of(store.image(row), store.truth(row), target, store.reads, recipe.samples, recipe.drawn // len(rows), rng))
        progress(done, len(rows), "training cases for the baseline")
    made = Examples.joined(parts)
    buffer = io.BytesIO()
    np.savez(buffer, features=made.features, truth=made.truth, held=made.held, judged=made.judged)
    atomic_write(path, buffer.getvalue())
    return made


def _chosen(model: Boosted, store: TileStore, rows: list[int], record: Path, recipe: Recipe, progress: Progress) -> float:
    """The shift of the odds, chosen once."""
    if record.is_file():
        held = json.loads(record.read_text("utf-8"))
        if held["model"] == model.hash:
            return float(held["shift"])
    cases = []
    for done, row in enumerate(rows, 1):
        raw = model.raw(*small_of(store.image(row), store.reads, model.most))
        cases.append((raw.astype(np.float16), thinned(np.asarray(store.truth(row)), raw.shape[1:])))
        progress(done, len(rows), "validation cases for the baseline")
    shift = best_shift(model, cases)
    record.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(record, {"model": model.hash, "shift": shift, "chosen_on": "validation", "rule": "mean Dice", **asdict(recipe)})
    return shift


def judged_baseline(model: Boosted, rows: pd.DataFrame, judge: Judge, log: Path, progress: Progress) -> pd.DataFrame:
    """``predictions.parquet`` of the cases in ``rows`` as the classifier marks them, scored by the network's own judge; with the column ``model``."""
    return judged(model, rows, judge, log / "baseline", progress=progress, what="cases marked by the baseline").assign(model=NAME)
