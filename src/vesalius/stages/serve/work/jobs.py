"""A job of a model: what is sent to its process, and what has happened to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Lane = Literal["quick", "full"]


@dataclass(eq=False)
class Job:
    """One reading.

    Parameters
    ----------
    key: the caller's name of it; the same key may come again, and one that killed its process twice is refused from then on.
    lane: ``"quick"`` are batched; ``"full"`` go one at a time, with files and objects.
    message: as it is sent. deadline: of `time.monotonic`. deaths: of the process, with this job alone or among others.
    """

    number: int
    key: str
    lane: Lane
    message: dict[str, Any]
    deadline: float
    future: Future[dict[str, Any]] = field(default_factory=Future)
    deaths: int = 0
    since: float = field(default_factory=time.monotonic)
    begun: bool = False

    def begin(self) -> bool:
        """Whether it is to be sent: False when its caller has gone. Sending it again after a death is no new beginning."""
        if not self.begun and not self.future.set_running_or_notify_cancel():
            return False
        self.begun = True
        return True

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless it was answered or left already."""
        if self.begin() and not self.future.done():
            self.future.set_exception(error)


def message_of(
    number: int, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str], force: bool, ids: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the process is asked: ``out`` None for a short reading without files."""
    return {"id": number, "files": [str(path) for path in files], "out": None if out is None else str(out), "job": job, "objects": list(objects),
            "force": force, "ids": ids}
