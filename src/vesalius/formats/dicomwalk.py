"""One pass over the elements of a data set (PS3.5 7), as the parser would read them, in a loop over a stack of open sequences."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from pydicom.datadict import DicomDictionary

from vesalius.errors import FormatError
from vesalius.formats.dicombytes import WINDOW, Stored
from vesalius.formats.dicomframes import Frames
from vesalius.formats.dicomuids import harmless, uid_fault

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS, PIXEL_TAGS = 0x7FE00010, (0x7FE00008, 0x7FE00009, 0x7FE00010)
SHORT = frozenset(vr.encode() for vr in "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(vr.encode() for vr in "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs whose explicit form has two bytes reserved and four of length (PS3.5 7.1.2)."""
UNITS = {b"US": 2, b"SS": 2, b"OW": 2, b"AT": 4, b"UL": 4, b"SL": 4, b"FL": 4, b"OF": 4, b"OL": 4, b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8}
NUMBERS = {0x00280002: "samples", 0x00280008: "frames", 0x00280010: "rows", 0x00280011: "columns", 0x00280100: "bits"}
PHOTOMETRIC = 0x00280004
BIG = "1.2.840.10008.1.2.2"
IMPLICIT = ("1.2.840.10008.1.2",)
IDENTITY = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
"""SOP class and instance, study, series: what an archive files an object under."""
UID_BYTES = 2**14
FAULTS = 8
SHORT_OF = 2**26
"""A parser asks for the bytes of a value in one piece; more than so many are not asked for in vain."""


class Bounds(Protocol):
    """What a walk needs of the guard's limits."""

    @property
    def inflate(self) -> int: ...
    @property
    def elements(self) -> int: ...
    @property
    def all_elements(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def samples(self) -> int: ...


class _Cut(FormatError):
    """The file ends too early, by less than `SHORT_OF`: of use to those who want the attributes before that only."""


class _TooMuch(FormatError):
    """A limit is passed: never forgiven, wherever it is."""


@dataclass
class Seen:
    """What was met: UIDs and numbers of the outermost data set by tag, counts, and what a tolerant reader lets through."""

    uids: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    photometric: str = ""
    elements: int = 0
    depth: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, rows, columns and samples of a pixel."""
        stated = self.numbers
        return max(1, stated.get(0x00280008, 1)), stated.get(0x00280010, 0), stated.get(0x00280011, 0), max(1, stated.get(0x00280002, 1))


@dataclass
class _Level:
    """An open data set, or an open sequence (``items``); ``soft``: taken for one by its first bytes alone."""

    items: bool
    end: int
    implicit: bool
    defined: bool = True
    soft: bool = False
    elements: int = 0


class Walk:
    """Reads the elements of ``data`` once; `run` gives what was seen.

    ``syntax`` empty: guessed from the first element, as parsers do. ``pixels=False`` ends before the pixel data; ``group`` ends before another group.
    """

    def __init__(self, data: Stored, limits: Bounds, syntax: str, where: str | None, pixels: bool, group: int | None = None) -> None:
        self.data, self.limits, self.where, self.pixels, self.group = data, limits, where, pixels, group
        self.place, self.seen = data.start, Seen()
        self.syntax = syntax or self._guessed()
        self.order = ">" if self.syntax == BIG else "<"
        self._tag_at = struct.Struct(self.order + "HH").unpack_from
        self._short_at, self._long_at = struct.Struct(self.order + "H").unpack_from, struct.Struct(self.order + "L").unpack_from
        self.levels = [_Level(False, data.end, self._looks_implicit(self.syntax in IMPLICIT), data.end < 2**62)]

    def run(self) -> Seen:
        """Walk to the end.

        Raises
        ------
        FormatError: see `dicomguard.guard`.
        """
        while self.levels:
            try:
                self._step(self.levels[-1])
            except _TooMuch:
                raise
            except _Cut:
                if self.pixels:
                    raise
                self.levels.clear()
            except FormatError:
                if not self._forgiven():
                    raise
        return self.seen

    def _step(self, level: _Level) -> None:
        if level.defined and self.place >= level.end:
            self.levels.pop()
        elif level.items:
            self._item(level)
        else:
            self._element(level)

    def _forgiven(self) -> bool:
        """A value that only looked like a sequence is passed over as bytes."""
        outermost = next((i for i, level in enumerate(self.levels) if level.soft), None)
        if outermost is None:
            return False
        self.place = self.levels[outermost].end
        del self.levels[outermost:]
        return True

    def _element(self, level: _Level) -> None:
        raw = self.data.at(self.place, 12)
        if len(raw) < 8:
            return self._ended(level)
        group, number = self._tag_at(raw)
        tag = group << 16 | number
        if self.group is not None and group != self.group or (tag in PIXEL_TAGS and not self.pixels and len(self.levels) == 1):
            self.levels.clear()
        elif tag == ITEM_END and not level.defined and len(self.levels) > 1:
            self.place += 8
            self.levels.pop()
        else:
            self._count(level, tag)
            vr, length, size = self._head(raw, level.implicit, tag)
            self.place += size
            self._value(tag, vr, length, level)

    def _head(self, raw: bytes, implicit: bool, tag: int) -> tuple[bytes, int, int]:
        """VR, length and the bytes before the value; a VR that is none means that this element is implicit."""
        vr = raw[4:6]
        if implicit or not (b"AA" <= vr <= b"ZZ"):
            entry = DicomDictionary.get(tag)
            return entry[0][:2].encode() if entry else b"", self._long_at(raw, 4)[0], 8
        if vr in LONG:
            if len(raw) < 12:
                self._cut("12 bytes of an element's start", len(raw), tag)
            return vr, self._long_at(raw, 8)[0], 12
        if vr not in SHORT:
            self._fault("a VR that the standard does not know", tag)
        return vr, self._short_at(raw, 6)[0], 8

    def _value(self, tag: int, vr: bytes, length: int, level: _Level) -> None:
        outermost = len(self.levels) == 1
        if length == UNDEFINED:
            return self._undefined(tag, vr, level)
        if tag in PIXEL_TAGS and outermost:
            self._native(tag, length)
        self._there(tag, length, level)
        if vr == b"SQ" or (vr in (b"UN", b"") and self.data.at(self.place, 4) == struct.pack(self.order + "HH", 0xFFFE, 0xE000)):
            return self._open(_Level(True, self.place + length, level.implicit or vr != b"SQ", soft=vr != b"SQ"))
        if vr == b"UI":
            self._uids(tag, self.data.at(self.place, min(length, UID_BYTES)), length, outermost)
        elif outermost and (tag in NUMBERS or tag == PHOTOMETRIC):
            self._number(tag, vr, self.data.at(self.place, min(length, 64)))
        elif vr in UNITS and length % UNITS[vr]:
            self._fault(f"{length} bytes of VR {vr.decode()}", tag)
        self._pass(tag, length)

    def _there(self, tag: int, length: int, level: _Level) -> None:
        """The value lies within its sequence and within the file; what is still deflated is seen when it is passed over."""
        if level.defined and self.place + length > level.end:
            if len(self.levels) > 1:
                self._no("a DICOM element reaches out of its sequence", f"at most {level.end - self.place:,} bytes", f"{length:,}", tag)
            self._cut(f"{length:,} bytes", level.end - self.place, tag, length)
        if self.place + length > self.data.end:
            self._cut(f"{length:,} bytes", self.data.end - self.place, tag, length)

    def _pass(self, tag: int, length: int) -> None:
        held = self.data.held(self.place, length)
        if held < length:
            self._cut(f"{length:,} bytes", held, tag, length)
        self.place += length

    def _undefined(self, tag: int, vr: bytes, level: _Level) -> None:
        """A sequence of items, or of fragments when it is not of data sets (PS3.5 7.5, A.4)."""
        sequence = vr in (b"SQ", b"UN") or (vr == b"" and self._tag_at(self.data.at(self.place, 4).ljust(4, b"\0")) == (0xFFFE, 0xE000))
        if sequence:
            return self._open(_Level(True, self.data.end, level.implicit or vr != b"SQ", defined=False))
        if tag == PIXELS and len(self.levels) == 1:
            self._samples(tag)
        self._fragments(tag, tag == PIXELS and len(self.levels) == 1)

    def _open(self, level: _Level) -> None:
        self.levels.append(level)
        depth = sum(1 for each in self.levels if each.items)
        self.seen.depth = max(self.seen.depth, depth)
        if depth > self.limits.depth:
            self._much("the DICOM sequences are nested too deeply", f"at most {self.limits.depth}", "more")

    def _item(self, level: _Level) -> None:
        raw = self.data.at(self.place, 8)
        if len(raw) < 8:
            self._cut("the end of a sequence", len(raw), SEQUENCE_END)
        (group, number), length = self._tag_at(raw), self._long_at(raw, 4)[0]
        tag = group << 16 | number
        self.place += 8
        if tag == SEQUENCE_END:
            self.levels.pop()
        elif tag != ITEM:
            self._no("a DICOM sequence is damaged", "an item (FFFE,E000)", f"({group:04X},{number:04X})", ITEM)
        else:
            self._count(level, tag)
            if length != UNDEFINED:
                self._there(tag, length, level)
            implicit = level.implicit or self._looks_implicit(False)
            self.levels.append(_Level(False, self.place + length if length != UNDEFINED else self.data.end, implicit, length != UNDEFINED))

    def _ended(self, level: _Level) -> None:
        """The bytes end: well for the outermost data set, else within something."""
        if len(self.levels) > 1:
            self._cut("the end of an item", 0, ITEM_END)
        self.levels.pop()

    def _looks_implicit(self, assumed: bool) -> bool:
        """An explicit data set begins with two capital letters behind its first tag."""
        vr = self.data.at(self.place, 6)[4:6]
        return assumed if len(vr) < 2 else not all(0x40 < byte < 0x5B for byte in vr)

    def _guessed(self) -> str:
        """The transfer syntax of a data set that states none: explicit when a VR follows the first tag, big endian when its group is then swapped."""
        raw = self.data.at(self.place, 6)
        if raw[4:6] not in SHORT | LONG:
            return IMPLICIT[0]
        return BIG if int.from_bytes(raw[:2], "little") >= 1024 else "1.2.840.10008.1.2.1"

    def _count(self, level: _Level, tag: int) -> None:
        level.elements += 1
        self.seen.elements += 1
        if level.elements > self.limits.elements:
            self._much("a DICOM data set has too many elements", f"at most {self.limits.elements:,}", "more")
        if self.seen.elements > self.limits.all_elements:
            self._much("the DICOM file has too many elements", f"at most {self.limits.all_elements:,}", "more")

    def _uids(self, tag: int, raw: bytes, length: int, outermost: bool) -> None:
        if length > UID_BYTES:
            self._no("a DICOM UID is none", "digits and dots, at most 64 (PS3.5 9.1)", f"{length:,} bytes", tag)
        text = raw.decode("latin-1").rstrip("\0 ")
        for each in text.split("\\") if text else ():
            fault = uid_fault(each.strip(" "))
            if fault and not harmless(each.strip(" \0")):
                self._no("a DICOM UID is none", "digits and dots, at most 64 (PS3.5 9.1)", fault, tag)
            if fault and tag in IDENTITY:
                self._fault(f"a UID with {fault}", tag)
        if outermost:
            self.seen.uids[tag] = text.strip()

    def _number(self, tag: int, vr: bytes, raw: bytes) -> None:
        text = raw.decode("latin-1").strip("\0 ")
        if tag == PHOTOMETRIC:
            self.seen.photometric = text
        elif vr == b"IS":
            first = text.split("\\")[0]
            self.seen.numbers[tag] = int(first) if first.lstrip("+-").isdigit() and len(first) < 13 else self._impossible(tag) if first else 0
        elif len(raw) >= 2:
            self.seen.numbers[tag] = int(self._short_at(raw)[0])
        if self.seen.numbers.get(tag, 0) < 0:
            self._impossible(tag)

    def _impossible(self, tag: int) -> NoReturn:
        self._no("a DICOM size is no number", f"how many {NUMBERS[tag]}", "something else", tag)

    def _samples(self, tag: int) -> int:
        """Samples that the data set states for its image."""
        stated = math.prod(self.seen.shape)
        if stated > self.limits.samples:
            self._much("the image is too large to decode", f"at most {self.limits.samples:,} samples", f"{stated:,} ({self._size()})")
        return stated

    def _size(self) -> str:
        return " x ".join(map(str, self.seen.shape))

    def _native(self, tag: int, length: int) -> None:
        """The pixels' length is what their size asks for; more is padding, less is truncated (PS3.5 8.1.1)."""
        bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag) or self.seen.numbers.get(0x00280100, 0)
        stated = self._samples(tag) * bits
        expected = -(-stated // 8)
        if self.seen.photometric == "YBR_FULL_422":  # two samples of colour for two pixels (PS3.3 C.7.6.3.1.2)
            expected = expected * 2 // 3
        self.data.allow(expected)
        if length < expected:
            self._no("the file is truncated or damaged", f"{self._size()} samples of {bits} bits", f"{length:,} bytes", tag)
        if length > expected + self.limits.inflate and stated:
            self._much("the pixels are longer than their size", f"{expected:,} bytes", f"{length:,}")

    def _fragments(self, tag: int, image: bool) -> None:
        """Pass over fragments to the delimiter; the first one of pixels is the offset table."""
        number, most = 0, 4 * self.limits.all_elements
        frames = Frames(self.syntax, math.prod(self.seen.shape[1:]))
        while True:
            raw = self.data.at(self.place, 8)
            if len(raw) < 8:
                self._cut("the end of the compressed frames", len(raw), tag)
            (group, element), length = self._tag_at(raw), self._long_at(raw, 4)[0]
            self.place += 8
            if (group, element) == (0xFFFE, 0xE0DD):
                return
            if (group, element) != (0xFFFE, 0xE000) or length == UNDEFINED or number > most:
                self._no("the compressed frames are damaged", "items of a stated length", f"({group:04X},{element:04X})", tag)
            self._there(tag, length, self.levels[-1])
            wrong = frames.wrong(self.data.at(self.place, min(length, WINDOW)), length) if image and number else None
            if wrong is not None:
                self._no(*wrong, PIXELS)
            self._pass(tag, length)
            number += 1

    def _fault(self, what: str, tag: int) -> None:
        if len(self.seen.faults) < FAULTS:
            self.seen.faults.append(f"{what} in ({tag >> 16:04X},{tag & 0xFFFF:04X})")

    def _no(self, what: str, expected: str, got: object, tag: int) -> NoReturn:
        raise FormatError(what, where=self.where, expected=f"{expected} of ({tag >> 16:04X},{tag & 0xFFFF:04X})", got=got, do="fetch it again, or leave it out")

    def _cut(self, expected: str, got: int, tag: int, length: int = 0) -> NoReturn:
        kind = _Cut if length <= SHORT_OF else FormatError
        raise kind("the file is truncated or damaged", where=self.where, expected=f"{expected} of ({tag >> 16:04X},{tag & 0xFFFF:04X})", got=f"{max(0, got):,}",
                   do="fetch it again, or leave it out")

    def _much(self, what: str, expected: str, got: object) -> NoReturn:
        raise _TooMuch(what, where=self.where, expected=expected, got=got, do="split it, or leave it out")
