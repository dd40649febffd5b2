"""QIDO-RS (PS3.18 10.6): studies, series and instances that match."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from vesalius.stages.serve.http.access import needs
from vesalius.stages.serve.http.dicomweb.media import DICOM_JSON, accepted, as_json, base_of, insist
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.serving import Serving

CONTROLS = ("limit", "offset", "includefield", "fuzzymatching", "accept")
MOST, USUAL = 1000, 100
WARNING = '299 vesalius "fuzzy matching is not done; the answer is of literal matching"'


def router(service: Serving) -> APIRouter:
    """The routes of one level and of those within a study or series."""
    made = APIRouter(dependencies=[needs("reader", "node")])

    def found(request: Request, level: str, **of: str) -> JSONResponse:
        insist(accepted(request), DICOM_JSON, "application/json")
        query = query_of(request) | of
        limit, offset = number(request, "limit", USUAL, MOST), number(request, "offset", 0, 2**31)
        rows = service.store.find(level, query, limit, offset)
        answer = as_json(_dataset(row, level, base_of(request)) for row in rows)
        if request.query_params.get("fuzzymatching") == "true":
            answer.headers["Warning"] = WARNING
        return answer

    @made.get("/studies", summary="Search for studies")
    def studies(request: Request) -> JSONResponse:
        """Attributes by keyword or tag match literally, with wildcards, as ranges of dates or as lists of UIDs."""
        return found(request, "study")

    @made.get("/studies/{study}/series", summary="Search for series of a study")
    def series_of(request: Request, study: str) -> JSONResponse:
        """See the search for studies."""
        return found(request, "series", StudyInstanceUID=study)

    @made.get("/series", summary="Search for series")
    def series(request: Request) -> JSONResponse:
        """See the search for studies."""
        return found(request, "series")

    @made.get("/studies/{study}/instances", summary="Search for instances of a study")
    def instances_of_study(request: Request, study: str) -> JSONResponse:
        """See the search for studies."""
        return found(request, "instance", StudyInstanceUID=study)

    @made.get("/studies/{study}/series/{series}/instances", summary="Search for instances of a series")
    def instances_of_series(request: Request, study: str, series: str) -> JSONResponse:
        """See the search for studies."""
        return found(request, "instance", StudyInstanceUID=study, SeriesInstanceUID=series)

    @made.get("/instances", summary="Search for instances")
    def instances(request: Request) -> JSONResponse:
        """See the search for studies."""
        return found(request, "instance")

    return made


def query_of(request: Request) -> dict[str, Any]:
    """Attributes that are asked for, by keyword.

    Raises
    ------
    Refused: 400, an attribute that the standard does not know.
    """
    return {keyword(name): value for name, value in request.query_params.items() if name.lower() not in CONTROLS}


def keyword(name: str) -> str:
    """The keyword of an attribute that is given as keyword or as eight hexadecimal digits.

    >>> keyword("0020000D"), keyword("PatientID")
    ('StudyInstanceUID', 'PatientID')
    """
    found = keyword_for_tag(int(name, 16)) if len(name) == 8 and all(letter in "0123456789abcdefABCDEF" for letter in name) else name
    if not found or tag_for_keyword(found) is None:
        raise Refused(400, "the standard knows no such attribute", expected="a keyword or a tag of eight hexadecimal digits", got=name[:64])
    return found


def number(request: Request, name: str, usual: int, most: int) -> int:
    """A whole number of the query, cut at ``most``.

    Raises
    ------
    Refused: 400, it is none.
    """
    told = request.query_params.get(name)
    if told is None:
        return usual
    if not (told.isascii() and told.isdecimal()) or len(told) > 12:
        raise Refused(400, f"{name} is no number", expected="a whole number of at least 0", got=told[:40])
    return min(int(told), most)


def _dataset(row: dict[str, Any], level: str, base: str) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.InstanceAvailability = "ONLINE"
    for name, value in row.items():
        if value not in (None, "", []):
            setattr(made, name, value)
    made.RetrieveURL = url_of(base, row)
    return made


def url_of(base: str, row: dict[str, Any]) -> str:
    """Where a study, series or instance is retrieved."""
    path = f"{base}/studies/{row['StudyInstanceUID']}"
    path += f"/series/{row['SeriesInstanceUID']}" if row.get("SeriesInstanceUID") else ""
    return path + (f"/instances/{row['SOPInstanceUID']}" if row.get("SOPInstanceUID") else "")
