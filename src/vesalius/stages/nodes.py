"""Training on several machines that share the run folder.

The same command is started on each, with ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` (0, 1, …) in its
environment. Node 0 does everything; the others wait until it is ready to train, train along, and end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError, RunError
from vesalius.plan import Plan
from vesalius.stages.cohortfile import read_cohort
from vesalius.stages.compete import Material, train_members
from vesalius.stages.design import reads_of
from vesalius.stages.prepare import Prepared, cache_key
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.storage import atomic_json

Progress = Callable[[int, int, str], None]
READY = "ready.json"
LOOK_EVERY_S = 1.0
WAIT_S = 24 * 3600.0
NEEDED = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


def node_rank(request: Request) -> int:
    """Which of the machines this is; 0 where there is only one.

    Raises
    ------
    OptionError: several machines were asked for and the environment does not say which one this is.
    """
    if request.nodes == 1:
        return 0
    absent = [name for name in NEEDED if not os.environ.get(name)]
    if absent:
        raise OptionError("--nodes needs to know the machines", expected=" ".join(NEEDED), got=f"no {', '.join(absent)}", do="set them on every machine")
    if len(request.network) > 1 or request.network == ("all",):
        raise OptionError("networks are ranked on one machine", got=f"--nodes {request.nodes}", do="rank them first, then train the best with --nodes")
    rank = int(os.environ["NODE_RANK"])
    if not 0 <= rank < request.nodes:
        raise OptionError("NODE_RANK is not one of the machines", expected=f"0 to {request.nodes - 1}", got=rank)
    return rank


def announce(run: RunFolder, plan: Plan, started: float) -> None:
    """Node 0 tells the others that all they need is in the run folder."""
    atomic_json(run.log / READY, {"plan": plan.hash, "started": started})


def help_training(run: RunFolder, request: Request, progress: Progress, wait_s: float = WAIT_S) -> None:
    """What every other node does.

    Raises
    ------
    RunError: node 0 did not get ready in time.
    """
    began, path = time.time(), run.log / READY
    while not (path.is_file() and json.loads(path.read_text())["started"] >= began - wait_s and run.plan.is_file()):
        if time.time() - began > wait_s:
            raise RunError("the first machine did not get ready", where=run.path, do="start the same command there with NODE_RANK=0")
        time.sleep(LOOK_EVERY_S)
    plan = Plan.load(run.plan)
    train_members(plan, material_of(run, plan), request, progress)


def material_of(run: RunFolder, plan: Plan) -> Material:
    """What training needs, from the files of the run folder alone."""
    frame = read_cohort(run.cohort)
    used = frame[frame["split"].isin(["train", "validation", "test"])].reset_index(drop=True)
    reads = reads_of(plan)
    prepared = Prepared(run.cache / f"{cache_key(reads, used['hash'].tolist())}.npy", tuple(used["id"]), reads, {})
    target = TargetSpec(plan["data.target"], tuple(plan["data.classes"]))
    return Material(prepared, used, target, run.checkpoints, run.log)
