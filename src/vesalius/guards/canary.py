"""Canaries: names, numbers and dates planted in studies, and the scan that looks for them in every byte that a program left behind.

A canary is looked for in UTF-8, GB 18030, UTF-16 and UTF-32 (as NumPy keeps text), in either letter case; also within zip, gzip, zlib and deflate
streams, PNG text, npz, parquet, safetensors, SQLite and DICOM files, up to a depth of archives in archives.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet
from pydicom import Dataset

DEEPEST, MOST = 4, 2**28
"""Archives in archives, and bytes of one member, that are looked through."""
LEAST = 4
"""Shorter words are met by chance."""
ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
ZLIB_STARTS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class Hit:
    """A canary in a file; ``inside`` names the member or stream of an archive."""

    path: Path
    canary: str
    inside: str = ""


def scan(folders: Iterable[Path], canaries: Iterable[str]) -> list[Hit]:
    """Every canary in every file below the folders, names of files and folders included. Short of `LEAST` letters none is looked for."""
    needles = _needles(canaries)
    hits: list[Hit] = []
    for path in _files(folders):
        hits.extend(Hit(path, word, "its name") for word, forms in needles.items() if any(form in str(path).lower().encode() for form in forms[:1]))
        hits.extend(Hit(path, word, inside) for word, inside in _in_bytes(path.read_bytes(), needles, "", 0))
    return hits


def found_in_header(item: Dataset, words: Iterable[str]) -> str:
    """The attribute of a data set whose text holds one of the words as a whole, as ``(gggg,eeee)``; empty when none does."""
    held = [re.escape(word) for word in words if len(word) >= LEAST]
    if not held:
        return ""
    pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(held)})(?![^\W_])", re.IGNORECASE)
    for element in item.iterall():
        if element.VR in ("PN", "LO", "SH", "LT", "ST", "UT", "UC") and pattern.search(str(element.value or "")):
            return f"({element.tag.group:04X},{element.tag.element:04X})"
    return ""


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in ([folder] if folder.is_file() else sorted(folder.rglob("*"))) if path.is_file() and not path.is_symlink())


def _needles(canaries: Iterable[str]) -> dict[str, tuple[bytes, ...]]:
    """Each canary in the ways that bytes may hold it, in small letters."""
    return {word: tuple(dict.fromkeys(word.lower().encode(code) for code in ENCODINGS)) for word in canaries if len(word) >= LEAST}


def _in_bytes(data: bytes, needles: dict[str, tuple[bytes, ...]], inside: str, depth: int) -> Iterator[tuple[str, str]]:
    small = data.lower()
    yield from ((word, inside) for word, forms in needles.items() if any(form in small for form in forms))
    if depth < DEEPEST:
        for name, part in _members(data):
            yield from _in_bytes(part, needles, f"{inside}/{name}" if inside else name, depth + 1)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is packed within: members of a zip (npz, xlsx), gzip, zlib streams (PNG text and samples, PDF), a deflated DICOM data set."""
    if data[:4] == b"PK\x03\x04" and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            yield from ((entry.filename, opened.read(entry)) for entry in opened.infolist() if entry.file_size <= MOST and not entry.flag_bits & 1)
        return
    if data[:2] == b"\x1f\x8b":
        yield "gzip", _unzipped(data)
        return
    if data[:4] == b"PAR1" and data[-4:] == b"PAR1":
        yield "table", parquet.read_table(io.BytesIO(data)).to_pandas().to_csv().encode()
    if data[128:132] == b"DICM" and b"1.2.840.10008.1.2.1.99" in data[:1024]:
        yield from _deflated(data)
    yield from _streams(data)


def _unzipped(data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as opened:
            return opened.read(MOST)
    except (OSError, EOFError, zlib.error):  # damaged: the bytes themselves have been looked through
        return b""


def _deflated(data: bytes) -> Iterator[tuple[str, bytes]]:
    length = int.from_bytes(data[140:144], "little")
    yield "deflated", _inflated(data[144 + length :], -zlib.MAX_WBITS)


def _streams(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Streams of zlib anywhere in the bytes; what is none ends at once."""
    view = memoryview(data)
    for start in ZLIB_STARTS:
        place = data.find(start)
        while place >= 0:
            part = _inflated(view[place:], zlib.MAX_WBITS)
            if len(part) >= LEAST:
                yield f"zlib at {place}", part
            place = data.find(start, place + 2)


def _inflated(data: bytes | memoryview, bits: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(data, MOST)
    except zlib.error:  # not a stream, or a damaged one
        return b""
