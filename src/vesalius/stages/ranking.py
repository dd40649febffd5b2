"""Several networks under equal budget: validation decides which of them is trained to the end.

Half of the budget goes to the ranking, in equal parts; the winner is then trained with the other half, in folds and members where these were asked for.
All read the same prepared studies and are judged on the same part of the ordinary split, by a score that means the same for each of them; a loss need not.

    RUN/log/ranking.csv              the order, the best first; written last
        log/ranking/<network>.toml   the plan of each rival, so that a killed ranking goes on with the same ones
        log/ranking/<network>/       its learning curve; checkpoints/rank-<network>/ its state
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import RunError, TrainingError
from vesalius.plan import Plan
from vesalius.stages.parts import named
from vesalius.stages.request import Request
from vesalius.stages.train import Trained
from vesalius.stages.work import Work
from vesalius.storage import atomic_write

Progress = Callable[[int, int, str], None]
RANKING = "ranking.csv"
LOST: dict[str, Any] = {"validation_loss": np.nan, "validation_score": np.nan, "epochs": 0, "seconds": 0.0}
"""Figures of a rival that could not be trained."""


@dataclass(frozen=True)
class Contest:
    """The networks that compete, and their plans.

    Parameters
    ----------
    listed: the networks that suit the data, for ``--network all``.
    check: raises `OptionError` for a name that gives something else than is needed.
    make: a plan for a request, a network (None: the plan may choose) and a share of the budget.
    score: what decides, in words.
    """

    request: Request
    listed: Callable[[], Sequence[str]]
    check: Callable[[str], None]
    make: Callable[[Request, str | None, float], Plan]
    score: str

    def names(self) -> list[str]:
        """The networks asked for, each once; none when the plan may choose."""
        asked = list(dict.fromkeys(self.request.network))
        if asked != ["all"]:
            return asked
        listed = list(self.listed())
        return listed if len(listed) > 1 else []

    def first(self) -> Plan:
        """The plan of the only network, or of the first rival: it decides how studies are read.

        Raises
        ------
        OptionError: a name is unknown, or the network gives something else than is needed.
        """
        names = self.names()
        for name in names:
            self.check(name)
        if len(names) < 2:
            return self.make(self.request, names[0] if names else None, 1.0).decide("network.rivals", [], "only one network was asked for")
        return self.make(self._alone, names[0], 0.5 / len(names)).decide("network.rivals", names, "compared under equal budget")

    @property
    def _alone(self) -> Request:
        return replace(self.request, members=1, folds=None)

    def rival(self, name: str, first: Plan, log: Path) -> Plan:
        """The plan of a rival, made once.

        Raises
        ------
        RunError: it does not fit into the memory.
        """
        path = log / "ranking" / f"{file_name(name)}.toml"
        if not path.is_file():
            made = _as_read(self.make(self._alone, name, 0.5 / len(first["network.rivals"])), first)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.save(path)
        return Plan.load(path)

    def final(self, first: Plan, ranking: pd.DataFrame) -> Plan:
        """The plan of the winner, for the other half of the budget."""
        name = str(ranking["network"].iloc[0])
        plan = _as_read(self.make(self.request, name, 0.5), first)
        why = f"best {self.score} on validation of {len(ranking)} networks under equal budget (log/{RANKING})"
        return plan.decide("network.name", plan["network.name"], why)


def _as_read(plan: Plan, first: Plan) -> Plan:
    """The plan with the first one's input and split."""
    kept = {name: first.sections[name] for name in ("input", "split") if name in first.sections}
    return Plan({**plan.sections, **kept}).decide("network.rivals", first["network.rivals"], "compared under equal budget")


def file_name(network: str) -> str:
    """A network's name as that of a file."""
    return re.sub(r"[^\w.-]", "-", network)


def first_plan(work: Work, contest: Contest, target: TargetSpec, used: pd.DataFrame) -> Plan:
    """The run's plan as it was, or a new one, which is written before anything is trained."""
    start = time.perf_counter()
    if not work.run.plan.is_file():
        work.planned(target, used, contest.first).save(work.run.plan)
    work.timed("plan", start)
    return Plan.load(work.run.plan)


def settled_plan(work: Work, contest: Contest, first: Plan, train: Callable[[Plan, str, Progress], Trained]) -> Plan:
    """The plan to train to the end: the first one where nothing competes or all is decided, else the winner's, which is kept as the run's.

    Parameters
    ----------
    train: trains a rival's plan in folders of this name.

    Raises
    ------
    TrainingError: no network could be trained.
    """
    run, start = work.run, time.perf_counter()
    if not first.get("network.rivals") or (run.log / RANKING).is_file():
        return first
    table = ranked(first["network.rivals"], lambda name: contest.rival(name, first, run.log), train, work.progress)
    plan = contest.final(first, table)
    plan.save(run.plan)
    # Last: a run that is killed before still ranks, and finds every rival trained.
    atomic_write(run.log / RANKING, table.to_csv(index=False).encode())
    work.timed("train", start)
    return plan


def ranked(names: Sequence[str], plan_of: Callable[[str], Plan], train: Callable[[Plan, str, Progress], Trained], progress: Progress) -> pd.DataFrame:
    """Train each network and order them by validation score, the best first (by loss where the scores are equal or undefined).

    A network that diverges or does not fit into the memory is ranked last with its reason; the others go on.

    Returns ``network, validation_loss, validation_score, epochs, seconds, reason``.

    Raises
    ------
    TrainingError: none could be trained.
    """
    plans = {name: _planned(name, plan_of) for name in names}
    rows = [_compete(name, plans[name], train, named(progress, f"{i} of {len(names)}, {name}: ")) for i, name in enumerate(names, 1)]
    table = pd.DataFrame(rows)
    if table["validation_loss"].isna().all():
        raise TrainingError("none of the networks could be trained", got=str(table["reason"].iloc[0]))
    order = table.assign(lost=table["validation_loss"].isna()).sort_values(
        ["lost", "validation_score", "validation_loss"], ascending=[True, False, True], na_position="last", kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _planned(name: str, plan_of: Callable[[str], Plan]) -> Plan | str:
    try:
        return plan_of(name)
    except RunError as error:
        return str(error)


def _compete(name: str, plan: Plan | str, train: Callable[[Plan, str, Progress], Trained], progress: Progress) -> dict[str, Any]:
    if isinstance(plan, str):
        return {"network": name} | LOST | {"reason": plan}
    try:
        result = train(plan, file_name(name), progress)
    except TrainingError as error:
        return {"network": name} | LOST | {"reason": str(error)}
    figures = {"validation_loss": result.validation_loss, "validation_score": result.validation_score}
    return {"network": name} | figures | {"epochs": result.epochs_done, "seconds": result.seconds, "reason": ""}
