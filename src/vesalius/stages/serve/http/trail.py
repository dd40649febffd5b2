"""The audit trail of the HTTP side: every access is on the disk before the first byte of its answer leaves.

Requests that come at the same time share one transaction, since each costs a flush of the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from vesalius.errors import VesaliusError
from vesalius.stages.serve.store import Store

Row = tuple[str, str, str, str]
MOST = 512


class Trail:
    """Writes rows (user, action, subject, detail) in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: deque[tuple[Row, asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._go, name="audit", daemon=True)
        self._thread.start()

    async def record(self, user: str, action: str, subject: str, detail: str = "") -> None:
        """Return when the row is on the disk; `RunError` when it cannot be written."""
        loop = asyncio.get_running_loop()
        made = loop.create_future()
        with self._changed:
            self._waiting.append(((user, action, subject, detail), loop, made))
            self._changed.notify()
        await made

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _go(self) -> None:
        while taken := self._take():
            error: VesaliusError | None = None
            try:
                self.store.audit_all([row for row, _, _ in taken])
            except VesaliusError as trouble:
                error = trouble
            for _, loop, made in taken:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_settle, made, error)

    def _take(self) -> list[tuple[Row, asyncio.AbstractEventLoop, asyncio.Future[None]]]:
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]


def _settle(made: asyncio.Future[None], error: VesaliusError | None) -> None:
    if made.done():
        return
    if error is None:
        made.set_result(None)
    else:
        made.set_exception(error)
