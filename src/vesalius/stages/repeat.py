"""The same plan trained again with other seeds: how much of a figure is the luck of the seed.

The split, the plan and the data stay; initial weights, order and augmentation are drawn anew. Every network is judged on the validation part only: the test
set stays with the first one, which is the model that the run keeps, so that repeating neither looks at the test again nor chooses by it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.seed import stream_seed
from vesalius.stages.judged import judged_of, table_of
from vesalius.stages.run import RunFolder
from vesalius.stages.tiled.figures import parts_of
from vesalius.stages.trust.run import RECORD as TRUST_RECORD
from vesalius.stages.work import Work
from vesalius.storage import atomic_json

RECORD = "repeats.json"


@dataclass(frozen=True)
class Again:
    """One repetition: its number (1, 2, ...), its seed, and folders of its own."""

    number: int
    seed: int
    checkpoints: Path
    log: Path


def read_repeats(run: RunFolder) -> dict[str, Any]:
    """``repeats.json``, or nothing."""
    path = run.path / RECORD
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def to_repeat(work: Work) -> bool:
    """Whether fewer seeds have been trained than were asked for."""
    return len(read_repeats(work.run).get("runs", ())) < work.request.repeat and work.request.repeat > 1


def repeat_training(work: Work, target: TargetSpec, once: Callable[[Again], pd.DataFrame]) -> None:
    """Train until as many seeds as were asked for are known (the run's own is the first); ``RUN/repeats.json`` is kept after each.

    Parameters
    ----------
    once: trains one and returns its judged validation cases, in the columns of the run's own table.
    """
    if not to_repeat(work):
        return
    run, start = work.run, time.perf_counter()
    metrics = json.loads(run.metrics.read_text("utf-8"))
    runs = list(read_repeats(run).get("runs", ())) or [{"seed": work.request.seed, "figures": figures_of(table_of(run.path), metrics, target)}]
    for number in range(len(runs), work.request.repeat):
        again = Again(number, stream_seed(work.request.seed, "repeat", number), run.checkpoints / f"repeat-{number}", run.log / f"repeat-{number}")
        runs.append({"seed": again.seed, "figures": figures_of(once(again), metrics, target)})
        atomic_json(run.path / RECORD, {"schema": 1, "part": "validation", "primary": metrics["primary"], "runs": runs, "band": band_of(runs)})
    _forget_estimate(run)
    work.timed("repeat", start)


def _forget_estimate(run: RunFolder) -> None:
    """What the tests of trust said of the noise before is asked anew."""
    path = run.path / TRUST_RECORD
    if path.is_file():
        record = json.loads(path.read_text("utf-8"))
        atomic_json(path, {name: found for name, found in record.items() if name != "noise"})


def figures_of(table: pd.DataFrame, metrics: dict[str, Any], target: TargetSpec) -> dict[str, float]:
    """The figures of the validation cases (of the folds, where there is no other); undefined ones are absent.

    Raises
    ------
    DataError: there are no validation cases.
    """
    judged = judged_of(table, metrics, target, _part_of(table, target))
    values = judged.figures(np.ones((len(judged.ids), 1)))[:, 0]
    return {name: float(value) for name, value in zip(judged.names, values, strict=True) if np.isfinite(value)}


def _part_of(table: pd.DataFrame, target: TargetSpec) -> str:
    """Masks with folds have no validation part of their own."""
    return "cross_validation" if target.kind == "mask" and "validation" not in parts_of(table) else "validation"


def band_of(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """``{FIGURE: {"mean", "sd", "low", "high", "n"}}`` over the seeds; low and high are the least and the greatest, sd is that of one training."""
    made = {}
    for name in dict.fromkeys(name for each in runs for name in each["figures"]):
        values = np.array([each["figures"][name] for each in runs if name in each["figures"]])
        if len(values) > 1:
            spread = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "low": float(values.min()), "high": float(values.max())}
            made[name] = spread | {"n": len(values)}
    return made
