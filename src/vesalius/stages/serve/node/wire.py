"""Limits on the connection itself: a unit or a message that is too long ends the association before it fills memory or disk."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

MAX_PDU = 1 << 20
"""Bytes of one protocol data unit that we announce (PS3.8 D.1)."""
MAX_OTHER_PDU = 4 << 20
"""An association request may be longer than a data unit: 128 contexts with many syntaxes, and what identifies the user."""
COMMAND_BYTES = 1 << 16
PIECE = 1 << 18


class Unhurried(ssl.SSLContext):
    """The handshake is left to the thread of the association. (In the thread that accepts, one silent caller would keep everybody else out.)"""

    def wrap_socket(self, sock: socket.socket, server_side: bool = False, *_: Any, **more: Any) -> ssl.SSLSocket:
        """As in the library, but that nothing is read yet."""
        return super().wrap_socket(sock, server_side, do_handshake_on_connect=False, **more)


class Budget:
    """Bytes that all associations together may hold while they receive."""

    def __init__(self, limit: int) -> None:
        self.limit, self._used, self._lock = limit, 0, threading.Lock()

    def take(self, n: int) -> bool:
        """Whether ``n`` bytes more are granted."""
        with self._lock:
            if self._used + n > self.limit:
                return False
            self._used += n
            return True

    def give(self, n: int) -> None:
        """Bytes that are no longer held."""
        with self._lock:
            self._used -= n


class Meter:
    """Stands between an association and its socket; `clear` after each message.

    Parameters
    ----------
    ``stored`` counts the objects that came over it.

    connection: the library's socket of the association, whose ``recv`` is replaced. message: bytes of one message at most.
    silence_s: who sends nothing for so long in the middle of a unit, or of the TLS handshake, is cut off.
    """

    def __init__(self, connection: Any, message: int, budget: Budget, silence_s: float) -> None:
        self._connection, self._message, self._budget = connection, message + COMMAND_BYTES, budget
        self._held = self.stored = 0
        connection.recv = self.recv
        connection.socket.settimeout(silence_s)

    def recv(self, wanted: int) -> bytearray:
        """Exactly ``wanted`` bytes, or fewer where the sender ends.

        Raises
        ------
        ConnectionAbortedError: the unit, the message or all messages together are too long; the library then ends the association.
        """
        if wanted > MAX_OTHER_PDU or self._held + wanted > self._message or not self._budget.take(wanted):
            self._connection.close()
            raise ConnectionAbortedError("a message longer than this node takes")
        self._held += wanted
        data, done = bytearray(wanted), 0
        view = memoryview(data)
        while done < wanted:
            n = self._connection.socket.recv_into(view[done : done + PIECE])
            if not n:
                break
            done += n
        view.release()
        return data if done == wanted else data[:done]

    def end(self) -> None:
        """Take nothing more."""
        self._message = 0

    def clear(self) -> None:
        """The message has been dealt with."""
        self._budget.give(self._held)
        self._held = 0
