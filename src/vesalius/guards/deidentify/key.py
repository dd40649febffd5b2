"""The secret that makes pseudonyms: with it the same person stays the same person, without it nobody goes back (HMAC-SHA256, RFC 2104)."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import OptionError
from vesalius.storage import atomic_write

LENGTH = 32
FARTHEST_DAYS = 3650


@dataclass(frozen=True)
class Key:
    """``secret`` of at least 32 bytes. It must never lie beside what it protected."""

    secret: bytes

    def __repr__(self) -> str:
        return "Key(...)"

    @classmethod
    def new(cls) -> Key:
        return cls(secrets.token_bytes(LENGTH))

    @classmethod
    def load(cls, path: Path) -> Key:
        """The key of a file.

        Raises
        ------
        OptionError: the file is absent or holds no key.
        """
        try:
            held = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise OptionError("the key cannot be read", where=path, expected="64 hexadecimal digits", got=type(error).__name__,
                              do="give the file that an earlier run wrote, or a new name to make one") from error
        if len(held) < LENGTH:
            raise OptionError("the key is too short", where=path, expected=f"{2 * LENGTH} hexadecimal digits", got=2 * len(held), do="let a run make one")
        return cls(held)

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner alone."""
        atomic_write(path, self.secret.hex().encode() + b"\n")
        os.chmod(path, 0o600)

    @property
    def print(self) -> str:
        """What tells two keys apart without telling either."""
        return self._digest("print", "")[:6].hex()

    def uid(self, uid: str) -> str:
        """A UID in the place of another (PS3.5 B.2: 2.25 and 128 bits), always the same one.

        >>> Key(bytes(32)).uid("1.2.3") == Key(bytes(32)).uid("1.2.3") != Key(bytes(32)).uid("1.2.4")
        True
        """
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def name(self, what: str, value: str) -> str:
        """A pseudonym of twelve digits and letters."""
        return self._digest(what, value)[:6].hex().upper()

    def days(self, patient: str) -> int:
        """By how many days a patient's dates are moved back: 1 to 3650."""
        return 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % FARTHEST_DAYS

    def _digest(self, what: str, value: str) -> bytes:
        return hmac.new(self.secret, f"{what}\0{value}".encode(), hashlib.sha256).digest()
