"""The gate before every route: who asks, how often, how much; and after it: the audit trail and the metrics.

It works on ASGI itself, since a framework reads the body before it asks its dependencies: a stranger's gigabyte would be read before he is refused.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vesalius.errors import VesaliusError
from vesalius.stages.serve.http.access import Access
from vesalius.stages.serve.http.limits import Rate, check_length, counted
from vesalius.stages.serve.http.problems import Refused, of_error, problem, route_of
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.http.trail import Trail
from vesalius.stages.serve.site import User
from vesalius.stages.serve.words import language_of

GUARDED = ("/v1", "/dicom-web", "/metrics")
"""What only users may ask for; the page's own files and the health of the service are open."""
QUIET = "/metrics"
SUBJECT_LENGTH = 300


class Gate:
    """ASGI middleware.

    Parameters
    ----------
    app: what is behind. service: its site, store and metrics. trail: of the audit.
    """

    def __init__(self, app: ASGIApp, service: Serving, trail: Trail) -> None:
        self.app, self.service, self.trail = app, service, trail
        self.access, self.limits = Access(service.site), service.site.limits
        self.rate = Rate(self.limits.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lifespan messages pass; of the others only HTTP."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = _Passage(self, scope, send)
        try:
            self._admit(scope)
        except Refused as error:
            await problem(error.status_code, str(error.detail), error.facts, error.headers, language_of(scope))(scope, receive, passage.send)
            return
        await self.app(scope, counted(receive, self.limits.max_request_bytes), passage.send)

    def _admit(self, scope: Scope) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = (scope.get("client") or ("",))[0]
        if guarded(scope["path"]):
            try:
                user = self.access.user(scope)
            except Refused:
                self.rate.take(f"stranger {host}")
                raise
            scope.setdefault("state", {})["user"] = user
            self.rate.take(f"user {user.name}")
        check_length(headers, self.limits.max_request_bytes)


def guarded(path: str) -> bool:
    """Whether only users may ask for it.

    >>> guarded("/v1/jobs/1"), guarded("/"), guarded("/v12")
    (True, False, False)
    """
    return any(path == start or path.startswith(f"{start}/") for start in GUARDED)


class _Passage:
    """One request on its way back."""

    def __init__(self, gate: Gate, scope: Scope, send: Send) -> None:
        self.gate, self.scope, self._send = gate, scope, send
        self.start, self.stopped = time.perf_counter(), False

    async def send(self, message: Message) -> None:
        """Record before the first byte; when that fails the caller gets an error instead of the answer."""
        if message["type"] == "http.response.start":
            status = int(message["status"])
            self.gate.service.engine.metrics.request(self.scope["method"], route_of(self.scope), status, time.perf_counter() - self.start)
            try:
                await self._record(status)
            except VesaliusError as error:
                self.stopped = True
                await self._instead(of_error(error, language_of(self.scope)))
        if not self.stopped:
            await self._send(message)

    async def _record(self, status: int) -> None:
        path = str(self.scope["path"])
        if not guarded(path) or path == QUIET:
            return
        user: User | None = self.scope.get("state", {}).get("user")
        await self.gate.trail.record(user.name if user else "-", str(self.scope["method"]), path[:SUBJECT_LENGTH], str(status))

    async def _instead(self, response: Response) -> None:
        async def nothing() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        await response(self.scope, nothing, self._send)
