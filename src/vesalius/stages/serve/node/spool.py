"""A data set while it comes: in memory as long as it is small, then in the inbox, so that a long object needs no more memory than a short one.

The library can write what it receives to files by itself, but then every object goes through one, in the system's folder for temporary files, where a
lost connection or a full disk leaves them. Here a long one is written beside where it will lie, under a name that a start removes, and a disk that
refuses is told to the sender as for a short one.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from vesalius.stages.serve.node.inbox import Arrival, Inbox, Part

IN_MEMORY = 1 << 20
"""Bytes of a data set that are held; a longer one of a C-STORE is written out."""
OTHERS = 4 << 20
"""Bytes of the data set of any other message: a query, or a request for storage commitment of ten thousand instances."""


class Incoming(io.BytesIO):
    """What the library writes a data set into. It can be read from its start like a file, wherever it lies; ``error`` is why it could not be written out.

    Parameters
    ----------
    begin: makes the file when there is too much for the memory; None for a message that is no C-STORE. too_long: called when such a one grows beyond `OTHERS`.
    """

    def __init__(self, begin: Callable[[], Part | None], too_long: Callable[[], object]) -> None:
        super().__init__()
        self._begin, self._too_long = begin, too_long
        self._sum, self._lock = hashlib.sha256(), threading.Lock()
        self._part: Part | None = None
        self._taken = self._dropped = False
        self._place = 0
        self.error: OSError | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what came."""
        return self._sum.hexdigest()

    def write(self, data: Any) -> int:
        """Add a piece; it never raises what the disk says (that would end the association without an answer)."""
        self._sum.update(data)
        if self.error is None:
            try:
                self._add(data)
            except OSError as error:
                self.error = error
                self._leave()
        return len(data)

    def _add(self, data: Any) -> None:
        if self._part is None and super().tell() + len(data) > IN_MEMORY:
            self._roll()
        if self._part is not None:
            self._part.write(data)
        elif super().tell() + len(data) > OTHERS:
            self._too_long()
            raise OSError(errno.EMSGSIZE, "a message longer than this node takes")
        else:
            super().write(data)

    def _roll(self) -> None:
        """From the memory to a file, where this message may have one."""
        self._part = self._begin()
        if self._part is not None:
            with super().getbuffer() as held:
                self._part.write(held)
            super().seek(0)
            super().truncate()

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        if self._part is None:
            return super().seek(place, whence)
        start = (0, self._place, self._part.size)[whence]
        self._place = max(0, start + place)
        return self._place

    def read(self, n: int | None = -1) -> bytes:
        """As of any file."""
        if self._part is None:
            return super().read(n)
        got = self._part.read(self._place, self._part.size - self._place if n is None or n < 0 else n)
        self._place += len(got)
        return got

    def claim(self) -> bool:
        """Whoever deals with it says so; False when its association has ended before and it is gone."""
        with self._lock:
            self._taken = not self._dropped
            return self._taken

    def drop(self) -> None:
        """Its association has ended: what nobody deals with is removed."""
        with self._lock:
            self._dropped = not self._taken
        if self._dropped:
            self._leave()

    def keep(self, inbox: Inbox, arrival: Arrival) -> Path:
        """Its place in the inbox, where it is on the disk when this returns; `OSError` as the operating system said it, and nothing is left behind."""
        if self._part is not None and self._part.arrival == arrival:
            return inbox.keep(self._part, self.digest)
        try:
            return inbox.put(arrival, self._blocks(), self.digest)
        finally:
            self._leave()

    def _blocks(self) -> Iterator[bytes]:
        self.seek(0)
        while block := self.read(IN_MEMORY):
            yield block

    def _leave(self) -> None:
        if self._part is not None:
            self._part.remove()
            self._part = None


class Spool:
    """Stands between an association and its messages, so that their data sets become `Incoming`.

    Parameters
    ----------
    titles: AE titles of the sender and of whom it called, as they are kept. too_long: ends the association.
    """

    def __init__(self, assoc: Association, inbox: Inbox, titles: Callable[[], tuple[str, str]], too_long: Callable[[], object]) -> None:
        self._assoc, self._inbox, self._titles, self._too_long = assoc, inbox, titles, too_long
        self._live: WeakSet[Incoming] = WeakSet()
        self._pass = assoc.dimse.receive_primitive
        assoc.dimse.receive_primitive = self._receive  # type: ignore[method-assign]

    def _receive(self, primitive: Any) -> None:
        dimse = self._assoc.dimse
        if dimse.message is None:
            dimse.message = message = DIMSEMessage()
            message.data_set = incoming = Incoming(lambda: self._file(message), self._too_long)
            self._live.add(incoming)
        self._pass(primitive)

    def _file(self, message: DIMSEMessage) -> Part | None:
        if not isinstance(message, C_STORE_RQ):
            return None
        command = message.command_set
        syntax = next((each.transfer_syntax[0] for each in self._assoc.accepted_contexts if each.context_id == message.context_id), "")
        arrival = Arrival(str(command.get("AffectedSOPClassUID")), str(command.get("AffectedSOPInstanceUID")), str(syntax), *self._titles())
        return self._inbox.begin(arrival)

    def close(self) -> None:
        """The association has ended."""
        for each in list(self._live):
            each.drop()
