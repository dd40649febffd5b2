"""The inbox: received objects as files, flushed to the disk before anybody is told that they are here.

The folder is the journal. A file's name is random and ends with the SHA-256 of its data set: it is written under that name at once (a long object, whose
sum is known at its end only, is renamed then), and after a stop a file whose content does not fit its name was never acknowledged and is removed. Flushing
a folder is shared by all who wait for it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vesalius import __version__

IMPLEMENTATION_CLASS = "2.25.178362470298742086171520911312867153081"
IMPLEMENTATION_VERSION = f"VESALIUS {__version__}"[:16]
META_START = 132
READ_BYTES = 1 << 20
FLUSH_BYTES = 64 << 20
"""A long object is flushed after so many bytes, so that the sender does not wait for all of it at the end."""
COMING = ".part"
Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Arrival:
    """Who sent an object to whom, and what the sender said it is; all of it is kept in the file's meta information (PS3.10 7.1)."""

    class_uid: str
    sop_uid: str
    syntax: str
    calling_ae: str = ""
    called_ae: str = ""

    def preamble(self) -> bytes:
        """128 zeros, ``DICM`` and the meta information, explicit little endian.

        (0002,0017) and (0002,0018) are the sending and the receiving AE title.
        """
        elements = b"".join((
            _element(1, b"OB", b"\x00\x01"), _element(2, b"UI", self.class_uid.encode()), _element(3, b"UI", self.sop_uid.encode()),
            _element(0x10, b"UI", self.syntax.encode()), _element(0x12, b"UI", IMPLEMENTATION_CLASS.encode()),
            _element(0x13, b"SH", IMPLEMENTATION_VERSION.encode()), _element(0x17, b"AE", self.calling_ae.encode("ascii", "replace")),
            _element(0x18, b"AE", self.called_ae.encode("ascii", "replace"))))
        return bytes(128) + b"DICM" + _element(0, b"UL", struct.pack("<L", len(elements))) + elements


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    padded = value + ((b"\0" if vr in (b"UI", b"OB") else b" ") if len(value) % 2 else b"")
    length = b"\0\0" + struct.pack("<L", len(padded)) if vr == b"OB" else struct.pack("<H", len(padded))
    return struct.pack("<HH", 2, number) + vr + length + padded


class Part:
    """A file that is filled while its object comes; ``size`` counts the bytes of the data set.

    Raises
    ------
    OSError: as the operating system said it; nothing is left behind.
    """

    def __init__(self, path: Path, arrival: Arrival) -> None:
        self.path, self.arrival, self.size = path, arrival, 0
        head = arrival.preamble()
        self._start, self._flushed = len(head), 0
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(self._handle, [head])
        except OSError:
            self.remove()
            raise

    def write(self, data: Bytes) -> None:
        """Add a piece of the data set."""
        _write(self._handle, [data])
        self.size += len(data)
        if self.size - self._flushed >= FLUSH_BYTES:
            os.fdatasync(self._handle)
            self._flushed = self.size

    def read(self, place: int, n: int) -> bytes:
        """At most ``n`` bytes of the data set from ``place`` on."""
        return os.pread(self._handle, max(0, n), self._start + place)

    def finish(self) -> None:
        """All of it is on the disk."""
        os.fsync(self._handle)
        self._close()

    def remove(self) -> None:
        """It is not wanted; again, this does nothing."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


class Inbox:
    """The folder; safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._flush = SharedFlush(folder)

    def put(self, arrival: Arrival, chunks: Iterable[Bytes], digest: str) -> Path:
        """Write an object; it is on the disk, file and folder, when this returns.

        Parameters
        ----------
        chunks: the data set as it came, in pieces. digest: its SHA-256.

        Raises
        ------
        OSError: as the operating system said it (`errno.ENOSPC`: the disk is full); nothing is left behind.
        """
        path = self.folder / f"{secrets.token_hex(8)}-{digest}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try:
                _write(handle, [arrival.preamble(), *chunks])
                os.fsync(handle)
            finally:
                os.close(handle)
            self._flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def begin(self, arrival: Arrival) -> Part:
        """A file for an object that is still coming; `OSError` as in `put`."""
        return Part(self.folder / f"{secrets.token_hex(8)}{COMING}", arrival)

    def keep(self, part: Part, digest: str) -> Path:
        """A part that is whole gets its name here (it may have been begun in another inbox); as `put`."""
        path = self.folder / f"{secrets.token_hex(8)}-{digest}"
        try:
            part.finish()
            part.path.rename(path)
            self._flush()
        except BaseException:
            part.remove()
            path.unlink(missing_ok=True)
            raise
        return path

    def waiting(self) -> list[Path]:
        """Whole objects that lie here, the oldest first; called at the start, it removes what was torn off before it was acknowledged."""
        found = []
        for path in self.folder.iterdir():
            if path.is_file():
                if not path.name.endswith(COMING) and digest_of(path) == digest_in(path):
                    found.append(path)
                else:
                    path.unlink()
        return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


class SharedFlush:
    """``fsync`` of a folder: who comes while one is under way waits for the next, which then serves all of them."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder, os.O_RDONLY)
        self._turn = threading.Condition()
        self._begun = self._ended = 0
        self._running = False

    def __call__(self) -> None:
        """Return when a flush that began after this call has ended; `OSError` when it was this thread's and it failed."""
        with self._turn:
            wanted = self._begun + 1
            while self._ended < wanted:
                if self._running:
                    self._turn.wait()
                else:
                    self._lead()

    def _lead(self) -> None:
        """Flush for everybody who waits; a failure is this thread's, and the others try themselves."""
        self._running = True
        self._begun += 1
        mine = self._begun
        self._turn.release()
        done = False
        try:
            os.fsync(self._handle)
            done = True
        finally:
            self._turn.acquire()
            self._running = False
            self._ended = mine if done else self._ended
            self._begun = mine if done else mine - 1
            self._turn.notify_all()

    def close(self) -> None:
        """Give the folder's handle back."""
        os.close(self._handle)


def _write(handle: int, chunks: Iterable[Bytes]) -> None:
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(handle, rest):]


def data_set_start(path: Path) -> int:
    """Where the data set of a file with meta information begins; 0 when its first element is not the group's length."""
    with open(path, "rb") as file:
        head = file.read(META_START + 12)
    if len(head) < META_START + 12 or head[META_START : META_START + 8] != b"\x02\0\0\0UL\x04\0":
        return 0
    return META_START + 12 + int(struct.unpack("<L", head[-4:])[0])


def digest_in(path: Path) -> str:
    """The SHA-256 that a file's name ends with."""
    return path.name.rpartition("-")[2]


def digest_of(path: Path) -> str:
    """SHA-256 of the data set of a file; empty when it has no whole meta information."""
    start, summed = data_set_start(path), hashlib.sha256()
    if not start or path.stat().st_size < start:
        return ""
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(READ_BYTES):
            summed.update(block)
    return summed.hexdigest()
