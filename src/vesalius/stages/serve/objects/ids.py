"""UIDs that follow from a job: made again after a stop, an object is the same one, so that no PACS holds it twice."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "vesalius.clinic.objects")


@dataclass(frozen=True)
class Ids:
    """The names of what one job makes; ``job`` is the job's id."""

    job: str

    def uid(self, name: str) -> str:
        """The UID of the object of that name (PS3.5 B.2: 2.25 and a UUID, here of version 5).

        >>> Ids("a").uid("seg") == Ids("a").uid("seg"), Ids("a").uid("seg") == Ids("b").uid("seg"), Ids("a").uid("sr")[:5]
        (True, False, '2.25.')
        """
        return f"2.25.{uuid.uuid5(NAMESPACE, f'{self.job}/{name}').int}"

    def within(self, name: str) -> Ids:
        """The names of a part of the job, e.g. of one decision about its finding."""
        return Ids(f"{self.job}/{name}")

    @classmethod
    def of(cls, given: Ids | Mapping[str, Any] | str | None, default: str) -> Ids:
        """From what came over a line: an id, ``{"job": id}`` or nothing (then ``default``)."""
        if isinstance(given, Ids):
            return given
        named = given.get("job") if isinstance(given, Mapping) else given
        return cls(str(named or default))
