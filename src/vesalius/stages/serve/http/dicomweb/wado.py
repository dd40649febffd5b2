"""WADO-RS (PS3.18 10.4): instances, their metadata, frames and bulk data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydicom import Dataset, dcmread

from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.dicomweb.frames import bulk_of, frames_of
from vesalius.stages.serve.http.dicomweb.media import BLOCK, DICOM, DICOM_JSON, accepted, base_of, inner, insist, multipart
from vesalius.stages.serve.http.dicomweb.qido import url_of
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.serving import Serving
from vesalius.stages.serve.store import Missing, ObjectRow

INLINE_BYTES = 1024
"""Longer binary values become references to bulk data."""
ABSENT: dict[int | str, dict[str, Any]] = {404: {"description": "There is none of that UID."}, 406: {"description": "Not in that form."}}


def router(service: Serving) -> APIRouter:
    """Retrieving a study, a series, an instance; see PS3.18 table 10.4.1-1."""
    made = APIRouter(dependencies=[needs("reader", "node")], responses=ABSENT)
    study, series, instance = "/studies/{study}", "/studies/{study}/series/{series}", "/studies/{study}/series/{series}/instances/{instance}"

    @made.get(study, summary="Retrieve a study")
    def of_study(request: Request, study: str) -> Response:
        """Its instances as multipart/related, as they were received."""
        return _instances(request, rows_of(service, study))

    @made.get(series, summary="Retrieve a series")
    def of_series(request: Request, study: str, series: str) -> Response:
        """See the study."""
        return _instances(request, rows_of(service, study, series))

    @made.get(instance, summary="Retrieve an instance")
    def of_instance(request: Request, study: str, series: str, instance: str) -> Response:
        """See the study."""
        return _instances(request, rows_of(service, study, series, instance))

    @made.get(study + "/metadata", summary="Retrieve the metadata of a study")
    def metadata_of_study(request: Request, study: str) -> JSONResponse:
        """Attributes without bulk data, as DICOM JSON."""
        return _metadata(request, rows_of(service, study))

    @made.get(series + "/metadata", summary="Retrieve the metadata of a series")
    def metadata_of_series(request: Request, study: str, series: str) -> JSONResponse:
        """See the study."""
        return _metadata(request, rows_of(service, study, series))

    @made.get(instance + "/metadata", summary="Retrieve the metadata of an instance")
    def metadata_of_instance(request: Request, study: str, series: str, instance: str) -> JSONResponse:
        """See the study."""
        return _metadata(request, rows_of(service, study, series, instance))

    @made.get(instance + "/frames/{numbers}", summary="Retrieve frames")
    def frames(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        """Frames by their numbers from 1, comma-separated; decoded to little endian samples unless the stored coding is asked for."""
        return frames_of(rows_of(service, study, series, instance)[0], numbers, inner(accepted(request)))

    @made.get(instance + "/bulkdata/{tag}", summary="Retrieve bulk data")
    def bulkdata(request: Request, study: str, series: str, instance: str, tag: str) -> Response:
        """The value of one attribute, as the metadata refers to it."""
        return bulk_of(rows_of(service, study, series, instance)[0], tag, accepted(request))

    return made


def rows_of(service: Serving, study: str, series: str | None = None, instance: str | None = None) -> list[ObjectRow]:
    """The instances of an address, in the order of arrival.

    Raises
    ------
    Missing: there is none there.
    """
    query = {"StudyInstanceUID": study} | ({"SeriesInstanceUID": series} if series else {}) | ({"SOPInstanceUID": instance} if instance else {})
    found = service.store.find("instance", query, service.site.limits.max_files, 0) if all(query.values()) and "," not in "".join(query.values()) else []
    if not found:
        raise Missing("there is nothing at this address", expected="UIDs of a study, series or instance of this site")
    return [service.store.object_row(each["SOPInstanceUID"]) for each in found]


def _instances(request: Request, rows: list[ObjectRow]) -> Response:
    wanted = inner(accepted(request))
    insist(wanted, DICOM)
    asked = {parameters.get("transfer-syntax", "*") for name, parameters in wanted if name in (DICOM, "*/*", "application/*")}
    if not asked & {"*", *(row.syntax for row in rows)}:
        raise Refused(406, "the instances are kept in another transfer syntax", expected=f"transfer-syntax=* or {rows[0].syntax}",
                      got=", ".join(sorted(asked))[:120])
    parts = (({"Content-Type": f"{DICOM}; transfer-syntax={row.syntax}"}, partial(_blocks, row.path)) for row in rows)
    return multipart(parts, DICOM)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block


def _metadata(request: Request, rows: list[ObjectRow]) -> JSONResponse:
    insist(accepted(request), DICOM_JSON, "application/json")
    return JSONResponse([_described(row, base_of(request)) for row in rows], media_type=DICOM_JSON)


def _described(row: ObjectRow, base: str) -> dict[str, object]:
    """The DICOM JSON of one instance; long binary values are references."""
    where = url_of(base, {"StudyInstanceUID": row.study_uid, "SeriesInstanceUID": row.series_uid, "SOPInstanceUID": row.sop_uid})
    item: Dataset = dcmread(row.path, defer_size=INLINE_BYTES)
    made: dict[str, object] = item.to_json_dict(
        bulk_data_threshold=INLINE_BYTES, bulk_data_element_handler=lambda element: f"{where}/bulkdata/{element.tag:08X}", suppress_invalid_tags=True)
    return made

