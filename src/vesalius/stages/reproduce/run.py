"""Run a fit again from its record: the same request, seed, plan and data in a new folder, then compare.

The plan of the record is taken as it is: speed was measured when it was made, and measuring anew could choose another
memory layout or number of steps. Before anything is trained the data are checked and split again and must come out as
they were, image by image.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.errors import DataError, OptionError, RunError
from vesalius.plan import Plan
from vesalius.stages.design.machine import decide_machine, this_machine
from vesalius.stages.fit import cohort_of, fit
from vesalius.stages.prepare import quiet
from vesalius.stages.reproduce import compare
from vesalius.stages.reproduce.compare import Change
from vesalius.stages.reproduce.record import Record, data_there, read_record
from vesalius.stages.reproduce.result import Reproduced, told_change
from vesalius.stages.request import NOT_REMEMBERED, Request
from vesalius.stages.run import RunFolder, environment
from vesalius.stages.work import Progress, Work, data_hash, used_of
from vesalius.storage import atomic_json

NAME = "reproduced.json"


def reproduce(
    run: str | Path, out: str | Path | None = None, *, data: str | Path | None = None, anyway: bool = False, progress: Progress = quiet, **options: Any,
) -> Reproduced:
    """Fit again as the record of ``run`` says and compare weights and figures.

    Parameters
    ----------
    run: a finished run folder. out: a new one; ``RUN-again`` beside it when left out. A run that was stopped goes on there.
    data: where the data are now, if they were moved.
    anyway: go on where images or labels are not as they were; they are named in the result, whose exit code is then 1.
    options: what may differ without changing what comes out: ``jobs``, ``lang``, ``accelerator``, ``devices``, ``nodes``.

    Writes ``OUT/reproduced.json``, and ``RUN/log/reproduced.json`` where that folder can be written, for the paperwork.

    Raises
    ------
    RunError: the record is incomplete, contradicts itself or is of another version; the split comes out differently.
    DataError: the data are not where they were, or not as they were. OptionError: ``out`` is the run itself, or an option of the plan.
    """
    record, out = read_record(Path(run)), Path(out) if out is not None else Path(run).resolve().with_name(f"{Path(run).resolve().name}-again")
    _apart(record.run, out, options)
    request = record.request(None if data is None else str(data))
    data_there(request.data, record.run)
    fresh = not out.exists()
    changed = _checked(record, request, out, progress)
    if changed and not anyway:
        if fresh:
            shutil.rmtree(out)
        raise _refused(record, changed)
    given = {name: getattr(request, name) for name in Request.names() if name not in (*NOT_REMEMBERED, "data")}
    fit(request.data, out, progress=progress, **(given | options))
    return _compared(record, out, changed)


def _apart(run: Path, out: Path, options: dict[str, Any]) -> None:
    if out.resolve() == run.resolve() or run.resolve() in out.resolve().parents:
        raise OptionError("the new run would lie in the old one", expected="another folder", got=str(out), do="choose another --out")
    wrong = [name for name in options if name not in NOT_REMEMBERED]
    if wrong:
        raise OptionError(f"'{wrong[0]}' cannot be given to reproduce", expected=f"one of {', '.join(NOT_REMEMBERED)}", got=options[wrong[0]],
                          do="leave it out: the record says it")


def _checked(record: Record, request: Request, out: Path, progress: Progress) -> tuple[Change, ...]:
    """The data checked and split in the new folder, against the record's cohort."""
    with RunFolder(out).claimed(request) as folder:
        _, frame = cohort_of(Work(folder, request, progress, {}))
    return tuple(compare.changes(record.cohort, frame))


def _refused(record: Record, changed: tuple[Change, ...]) -> DataError | RunError:
    other = [each for each in changed if each.kind != "split"]
    shown = "; ".join(told_change(each).en for each in (other or changed)[: compare.NAMED])
    if not other:
        return RunError("the same data were split differently", where=record.run, got=shown, do="use the versions that environment.json names")
    return DataError("the data are not those of the run", where=record.data, expected=f"the data hash {record.environment['data_hash']} and the same labels",
                     got=f"{len(other)} changed: {shown}", do="restore them, or use --anyway to see what the change does")


def _compared(record: Record, out: Path, changed: tuple[Change, ...]) -> Reproduced:
    new = json.loads((out / "metrics.json").read_text("utf-8"))
    frame = pd.read_parquet(out / "cohort.parquet")
    used = used_of(frame)
    surroundings = environment() | {"machine": _machine(out)}
    before = record.environment | {"machine": Plan.load(record.run / "plan.toml").reason("machine.accelerator")}
    made = Reproduced(
        record.run, out, data_hash(used), len(used), changed, tuple(compare.versions(before, surroundings)), compare.weights(record.run, out),
        tuple(compare.figures(record.metrics, new)),
    )
    atomic_json(out / NAME, made.to_dict())
    if os.access(record.run / "log", os.W_OK):
        atomic_json(record.run / "log" / NAME, made.to_dict())
    return made


def _machine(out: Path) -> str:
    """Cores, memory and name as a plan states them."""
    return decide_machine(Plan(), this_machine(out), Request(data="")).reason("machine.accelerator")
