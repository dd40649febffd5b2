"""The supervisor of one model: its process, the queue before it, and what happens when it dies.

Every job that a process held when it died is a suspect. A new process gets the suspects one at a time and nothing beside them, so that the one that
kills it a second time is known for sure: it is answered with `Died` and refused from then on, and every other job is done.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from vesalius.errors import RunError, VesaliusError
from vesalius.stages.serve.work.child import Child
from vesalius.stages.serve.work.jobs import Job, Lane, message_of
from vesalius.stages.serve.work.lines import Busy, Died, error_from
from vesalius.stages.serve.work.metrics import Metrics
from vesalius.stages.serve.work.options import Options

log = logging.getLogger("vesalius.serve.work")
TICK_S = 0.2
FULL_AT_A_TIME = 1
DEADLY = 2
"""Deaths of the process after which a job is poisoned."""
POISONED_KEPT = 1000
EARLY = "the model's process ended before it was ready"
REASON_LENGTH = 300


class Worker:
    """One model at work; all methods may be called by any thread.

    Attributes
    ----------
    facts: what the process said of its model when it became ready: hash, kind, classes, engine.
    error: why the process cannot start, once it has failed `Options.tries` times in a row.
    reason: why it did not start the last time it was tried, in one line without a path; empty once it is ready.
    """

    def __init__(self, name: str, model: Path, options: Options, metrics: Metrics) -> None:
        self.name, self.model, self.options, self.metrics = name, model, options, metrics
        self.facts: dict[str, Any] = {}
        self.error: VesaliusError | None = None
        self.ready = False
        self.reason = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[Lane, deque[Job]] = {"quick": deque(), "full": deque()}
        self._suspects: deque[Job] = deque()
        self._sent: dict[int, Job] = {}
        self._poisoned: deque[str] = deque(maxlen=POISONED_KEPT)
        self._lock = threading.RLock()
        self._child: Child | None = None
        self._closed = self._ended = False
        self._last: VesaliusError = _early(name)
        self._keeper = threading.Thread(target=self._keep, name=f"model {name}", daemon=True)

    def start(self) -> None:
        """Start the process; `ready` becomes True when its model is warm."""
        self._keeper.start()

    @property
    def held(self) -> int:
        """Jobs that wait or run."""
        with self._lock:
            return sum(map(len, self._waiting.values())) + len(self._suspects) + len(self._sent)

    def submit(
        self, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str] = (), force: bool = False, ids: dict[str, Any] | None = None,
        timeout_s: float = 600.0,
    ) -> Future[dict[str, Any]]:
        """See `Engine.submit`."""
        with self._lock:
            self._admit(job)
            number = next(self._numbers)
            message = message_of(number, files, out, job=job, objects=objects, force=force, ids=ids)
            made = Job(number, job, "quick" if out is None else "full", message, time.monotonic() + timeout_s)
            self._waiting[made.lane].append(made)
            self._feed()
        return made.future

    def _admit(self, key: str) -> None:
        if self._closed:
            raise Busy("the service is going down", do="send it again in a minute")
        if self.error is not None:
            raise RunError("the model cannot be started", where=self.name, got=str(self.error), do="look at the model folder; the service goes on trying")
        if key in self._poisoned:
            raise _died(self.name)
        if self.held >= self.options.queue:
            self.metrics.refused(self.name)
            raise Busy("there is more work than this service takes at a time", expected=f"at most {self.options.queue} waiting", got="a full queue",
                       do="send it again in a few seconds")

    def stop(self, grace_s: float) -> None:
        """Take nothing new, finish what is there for ``grace_s`` seconds, then end the process; what is left is answered with `Busy`."""
        with self._lock:
            self._closed = True
        stop = time.monotonic() + grace_s
        while self.held and self.error is None and time.monotonic() < stop:
            time.sleep(0.02)
        self._ended = True
        with self._lock:
            child = self._child
        if child is not None:
            child.end(max(0.5, stop - time.monotonic()))
        if self._keeper.is_alive():
            self._keeper.join(5.0)
        self._answer_all(Busy("the service went down before this was done", do="send it again in a minute"))

    # ---- the keeper's thread

    def _keep(self) -> None:
        failed = 0
        while not self._ended:
            began = self._life()
            failed = 0 if began else failed + 1
            if failed and not self._ended:
                self._tell(failed)
            if failed >= self.options.tries and not self._ended:
                self._broken()
            self._rest(failed)

    def _tell(self, failed: int) -> None:
        """The log and the health say what nobody would see: the process's own output goes nowhere."""
        error = self._last
        self.reason = str(VesaliusError(error.what, expected=error.expected, got=error.got)).splitlines()[0][:REASON_LENGTH]
        if failed <= self.options.tries:
            log.error("the model %s does not start (%d in a row): %s", self.name, failed, self.reason)

    def _life(self) -> bool:
        """One process from start to death; whether it became ready."""
        try:
            child = Child(self.options.module, self.options.to_json(self.name, self.model))
        except OSError as error:
            self._last = RunError("the model's process cannot be started", where=self.name, got=error.strerror)
            return False
        with self._lock:
            self._child = child
        started, began = time.monotonic(), False
        self._last = _early(self.name)
        try:
            while not self._ended or self._sent:
                message = child.line.receive(TICK_S)
                began = self._heard(message) or began
                if not began and time.monotonic() > started + self.options.start_s:
                    self._last = _early(self.name, f"nothing within {self.options.start_s:g} s")
                    break
                self._overdue()
        except EOFError:
            if not began and self._last.got is None and self._last.what == EARLY:
                self._last = _early(self.name, child.how_it_ended())
        finally:
            self._buried(child)
        return began

    def _heard(self, message: dict[str, Any] | None) -> bool:
        if message is None:
            return False
        if "ready" in message:
            with self._lock:
                self.facts, self.ready, self.error, self.reason = message["ready"], True, None, ""
                self.metrics.ready(self.name, True)
                self._feed()
            return True
        if "failed" in message:
            self._last = error_from(message["failed"])
            return False
        self._answered(message)
        return False

    def _answered(self, message: dict[str, Any]) -> None:
        with self._lock:
            job = self._sent.pop(message["id"], None)
            self._feed()
        if job is None:
            return
        if "error" in message:
            job.future.set_exception(error_from(message["error"]))
            self.metrics.done(self.name, job.lane, "refused", time.monotonic() - job.since)
        else:
            job.future.set_result(message["finding"])
            self.metrics.done(self.name, job.lane, "done", time.monotonic() - job.since)
        self.metrics.batches(self.name, message.get("batches", {}))

    def _overdue(self) -> None:
        """End a process that holds a job for too long, and answer those that waited too long in the queue."""
        now = time.monotonic()
        with self._lock:
            late = [job for line in (*self._waiting.values(), self._suspects) for job in line if job.deadline < now]
            for job in late:
                (self._suspects if job in self._suspects else self._waiting[job.lane]).remove(job)
            stuck = [job for job in self._sent.values() if job.deadline < now]
            for job in stuck:
                del self._sent[job.number]
            if stuck and self._child is not None:
                self._child.kill()
        for job in late:
            job.fail(Busy("the job waited too long", do="send it again when there is less to do"))
        for job in stuck:
            job.fail(Died("the reading took too long and was ended", where=self.name, do="set the study aside"))
            self.metrics.done(self.name, job.lane, "died", now - job.since)

    def _buried(self, child: Child) -> None:
        child.kill()
        with self._lock:
            self._child, self.ready = None, False
            held = list(self._sent.values())
            self._sent.clear()
            for job in held:
                job.deaths += 1
            poisoned = [job for job in held if job.deaths >= DEADLY]
            self._poisoned.extend(job.key for job in poisoned)
            self._suspects.extend(job for job in held if job.deaths < DEADLY)
        self.metrics.ready(self.name, False)
        if not self._ended:
            self.metrics.restarted(self.name)
        for job in poisoned:
            job.fail(_died(self.name))
            self.metrics.done(self.name, job.lane, "died", time.monotonic() - job.since)

    def _broken(self) -> None:
        with self._lock:
            self.error = self._last
        self._answer_all(RunError("the model cannot be started", where=self.name, got=str(self._last), do="look at the model folder"))

    def _rest(self, failed: int) -> None:
        wait = min(self.options.backoff_most_s, self.options.backoff_s * 2 ** max(0, failed - 1))
        stop = time.monotonic() + wait
        while not self._ended and time.monotonic() < stop:
            time.sleep(min(0.05, wait))

    # ---- what is sent when

    def _feed(self) -> None:
        """Send what may be sent; the lock is held."""
        if not self.ready or self._child is None:
            return
        if self._suspects or any(job.deaths for job in self._sent.values()):
            if not self._sent:
                self._send(self._suspects.popleft())
            return
        for lane, most in (("quick", self.options.quick), ("full", FULL_AT_A_TIME)):
            line = self._waiting[lane]  # type: ignore[index]
            running = sum(job.lane == lane for job in self._sent.values())
            while line and running < most:
                running += self._send(line.popleft())
        self.metrics.waiting(self.name, self.held)

    def _send(self, job: Job) -> bool:
        if not job.begin() or self._child is None:
            return False
        self._sent[job.number] = job
        try:
            self._child.line.send(job.message)
        except OSError:
            self._child.kill()  # it has just died: the keeper finds this job among those that it held
        return True

    def _answer_all(self, error: VesaliusError) -> None:
        with self._lock:
            left = [*self._suspects, *self._sent.values(), *(job for line in self._waiting.values() for job in line)]
            self._suspects.clear()
            self._sent.clear()
            for line in self._waiting.values():
                line.clear()
        for job in left:
            job.fail(error)


def _died(name: str) -> Died:
    return Died("the model's process died twice with this job", where=name, do="set the study aside; it is not tried again")


def _early(name: str, how: str | None = None) -> RunError:
    return RunError(EARLY, where=name, got=how)
