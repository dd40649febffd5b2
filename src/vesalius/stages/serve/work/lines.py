"""How the service and a model's process talk: frames of JSON over a pair of sockets, and errors that stay what they were.

A frame is its length (4 bytes, big-endian) and a JSON object in UTF-8. Samples never travel: files are named by their path.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from typing import Any

from vesalius import errors
from vesalius.errors import VesaliusError

LENGTH = struct.Struct(">I")
CHUNK = 2**16
MOST_BYTES = 2**28
"""No frame is longer: a finding with thousands of boxes is a few megabytes."""


class Busy(VesaliusError):
    """There is more work than the bounded queue takes; come again later."""


class Died(VesaliusError):
    """The model's process died with this job, or was ended because it took too long."""


class Line:
    """One end; any thread may send, one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._held, self._sending = end, bytearray(), threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame; `OSError` when the other end is gone."""
        data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        with self._sending:
            self._end.sendall(LENGTH.pack(len(data)) + data)

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next frame, None when none came in time; `EOFError` when the other end is gone."""
        while (frame := self._frame()) is None:
            if not select.select([self._end], [], [], timeout_s)[0]:
                return None
            self._more()
        return frame

    def close(self) -> None:
        self._end.close()

    def _more(self) -> None:
        try:
            came = self._end.recv(CHUNK)
        except OSError as error:
            raise EOFError("the other end is gone") from error
        if not came:
            raise EOFError("the other end is gone")
        self._held += came

    def _frame(self) -> dict[str, Any] | None:
        if len(self._held) < LENGTH.size:
            return None
        (n,) = LENGTH.unpack_from(self._held)
        if n > MOST_BYTES:
            raise EOFError("the other end does not keep to the frames")
        if len(self._held) < LENGTH.size + n:
            return None
        data = bytes(self._held[LENGTH.size : LENGTH.size + n])
        del self._held[: LENGTH.size + n]
        made: dict[str, Any] = json.loads(data)
        return made


def error_facts(error: VesaliusError) -> dict[str, str | None]:
    """An error of ours in plain values."""
    facts = {name: getattr(error, name) for name in ("expected", "got", "do", "where")}
    return {"kind": type(error).__name__, "what": error.what} | {name: None if value is None else str(value) for name, value in facts.items()}


def error_from(facts: dict[str, Any]) -> VesaliusError:
    """The error again; a kind that is not in `vesalius.errors` becomes the root of the tree.

    >>> error_from(error_facts(errors.FormatError("the file is empty", got="0 bytes")))
    FormatError('the file is empty: got 0 bytes')
    """
    kind = getattr(errors, str(facts.get("kind")), VesaliusError)
    kind = kind if isinstance(kind, type) and issubclass(kind, VesaliusError) else VesaliusError
    return kind(facts["what"], **{name: facts.get(name) for name in ("expected", "got", "do", "where")})
