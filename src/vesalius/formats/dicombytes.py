"""The bytes of a DICOM file for one walk from its start to its end, in little memory: as they lie there, or inflated on the way (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from vesalius.errors import FormatError

WINDOW = 2**16
NO_END = 2**63
"""The end of a stream whose length is not known before it has been inflated."""


class Stored:
    """Bytes from ``start`` to ``end`` of an opened file. Places are counted from the start of the file."""

    def __init__(self, opened: BinaryIO, start: int, end: int) -> None:
        self._opened, self.end, self.start = opened, end, start
        self._window, self._base = b"", start

    def at(self, place: int, n: int) -> bytes:
        """``n`` bytes from ``place`` on, fewer at the end; ``n`` is at most `WINDOW`."""
        low = place - self._base
        if low < 0 or low + n > len(self._window):
            self._move(place)
            low = place - self._base
        return self._window[low : low + n]

    def held(self, place: int, n: int) -> int:
        """How many of ``n`` bytes from ``place`` on are there."""
        return max(0, min(n, self.end - place))

    def allow(self, n: int) -> None:
        """Nothing: the bytes are there already, whatever they are."""

    def _move(self, place: int) -> None:
        self._opened.seek(place)
        self._window, self._base = self._opened.read(max(0, min(WINDOW, self.end - place))), place


class Inflated(Stored):
    """A deflated stream, inflated as far as it was asked for and forgotten behind; places are counted in the inflated bytes and only grow.

    Raises
    ------
    FormatError: the stream is damaged, or grows to more than ``most`` bytes (`allow` adds to them).
    """

    def __init__(self, opened: BinaryIO, start: int, most: int, where: str | None) -> None:
        super().__init__(opened, 0, NO_END)
        self._inflater, self._most, self._where = zlib.decompressobj(-zlib.MAX_WBITS), most, where
        self._input, self._stored = b"", start
        opened.seek(start)

    def allow(self, n: int) -> None:
        """So many bytes more are expected, e.g. of pixels whose size is stated."""
        self._most += n

    def held(self, place: int, n: int) -> int:
        self._forward(place + n)
        return max(0, min(n, self._base + len(self._window) - place))

    def _move(self, place: int) -> None:
        self._forward(place + WINDOW, place)

    def _forward(self, upto: int, keep: int | None = None) -> None:
        """Inflate until ``upto`` is there or the stream ends; what lies before ``keep`` (or the last window) is dropped."""
        while self._base + len(self._window) < upto and (more := self._more()):
            self._window += more
            drop = max(0, min(keep - self._base if keep is not None else len(self._window) - WINDOW, len(self._window)))
            self._window, self._base = self._window[drop:], self._base + drop

    def _more(self) -> bytes:
        made = b""
        while not made and not self._inflater.eof:
            self._input = self._inflater.unconsumed_tail or self._opened.read(WINDOW)
            if not self._input:
                return b""
            made = self._some()
        if self._base + len(self._window) + len(made) > self._most:
            raise FormatError("the deflated file grows beyond what it may hold", where=self._where, expected=f"at most {self._most:,} bytes when inflated",
                              got="more", do="do not open it: it may be a bomb; ask where it comes from")
        return made

    def _some(self) -> bytes:
        try:
            return self._inflater.decompress(self._input, WINDOW)
        except zlib.error as error:
            raise FormatError("the deflated file is damaged", where=self._where, expected="a deflate stream (PS3.5 A.5)", got="other bytes",
                              do="fetch it again, or leave it out") from error
