"""What the three services share: DICOM JSON, multipart/related, and what a caller accepts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydicom import Dataset

from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.uploads import content_type

DICOM, DICOM_JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"
BLOCK = 1 << 20
Wanted = list[tuple[str, dict[str, str]]]


def as_json(items: Iterable[Dataset], status: int = 200) -> JSONResponse:
    """Data sets in the DICOM JSON Model (PS3.18 annex F)."""
    return JSONResponse([item.to_json_dict(suppress_invalid_tags=True) for item in items], status, media_type=DICOM_JSON)


def accepted(request: Request) -> Wanted:
    """Media types of the Accept header with their parameters, the most wanted first; ``*/*`` when there is none.

    The query parameter ``accept`` counts as the header does (PS3.18 8.3.3.1).
    """
    told = request.query_params.get("accept") or ", ".join(request.headers.getlist("accept")) or "*/*"
    ranges = [content_type(part.strip()) for part in _split(told)]
    return [each for each in sorted(ranges, key=lambda each: -_quality(each[1])) if each[0]]


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


def _split(header: str) -> list[str]:
    """At commas that are not within quotes."""
    parts, quoted = [""], False
    for letter in header:
        quoted ^= letter == '"'
        if letter == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def inner(wanted: Wanted) -> Wanted:
    """What the parts of a multipart/related are to be: its ``type`` with the other parameters; other ranges as they are."""
    return [(parameters.get("type", "*/*").lower(), parameters) if kind == "multipart/related" else (kind, parameters) for kind, parameters in wanted]


def takes(wanted: Wanted, *kinds: str) -> bool:
    """Whether one of the kinds is accepted.

    >>> takes([("application/*", {})], "application/dicom"), takes([("image/png", {})], "application/dicom")
    (True, False)
    """
    return any(name in ("*/*", "*", kind, f"{kind.partition('/')[0]}/*") for name, _ in wanted for kind in kinds)


def insist(wanted: Wanted, *kinds: str) -> None:
    """Raise 406 when none of the kinds is accepted."""
    if not takes(wanted, *kinds):
        got = ", ".join(name for name, _ in wanted)[:120]
        raise Refused(406, "the answer exists in no form that was asked for", expected=f"Accept: {' or '.join(kinds)}", got=got)


def multipart(parts: Iterable[tuple[dict[str, str], Callable[[], Iterator[bytes]]]], kind: str) -> StreamingResponse:
    """A multipart/related (RFC 2387) that is written as it is read: headers of a part and its bytes."""
    boundary = secrets.token_hex(16)

    def written() -> Iterator[bytes]:
        for headers, blocks in parts:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            yield f"--{boundary}\r\n{lines}\r\n".encode()
            yield from blocks()
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return StreamingResponse(written(), media_type=f'multipart/related; type="{kind}"; boundary={boundary}')


def base_of(request: Request) -> str:
    """The address of ``/dicom-web`` as the caller sees it."""
    return str(request.base_url).rstrip("/") + "/dicom-web"


def facts(**values: Any) -> Dataset:
    """A data set by keyword; None is left out."""
    made = Dataset()
    for name, value in values.items():
        if value is not None:
            setattr(made, name, value)
    return made
