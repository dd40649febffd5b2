"""STOW-RS (PS3.18 10.5): objects come in, and are acknowledged when they are on the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydicom import Dataset
from pydicom.sequence import Sequence

from vesalius.errors import FormatError
from vesalius.formats.dicomguard import guard
from vesalius.stages.serve.http.access import needs, who
from vesalius.stages.serve.http.dicomweb.media import DICOM, DICOM_JSON, base_of, facts
from vesalius.stages.serve.http.problems import RETRY_S, Refused
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.http.uploads import Part, content_type, uploaded
from vesalius.stages.serve.node.receive import FULL_DISK, NOT_UNDERSTOOD, OTHER_CLASS, SUCCESS, Outcome
from vesalius.stages.serve.store import Missing

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"multipart/related": BINARY, DICOM: BINARY}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"description": "Some objects were refused; see FailedSOPSequence."}, 400: {"description": "No object in the request."},
    409: {"description": "Every object was refused."}, 415: {"description": "No DICOM."}, 503: {"description": "The disk is full."}}
INDEX_S = 30.0


def router(service: Serving) -> APIRouter:
    """Storing to any study, or to one."""
    made = APIRouter(dependencies=[needs("reader", "node")])

    async def store(request: Request, study: str | None) -> JSONResponse:
        kind, parameters = content_type(request.headers.get("content-type", ""))
        if kind not in ("multipart/related", DICOM) or parameters.get("type", DICOM).lower() != DICOM:
            got = f"{kind} {parameters.get('type', '')}"[:80]
            raise Refused(415, "only DICOM objects are stored here", expected=f'multipart/related; type="{DICOM}"', got=got)
        async with uploaded(request, service.site.folder, service.site.limits) as parts:
            if not parts:
                raise Refused(400, "there is no object in the request", expected="one part an object")
            outcomes = await asyncio.to_thread(taken, service, parts, study, who(request).name)
        return _answer(outcomes, _study_of(service, outcomes), base_of(request))

    @made.post("/studies", openapi_extra=BODY, responses=RESPONSES, summary="Store objects")
    async def anywhere(request: Request) -> JSONResponse:
        """Every part is one object (PS3.10 file); 200 when all are kept, 202 when some are, 409 when none is."""
        return await store(request, None)

    @made.post("/studies/{study}", openapi_extra=BODY, responses=RESPONSES, summary="Store objects of one study")
    async def in_study(request: Request, study: str) -> JSONResponse:
        """As above; an object of another study is refused."""
        return await store(request, study)

    return made


def taken(service: Serving, parts: list[Part], study: str | None, user: str) -> list[Outcome]:
    """Give every part to the receiver; they are on the disk, and in the store, when this returns."""
    outcomes = [_one(service, part.path, study, user) for part in parts]
    service.receiver.drain(INDEX_S)
    return outcomes


def _one(service: Serving, path: Path, study: str | None, user: str) -> Outcome:
    with path.open("rb") as opened:
        if study is not None:
            try:
                seen = guard(opened, where="received")
            except FormatError as error:
                return Outcome(NOT_UNDERSTOOD, str(error))
            if seen.study != study:
                return Outcome(OTHER_CLASS, "the object is of another study than the address names", seen.sop_instance, seen.sop_class)
        return service.receiver.take_file(opened, calling_ae=user[:16], called_ae=service.site.ae_title)


def _study_of(service: Serving, outcomes: list[Outcome]) -> dict[str, tuple[str, str]]:
    """Study and series of each object that is in the store; an object that was set aside as a duplicate with other content is that of its UID."""
    found = {}
    for each in outcomes:
        if each.status == SUCCESS:
            try:
                row = service.store.object_row(each.sop_uid)
            except Missing:
                continue
            found[each.sop_uid] = (row.study_uid, row.series_uid)
    return found


def _answer(outcomes: list[Outcome], places: dict[str, tuple[str, str]], base: str) -> JSONResponse:
    """The Store Instances Response Module (PS3.18 I.2)."""
    kept = [each for each in outcomes if each.status == SUCCESS]
    failed = [each for each in outcomes if each.status != SUCCESS]
    made = Dataset()
    studies = {study for study, _ in places.values()}
    if len(studies) == 1:
        made.RetrieveURL = f"{base}/studies/{studies.pop()}"
    made.ReferencedSOPSequence = Sequence(facts(ReferencedSOPClassUID=each.class_uid, ReferencedSOPInstanceUID=each.sop_uid,
                                                RetrieveURL=_url(base, places, each.sop_uid)) for each in kept)
    if failed:
        made.FailedSOPSequence = Sequence(facts(ReferencedSOPClassUID=each.class_uid or None, ReferencedSOPInstanceUID=each.sop_uid or None,
                                                FailureReason=each.status) for each in failed)
    full = any(each.status == FULL_DISK for each in failed)
    status = 503 if full and not kept else 200 if not failed else 202 if kept else 409
    return JSONResponse(made.to_json_dict(), status, {"Retry-After": str(RETRY_S)} if status == 503 else {}, media_type=DICOM_JSON)


def _url(base: str, places: dict[str, tuple[str, str]], uid: str) -> str | None:
    if uid not in places:
        return None
    study, series = places[uid]
    return f"{base}/studies/{study}/series/{series}/instances/{uid}"
