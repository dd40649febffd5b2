"""Train the networks of a run with masks: one, several members, or one for each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.mapping import BoxedMapping, TiledMapping, network_of
from vesalius.outputs import Output, output_for
from vesalius.plan import Plan
from vesalius.seed import stream_seed
from vesalius.stages.boxed.store import BoxStore
from vesalius.stages.request import Request
from vesalius.stages.split import folds
from vesalius.stages.tiled.design import tile_reads_of
from vesalius.stages.tiled.store import TileStore
from vesalius.stages.train import Job, Trained, train_here_or_spread

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TileMaterial:
    """What every training of a run has in common; ``frame`` has a row for each prepared case (training and validation), in order."""

    store: TileStore | BoxStore
    frame: pd.DataFrame
    target: TargetSpec
    checkpoints: Path
    log: Path


@dataclass(frozen=True)
class Part:
    """One network to train: a name, its rows, and the fold that it has not seen (-1: none)."""

    name: str
    train_rows: np.ndarray
    validation_rows: np.ndarray
    fold: int


def task_of(plan: Plan, target: TargetSpec) -> Output:
    """The output with the loss that the plan chose, where it chose one."""
    output = output_for(target)
    if plan.get("train.loss"):
        output.facts = {"loss": plan["train.loss"], "together": bool(plan["train.together"])}
    return output


def parts_of(plan: Plan, material: TileMaterial, seed: int) -> list[Part]:
    """The networks of a plan: for each fold its members, or the members alone."""
    k, members = int(plan["train.folds"]), int(plan["train.members"])
    split = material.frame["split"].to_numpy()
    if not k:
        train, held = np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")
        return [Part(f"member-{m}", train, held, -1) for m in range(members)]
    every = np.arange(len(split))
    made = []
    for number, held in enumerate(folds(material.frame, k, seed, material.target)):
        made += [Part(f"fold-{number}-member-{m}", np.setdiff1d(every, held), np.sort(held), number) for m in range(members)]
    return made


def train_parts(plan: Plan, material: TileMaterial, request: Request, progress: Progress, seed: int | None = None) -> tuple[list[Part], list[Trained]]:
    """Train every part; a finished one is not trained again, one that was stopped goes on. ``seed``: of the training, where it is not that of the folds."""
    parts = parts_of(plan, material, request.seed)
    request = request if seed is None else replace(request, seed=seed)
    results = []
    for i, part in enumerate(parts, 1):
        prefix = f"network {i} of {len(parts)}, " if len(parts) > 1 else ""
        results.append(train_here_or_spread(_job(plan, material, request, part, len(parts), i - 1), _named(progress, prefix)))
    return parts, results


def _named(progress: Progress, prefix: str) -> Progress:
    return lambda done, total, what: progress(done, total, prefix + what)


def _job(plan: Plan, material: TileMaterial, request: Request, part: Part, n: int, number: int) -> Job:
    empty = np.zeros(0, np.int64)
    seed = request.seed if n == 1 else stream_seed(request.seed, "member", number)
    log = material.log if number == 0 else material.log / part.name
    return Job(material.store.path, tile_reads_of(plan), plan, task_of(plan, material.target).to_dict(), part.train_rows, empty, part.validation_rows, empty,
               material.checkpoints / part.name, log, seed, request.weights)


def mapping_of(plan: Plan, target: TargetSpec, results: Sequence[Trained], device: str = "cpu") -> TiledMapping:
    """The networks of some results as one mapping that marks samples."""
    return TiledMapping(*_parts(plan, target, results), device)


def boxed_mapping_of(plan: Plan, target: TargetSpec, results: Sequence[Trained], device: str = "cpu") -> BoxedMapping:
    """The networks of some results as one mapping that detects."""
    return BoxedMapping(*_parts(plan, target, results), device)


def _parts(plan: Plan, target: TargetSpec, results: Sequence[Trained]) -> tuple[TileReads, list[nn.Module], Output, Plan, tuple[int, ...]]:
    reads, output = tile_reads_of(plan), task_of(plan, target)
    networks = []
    for result in results:
        network = network_of(plan, reads, output.n_out)
        network.load_state_dict(result.state)
        networks.append(network)
    return reads, networks, output, plan, tuple(int(a) for a in plan["train.mirror"])
