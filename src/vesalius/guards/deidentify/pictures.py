"""What pictures say of themselves beside their samples: text, cameras, places and times taken out, samples as they are.

PNG (W3C third edition, 5 and 11.3), JPEG (ITU-T T.81 B.2), TIFF (Adobe TIFF 6.0, 2), NIfTI-1 and -2 (nifti1.h, nifti2.h). All on the bytes: nothing is
decoded, nothing is compressed anew.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator

from vesalius.errors import FormatError

PNG = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT"})
"""Chunks that say how the samples look; texts, times, EXIF and colour profiles (which carry names) go."""
JPEG_GONE = frozenset({0xFE, *range(0xE1, 0xEE), 0xEF})
"""COM and APP1 .. APP13, APP15: EXIF, XMP, IPTC, profiles. APP0 (JFIF) and APP14 (Adobe: which colours) say how to read."""
COLOURS, SHORT = 0xE8, 32
"""A short APP8 of JPEG-LS says how its colours were transformed, without which they cannot be read."""
TIFF_KEPT = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289, 290, 291, 292, 293,
                       296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515, 519, 520, 521, 529,
                       530, 531, 532, 32997, 32998})
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
MOST_PAGES = 100_000
NIFTI_TEXTS = {348: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)), 540: ((240, 80), (320, 24), (508, 16))}
"""Place and length of data_type, db_name, descrip, aux_file and intent_name by the size of the header."""
MOST_NIFTI = 2**32


def stripped(data: bytes, where: str | None = None) -> bytes:
    """The same picture without what it says of itself.

    Raises
    ------
    FormatError: it is none of PNG, JPEG, TIFF or NIfTI, or damaged.
    """
    if data.startswith(PNG):
        return stripped_png(data, where)
    if data.startswith(b"\xff\xd8\xff"):
        return stripped_jpeg(data, where)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return stripped_tiff(data, where)
    return stripped_nifti(data, where)


def stripped_png(data: bytes, where: str | None = None) -> bytes:
    """Without the chunks that are not in `PNG_KEPT`, and without what follows the end."""
    return PNG + b"".join(chunk for name, chunk in _chunks(data, where) if name in PNG_KEPT)


def _chunks(data: bytes, where: str | None) -> Iterator[tuple[bytes, bytes]]:
    place = len(PNG)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        name, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data) or len(name) < 4:
            raise _damaged("PNG", where, "a whole chunk")
        yield name, data[place:end]
        if name == b"IEND":
            return
        place = end


def stripped_jpeg(data: bytes, where: str | None = None) -> bytes:
    """Without comments and application data, and without what follows the end of the image."""
    parts, place = [data[:2]], 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise _damaged("JPEG", where, "a marker")
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xDA:
            end = data.rfind(b"\xff\xd9")
            return b"".join(parts) + data[place : end + 2 if end > place else len(data)]
        if marker not in JPEG_GONE or (marker == COLOURS and length <= SHORT):
            parts.append(data[place : place + 2 + length])
        place += 2 + length
    raise _damaged("JPEG", where, "a scan")


def stripped_tiff(data: bytes, where: str | None = None) -> bytes:
    """Fields that are not in `TIFF_KEPT` leave their directories, and their values are overwritten with zeros; nothing moves."""
    out = bytearray(data)
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    word, count, step = ("Q", "Q", 20) if big else ("L", "H", 12)
    try:
        (place,) = struct.unpack_from(order + word, out, 8 if big else 4)
        todo, seen = [place], set[int]()
        while todo and len(seen) < MOST_PAGES:
            place = todo.pop()
            if place and place not in seen:
                seen.add(place)
                todo.extend(_directory(out, place, order, word, count, step))
    except struct.error as error:
        raise _damaged("TIFF", where, "a whole directory") from error
    return bytes(out)


def _directory(out: bytearray, place: int, order: str, word: str, count: str, step: int) -> list[int]:
    """Clean one directory; gives those that it leads to."""
    head, wide = struct.calcsize("<" + count), struct.calcsize("<" + word)
    (n,) = struct.unpack_from(order + count, out, place)
    first, next_at = place + head, place + head + n * step
    (following,) = struct.unpack_from(order + word, out, next_at)
    kept, below = [], [following]
    for k in range(n):
        entry = bytes(out[first + k * step : first + (k + 1) * step])
        tag, kind = struct.unpack_from(order + "HH", entry)
        (values,) = struct.unpack_from(order + word, entry, 4)
        size = TIFF_SIZES.get(kind, 1) * values
        (at,) = struct.unpack_from(order + word, entry, 4 + wide)
        if tag in TIFF_KEPT:
            kept.append(entry)
            below.extend(_pointers(out, entry, order, word, values, size, at) if tag == 330 else [])
        elif wide < size <= len(out) - at:
            out[at : at + size] = bytes(size)
    struct.pack_into(order + count, out, place, len(kept))
    body = b"".join(kept) + struct.pack(order + word, following)
    out[first : next_at + wide] = body.ljust(next_at + wide - first, b"\0")
    return below


def _pointers(out: bytearray, entry: bytes, order: str, word: str, values: int, size: int, at: int) -> list[int]:
    wide = struct.calcsize("<" + word)
    if size <= wide:
        return [struct.unpack_from(order + word, entry, 4 + wide)[0]]
    return list(struct.unpack_from(f"{order}{min(values, MOST_PAGES)}{word}", out, at))


def stripped_nifti(data: bytes, where: str | None = None) -> bytes:
    """Without descriptions, names of other files, names of intents and extensions; gzip without its own name and time."""
    packed = data[:2] == b"\x1f\x8b"
    out = bytearray(_unpacked(data, where) if packed else data)
    size = next((n for n in NIFTI_TEXTS for order in ("little", "big") if int.from_bytes(out[:4], order) == n), 0)  # type: ignore[arg-type]
    if not size or len(out) < size + 4:
        raise FormatError("the file cannot be de-identified", where=where, expected="DICOM, PNG, JPEG, TIFF or NIfTI", got="something else", do="leave it out")
    order = "<" if int.from_bytes(out[:4], "little") == size else ">"
    for place, length in NIFTI_TEXTS[size]:
        out[place : place + length] = bytes(length)
    start = int(struct.unpack_from(order + "f", out, 108)[0]) if size == 348 else struct.unpack_from(order + "q", out, 168)[0]
    if size + 4 < start <= len(out):
        out[size : start] = bytes(start - size)
    return gzip.compress(bytes(out), 6, mtime=0) if packed else bytes(out)


def _unpacked(data: bytes, where: str | None) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        whole = inflater.decompress(data, MOST_NIFTI)
    except zlib.error as error:
        raise _damaged("gzip file", where, "a deflate stream") from error
    if not inflater.eof:
        raise _damaged("gzip file", where, f"its end within {MOST_NIFTI:,} bytes")
    return whole


def _damaged(kind: str, where: str | None, expected: str) -> FormatError:
    return FormatError(f"the {kind} is truncated or damaged", where=where, expected=expected, got="other bytes", do="fetch it again, or leave it out")
