"""Jobs, models, and the audit trail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from vesalius.stages.serve import words
from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.store import Job

State = Literal["queued", "running", "done", "retry", "aside"]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "There is none of that id."}}


def router(service: Serving) -> APIRouter:
    """Routes under ``/v1``."""
    made = APIRouter(prefix="/v1")

    @made.get("/jobs", tags=["jobs"], dependencies=[needs("reader", "node")])
    def jobs(state: State | None = None, limit: Limit = 200, offset: Offset = 0) -> list[dict[str, Any]]:
        """Jobs, the oldest first."""
        return [told(job) for job in service.store.jobs(state, limit, offset)]

    @made.get("/jobs/{id}", tags=["jobs"], dependencies=[needs("reader", "node")], responses=MISSING)
    def job(id: str) -> dict[str, Any]:
        """One job: its state, and where its finding is."""
        return told(service.store.job(id))

    @made.post("/jobs/{id}/again", tags=["jobs"], dependencies=[needs()], responses=MISSING)
    def again(id: str) -> dict[str, Any]:
        """Enter a job that was set aside anew."""
        service.store.again(id)
        return told(service.store.job(id))

    @made.get("/models", tags=["models"], dependencies=[needs("reader", "node")])
    def models() -> list[dict[str, Any]]:
        """The models of the site: name, whether it is ready, kind, classes, hash; ``reason`` where its process does not start."""
        reasons = service.health().get("reasons", {})
        return [_model(service, name, is_ready) | ({"reason": reasons[name]} if name in reasons else {}) for name, is_ready in service.engine.ready().items()]

    @made.get("/audit", tags=["audit"], dependencies=[needs()])
    def audit(after: Offset = 0, limit: Limit = 200) -> list[dict[str, Any]]:
        """Who did what, from row ``after`` on."""
        return [asdict(row) for row in service.store.audit_rows(after, limit)]

    @made.get("/audit/verify", tags=["audit"], dependencies=[needs()])
    def verify() -> dict[str, Any]:
        """Whether the chain of the audit trail holds: the numbers of broken rows."""
        broken = service.store.audit_verify()
        return {"whole": not broken, "broken": broken[:1000]}

    return made


def told(job: Job) -> dict[str, Any]:
    """A job as JSON; ``finding`` once there is one, ``reason`` (code, English, Chinese) where there was an error."""
    names = ("id", "state", "model", "series_uid", "study_uid", "tries", "error")
    reason = words.what(job.error).to_dict() if job.error else None
    return {name: getattr(job, name) for name in names} | {"reason": reason, "finding": f"/v1/findings/{job.id}" if job.state == "done" else None}


def _model(service: Serving, name: str, is_ready: bool) -> dict[str, Any]:
    facts = service.engine.facts(name)
    return {"name": name, "ready": is_ready} | {key: facts[key] for key in ("kind", "classes", "hash", "ndim", "engine") if key in facts}
