"""A plan that was made before, taken as it is: what was measured then is not measured again.

Speed is measured while a plan is made, and the memory layout, the number format and the number of steps follow from it. Two runs
with the same data, options and seed may therefore train differently; with the same plan they do not.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.plan import Plan
from vesalius.stages.design.machine import this_machine
from vesalius.stages.request import Request

PARTS = ("train", "validation", "test")
NEEDED = ("data.target", "input.size", "network.name", "train.epochs", "machine.threads")


def given_plan(request: Request, target: TargetSpec, used: pd.DataFrame, folder: Path) -> Plan:
    """The decisions of the plan that the request names, for this data and on this machine.

    The split and the numbers of images are this run's own; networks are not ranked again; an accelerator that is not
    here is replaced. Everything else, also the number of threads, stays.

    Parameters
    ----------
    used: rows of ``cohort.parquet`` that are in a part of the split. folder: where the run is written.

    Raises
    ------
    RunError: there is no plan, or it is damaged. OptionError: it is no plan of a run. DataError: it is for another target.
    """
    path = Path(str(request.plan))
    plan = Plan.load(path / "plan.toml" if path.is_dir() else path)
    lacking = [name for name in NEEDED if plan.get(name) is None]
    if lacking:
        raise OptionError("the plan is not one of a run", expected=f"a decision '{lacking[0]}'", got=str(path), do="give the plan.toml of a run folder")
    _same_target(plan, target, path)
    plan = Plan({name: part for name, part in plan.sections.items() if name != "split"}, plan.schema)
    plan = plan.decide("data.images", [int((used["split"] == part).sum()) for part in PARTS], "training, validation, test")
    if plan.get("network.rivals"):
        plan = plan.decide("network.rivals", [], f"ranked when the plan was made; {plan['network.name']} won")
    return _on_this_machine(plan, request, folder)


def _same_target(plan: Plan, target: TargetSpec, path: Path) -> None:
    wanted, here = ((kind, list(classes)) for kind, classes in ((plan["data.target"], plan.get("data.classes", ())), (target.kind, target.classes)))
    if wanted != here:
        told = [f"{kind} ({', '.join(classes)})" if classes else str(kind) for kind, classes in (wanted, here)]
        raise DataError("the plan is for another target", where=path, expected=told[0], got=told[1], do="leave out --plan, or give the data it was made for")


def _on_this_machine(plan: Plan, request: Request, folder: Path) -> Plan:
    planned = str(plan["machine.accelerator"])
    there = _accelerator(planned, request.accelerator, folder)
    if there != planned:
        plan = plan.decide("machine.accelerator", there, f"the plan says {planned}; this run uses what is here or was asked for")
    if plan.get("machine.nodes", 1) != request.nodes:
        plan = plan.decide("machine.nodes", request.nodes, f"the plan says {plan.get('machine.nodes', 1)}")
    return plan


def _accelerator(planned: str, asked: str, folder: Path) -> str:
    """The planned one where it is here and no other was asked for."""
    if asked == "auto":
        try:
            return this_machine(folder, planned).accelerator
        except OptionError:
            return this_machine(folder).accelerator
    return this_machine(folder, asked).accelerator
