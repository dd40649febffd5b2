"""The three services behind one prefix; also ready to be mounted by itself."""

from __future__ import annotations

from fastapi import APIRouter

from vesalius.stages.serve.http.dicomweb import qido, stow, wado
from vesalius.stages.serve.http.serving import Serving


def router(service: Serving) -> APIRouter:
    """Every route of DICOMweb."""
    made = APIRouter(prefix="/dicom-web", tags=["dicomweb"])
    for part in (stow, qido, wado):
        made.include_router(part.router(service))
    return made
