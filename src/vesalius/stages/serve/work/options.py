"""What an engine and the processes of its models are told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

PROCESS = "vesalius.stages.serve.work.process"
READER = "vesalius.stages.serve.reading:read_series"


@dataclass(frozen=True)
class Options:
    """Of every model's process.

    Parameters
    ----------
    queue: jobs that wait or run, a model; more is refused with `Busy`.
    quick: short readings that a process is handed at a time; the rest waits in the service, where a death cannot reach it.
    engine: name of the engine (`networks.backends`), None to measure.
    threads: for the network; None for all cores. decoders: threads that decode; None for as many as there are cores, and one.
    reader: ``module:function`` that reads a series with all its files and objects.
    module: what ``python -m`` starts as the process; it speaks as `work.process` does.
    start_s: a process that is not ready by then is ended and started again.
    backoff_s, backoff_most_s: wait before a new start, doubled each time it dies before it has done anything.
    tries: starts in a row that may fail before the model counts as broken and its jobs are answered so.
    """

    queue: int = 256
    quick: int = 48
    engine: str | None = None
    threads: int | None = None
    decoders: int | None = None
    reader: str = READER
    module: str = PROCESS
    start_s: float = 180.0
    backoff_s: float = 0.25
    backoff_most_s: float = 30.0
    tries: int = 4

    def to_json(self, name: str, model: Path) -> str:
        """For the command line of the process."""
        return json.dumps(asdict(self) | {"name": name, "model": str(model)})
