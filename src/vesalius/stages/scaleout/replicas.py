"""A service whose models are Ray Serve replicas: the same node, REST and page, the reading itself on as many processes and machines as there are.

Everything but the reading stays in the one service: access, limits, audit, the database. Files are named by path, so that replicas on other machines need the
site's folder and the model folders under the same paths. A replica reads as the local process of a model does (`stages.serve.work.process`), one study at a
time.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from vesalius.errors import DataError, OptionError, RunError, VesaliusError
from vesalius.registry import unknown
from vesalius.stages.scaleout.cluster import cluster, library
from vesalius.stages.serve.work.jobs import message_of
from vesalius.stages.serve.work.lines import Busy, Died, error_facts, error_from
from vesalius.stages.serve.work.metrics import Metrics
from vesalius.stages.serve.work.options import Options
from vesalius.stages.serve.work.process import Process

log = logging.getLogger("vesalius.serve")
APP = "vesalius-{name}"
TRIES = 2
"""A job that ends so many replicas is refused, as that of a local process is."""
UNREAD = "look whether the files are whole; 'vesalius check' tells more"


class Replica:
    """A warm model in a process of Ray Serve. ``options`` as of a local process (`Options.to_json`, read)."""

    def __init__(self, options: dict[str, Any]) -> None:
        torch.set_num_threads(options["threads"] or 1)
        self.process = Process(_NoLine(), options)  # type: ignore[arg-type]

    def facts(self) -> dict[str, Any]:
        """What the model is."""
        return self.process.facts

    def read(self, message: dict[str, Any]) -> dict[str, Any]:
        """``{"finding"}`` or ``{"error"}`` of one message (`work.jobs.message_of`)."""
        try:
            short = self.process.short
            if message["out"] is None and short is not None:
                return {"finding": short.read([Path(name) for name in message["files"]], str(message["job"]), message["force"])}
            return {"finding": self.process.read(message)}
        except VesaliusError as error:
            return {"error": error_facts(error)}
        except Exception as error:  # noqa: BLE001 - libraries raise anything on what strangers send; their words may quote it, so only the kind is told
            return {"error": error_facts(DataError("the study could not be read", got=type(error).__name__, do=UNREAD))}


class _NoLine:
    """A replica answers by returning; nothing is sent."""


class ReplicaEngine:
    """What `stages.serve.work.Engine` is to a service, on a Ray cluster.

    Parameters
    ----------
    models: name to run folder or model folder. replicas: processes a model. address: of a cluster that is there; one of this machine when None.

    Raises
    ------
    OptionError: Ray is not installed, or fewer than one replica.
    """

    def __init__(self, models: Mapping[str, Path], replicas: int, *, address: str | None = None, options: Options | None = None,
                 metrics: Metrics | None = None) -> None:
        library("ray.serve")
        if replicas < 1:
            raise OptionError("there is no replica", expected="--replicas of 1 or more", got=replicas)
        self.models, self.replicas, self.address = {name: Path(path).absolute() for name, path in models.items()}, replicas, address
        self.options, self.metrics = options or Options(), metrics or Metrics()
        self._stack = ExitStack()
        self._handles: dict[str, Any] = {}
        self._deployed: list[Future[None]] = []
        self._facts: dict[str, dict[str, Any]] = {}
        self._running = dict.fromkeys(self.models, 0)
        self._deaths: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(max(4, 2 * replicas * len(self.models)), "replicas")
        self._ended = False

    def start(self) -> None:
        """Connect, deploy, and return at once; see `ready`.

        Raises
        ------
        RunError: there is no cluster at the address.
        """
        self._stack.enter_context(cluster(self.replicas * len(self.models) + 1, self.address))
        self._deployed = [self._pool.submit(self._deploy, name) for name in self.models]

    def _deploy(self, name: str) -> None:
        """Until the replicas are warm; what goes wrong is in the log, and the model stays not ready."""
        try:
            self._run(name)
        except Exception as error:
            log.error("the replicas of %s could not be started: %s", name, error.what if isinstance(error, VesaliusError) else type(error).__name__)
            raise

    def _run(self, name: str) -> None:
        serve = library("ray.serve")
        serve.start(proxy_location="Disabled")  # the service is the only door
        options = json.loads(self.options.to_json(name, self.models[name]))
        made = serve.deployment(num_replicas=self.replicas, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=1,
                                graceful_shutdown_timeout_s=30.0)(Replica)
        handle = serve.run(made.bind(options), name=APP.format(name=name), route_prefix=None)
        self._facts[name] = handle.facts.remote().result(timeout_s=self.options.start_s)
        self._handles[name] = handle
        self.metrics.ready(name, True)

    def wait(self, timeout_s: float) -> None:
        """Until every model is warm.

        Raises
        ------
        RunError: one could not be deployed. TimeoutError: it takes longer.
        """
        for made in self._deployed:
            made.result(timeout_s)

    def stop(self, grace_s: float = 30.0) -> None:
        """Take nothing new, let what is there finish for so many seconds, leave the cluster."""
        self._ended = True
        end = time.monotonic() + grace_s
        while any(self._running.values()) and time.monotonic() < end:
            time.sleep(0.05)
        if self._handles:
            library("ray.serve").shutdown()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._stack.close()

    def ready(self) -> dict[str, bool]:
        """Name of a model to whether its replicas are warm."""
        return {name: name in self._handles for name in self.models}

    def reasons(self) -> dict[str, str]:
        """Name of a model that could not be deployed to why, in one line."""
        failed = {name: made.exception() for name, made in zip(self.models, self._deployed, strict=False) if made.done() and not made.cancelled()}
        return {name: error.what if isinstance(error, VesaliusError) else type(error).__name__ for name, error in failed.items() if error is not None}

    def facts(self, model: str) -> dict[str, Any]:
        """What the model's replicas said of it; empty until they are ready."""
        self._known(model)
        return dict(self._facts.get(model, {}))

    def submit(
        self, model: str, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str] = (), force: bool = False,
        ids: dict[str, Any] | None = None, timeout_s: float = 600.0,
    ) -> Future[dict[str, Any]]:
        """Read one study; see `stages.serve.work.Engine.submit`.

        Raises
        ------
        OptionError: there is no such model. Busy: the queue is full, the replicas are not warm yet, or the service goes down. Died: this job has ended two
        replicas before.
        """
        self._known(model)
        if self._deaths.get(job, 0) >= TRIES:
            raise Died("this study has ended the model's process before", do="look at its files")
        if self._ended or model not in self._handles or self._running[model] >= self.options.queue:
            self.metrics.refused(model)
            raise Busy("the model is busy", expected=f"at most {self.options.queue} readings at a time", do="come again later")
        self._running[model] += 1
        paths = [Path(path).absolute() for path in files]
        message = message_of(0, paths, None if out is None else Path(out).absolute(), job=job, objects=objects, force=force, ids=ids)
        return self._pool.submit(self._read, model, message, time.monotonic() + timeout_s)

    def _read(self, model: str, message: dict[str, Any], end: float) -> dict[str, Any]:
        start, lane, outcome = time.perf_counter(), "quick" if message["out"] is None else "full", "died"
        try:
            said = self._asked(model, message, end)
            outcome = "done" if "finding" in said else "refused"
        finally:
            self._running[model] -= 1
            self.metrics.done(model, lane, outcome, time.perf_counter() - start)
        if "error" in said:
            raise error_from(said["error"])
        finding: dict[str, Any] = said["finding"]
        return finding

    def _asked(self, model: str, message: dict[str, Any], end: float) -> dict[str, Any]:
        """Ask a replica; once more another one where it died. ``end``: of `time.monotonic`."""
        exceptions = library("ray.exceptions")
        job = str(message["job"])
        while True:
            try:
                said: dict[str, Any] = self._handles[model].read.remote(message).result(timeout_s=max(0.0, end - time.monotonic()))
                return said
            except TimeoutError as error:
                raise Died("the reading took too long", do="look at the study, or raise job_timeout_s") from error
            except exceptions.RayActorError as error:
                self._deaths[job] = self._deaths.get(job, 0) + 1
                self.metrics.restarted(model)
                if self._deaths[job] >= TRIES:
                    raise Died("the model's process died with this study", do="look at its files") from error
            except exceptions.RayError as error:
                raise RunError("the replica did not answer", got=type(error).__name__, do="look at the Ray cluster") from error

    def _known(self, model: str) -> None:
        if model not in self.models:
            raise unknown("model", model, sorted(self.models))
