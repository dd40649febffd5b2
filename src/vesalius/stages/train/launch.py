"""Start the training in this process, or in several through Lightning Fabric."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing as mp

from vesalius.errors import RunError, TrainingError
from vesalius.stages.train import checkpoint
from vesalius.stages.train.job import Job, Trained
from vesalius.stages.train.loop import train, trained

if TYPE_CHECKING:
    import lightning_fabric as lf

Progress = Callable[[int, int, str], None]
TOLD = "progress.json"
logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # the plan and the report say what was chosen
TELL_EVERY_S = 0.5


def train_here_or_spread(job: Job, progress: Progress) -> Trained:
    """Train on the devices that the plan names (`machine.devices`, `machine.nodes`).

    One device trains in this process. Several are data-parallel processes with averaged gradients; with several
    nodes the same command is started on each with ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` set.

    Raises
    ------
    TrainingError, RunError: see `train`; a process that dies is a RunError.
    """
    fabric = make_fabric(job)
    if int(job.plan["machine.devices"]) * int(job.plan["machine.nodes"]) == 1:
        torch.set_num_threads(int(job.plan["machine.threads"]))
        fabric.launch()
        return train(job, fabric, progress)
    with _retold(job.log / TOLD, progress):
        try:
            fabric.launch(functools.partial(_worker, job=job))
        except mp.ProcessRaisedException as error:
            raise _known(error) from error
        except mp.ProcessExitedException as error:
            raise RunError(
                "a training process died", got=str(error), do="give the machine more memory or a smaller --batch; the same command goes on",
            ) from error
    tensors, state = checkpoint.read(job.folder)
    return trained(checkpoint.best_of(tensors), state)


def make_fabric(job: Job) -> lf.Fabric:
    """Fabric for the plan's accelerator, devices, nodes and precision."""
    import lightning_fabric as lf  # takes seconds, which verbs that train nothing need not wait

    devices, nodes = int(job.plan["machine.devices"]), int(job.plan["machine.nodes"])
    strategy: Any = "ddp_spawn" if devices * nodes > 1 else "auto"
    return lf.Fabric(
        accelerator=job.plan["machine.accelerator"], devices=devices, num_nodes=nodes, strategy=strategy, precision=job.plan["train.precision"],
    )


def _worker(fabric: lf.Fabric, job: Job) -> None:
    torch.set_num_threads(max(1, int(job.plan["machine.threads"]) // int(job.plan["machine.devices"])))
    train(job, fabric, _teller(job.log / TOLD) if fabric.is_global_zero else lambda *_: None)


def _teller(path: Path) -> Progress:
    last = [0.0]

    def tell(done: int, total: int, what: str) -> None:
        if done == total or time.monotonic() - last[0] > TELL_EVERY_S:
            last[0] = time.monotonic()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([done, total, what]))

    return tell


@contextmanager
def _retold(path: Path, progress: Progress) -> Iterator[None]:
    """Pass on what the first worker tells of its progress."""
    over = threading.Event()

    def listen() -> None:
        while not over.wait(TELL_EVERY_S):
            text = path.read_text() if path.is_file() else ""
            if text.endswith("]"):
                progress(*json.loads(text))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        over.set()
        listener.join()
        path.unlink(missing_ok=True)


def _known(error: mp.ProcessRaisedException) -> Exception:
    """The worker's own error, in its own words where it is one of ours."""
    last = str(error).strip().splitlines()[-1]
    kind, _, sentence = last.partition(": ")
    return TrainingError(sentence) if kind.endswith("TrainingError") else RunError("a training process failed", got=last)
