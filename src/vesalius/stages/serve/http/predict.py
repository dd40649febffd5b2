"""``POST /v1/predict``: files in, a finding out; at once, or as a job that is kept."""

from __future__ import annotations

import asyncio
import io
import itertools
import secrets
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from vesalius.errors import DataError, RunError
from vesalius.formats.dicomguard import Limits as GuardLimits
from vesalius.formats.dicomguard import guard
from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.capture import captured
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.http.uploads import Part, uploaded
from vesalius.stages.serve.node.receive import FULL_DISK, Outcome
from vesalius.stages.serve.site import Limits, Route
from vesalius.storage import plain

BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {
    "multipart/form-data": {"schema": {"type": "object", "required": ["files"], "properties": {
        "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}}}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}}}
PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"description": "The job is kept; ask for it at `href`."},
    **{status: PROBLEM | {"description": what} for status, what in (
        (400, "No file, several models, or a broken body"), (413, "Too large"), (422, "The files cannot be read or used"), (429, "Too many requests"),
        (503, "More work than the service takes"))},
}
INDEX_S = 30.0


def router(service: Serving) -> APIRouter:
    """The route, for any role: readers in the page, machines elsewhere."""
    made = APIRouter(prefix="/v1", tags=["predict"])

    @made.post("/predict", openapi_extra=BODY, responses=RESPONSES, dependencies=[needs("reader", "node")], summary="Read one study")
    async def predict(
        request: Request,
        model: Annotated[str | None, Query(description="Name of the model; may be left out where there is one.", max_length=64)] = None,
        wait: Annotated[bool, Query(description="Answer with the finding; else 202 and a job whose finding is kept in the worklist.")] = True,
        force: Annotated[bool, Query(description="Read it although the model was not made for it.")] = False,
    ) -> JSONResponse:
        """The files of one study as multipart or one file as the body: PNG, JPEG, TIFF, NIfTI or DICOM."""
        name = chosen(service, model)
        async with uploaded(request, service.site.folder, service.site.limits) as parts:
            if not parts:
                raise Refused(400, "there is no file in the request", expected="the files of one study", do="send them as multipart/form-data")
            if any(part.is_dicom for part in parts):
                await asyncio.to_thread(_guarded, parts, service.site.limits)
            if not wait:
                return _job(await asyncio.to_thread(kept, service, name, parts))
            paths = [part.path for part in parts]
            finding = await _read(service.engine.submit(name, paths, None, job=secrets.token_hex(16), force=force, timeout_s=service.site.limits.job_timeout_s))
        return JSONResponse(finding)

    return made


def chosen(service: Serving, model: str | None) -> str:
    """The model that was asked for, or the only one.

    Raises
    ------
    Refused: 400, there are several and none was named, or none of that name.
    """
    names = sorted(service.site.models)
    if model is None and len(names) == 1:
        return names[0]
    if model not in names:
        raise Refused(400, "the site has no model of that name" if model else "the site has several models",
                      expected=f"?model={' or '.join(names)} in the address", got=model or "none")
    return str(model)


async def _read(coming: Future[dict[str, Any]]) -> dict[str, Any]:
    """Wait for the finding; when the caller goes away what has not begun is not done."""
    made: dict[str, Any] = plain(await asyncio.wrap_future(coming))
    return made


def _guarded(parts: list[Part], limits: Limits) -> None:
    """Look every DICOM file through before a parser sees it."""
    held = GuardLimits(bytes=limits.max_object_bytes, inflate=limits.inflate_bytes, elements=limits.max_elements, depth=limits.max_depth,
                       samples=limits.max_pixels, strict=False)
    for part in parts:
        if part.is_dicom:
            guard(part.path, held, where="received")


def kept(service: Serving, model: str, parts: list[Part]) -> list[str]:
    """Take the files into the store and enter a job for each series; the ids of the jobs.

    Raises
    ------
    FormatError, DataError: a file is refused. RunError: the disk is full.
    """
    taken: list[str] = []
    for opened in itertools.chain.from_iterable(map(_objects, parts)):
        outcome = service.receiver.take_file(opened, calling_ae="HTTP", called_ae=service.site.ae_title)
        _raise_for(outcome)
        taken.append(outcome.sop_uid)
    service.receiver.drain(INDEX_S)
    series = dict.fromkeys(service.store.object_row(uid).series_uid for uid in taken)
    route = next((route for route in service.site.all_routes() if route.model == model), Route(model=model))
    return [service.store.enqueue(uid, model, route.model_dump()) for uid in series]


def _objects(part: Part) -> Iterator[BinaryIO]:
    """The DICOM objects of an upload, each as an opened file."""
    if part.is_dicom:
        with part.path.open("rb") as opened:
            yield opened
    else:
        yield from map(io.BytesIO, captured(part.path))


def _raise_for(outcome: Outcome) -> None:
    if outcome.status == FULL_DISK:
        raise RunError("the disk is full", do="make room; nothing that was there is lost")
    if outcome.status:
        raise DataError(outcome.reason or "the file is refused")


def _job(ids: list[str]) -> JSONResponse:
    href = [f"/v1/jobs/{each}" for each in ids]
    return JSONResponse({"id": ids[0], "href": href[0], "jobs": [{"id": each, "href": where} for each, where in zip(ids, href, strict=True)]}, 202,
                        {"Location": href[0]})
