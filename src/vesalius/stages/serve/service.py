"""The service: everything that runs while ``vesalius serve`` does, and the order in which it starts and stops."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vesalius.errors import RunError, VesaliusError
from vesalius.stages.serve.node.commitment import Commitment
from vesalius.stages.serve.node.reading import Readings
from vesalius.stages.serve.node.receive import Outcome, Receiver
from vesalius.stages.serve.node.routing import Router
from vesalius.stages.serve.node.scp import Scp
from vesalius.stages.serve.node.sender import Sender
from vesalius.stages.serve.site import Site
from vesalius.stages.serve.store import Store
from vesalius.stages.serve.work import Engine
from vesalius.stages.serve.work.options import Options
from vesalius.storage import telling

log = logging.getLogger("vesalius.serve")
PULSE_S = 0.25
SETTLE_S = 10.0
"""A decision is released by whoever took it; one that is older than this and was not is released by the service."""
Decides = Callable[[Store, dict[str, Any], str, str, str, dict[str, Any] | None], Sequence[Path]]
"""Store, finding, user, action, comment and correction to the files that leave."""
LOW_DISK_BYTES = 1 << 30
"""Below this the service says in its health that the disk is low; it goes on until the disk refuses."""


class Service:
    """One site at work. ``store``, ``engine`` and ``receiver`` are what the HTTP side uses.

    Parameters
    ----------
    engine: the models' processes; made from the site when left out. decided: makes the objects of a decision whose release a stop prevented
        (`stages.serve.decisions.decided`); without it such a decision waits.

    Raises
    ------
    RunError: another service works in this folder, the folder cannot be written, or the database is of another schema.
    """

    def __init__(self, site: Site, engine: Engine | None = None, decided: Decides | None = None) -> None:
        self.site, self._decides = site, decided
        self._lock = _locked(site.folder)
        try:
            self.store = Store(site.url, site.folder)
        except VesaliusError:
            os.close(self._lock)
            raise
        self.engine = engine if engine is not None else Engine(site.models, Options(queue=site.limits.queue))
        self.receiver = Receiver(self.store, site.limits, self.wake, self._removed)
        self.commitment = Commitment(site, self.store, self.receiver)
        self.scp = Scp(site, self.receiver, self.commitment, self._audit)
        self.router, self.readings = Router(site, self.store), Readings(site, self.store, self.engine, self.wake, self._audit)
        self.sender = Sender(site, self.store, self.commitment, self._audit)
        self._hopeless: set[str] = set()
        self._turn, self._news, self._stopping = threading.Condition(), False, False
        self._thread = threading.Thread(target=self._run, name="vesalius-clinic", daemon=True)

    def start(self) -> None:
        """Recover what a stop left, start the models, read, send, and listen last.

        Raises
        ------
        RunError: the DICOM port is taken.
        """
        for torn in (*self.site.folder.glob("results/.*"), *self.site.folder.glob("uploads/*")):
            shutil.rmtree(torn, ignore_errors=True)  # half of a reading or of an upload: the one is done again, the other was never answered
        recovered = self.store.recover()
        waiting = self.receiver.start()
        if recovered or waiting:
            log.info("after a stop: %d jobs and %d received objects go on", recovered, waiting)
        self.engine.start()
        self.sender.start()
        self._thread.start()
        try:
            self.scp.start()
        except RunError:
            self.stop(0.0)
            raise
        self.store.audit("vesalius", "started", "service", f"port {self.scp.port}")

    def stop(self, grace_s: float = 30.0) -> None:
        """Take nothing new, let what is running finish for ``grace_s`` seconds, keep the rest in the database."""
        self.scp.stop()
        self.commitment.stop()
        self.receiver.stop()
        self._stopping = True
        self.wake()
        self.engine.stop(grace_s)
        if self._thread.is_alive():
            self._thread.join(grace_s + 10.0)
        self.sender.stop()
        self._audit("vesalius", "stopped", "service", "")
        self.store.close()
        os.close(self._lock)

    def wake(self) -> None:
        """There is something to do."""
        with self._turn:
            self._news = True
            self._turn.notify_all()

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._news or self._stopping, PULSE_S)
                self._news = False
            stopping = self._stopping
            try:
                self.pulse(not stopping)
            except Exception as error:  # noqa: BLE001 - this loop is what nothing may end; what it could not do is done in a later round
                log.error("the clinic waits: %s", _told(error))
                time.sleep(PULSE_S)
            if stopping and not self.readings.running:
                return

    def pulse(self, begin: bool = True) -> None:
        """One round: routes for complete series, jobs, and what doctors released."""
        if begin:
            self.router.tick(self.receiver.settled)
        self.readings.tick(begin)
        if begin:
            self._release_late()
        self.sender.wake()

    def release(self, finding_id: str, paths: Sequence[Path] | None = None) -> None:
        """Put the objects of a finding that a doctor accepted or corrected on their way to the peers of its route; again, it changes nothing.

        paths: the objects; those that follow from the last decision when None.

        Raises
        ------
        Missing: there is no such finding. FormatError: a file is no DICOM object. VesaliusError: see `decisions.decided`.
        """
        chosen = self._decided(finding_id) if paths is None else paths
        self.store.release(finding_id, self.readings.leaving(self.store.job(finding_id), chosen))
        self.sender.wake()

    def _decided(self, finding_id: str) -> Sequence[Path]:
        taken = self.store.decisions(finding_id)
        if not taken or self._decides is None:
            return ()
        last = taken[-1]
        return self._decides(self.store, self.store.finding(finding_id), last.user, last.action, last.comment, last.correction)

    def _release_late(self) -> None:
        """What was decided and not released, since a stop came in between: the objects of a decision follow from it."""
        for finding_id in self.store.unreleased() if self._decides is not None else ():
            if finding_id in self._hopeless or time.time() - self.store.decisions(finding_id)[-1].at < SETTLE_S:
                continue
            try:
                self.release(finding_id)
            except Exception as error:  # noqa: BLE001 - one decision whose objects cannot be made must not hold up the others; it is tried at the next start
                self._hopeless.add(finding_id)
                log.error("the objects of a decision could not be made: %s", _told(error))

    def receive(self, source: BinaryIO, calling_ae: str = "", called_ae: str = "") -> Outcome:
        """Take a DICOM file that came another way than by C-STORE (STOW-RS, upload); see `Receiver.take_file`."""
        return self.receiver.take_file(source, calling_ae=calling_ae, called_ae=called_ae)

    def health(self) -> dict[str, Any]:
        """Plain values: ``ready`` (every model is warm and the node listens), the models, why one does not start (``reasons``), ports, what waits, free
        bytes, and counts since the start."""
        models, free = self.engine.ready(), shutil.disk_usage(self.site.folder).free
        listening = self.scp.port > 0
        counts = {"receive": self.receiver.counts, "node": self.scp.counts, "routing": self.router.counts, "reading": self.readings.counts,
                  "sending": self.sender.counts}
        return {"live": self._thread.is_alive(), "ready": listening and bool(models) and all(models.values()) and not self._stopping, "models": models,
                "reasons": self.engine.reasons(),
                "dicom_port": self.scp.port, "ae_title": self.site.ae_title, "backlog": self.receiver.backlog, "running": self.readings.running,
                "free_bytes": free, "disk_low": free < LOW_DISK_BYTES, "counts": {name: dict(counter) for name, counter in counts.items()}}

    def _removed(self, n: int, size: int) -> None:
        """The oldest of what was refused had to go."""
        self.engine.metrics.removed(n, size)
        self._audit("vesalius", "removed", "refused objects", f"{n} of {size} bytes")
        log.warning("%d refused objects were removed: there were more than the limits allow", n)

    def _audit(self, who: str, action: str, subject: str, detail: str) -> None:
        """What the service itself does; a full disk must not keep it from going on. (What people do is answered only after it is written.)"""
        try:
            self.store.audit(who, action, subject, detail)
        except RunError as error:
            log.error("the audit trail could not be written: %s", error.what)


def _told(error: Exception) -> str:
    """For the log: what our errors say, and of others the type alone, as their text may quote a file."""
    return error.what if isinstance(error, VesaliusError) else type(error).__name__


def _locked(folder: Path) -> int:
    """The handle of the folder's lock, which ends with the process however that ends."""
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise RunError("another service works in this folder", where=folder, do="end it, or give this one a folder of its own") from error
    return handle
