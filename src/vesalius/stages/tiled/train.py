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
from vesalius.stages.boxed.store import BoxStore
from vesalius.stages.parts import Part, parts_of, train_each
from vesalius.stages.request import Request
from vesalius.stages.tiled.design import tile_reads_of
from vesalius.stages.tiled.store import TileStore
from vesalius.stages.train import Job, Trained

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TileMaterial:
    """What every training of a run has in common; ``frame`` has a row for each prepared case (training and validation), in order."""

    store: TileStore | BoxStore
    frame: pd.DataFrame
    target: TargetSpec
    checkpoints: Path
    log: Path


def task_of(plan: Plan, target: TargetSpec) -> Output:
    """The output with the loss that the plan chose, where it chose one."""
    output = output_for(target)
    if plan.get("train.loss"):
        output.facts = {"loss": plan["train.loss"], "together": bool(plan["train.together"])}
    return output


def train_parts(plan: Plan, material: TileMaterial, request: Request, progress: Progress, seed: int | None = None) -> tuple[list[Part], list[Trained]]:
    """Train every part; a finished one is not trained again, one that was stopped goes on. ``seed``: of the training, where it is not that of the folds."""
    parts = parts_of(plan, material.frame, material.target, request.seed)
    request = request if seed is None else replace(request, seed=seed)
    return parts, train_each(parts, request, material.log, lambda part, seed, log: _job(plan, material, request, part, seed, log), progress)


def train_rival(plan: Plan, material: TileMaterial, request: Request, name: str, progress: Progress) -> Trained:
    """Train a network that competes (see `stages.ranking`), in folders of its own. Pretrained weights fit one network and are left to the winner."""
    apart = replace(material, checkpoints=material.checkpoints / f"rank-{name}", log=material.log / "ranking" / name)
    return train_parts(plan, apart, replace(request, weights=None), progress)[1][0]


def _job(plan: Plan, material: TileMaterial, request: Request, part: Part, seed: int, log: Path) -> Job:
    empty = np.zeros(0, np.int64)
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
