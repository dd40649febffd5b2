"""What the reading page asks for: worklist, one finding with its files, prior studies, decisions and edited masks (docs/clinic/page.md)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from vesalius import __version__
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.deciding import Decided, correction_of
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.masks import allowance, edited_name, keep_mask
from vesalius.stages.serve.site import User
from vesalius.stages.serve.store import Missing, Store

State = Literal["", "pending", "accepted", "corrected", "rejected", "refused"]
FileName = Literal["image", "mask", "corrected", "heat", "picture"]
PNG, GZIP = "image/png", "application/gzip"
PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
ROW = ("id", "state", "study_date", "modality", "body_part", "description", "label", "probability", "urgency", "abstain", "forced")
"""Fields of a finding that the worklist shows as they are."""
MOST = 500
"""Rows of one answer, and findings of one patient among which priors are looked for."""
Reader = Annotated[User, needs("reader")]
BINARY = {"requestBody": {"required": True, "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}}


def router(service: Serving) -> APIRouter:
    """The page's part of ``/v1``."""
    routes = APIRouter(prefix="/v1", tags=["reading"])
    turn = threading.Lock()

    @routes.get("/me")
    def me(user: Reader) -> dict[str, Any]:
        return {"name": user.name, "role": user.role, "models": sorted(service.site.models), "version": __version__}

    @routes.get("/worklist")
    def worklist(user: Reader, state: State = "", q: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=MOST)] = 200
                 ) -> dict[str, Any]:
        """The most urgent first, then the oldest; ``more`` when there are others than those given."""
        found = service.store.findings(state or None, q, limit + 1)
        return {"rows": [row_of(each) for each in found[:limit]], "more": len(found) > limit}

    @routes.get("/findings/{finding_id}")
    def finding(user: Reader, finding_id: str) -> dict[str, Any]:
        return shown(service.store.finding(finding_id))

    @routes.get("/findings/{finding_id}/prior")
    def prior(user: Reader, finding_id: str) -> dict[str, Any]:
        return {"priors": [row_of(each) for each in priors_of(service.store, service.store.finding(finding_id))]}

    @routes.get("/findings/{finding_id}/files/{name}", response_class=FileResponse)
    def file(user: Reader, finding_id: str, name: FileName) -> FileResponse:
        path = _file(service.store, service.store.finding(finding_id), name)
        return FileResponse(path, media_type=PNG if name == "picture" else GZIP, headers=PRIVATE)

    @routes.post("/findings/{finding_id}/decision")
    def decision(user: Reader, finding_id: str, given: Decided) -> dict[str, Any]:
        """Accept, correct or reject. ``seen``: how many decisions the reader knew of; another in between answers 409."""
        with turn:
            document = service.store.finding(finding_id)
            if given.seen is not None and given.seen != len(document["decisions"]):
                raise Refused(409, "somebody decided on this finding meanwhile", do="load it again, look at that decision, then decide")
            _decide(service, document, given, user)
        return shown(service.store.finding(finding_id))

    @routes.put("/findings/{finding_id}/mask", openapi_extra=BINARY)
    async def mask(user: Reader, finding_id: str, request: Request) -> dict[str, str]:
        """An edited mask, gzipped NIfTI on the grid of the image; the answer names it for the decision."""
        document = await run_in_threadpool(service.store.finding, finding_id)
        data = await _body(request, allowance(document))
        return {"mask": await run_in_threadpool(_keep, service.store, document, data)}

    return routes


def row_of(document: dict[str, Any]) -> dict[str, Any]:
    """What the worklist shows of a finding."""
    patient, model = document.get("patient") or {}, document.get("model") or {}
    row = {name: document.get(name) for name in ROW}
    more = {"model": model.get("name"), "kind": model.get("kind"), "refused": bool(document.get("refused")), "received": document.get("created")}
    return row | more | {"patient": {"id": str(patient.get("id") or ""), "name": str(patient.get("name") or "")}}


def shown(document: dict[str, Any]) -> dict[str, Any]:
    """A finding without what concerns only this machine."""
    return {name: value for name, value in document.items() if name not in ("folder", "seconds")}


def priors_of(store: Store, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings of earlier studies of the same patient, those of the same kind of study first, then the latest first.

    A patient without an identifier has no priors: two strangers must never stand side by side.
    """
    patient = str((document.get("patient") or {}).get("id") or "").strip()
    date = str(document.get("study_date") or "")
    if not patient or not date:
        return []
    same = store.findings(patient_id=str(document["patient"]["id"]), limit=MOST)
    earlier = [each for each in same if each.get("study_uid") != document.get("study_uid") and "" < str(each.get("study_date") or "") <= date]
    alike = ("modality", "body_part")
    earlier.sort(key=lambda each: str(each["study_date"]), reverse=True)
    return sorted(earlier, key=lambda each: any(each.get(name) != document.get(name) for name in alike))


def _file(store: Store, document: dict[str, Any], name: str) -> Path:
    """A file of the finding, ``corrected`` the mask of the last correction; names are ours and never lead out of its folder."""
    held = (document.get("files") or {}).get(name) if name != "corrected" else _corrected(document)
    path = store.folder_of(document["id"]) / Path(str(held)).name
    if not held or not path.is_file():
        raise Missing(f"this finding has no {name}")
    return path


def _corrected(document: dict[str, Any]) -> str | None:
    made = [each["correction"] for each in document["decisions"] if each["correction"]]
    return str(made[-1]["mask"]) if made and made[-1].get("mask") else None


def _decide(service: Serving, document: dict[str, Any], given: Decided, user: User) -> None:
    """Make the objects, record the decision, send them: a stop in between leaves a decision that was not made, or one whose objects leave at the next start."""
    store, comment = service.store, given.comment.strip()
    correction = correction_of(document, given, store.folder_of(document["id"]))
    paths = decided(store, document, user.name, given.action, comment, correction)
    store.decide(document["id"], user.name, given.action, comment, correction)
    if given.action != "reject":
        service.release(document["id"], paths)


def _keep(store: Store, document: dict[str, Any], data: bytes) -> str:
    return edited_name(keep_mask(document, data, store.folder_of(document["id"])))


async def _body(request: Request, most: int) -> bytes:
    """The body, at most ``most`` bytes of it: it is counted while it comes."""
    held = bytearray()
    async for part in request.stream():
        held += part
        if len(held) > most:
            raise Refused(413, "the mask is larger than one of this study can be", expected=f"at most {most:,} bytes")
    return bytes(held)
