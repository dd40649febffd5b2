"""Errors as ``application/problem+json`` (RFC 9457), with a stable code, what was expected, what came and what to do, in the caller's language.

A problem never holds a path of this machine, and never a header's value beyond what the caller sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vesalius.errors import DataError, OptionError, RunError, VesaliusError
from vesalius.stages.serve import words
from vesalius.stages.serve.store import Missing
from vesalius.stages.serve.work import Busy, Died

log = logging.getLogger("vesalius.serve.http")
TYPE = "application/problem+json"
STATUS: tuple[tuple[type[VesaliusError], int], ...] = (
    (Missing, 404), (OptionError, 400), (DataError, 422), (Busy, 503), (Died, 422), (RunError, 503), (VesaliusError, 500),
)
"""The first kind that fits decides. An input that kills its reader twice is bad input, not a broken server."""
RETRY_S = 2
UNTITLED = ("error", "it did not work", "未能完成")
LANGUAGE = {lang: {"Content-Language": lang, "Vary": "Accept-Language"} for lang in words.LANGUAGES}


class Refused(HTTPException):
    """A request that is answered with a problem.

    Parameters
    ----------
    status: of HTTP. what, expected, got, do: as in `VesaliusError`.
    """

    def __init__(
        self, status: int, what: str, *, expected: object = None, got: object = None, do: str | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, what, dict(headers or {}))
        self.facts = {"expected": expected, "got": got, "do": do}


def problem(status: int, what: str, facts: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None, lang: str = "en") -> JSONResponse:
    """The answer; empty facts are left out. lang: ``en`` or ``zh``."""
    said = words.what(what, status)
    told = {name: words.fact(str(value), lang) for name, value in (facts or {}).items() if value is not None}
    _, en, zh = words.STATUS.get(status, UNTITLED)
    body = {"type": "about:blank", "title": zh if lang == "zh" else en, "status": status, "code": said.code, "detail": said.of(lang)} | told
    return JSONResponse(body, status, dict(headers or {}) | LANGUAGE[lang], media_type=TYPE)


def status_of(error: VesaliusError) -> int:
    """The HTTP status of an error of ours."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def of_error(error: VesaliusError, lang: str = "en") -> JSONResponse:
    """One of our errors as a problem."""
    status = status_of(error)
    facts = {"expected": error.expected, "got": error.got, "do": error.do}
    return problem(status, error.what, facts, {"Retry-After": str(RETRY_S)} if status == 503 else None, lang)


def install(app: FastAPI) -> None:
    """Let every error of the app leave as a problem."""

    @app.exception_handler(VesaliusError)
    async def _ours(request: Request, error: VesaliusError) -> JSONResponse:
        return of_error(error, words.language_of(request.scope))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        facts = error.facts if isinstance(error, Refused) else {}
        return problem(error.status_code, str(error.detail), facts, error.headers, words.language_of(request.scope))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(422, f"'{place}' cannot be used", {"expected": first["msg"]}, lang=words.language_of(request.scope))

    @app.exception_handler(Exception)
    async def _broken(request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed: %s in %s", type(error).__name__, route_of(request.scope))
        facts = {"do": "tell whoever looks after it; the log names the kind of error"}
        return problem(500, "the service made a mistake", facts, lang=words.language_of(request.scope))


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route (``/v1/jobs/{id}``), which names no patient; ``other`` where none was found."""
    return str(getattr(scope.get("route"), "path", "other"))
