"""The networks of a run: one, several members, or with ``--folds`` one (times members) for each part of the patients, which it does not learn from.

Whole images, masks and boxes train them alike: each has its own folder of checkpoints, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.plan import Plan
from vesalius.seed import stream_seed
from vesalius.stages.request import Request
from vesalius.stages.split import folds
from vesalius.stages.train import Job, Trained, train_here_or_spread
from vesalius.stages.work import Work
from vesalius.storage import atomic_json

Progress = Callable[[int, int, str], None]
M = TypeVar("M", bound=Mapping)
TRAINING = "training.json"


@dataclass(frozen=True)
class Part:
    """One network to train: a name, its rows, and the fold that it has not seen (-1: none)."""

    name: str
    train_rows: np.ndarray
    validation_rows: np.ndarray
    fold: int


def parts_of(plan: Plan, frame: pd.DataFrame, target: TargetSpec, seed: int) -> list[Part]:
    """The networks of a plan: for each fold its members, or the members alone.

    Parameters
    ----------
    frame: rows of ``cohort.parquet`` in the order of the prepared images; a part names them by place. The test set is in none.
    seed: of the dealing into folds.

    Raises
    ------
    TooFewError: fewer independent patients than folds.
    """
    k, members = int(plan.get("train.folds", 0) or 0), int(plan["train.members"])
    split = frame["split"].to_numpy()
    if not k:
        train, held = np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")
        return [Part(f"member-{m}", train, held, -1) for m in range(members)]
    every, made = np.flatnonzero(split != "test"), []
    for number, held in enumerate(folds(frame, k, seed, target)):
        made += [Part(f"fold-{number}-member-{m}", np.setdiff1d(every, held), np.sort(held), number) for m in range(members)]
    return made


def train_each(parts: Sequence[Part], request: Request, log: Path, job_of: Callable[[Part, int, Path], Job], progress: Progress) -> list[Trained]:
    """Train every part; a finished one is not trained again, one that was stopped goes on.

    Parameters
    ----------
    job_of: the job of a part, given its seed and the folder of its log (``log`` itself for the first).
    """
    results = []
    for number, part in enumerate(parts):
        seed = request.seed if len(parts) == 1 else stream_seed(request.seed, "member", number)
        prefix = f"network {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
        results.append(train_here_or_spread(job_of(part, seed, log if number == 0 else log / part.name), named(progress, prefix)))
    return results


def named(progress: Progress, prefix: str) -> Progress:
    """The same progress, said of one of several."""
    return lambda done, total, what: progress(done, total, prefix + what)


def keep_training(work: Work, parts: Sequence[Part], results: Sequence[Trained]) -> None:
    """``log/training.json`` (`TRAINING`): how long each network was trained and why it stopped."""
    facts = [{"name": p.name, "fold": p.fold, "best_epoch": r.epoch, "epochs": r.epochs_done, "seconds": round(r.seconds, 1), "why_stopped": r.why_stopped}
             for p, r in zip(parts, results, strict=True)]
    atomic_json(work.run.log / TRAINING, facts)


def trained_seconds(work: Work) -> float:
    """How long all networks of the run were trained, also before it was killed; as `keep_training` has kept it."""
    return float(sum(each["seconds"] for each in json.loads((work.run.log / TRAINING).read_text("utf-8"))))


def unseen_of(made_of: Callable[[Sequence[Trained]], M], frame: pd.DataFrame, parts: Sequence[Part],
              results: Sequence[Trained]) -> list[tuple[int, M, pd.DataFrame]]:
    """For each fold (or once, as -1) the networks that have not seen its cases as one mapping, and those cases."""
    made = []
    for fold in dict.fromkeys(part.fold for part in parts):
        mine = [i for i, part in enumerate(parts) if part.fold == fold]
        rows = frame.iloc[parts[mine[0]].validation_rows].assign(split="validation")
        made.append((fold, made_of([results[i] for i in mine]), rows))
    return made
