"""How much a caller may ask: bytes of a request, and requests in a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from starlette.types import Message, Receive

from vesalius.stages.serve.http.problems import Refused

CALLERS_KEPT = 10_000
SECONDS = 60.0


def check_length(headers: Mapping[str, str], most: int) -> None:
    """Refuse a body before a byte of it is read.

    Raises
    ------
    Refused: 413, the Content-Length is over the limit; 400, it is no number.
    """
    told = headers.get("content-length")
    if told is None:
        return
    if not told.isdecimal():
        raise Refused(400, "the Content-Length is no number", expected="a count of bytes", got=told[:40])
    if int(told) > most:
        raise too_large(most, f"{int(told):,} bytes")


def too_large(most: int, got: str) -> Refused:
    """413; the connection is closed, since the rest of the body is not read."""
    return Refused(413, "the request is larger than this site takes", expected=f"at most {most:,} bytes", got=got, do="send it in parts",
                   headers={"Connection": "close"})


def counted(receive: Receive, most: int) -> Receive:
    """The same body, counted as it comes; also one that is chunked and states no length is refused once it is over the limit."""
    came = 0

    async def told() -> Message:
        nonlocal came
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.request":
            came += len(message.get("body", b""))
            if came > most:
                raise too_large(most, f"more than {came:,} bytes")
        return message

    return told


class Rate:
    """A bucket of tokens for each caller: ``per_minute`` at once, filled again evenly; thread-safe.

    Parameters
    ----------
    per_minute: requests. clock: seconds, for tests.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """One request of a caller.

        Raises
        ------
        Refused: 429 with ``Retry-After`` when there have been too many.
        """
        now = self.clock()
        with self._lock:
            left, since = self._buckets.pop(caller, (float(self.per_minute), now))
            left = min(self.per_minute, left + (now - since) * self.per_minute / SECONDS)
            allowed = left >= 1
            self._buckets[caller] = (left - 1 if allowed else left, now)
            while len(self._buckets) > CALLERS_KEPT:
                self._buckets.popitem(last=False)
        if not allowed:
            wait = ceil((1 - left) * SECONDS / self.per_minute)
            raise Refused(429, "too many requests", expected=f"at most {self.per_minute} a minute", do=f"wait {wait} s",
                          headers={"Retry-After": str(wait)})
