"""The way in, for C-STORE and STOW-RS alike: looked through, flushed, acknowledged; then indexed by one thread in groups."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vesalius.errors import FormatError, RunError
from vesalius.formats.dicomguard import Header, guard
from vesalius.formats.dicomguard import Limits as GuardLimits
from vesalius.stages.serve.node.describe import describe
from vesalius.stages.serve.node.inbox import READ_BYTES, Arrival, Inbox, digest_in
from vesalius.stages.serve.node.spool import Incoming
from vesalius.stages.serve.site import Limits
from vesalius.stages.serve.store import Missing, Received, Store
from vesalius.storage import FULL

log = logging.getLogger("vesalius.serve.receive")
SUCCESS, FULL_DISK, FAILED, OTHER_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA700, 0x0110, 0xA900, 0xC000
"""PS3.4 table B.2-1 and PS3.7 annex C: success, out of resources, processing failure, data set does not match SOP class, cannot understand."""
GROUP = 256
KEPT = ".dcm"
RETRY_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """What the sender is told: a DIMSE status (0: it is safely here) and a reason without anything that identifies a patient."""

    status: int
    reason: str = ""
    sop_uid: str = ""
    class_uid: str = ""


class Receiver:
    """Takes objects and indexes them; `start` first takes what a stop left in the inbox.

    Parameters
    ----------
    indexed: called by the indexing thread after each group that is in the store. removed: called by it with how many refused objects of how many bytes
        were removed, since there were more than the limits allow.
    """

    def __init__(self, store: Store, limits: Limits, indexed: Callable[[], object] = lambda: None,
                 removed: Callable[[int, int], object] = lambda n, size: None) -> None:
        self.store, self.limits, self._indexed, self._removed = store, limits, indexed, removed
        self.inbox, self._aside = Inbox(store.folder / "inbox"), Inbox(store.folder / "refused")
        self.counts: Counter[str] = Counter()
        self._guarded = GuardLimits(bytes=limits.max_object_bytes, inflate=limits.inflate_bytes, elements=limits.max_elements, depth=limits.max_depth,
                                    samples=limits.max_pixels)
        self._turn = threading.Condition()
        self._waiting: list[Path] = []
        self._put = self._done = 0
        self._stopping = False
        self._unbounded = True
        self.settled = 0.0
        """Everything that was acknowledged before this time (seconds since 1970) is in the store."""
        self._thread = threading.Thread(target=self._run, name="vesalius-index", daemon=True)

    def start(self) -> int:
        """Begin to index; how many objects were waiting from before. A refused object whose reason was not noted is removed: its sender had no answer."""
        found = self.inbox.waiting()
        for path in self._aside.folder.iterdir():
            if path.suffix != KEPT:
                path.unlink()
        with self._turn:
            self._waiting += found
            self._put += len(found)
        self._thread.start()
        return len(found)

    def stop(self) -> None:
        """Index what is here, then end."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def take(self, source: bytes | memoryview | BinaryIO, arrival: Arrival) -> Outcome:
        """Take one data set as it came; when the outcome's status is 0 it is on the disk.

        Parameters
        ----------
        source: the data set in the transfer syntax of ``arrival``, in memory, as an opened file that starts with it, or as it came through an association.
        arrival: what the sender says it is; the data set must say the same.
        """
        opened = io.BytesIO(source) if isinstance(source, (bytes, memoryview)) else source
        if isinstance(opened, Incoming):
            if not opened.claim():
                return Outcome(FAILED, "the association has ended", arrival.sop_uid, arrival.class_uid)
            if opened.error is not None:
                return self._unable(opened.error, arrival)
        try:
            seen = guard(opened, self._guarded, syntax=arrival.syntax, where="received")
            _agree(seen, arrival)
        except FormatError as error:
            return self._refused(opened, arrival, error)
        return self._keep(opened, arrival)

    def take_file(self, source: BinaryIO, *, calling_ae: str = "", called_ae: str = "") -> Outcome:
        """Take a file (PS3.10), as STOW-RS and an upload bring it: its own meta information is replaced by ours."""
        try:
            seen = guard(source, self._guarded, where="received")
        except FormatError as error:
            return self._refused(source, Arrival("", "", "", calling_ae, called_ae), error)
        if not seen.syntax:
            return self._refused(source, Arrival("", "", "", calling_ae, called_ae), FormatError("the file does not state its transfer syntax"))
        return self._keep(_Behind(source, seen.body), Arrival(seen.sop_class, seen.sop_instance, seen.syntax, calling_ae, called_ae))

    def _keep(self, opened: BinaryIO | _Behind, arrival: Arrival) -> Outcome:
        try:
            path = _put(self.inbox, arrival, opened)
        except OSError as error:
            return self._unable(error, arrival)
        with self._turn:
            self._waiting.append(path)
            self._put += 1
            self._turn.notify_all()
        self.counts["received"] += 1
        return Outcome(SUCCESS, "", arrival.sop_uid, arrival.class_uid)

    def _unable(self, error: OSError, arrival: Arrival) -> Outcome:
        full = error.errno in FULL
        self.counts["full" if full else "failed"] += 1
        log.error("an object could not be kept: %s", errno.errorcode.get(error.errno or 0, "unknown"))
        return Outcome(FULL_DISK if full else FAILED, "the disk is full" if full else "the object could not be written", arrival.sop_uid, arrival.class_uid)

    def _refused(self, opened: BinaryIO, arrival: Arrival, error: FormatError) -> Outcome:
        """Set aside what the guard refuses, past the inbox (which only holds what passed); its content is kept as it came."""
        self.counts["refused"] += 1
        self._unbounded = True
        status = OTHER_CLASS if isinstance(error, _Mismatch) else NOT_UNDERSTOOD
        outcome = Outcome(status, str(error), arrival.sop_uid, arrival.class_uid)
        try:
            part = _put(self._aside, arrival, opened)
            self.store.refuse(part, digest_in(part), "guard", str(error), sop_uid=arrival.sop_uid, calling_ae=arrival.calling_ae)
        except OSError as trouble:
            return self._unable(trouble, arrival)
        except RunError as trouble:
            log.error("a refused object could not be noted: %s", trouble.what)
        return outcome

    def drain(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything that was acknowledged before this call is in the store; False when the time was too short."""
        with self._turn:
            wanted = self._put
            return self._turn.wait_for(lambda: self._done >= wanted, timeout_s)

    @property
    def backlog(self) -> int:
        """Objects that are safely here and not yet in the store."""
        return self._put - self._done

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._waiting or self._stopping, 0.2)
                group, begun = self._waiting[:GROUP], time.time()
                if not group and self._stopping:
                    return
            if self._index(group):
                with self._turn:
                    del self._waiting[: len(group)]
                    self._done += len(group)
                    self.settled = begun if not self._waiting else self.settled
                    self._turn.notify_all()
                if group:
                    self._indexed()
                self._bound()
            elif self._stopping:
                return
            else:
                time.sleep(RETRY_S)

    def _index(self, group: list[Path]) -> bool:
        """Bring a group into the store; False when the database or the disk refuses (the files stay where they are, and it is tried again)."""
        try:
            found = [each for path in group if (each := self._described(path)) is not None]
            is_new = self.store.add_objects(found) if found else []
            self.counts["indexed"] += sum(is_new)
            self._unbounded = self._unbounded or not all(is_new)
        except (RunError, Missing, OSError) as error:
            log.error("objects wait in the inbox: %s", getattr(error, "what", type(error).__name__))
            return False
        return True

    def _bound(self) -> None:
        """Let the oldest of what was refused go where there is too much of it; asked only after something came."""
        if not self._unbounded:
            return
        self._unbounded = False
        try:
            n, size = self.store.bound_refused(self.limits.refused_bytes, self.limits.refused_files)
        except RunError as error:
            self._unbounded = True
            log.error("what was refused could not be removed: %s", error.what)
            return
        if n:
            self.counts["removed"] += n
            self._removed(n, size)

    def _described(self, path: Path) -> Received | None:
        digest = digest_in(path)
        try:
            return describe(path, digest)
        except FormatError as error:
            if path.exists():
                self.counts["refused"] += 1
                self.store.refuse(path, digest, "header", str(error))
                self._unbounded = True
            return None


class _Mismatch(FormatError):
    """The data set is not what the sender said."""


class _Behind:
    """An opened file seen from a place behind its start."""

    def __init__(self, opened: BinaryIO, start: int) -> None:
        self._opened, self._start = opened, start

    def seek(self, place: int) -> None:
        self._opened.seek(self._start + place)

    def read(self, n: int) -> bytes:
        return self._opened.read(n)


def _agree(seen: Header, arrival: Arrival) -> None:
    for name, said, got in (("SOPClassUID", arrival.class_uid, seen.sop_class), ("SOPInstanceUID", arrival.sop_uid, seen.sop_instance)):
        if said != got:
            raise _Mismatch(f"the data set is not what the request says: another {name}", do="correct the sender")


def _put(inbox: Inbox, arrival: Arrival, opened: BinaryIO | _Behind) -> Path:
    """Into an inbox, from wherever it lies."""
    return opened.keep(inbox, arrival) if isinstance(opened, Incoming) else inbox.put(arrival, _blocks(opened), _digest(opened))


def _blocks(opened: BinaryIO | _Behind) -> Iterator[bytes]:
    opened.seek(0)
    while block := opened.read(READ_BYTES):
        yield block


def _digest(opened: BinaryIO | _Behind) -> str:
    summed = hashlib.sha256()
    for block in _blocks(opened):
        summed.update(block)
    return summed.hexdigest()
