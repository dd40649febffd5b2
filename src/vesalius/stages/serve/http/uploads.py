"""Bodies of requests as files: multipart of any kind or one plain body, written to the site's disk as they come.

A file gets a name of ours; what the sender calls it is never used. The only thing taken from its content is an ending that says what the first bytes are.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from vesalius.stages.serve.http.limits import too_large
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.site import Limits

FOLDER = "uploads"
PLAIN = ("application/dicom", "application/octet-stream", "application/gzip", "application/x-gzip", "application/nifti")
"""Bodies that are one file, besides pictures."""
BOUNDARY_LENGTH = 70
"""RFC 2046 5.1.1."""
KNOWN = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"\x1f\x8b", ".nii.gz"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"))
DICOM_AT = 128
FEW = 16
"""So many files are removed at once; for more the loop of requests does not wait."""


@dataclass
class Part:
    """One file of a body: where it lies, what its headers say, and whether it is a file at all (a form's plain fields are not)."""

    path: Path
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @property
    def is_file(self) -> bool:
        """A part of a form without a file name is a field; every part of another multipart is a file."""
        told = self.headers.get("content-disposition", "")
        return not told.lower().startswith("form-data") or "filename" in told.lower()

    @property
    def is_dicom(self) -> bool:
        return self.path.suffix == ".dcm"


@asynccontextmanager
async def uploaded(request: Request, root: Path, limits: Limits) -> AsyncIterator[list[Part]]:
    """The files of a request, in a folder of their own that is removed at the end of the block.

    Raises
    ------
    Refused: 400, the multipart is broken or has no boundary; 415, neither multipart nor a kind of file; 413, a file is too large or there are too many.
    """
    folder = root / FOLDER / secrets.token_hex(16)
    folder.mkdir(parents=True)
    try:
        writer = _Writer(folder, limits)
        kind, parameters = content_type(request.headers.get("content-type", ""))
        if kind.startswith("multipart/"):
            await _multipart(request, writer, parameters.get("boundary", ""))
        elif kind and not kind.startswith("image/") and kind not in PLAIN:
            raise Refused(415, "this kind of content is not understood", expected="multipart/form-data, image/* or application/dicom", got=kind[:80])
        else:
            await _plain(request, writer)
        yield [_named(part) for part in writer.parts if part.is_file]
    finally:
        if len(list(folder.iterdir())) > FEW:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        else:
            shutil.rmtree(folder, True)


def content_type(header: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case and its parameters.

    >>> content_type('Multipart/Related; type="application/dicom"; boundary=a')
    ('multipart/related', {'type': 'application/dicom', 'boundary': 'a'})
    """
    message = Message()
    message["content-type"] = header
    told = message.get_params(failobj=[]) if header.isprintable() else []
    return (told[0][0].lower(), {name.lower(): value for name, value in told[1:]}) if told else ("", {})


class _Writer:
    """Takes the pieces of a body and writes them to files."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.parts: list[Part] = []
        self._open: BinaryIO | None = None
        self._name, self._value = bytearray(), bytearray()

    def begin(self) -> None:
        if len(self.parts) >= self.limits.max_files:
            raise Refused(413, "there are too many files in one request", expected=f"at most {self.limits.max_files}", got="more", do="send them in parts")
        part = Part(self.folder / f"{len(self.parts):05d}")
        self._open = part.path.open("wb")
        self.parts.append(part)

    def data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.size += end - start
        if part.size > self.limits.max_object_bytes:
            raise too_large(self.limits.max_object_bytes, "a larger file")
        if self._open is not None:
            self._open.write(data[start:end])

    def end(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self.parts[-1].headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name.clear()
        self._value.clear()

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(boundary, {
            "on_part_begin": self.begin, "on_part_data": self.data, "on_part_end": self.end, "on_header_field": self.header_name,
            "on_header_value": self.header_value, "on_header_end": self.header_end,
        })


async def _multipart(request: Request, writer: _Writer, boundary: str) -> None:
    if not 0 < len(boundary) <= BOUNDARY_LENGTH or not boundary.isascii():
        raise Refused(400, "the multipart body has no usable boundary", expected=f"boundary=... of 1 to {BOUNDARY_LENGTH} characters",
                      do="let your HTTP library make the Content-Type")
    parser = writer.parser(boundary.encode())
    try:
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        raise Refused(400, "the multipart body is broken", got=str(error)[:120], do="send it again") from error
    finally:
        writer.end()


async def _plain(request: Request, writer: _Writer) -> None:
    writer.begin()
    try:
        async for chunk in request.stream():
            writer.data(chunk, 0, len(chunk))
    finally:
        writer.end()
    if not writer.parts[0].size:
        writer.parts.clear()


def _named(part: Part) -> Part:
    """The file under a name that ends as its first bytes say."""
    with part.path.open("rb") as opened:
        head = opened.read(DICOM_AT + 4)
    ending = ".dcm" if head[DICOM_AT:] == b"DICM" else next((suffix for start, suffix in KNOWN if head.startswith(start)), "")
    part.path = part.path.rename(part.path.with_name(part.path.name + ending)) if ending else part.path
    return part
