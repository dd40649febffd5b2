"""The application: every route, the gate before them, errors as problems."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from vesalius import __version__
from vesalius.stages.serve.http import dicomweb, fhir, health, jobs, page, predict, problems, reading
from vesalius.stages.serve.http.gate import Gate
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.http.trail import Trail

ROUTERS: tuple[Callable[[Serving], APIRouter], ...] = (
    health.router, predict.router, jobs.router, fhir.router, dicomweb.router, reading.router, page.router,
)
TEXT = "Reads studies with models of this site. Research use: a doctor decides."
OPENAPI = "/v1/openapi.json"


def make_app(service: Serving) -> FastAPI:
    """The ASGI application of a service, which is started and stopped by its owner."""
    trail = Trail(service.store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        trail.close()

    app = FastAPI(title="Vesalius", version=__version__, description=TEXT, openapi_url=OPENAPI, docs_url=None, redoc_url=None, lifespan=lifespan)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router(service))
    app.add_middleware(Gate, service=service, trail=trail)
    return app
