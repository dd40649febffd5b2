"""The audit trail of the HTTP side: every access is on the disk before the first byte of its answer leaves.

Requests that come at the same time share one transaction, since each costs a flush of the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

from vesalius.errors import VesaliusError
from vesalius.stages.serve.store import Store

Row = tuple[str, str, str, str]
MOST = 512


class Trail:
    """Writes rows (user, action, subject, detail) in a thread of its own, which begins with the first row and may begin again after `close`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: deque[tuple[Row, Future[None]]] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def record(self, user: str, action: str, subject: str, detail: str = "") -> None:
        """Return when the row is on the disk.

        Raises
        ------
        RunError: it cannot be written.
        """
        made: Future[None] = Future()
        with self._changed:
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._go, args=(self._stop,), name="audit", daemon=True)
                self._thread.start()
            self._waiting.append(((user, action, subject, detail), made))
            self._changed.notify_all()
        await asyncio.wrap_future(made)

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._stop.set()
            ending, self._thread = self._thread, None
            self._changed.notify_all()
        if ending is not None:
            ending.join()

    def _go(self, stop: threading.Event) -> None:
        while taken := self._take(stop):
            error: VesaliusError | None = None
            try:
                self.store.audit_all([row for row, _ in taken])
            except VesaliusError as trouble:
                error = trouble
            for _, made in taken:
                if made.set_running_or_notify_cancel():  # a caller that has gone is recorded all the same
                    made.set_result(None) if error is None else made.set_exception(error)

    def _take(self, stop: threading.Event) -> list[tuple[Row, Future[None]]]:
        with self._changed:
            while not self._waiting and not stop.is_set():
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
