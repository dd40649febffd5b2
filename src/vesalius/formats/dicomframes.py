"""What compressed frames say of themselves before anything is decoded: JPEG (ITU-T T.81), JPEG-LS (T.87), JPEG 2000 (T.800), RLE (PS3.5 G).

A decoder takes memory for the size that the frame states, which need not be the one that the data set states.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SOI, SIZ, JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers that start a frame: SOF0 .. SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS."""
BARE = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})
"""Markers without a length."""
SCAN = 0xDA
MOST_TILES = 2**14
MOST_SEGMENTS = 15
RLE = "1.2.840.10008.1.2.5"
FRAME_HEAD, PART = 2**20, 2**16
"""A compressed frame whose header is not within so many bytes is refused; so many of a fragment are looked at."""
SPARE = 4 * 2**20
"""A compressed frame may state four times the samples of the data set, or so many: encoders round up."""


@dataclass(frozen=True)
class Claim:
    """The size that a compressed frame states; ``fault`` says why no decoder should see it."""

    rows: int = 0
    columns: int = 0
    samples: int = 1
    fault: str = ""


def starts_frame(head: bytes) -> bool:
    """Whether these bytes begin a JPEG or JPEG 2000 codestream."""
    return head.startswith((SOI, SIZ, JP2))


def claim_of(head: bytes) -> Claim | None:
    """The size that a frame states; None when its header goes on after ``head`` or it is of another kind.

    >>> claim_of(bytes.fromhex("ffd8ffc0000b08 0100 0200 01".replace(" ", "")))
    Claim(rows=256, columns=512, samples=1, fault='')
    """
    if head.startswith(JP2):
        start = head.find(SIZ)
        return _of_j2k(head[start:]) if start >= 0 else None
    return _of_j2k(head) if head.startswith(SIZ) else _of_jpeg(head) if head.startswith(SOI) else None


def _of_jpeg(head: bytes) -> Claim | None:
    place = 2
    while place + 4 <= len(head):
        if head[place] != 0xFF:
            return Claim(fault="bytes between the markers of the JPEG frame")
        marker = head[place + 1]
        if marker in BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == SCAN:
            return Claim(fault="a JPEG scan without a frame header")
        if marker in FRAMES:
            return _frame_header(head[place + 4 : place + 10])
        place += 2 + max(2, int.from_bytes(head[place + 2 : place + 4], "big"))
    return None


def _frame_header(body: bytes) -> Claim | None:
    if len(body) < 6:
        return None
    _, rows, columns, samples = struct.unpack(">BHHB", body)
    return Claim(rows, columns, samples)


def _of_j2k(head: bytes) -> Claim | None:
    if len(head) < 42:
        return None
    right, low, left, top, wide, high, from_x, from_y, samples = struct.unpack(">8LH", head[8:42])
    if not wide or not high or left >= right or top >= low:
        return Claim(fault="a JPEG 2000 image area without samples")
    tiles = -(-(right - min(from_x, right)) // wide) * -(-(low - min(from_y, low)) // high)
    return Claim(low - top, right - left, samples, f"{tiles:,} JPEG 2000 tiles" if tiles > MOST_TILES else "")


def rle_fault(head: bytes, length: int) -> str:
    """Why a fragment of ``length`` bytes is no RLE frame (PS3.5 G.5), from its first 64 bytes; empty when it may be one."""
    if len(head) < 64:
        return "a fragment without an RLE header"
    count, *offsets = struct.unpack("<16L", head[:64])
    used = offsets[:count] if count <= MOST_SEGMENTS else []
    if not 1 <= count <= MOST_SEGMENTS:
        return f"{count:,} RLE segments"
    steady = used[0] == 64 and all(low < high for low, high in zip(used, used[1:], strict=False))
    return "" if steady and used[-1] <= length else "RLE segments that lie outside of the fragment"


class Frames:
    """Judges the fragments of one image in their order; ``stated``: samples of a frame as the data set has it."""

    def __init__(self, syntax: str, stated: int) -> None:
        self._syntax, self._stated, self._head = syntax, stated, b""

    def wrong(self, part: bytes, length: int) -> tuple[str, str, str] | None:
        """What is wrong, expected and got with the fragment of ``length`` bytes that begins with ``part``; None when nothing is."""
        if self._syntax == RLE:
            fault = rle_fault(part, length)
            return ("a compressed frame is damaged", "the header of an RLE frame", fault) if fault else None
        if starts_frame(part):
            self._head = b""
        elif not self._head:
            return None
        claim = claim_of(self._head + part)
        self._head = self._head + part if claim is None else b""
        if claim is None and (len(self._head) > FRAME_HEAD or length > PART):
            claim = Claim(fault="no frame header in its first bytes")
        return None if claim is None else self._judged(claim)

    def _judged(self, claim: Claim) -> tuple[str, str, str] | None:
        samples = claim.rows * claim.columns * claim.samples
        if claim.fault:
            return "a compressed frame is damaged", "the header of a frame", claim.fault
        if samples > max(4 * self._stated, SPARE):
            return "a compressed frame states another size than the data set", f"{self._stated:,} samples", f"{samples:,}"
        return None
