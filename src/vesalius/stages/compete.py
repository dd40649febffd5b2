"""Train the members of a plan, or rank several networks under equal budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from vesalius.core.target import TargetSpec
from vesalius.errors import TrainingError
from vesalius.mapping import Mapping, network_of
from vesalius.networks import candidates
from vesalius.outputs import Output, output_for
from vesalius.plan import Plan
from vesalius.seed import stream_seed
from vesalius.stages.design import Facts, Machine, design, reads_of
from vesalius.stages.prepare import Prepared
from vesalius.stages.request import Request
from vesalius.stages.train import Job, Trained, train_here_or_spread
from vesalius.storage import atomic_write

Progress = Callable[[int, int, str], None]
RANKING = "ranking.csv"


@dataclass(frozen=True)
class Material:
    """What every training of a run has in common; ``frame`` has a row per prepared image, in the same order."""

    prepared: Prepared
    frame: pd.DataFrame
    target: TargetSpec
    checkpoints: Path
    log: Path


def task_of(plan: Plan, target: TargetSpec, train_truth: np.ndarray) -> Output:
    """The output with the loss that the plan chose."""
    output = output_for(target)
    output.weights = tuple(float(w) for w in plan["train.class_weights"])
    output.focal, output.smoothing = float(plan["train.focal"]), float(plan["train.label_smoothing"])
    output.settle(train_truth)
    return output


def train_members(plan: Plan, material: Material, request: Request, progress: Progress) -> tuple[Mapping, list[Trained]]:
    """Train every member that the plan asks for; a finished one is not trained again."""
    n = int(plan["train.members"])
    jobs = [_job(plan, material, request, member, n) for member in range(n)]
    results = [train_here_or_spread(job, _named(progress, f"member {i + 1} of {n}, " if n > 1 else "")) for i, job in enumerate(jobs)]
    networks = [_network(plan, jobs[0], result) for result in results]
    mapping = Mapping(reads_of(plan), networks, jobs[0].task(), plan, tuple(int(a) for a in plan["train.mirror"]))
    return mapping, results


def _named(progress: Progress, prefix: str) -> Progress:
    return lambda done, total, what: progress(done, total, prefix + what)


def _job(plan: Plan, material: Material, request: Request, member: int, n: int) -> Job:
    split = material.frame["split"].to_numpy()
    rows = {name: np.flatnonzero(split == name) for name in ("train", "validation")}
    truth = {name: material.target.encode(material.frame["label"].iloc[where].tolist()) for name, where in rows.items()}
    output = task_of(plan, material.target, truth["train"])
    name = f"member-{member}"
    seed = request.seed if n == 1 else stream_seed(request.seed, "member", member)
    return Job(
        material.prepared.path, reads_of(plan), plan, output.to_dict(), rows["train"], truth["train"], rows["validation"], truth["validation"],
        material.checkpoints / name, material.log if member == 0 else material.log / name, seed, request.weights,
    )


def _network(plan: Plan, job: Job, result: Trained) -> torch.nn.Module:
    network = network_of(plan, job.reads, job.task().n_out)
    network.load_state_dict(result.state)
    return network


@dataclass(frozen=True)
class Planner:
    """Plans for one network, or for several that compete.

    Half of the budget goes to the ranking, in equal parts; the winner is then trained with the other half. All
    read the same prepared images.
    """

    request: Request
    machine: Machine
    gather: Callable[[], Facts]

    @cached_property
    def facts(self) -> Facts:
        return self.gather()

    def names(self) -> list[str]:
        """The networks asked for; with ``all`` those that suit the data; none when the plan may choose."""
        if list(self.request.network) == ["all"]:
            return list(candidates(self.facts.ndim, self.facts.shape, self.facts.n_train))
        return list(self.request.network)

    def first(self) -> Plan:
        """The plan of the only network, or of the first rival: it decides how studies are read."""
        names = self.names()
        several = names if len(names) > 1 else []
        plan = design(self.facts, self.machine, self.request, network=names[0] if names else None, share=0.5 / len(several) if several else 1.0)
        return plan.decide("network.rivals", several, "compared under equal budget" if several else "only one network was asked for")

    def rival_plans(self, first: Plan, log: Path) -> list[Plan]:
        """A plan for each rival; kept under ``log/ranking`` so that a killed ranking goes on with the same ones."""
        return [self._rival(name, first, log / "ranking" / f"{_file_name(name)}.toml") for name in first["network.rivals"]]

    def _rival(self, name: str, first: Plan, path: Path) -> Plan:
        if not path.is_file():
            share = 0.5 / len(first["network.rivals"])
            _as_read(design(self.facts, self.machine, self._same_size(first), network=name, share=share), first).save(path)
        return Plan.load(path)

    def _same_size(self, first: Plan) -> Request:
        return replace(self.request, size=int(first["input.size"][0]), members=1)

    def final(self, first: Plan, ranking: pd.DataFrame) -> Plan:
        """The plan of the winner, for the other half of the budget."""
        name = str(ranking["network"].iloc[0])
        request = replace(self.request, size=int(first["input.size"][0]))
        plan = _as_read(design(self.facts, self.machine, request, network=name, share=0.5), first)
        return plan.decide("network.name", name, f"lowest validation loss of {len(ranking)} networks under equal budget (log/{RANKING})")


def _as_read(plan: Plan, first: Plan) -> Plan:
    """The plan with the first one's input and split."""
    kept = {name: first.sections[name] for name in ("input", "split") if name in first.sections}
    return Plan({**plan.sections, **kept}).decide("network.rivals", first["network.rivals"], first.reason("network.rivals"))


def _file_name(network: str) -> str:
    return re.sub(r"[^\w.-]", "-", network)


def rank(plans: Sequence[Plan], material: Material, request: Request, progress: Progress) -> pd.DataFrame:
    """Train each plan's network and order them by validation loss into ``log/ranking.csv``, the best first.

    A network that diverges is ranked last with its reason; the others go on.

    Raises
    ------
    TrainingError: none could be trained.
    """
    rows = [_compete(plan, material, request, _named(progress, f"{i} of {len(plans)}, {plan['network.name']}: ")) for i, plan in enumerate(plans, 1)]
    table = pd.DataFrame(rows).sort_values("validation_loss", kind="stable", ignore_index=True)
    if not np.isfinite(table["validation_loss"].iloc[0]):
        raise TrainingError("none of the networks could be trained", got=str(table["reason"].iloc[0]))
    atomic_write(material.log / RANKING, table.to_csv(index=False).encode())
    return table


def _compete(plan: Plan, material: Material, request: Request, progress: Progress) -> dict[str, object]:
    name = plan["network.name"]
    apart = replace(material, checkpoints=material.checkpoints / f"rank-{_file_name(name)}", log=material.log / "ranking" / _file_name(name))
    row = {"network": name, "validation_loss": float("inf"), "validation_score": float("nan"), "epochs": 0, "seconds": 0.0, "reason": ""}
    try:
        _, (result, *_) = train_members(plan, apart, replace(request, weights=None), progress)
    except TrainingError as error:
        return row | {"reason": str(error)}
    figures = {"validation_loss": result.validation_loss, "validation_score": result.validation_score}
    return row | figures | {"epochs": result.epochs_done, "seconds": result.seconds}
