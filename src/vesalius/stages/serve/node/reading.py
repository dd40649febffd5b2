"""The loop of jobs: claim, hand to the model's process, keep the finding, put on its way what may leave."""

from __future__ import annotations

import json
import logging
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Protocol

from vesalius.errors import DataError, OptionError, RunError, VesaliusError
from vesalius.stages.serve.node.refusal import refusal
from vesalius.stages.serve.site import Site
from vesalius.stages.serve.store import Job, Store, identity_of
from vesalius.stages.serve.work import Busy, Died
from vesalius.storage import atomic_json

log = logging.getLogger("vesalius.serve.reading")
IN_FLIGHT = 4
"""Jobs that are handed to the process of a model at a time; the rest waits in the database, where a stop does not reach it."""
BUSY_S = 1.0
RECORD = "finding.json"


class Reads(Protocol):
    """What the loop needs of `stages.serve.work.Engine`."""

    def submit(self, model: str, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str] = (), timeout_s: float = ...
               ) -> Future[dict[str, Any]]: ...


class Readings:
    """Driven by `tick` from one thread.

    Parameters
    ----------
    wake: called, from any thread, when a tick has something to do. audit: called with who, action, subject and detail; it does not raise.
    """

    def __init__(self, site: Site, store: Store, engine: Reads, wake: Callable[[], object], audit: Callable[[str, str, str, str], object]) -> None:
        self.site, self.store, self.engine, self._wake, self._audit = site, store, engine, wake, audit
        self.counts: Counter[str] = Counter()
        self._ended: queue.SimpleQueue[tuple[Job, Future[dict[str, Any]]]] = queue.SimpleQueue()
        self._running: dict[str, int] = dict.fromkeys(site.models, 0)

    @property
    def running(self) -> int:
        """Jobs that the processes have."""
        return sum(self._running.values())

    def tick(self, begin: bool = True) -> None:
        """Keep what has ended; unless ``begin`` is False, hand out what is due."""
        while not self._ended.empty():
            job, future = self._ended.get()
            self._running[job.model] -= 1
            self._end(job, future)
        while begin and (free := [model for model, n in self._running.items() if n < IN_FLIGHT]):
            job_or_none = self.store.claim(models=free)
            if job_or_none is None:
                return
            self._begin(job_or_none)

    def _begin(self, job: Job) -> None:
        out = self.store.folder / "results" / job.id
        if (out / RECORD).is_file():
            self._keep(job, json.loads((out / RECORD).read_text("utf-8")))
            return
        try:
            future = self.engine.submit(job.model, self.store.files_of(job.series_uid, job.upto), out, job=job.id, objects=job.route.get("objects", ()),
                                        timeout_s=self.site.limits.job_timeout_s)
        except VesaliusError as error:
            self._failed(job, error)
            return
        self._running[job.model] += 1
        future.add_done_callback(lambda done: self._call(job, done))

    def _call(self, job: Job, future: Future[dict[str, Any]]) -> None:
        self._ended.put((job, future))
        self._wake()

    def _end(self, job: Job, future: Future[dict[str, Any]]) -> None:
        try:
            document = future.result()
        except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever a reading raises is kept with its job, and the queue goes on
            self._failed(job, error)
            return
        self._keep(job, document)

    def _keep(self, job: Job, document: dict[str, Any]) -> None:
        out = self.store.folder / "results" / job.id
        try:
            if not (out / RECORD).is_file():
                atomic_json(out / RECORD, document)
            leaving = self.leaving(job, [out / name for name in document.get("files", {}).get("objects", [])])
            self.store.finish(job.id, document, out, leaving if self.site.release == "automatic" and not document.get("refused") else ())
        except (RunError, DataError) as error:
            self._failed(job, RunError(error.what, got=error.got))
            return
        self._audit("vesalius", "read", f"finding {job.id}", job.model)
        self.counts["done"] += 1

    def leaving(self, job: Job, paths: Sequence[Path]) -> list[tuple[str, Path, str, str]]:
        """Each file for each peer of the job's route that takes results: peer, file, SOPInstanceUID, SOPClassUID."""
        peers = [peer.name for peer in self.site.peers if peer.send and peer.name in job.route.get("send_to", ())]
        return [(peer, path, *identity_of(path)) for peer in peers for path in paths]

    def _failed(self, job: Job, error: BaseException) -> None:
        """What is ours to mend is tried again, what kills its process is set aside, and an input that cannot be read is a finding that says so."""
        told = error.what if isinstance(error, VesaliusError) else type(error).__name__
        limits = self.site.limits
        if isinstance(error, Busy) or (isinstance(error, RunError) and "disk is full" in str(error)):
            self.store.postpone(job.id, time.time() + BUSY_S)
        elif isinstance(error, (Died, OptionError)):
            self._aside(job, told)
        elif isinstance(error, DataError):
            self._keep(job, refusal(self.store, job, error))
            self.counts["refused"] += 1
        elif job.tries + 1 >= limits.tries:
            self._aside(job, told)
        else:
            self.store.retry(job.id, told, time.time() + backoff_s(job.tries, limits.retry_first_s, limits.retry_last_s))
            self.counts["retried"] += 1

    def _aside(self, job: Job, told: str) -> None:
        self.store.set_aside(job.id, told)
        self._audit("vesalius", "set aside", f"job {job.id}", told)
        self.counts["aside"] += 1
        log.error("a job was set aside: %s", told)


def backoff_s(tries: int, first_s: float, last_s: float) -> float:
    """Seconds to wait after so many failures before: doubled each time, up to a bound.

    >>> [backoff_s(tries, 2, 30) for tries in (0, 1, 2, 10, 10_000)]
    [2, 4, 8, 30, 30]
    """
    return min(last_s, first_s * 2 ** min(tries, 32))
