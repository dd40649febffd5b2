"""Train the members of a plan, or rank several networks under equal budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import TrainingError
from vesalius.mapping import Mapping, network_of
from vesalius.networks import candidates
from vesalius.outputs import Output, output_for
from vesalius.plan import Plan
from vesalius.stages.design import Facts, Machine, design, reads_of
from vesalius.stages.parts import Part, named, parts_of, train_each
from vesalius.stages.prepare import Prepared
from vesalius.stages.request import Request
from vesalius.stages.train import Job, Trained

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
    """Train every network that the plan asks for, as one mapping; a finished one is not trained again."""
    parts, results = train_parts(plan, material, request, progress)
    return mapping_of(plan, material, parts, results), results


def train_parts(plan: Plan, material: Material, request: Request, progress: Progress, seed: int | None = None) -> tuple[list[Part], list[Trained]]:
    """Train the members, or those of every fold. ``seed``: of the training, where it is not that of the folds."""
    parts = parts_of(plan, material.frame, material.target, request.seed)
    request, output = request if seed is None else replace(request, seed=seed), _output(plan, material, parts)
    return parts, train_each(parts, request, material.log, lambda part, seed, log: _job(plan, material, request, output, part, seed, log), progress)


def mapping_of(plan: Plan, material: Material, parts: Sequence[Part], results: Sequence[Trained]) -> Mapping:
    """The networks of some results as one mapping. ``parts``: all of the run, since they share one output."""
    output, reads, networks = _output(plan, material, parts), reads_of(plan), []
    for result in results:
        network = network_of(plan, reads, output.n_out)
        network.load_state_dict(result.state)
        networks.append(network)
    return Mapping(reads, networks, output, plan, tuple(int(a) for a in plan["train.mirror"]))


def _output(plan: Plan, material: Material, parts: Sequence[Part]) -> Output:
    """One for all networks, since their raw values are averaged: the centre and scale of a regression are those of all images that some network learns from."""
    rows = np.unique(np.concatenate([part.train_rows for part in parts]))
    return task_of(plan, material.target, _truth(material, rows))


def _truth(material: Material, rows: np.ndarray) -> np.ndarray:
    return material.target.encode(material.frame["label"].iloc[rows].tolist())


def _job(plan: Plan, material: Material, request: Request, output: Output, part: Part, seed: int, log: Path) -> Job:
    return Job(
        material.prepared.path, reads_of(plan), plan, output.to_dict(), part.train_rows, _truth(material, part.train_rows), part.validation_rows,
        _truth(material, part.validation_rows), material.checkpoints / part.name, log, seed, request.weights,
    )


@dataclass(frozen=True)
class Planner:
    """Plans for one network, or for several that compete.

    Half of the budget goes to the ranking, in equal parts; the winner is then trained with the other half. All
    read the same prepared images. Networks are ranked on the ordinary split; with folds the winner alone is trained on them.
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
        request, share = self.request, 1.0
        if several:
            request, share = replace(request, folds=None), 0.5 / max(len(several), request.folds or 1)
        plan = design(self.facts, self.machine, request, network=names[0] if names else None, share=share)
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
        return replace(self.request, size=int(first["input.size"][0]), members=1, folds=None)

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
    """Train each plan's network and order them by validation loss, the best first: the table of ``log/ranking.csv``.

    A network that diverges is ranked last with its reason; the others go on.

    Raises
    ------
    TrainingError: none could be trained.
    """
    rows = [_compete(plan, material, request, named(progress, f"{i} of {len(plans)}, {plan['network.name']}: ")) for i, plan in enumerate(plans, 1)]
    table = pd.DataFrame(rows).sort_values("validation_loss", kind="stable", ignore_index=True)
    if not np.isfinite(table["validation_loss"].iloc[0]):
        raise TrainingError("none of the networks could be trained", got=str(table["reason"].iloc[0]))
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
