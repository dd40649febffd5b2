"""The guard in front of the DICOM parser: a file's bytes are looked through before anything else sees them (PS3.5 7, PS3.10 7).

One pass, without recursion, in a few hundred kilobytes of memory: every length is compared with the bytes that are there, nesting and counts are bounded,
a deflated file is inflated only as far as it may grow, UIDs cannot be paths, and the size of the image is judged both as the data set and as each
compressed frame states it. What passes can be given to a parser; what does not is one `FormatError` that names the element and quotes no value.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from vesalius.errors import FormatError
from vesalius.formats.base import MAX_SAMPLES
from vesalius.formats.dicombytes import Inflated, Stored
from vesalius.formats.dicomuids import uid_fault
from vesalius.formats.dicomwalk import IDENTITY, Seen, Walk

PREAMBLE, PREFIX = 128, b"DICM"
META_GROUP = b"\x02\x00"
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
META_BYTES = 2**16
POLYGLOTS = ((b"MZ", "a Windows program"), (b"\x7fELF", "a Linux program"), (b"\xca\xfe\xba\xbe", "a macOS program"), (b"\xcf\xfa\xed\xfe", "a macOS program"),
             (b"#!", "a script"), (b"PK", "an archive"), (b"%PDF", "a PDF"), (b"<", "markup"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"II+\0", "a TIFF"),
             (b"MM\0+", "a TIFF"))
"""What the first bytes of a preamble can pass themselves off for; a TIFF is what PS3.10 7.1 made the preamble for."""


@dataclass(frozen=True)
class Limits:
    """What a file may hold.

    ``bytes``: of the file; ``inflate``: bytes that a deflated data set may hold beside its pixels; ``elements``: of one data set (each item of a sequence is
    one), ``all_elements``: of the file; ``depth``: sequences in one another; ``samples``: of the image; ``strict``: also refuse what a tolerant reader lets
    through (UIDs against PS3.5 9.1, no SOP class or instance, lengths that do not suit their VR).
    """

    bytes: int = 2**31
    inflate: int = 2**26
    elements: int = 20_000
    all_elements: int = 200_000
    depth: int = 16
    samples: int = MAX_SAMPLES
    strict: bool = True


RECEIVED = Limits()
"""For what comes from outside: a parser that makes objects of so many elements is done within five seconds."""
READING = replace(RECEIVED, bytes=2**36, all_elements=1_000_000, strict=False)
"""For files that somebody chose to read."""


@dataclass(frozen=True)
class Header:
    """Facts of a file that passed. UIDs are empty where absent; sizes are 0 where there is no image.

    ``body``: where the data set begins; ``preamble``: what its preamble could be taken for, empty when it is zero; ``faults``: what a strict guard refuses.
    """

    syntax: str
    body: int
    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples: int = 1
    elements: int = 0
    depth: int = 0
    preamble: str = ""
    faults: tuple[str, ...] = field(default_factory=tuple)


def guard(source: str | Path | bytes | BinaryIO, limits: Limits = RECEIVED, *, syntax: str | None = None, pixels: bool = True,
          where: str | None = None) -> Header:
    """Look a file through before a parser sees it.

    Parameters
    ----------
    source: a path, the bytes, or an opened file (looked at from its start; its position afterwards is undefined).
    syntax: the transfer syntax of a bare data set, as it comes through an association; None: a file (PS3.10).
    pixels: False ends before the pixel data, or where a truncated file ends, for those who want the attributes only.
    where: what errors name instead of the path.

    Raises
    ------
    FormatError: it is not DICOM, damaged, truncated, or beyond a limit.
    """
    named = where if where is not None else str(source) if isinstance(source, (str, Path)) else None
    with _opened(source) as opened:
        size = opened.seek(0, os.SEEK_END)
        if size > limits.bytes:
            raise FormatError("the DICOM file is too large", where=named, expected=f"at most {limits.bytes:,} bytes", got=f"{size:,}", do="send it in parts")
        if syntax is not None:
            return _header(Walk(_bytes(opened, 0, size, syntax, limits, named), limits, syntax, named, pixels).run(), syntax, 0, "", limits, named)
        start, preamble = _start(opened, size, named)
        syntax, body = _meta(opened, start, size, limits, named)
        walk = Walk(_bytes(opened, body, size, syntax, limits, named), limits, syntax, named, pixels or syntax == DEFLATED)
        seen = walk.run() if start else _tried(walk, named)
        return _header(seen, syntax or walk.syntax, body, preamble, limits, named)


def cleaned(data: bytes) -> bytes:
    """The same file with a preamble of zeros (PS3.10 7.1), so that nobody takes it for a program; a data set without preamble as it is.

    >>> cleaned(b"MZ" + bytes(126) + b"DICM....")[:2]
    b'\\x00\\x00'
    """
    return bytes(PREAMBLE) + data[PREAMBLE:] if data[PREAMBLE : PREAMBLE + 4] == PREFIX else data


def zero_preamble(path: str | Path) -> bool:
    """Zero the preamble of a stored file in place; whether anything had to be changed."""
    with open(path, "r+b") as opened:
        head = opened.read(PREAMBLE + 4)
        if head[PREAMBLE:] != PREFIX or not any(head[:PREAMBLE]):
            return False
        opened.seek(0)
        opened.write(bytes(PREAMBLE))
    return True


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, (str, Path)):
        with open(source, "rb", buffering=0) as opened:
            yield opened  # type: ignore[misc]
    else:
        yield io.BytesIO(source) if isinstance(source, bytes) else source


def _start(opened: BinaryIO, size: int, where: str | None) -> tuple[int, str]:
    """Where the meta information begins, and what the preamble passes itself off for."""
    opened.seek(0)
    head = opened.read(PREAMBLE + 4)
    if head[PREAMBLE:] == PREFIX:
        seen = next((name for start, name in POLYGLOTS if head.startswith(start)), "something of its own" if any(head[:PREAMBLE]) else "")
        return PREAMBLE + 4, seen
    if size < 8:
        raise FormatError("the file is not DICOM", where=where, expected="the DICM prefix at byte 128 (PS3.10 7.1)", got=f"{size} bytes", do="leave it out")
    return 0, ""


def _tried(walk: Walk, where: str | None) -> Seen:
    """A file without prefix whose very first elements make no sense is something else altogether."""
    try:
        return walk.run()
    except FormatError as error:
        if walk.seen.elements > 2:
            raise
        raise FormatError("the file is not DICOM", where=where, expected="the DICM prefix at byte 128 (PS3.10 7.1)", got="none, and no data set",
                          do="leave it out, or convert it") from error


def _meta(opened: BinaryIO, start: int, size: int, limits: Limits, where: str | None) -> tuple[str, int]:
    """Transfer syntax (empty: not stated) and the place of the data set behind the meta information (group 0002, explicit little endian)."""
    walk = Walk(Stored(opened, start, size), limits, EXPLICIT, where, True, group=2)
    seen = walk.run()
    if walk.place - start > META_BYTES:
        raise FormatError("the meta information is too long", where=where, expected=f"at most {META_BYTES:,} bytes", got=f"{walk.place - start:,}")
    stated = seen.uids.get(0x00020010, "")
    if stated and uid_fault(stated):
        raise FormatError("the transfer syntax is no UID", where=where, expected="digits and dots (PS3.5 9.1)", got=uid_fault(stated), do="leave the file out")
    return stated, walk.place


def _bytes(opened: BinaryIO, body: int, size: int, syntax: str, limits: Limits, where: str | None) -> Stored:
    return Inflated(opened, body, limits.inflate, where) if syntax == DEFLATED else Stored(opened, body, size)


def _header(seen: Seen, syntax: str, body: int, preamble: str, limits: Limits, where: str | None) -> Header:
    uids = seen.uids
    faults = (*seen.faults, *(f"no {name}" for tag, name in ((0x00080016, "SOPClassUID"), (0x00080018, "SOPInstanceUID")) if not uids.get(tag)))
    if limits.strict and faults:
        raise FormatError("the DICOM file breaks the standard", where=where, expected="an object as PS3.5 and PS3.10 describe it", got="; ".join(faults[:3]),
                          do="correct it where it was made")
    sop_class, sop_instance, study, series = (uids.get(tag, "") for tag in IDENTITY)
    frames, rows, columns, samples = seen.shape
    frames, rows, columns, samples = seen.shape
    return Header(syntax, body, sop_class, sop_instance, study, series, rows, columns, frames, samples, seen.elements, seen.depth, preamble, faults)
