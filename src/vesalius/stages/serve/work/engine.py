"""All models of a service at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vesalius.registry import unknown
from vesalius.stages.serve.work.metrics import Metrics
from vesalius.stages.serve.work.options import Options
from vesalius.stages.serve.work.worker import Worker


class Engine:
    """One supervised, warm process a model.

    Parameters
    ----------
    models: name to run folder or model folder. options: of the processes. metrics: where figures go; new ones when left out.
    """

    def __init__(self, models: Mapping[str, Path], options: Options | None = None, metrics: Metrics | None = None) -> None:
        self.options, self.metrics = options or Options(), metrics or Metrics()
        self.workers = {name: Worker(name, Path(model), self.options, self.metrics) for name, model in models.items()}

    def start(self) -> None:
        """Start every process and return at once; see `ready`."""
        for worker in self.workers.values():
            worker.start()

    def stop(self, grace_s: float = 30.0) -> None:
        """Take nothing new, let what is there finish for so many seconds, end all processes."""
        with ThreadPoolExecutor(max(1, len(self.workers))) as pool:
            list(pool.map(lambda worker: worker.stop(grace_s), self.workers.values()))

    def ready(self) -> dict[str, bool]:
        """Name of a model to whether its process is warm."""
        return {name: worker.ready for name, worker in self.workers.items()}

    def reasons(self) -> dict[str, str]:
        """Name of a model whose process did not start when it was last tried, to why: one line without a path."""
        return {name: worker.reason for name, worker in self.workers.items() if worker.reason}

    def facts(self, model: str) -> dict[str, Any]:
        """What the model's process said of it: hash, kind, classes, ndim, engine; empty until it is ready."""
        return dict(self._worker(model).facts)

    def submit(
        self, model: str, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str] = (), force: bool = False,
        ids: dict[str, Any] | None = None, timeout_s: float = 600.0,
    ) -> Future[dict[str, Any]]:
        """Read one study.

        Parameters
        ----------
        files: of one study. out: folder for its files and objects, made anew; None for the finding alone, which is the short way: such studies go
            through the network together. job: the caller's name; one that killed its process twice is refused. objects: kinds of DICOM objects.
            force: read it although the model was not made for it. ids: what `reading.Ids` is made of. timeout_s: from now, waiting included.

        Returns the finding to come. It raises `Died` when the process died twice with this job or took too long, a `VesaliusError` when the input is refused.

        Raises
        ------
        OptionError: there is no such model. Busy: the queue is full or the service goes down. Died: this job has killed its process twice before.
        RunError: the model cannot be started.
        """
        return self._worker(model).submit(files, out, job=job, objects=objects, force=force, ids=ids, timeout_s=timeout_s)

    def _worker(self, model: str) -> Worker:
        if model not in self.workers:
            raise unknown("model", model, sorted(self.workers))
        return self.workers[model]
