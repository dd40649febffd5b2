"""Health, readiness, and figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.serving import Serving

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def router(service: Serving) -> APIRouter:
    """``/health/live`` (the process answers), ``/health/ready`` (work is taken: 200, else 503), ``/metrics``."""
    made = APIRouter(tags=["health"])

    @made.get("/health/live")
    async def live() -> dict[str, str]:
        """The service answers."""
        return {"status": "live"}

    @made.get("/health/ready", responses={503: {"description": "Not yet, or going down."}})
    def ready() -> JSONResponse:
        """Whether every model is warm and work is taken; ``reasons`` says of a model whose process does not start why."""
        models, health = service.engine.ready(), service.health()
        is_ready = all(models.values()) and bool(health.get("ready", True))
        why = {"reasons": health["reasons"]} if health.get("reasons") else {}
        return JSONResponse({"status": "ready" if is_ready else "not ready", "models": models} | why, 200 if is_ready else 503)

    @made.get("/metrics", dependencies=[needs("reader", "node")])
    def metrics() -> Response:
        """The exposition format of Prometheus; labels name models, routes and outcomes only."""
        return Response(service.engine.metrics.text(), media_type=PROMETHEUS)

    return made
