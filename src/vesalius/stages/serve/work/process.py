"""The process of one model: ``python -m vesalius.stages.serve.work.process FD OPTIONS``.

It loads the model once, warms it up, says that it is ready, and then answers readings until the other end of its socket closes. Short readings are decoded
by a few threads and go through the network together; full ones go one at a time.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from vesalius.errors import DataError, RunError, VesaliusError
from vesalius.mapping import Mapping
from vesalius.stages.knowing import Knowing
from vesalius.stages.prepare import cores
from vesalius.stages.serve.work.lines import Line, error_facts
from vesalius.stages.serve.work.quick import Begun, Short
from vesalius.stages.serve.work.quickened import Quickened

Reader = Callable[..., dict[str, Any]]


class Process:
    """A warm model and the threads that read with it.

    Parameters
    ----------
    line: to the supervisor. options: as `Options.to_json` writes them.
    """

    def __init__(self, line: Line, options: dict[str, Any]) -> None:
        self.line, self.name = line, str(options["name"])
        threads = options["threads"] or cores()
        torch.set_num_threads(threads)
        self.mapping = Mapping.load(Path(options["model"]))
        self.reader = reader_of(options["reader"])
        self.short: Short | None = None
        if type(self.mapping) is Mapping:
            fast = Quickened.of(self.mapping, engine=options["engine"], threads=threads)
            self.mapping, self.short = fast, Short.of(self.name, fast, Knowing.load(options["model"]))
        decoders = options["decoders"] or cores() + 1
        self.quick = ThreadPoolExecutor(decoders, "decode", torch.set_num_threads, (1,))
        self.ends = ThreadPoolExecutor(cores(), "answer", torch.set_num_threads, (1,))
        self.full = ThreadPoolExecutor(1, "full", torch.set_num_threads, (threads,))

    @property
    def facts(self) -> dict[str, Any]:
        """What the supervisor is told of the model."""
        target, reads = self.mapping.output.target, self.mapping.reads
        sentence = self.mapping.sentence if isinstance(self.mapping, Quickened) else ""
        return {"name": self.name, "hash": self.mapping.hash, "kind": target.kind, "classes": list(target.classes), "ndim": reads.ndim,
                "quick": self.short is not None, "engine": sentence, "pid": os.getpid()}

    def serve(self) -> None:
        """Answer until the supervisor says so or is gone; `EOFError` in the latter case."""
        self.line.send({"ready": self.facts})
        while not (message := self.line.receive() or {}).get("end"):
            if message["out"] is None and self.short:
                self.quick.submit(self._begin, self.short, message)
            else:
                self.full.submit(self.answer, message, self.read)

    def _begin(self, short: Short, message: dict[str, Any]) -> None:
        """The thread is free again while the network works; another writes the answer."""
        begun: list[Begun] = []
        job = str(message["job"])
        if self.answer(message, lambda each: begun.append(short.begin([Path(name) for name in each["files"]]))):
            begun[0].row.add_done_callback(lambda _: self.ends.submit(self.answer, message, lambda each: short.end(begun[0], job, each["force"])))

    def answer(self, message: dict[str, Any], work: Callable[[dict[str, Any]], dict[str, Any] | None]) -> bool:
        """Send what ``work`` makes of a message, or why it could not; nothing yet when it makes None. Whether it went well."""
        said: dict[str, Any]
        try:
            made = work(message)
            if made is None:
                return True
            said = {"finding": made}
        except VesaliusError as error:
            said = {"error": error_facts(error)}
        except Exception as error:  # noqa: BLE001 - libraries raise anything on what strangers send; their words may quote it, so only the kind is told
            unread = DataError("the study could not be read", got=type(error).__name__, do="look whether the files are whole; 'vesalius check' tells more")
            said = {"error": error_facts(unread)}
        batches = dict(self.short.mapping.batcher.batches) if self.short else {}
        try:
            self.line.send({"id": message["id"], "batches": {str(size): n for size, n in batches.items()}} | said)
        except OSError:
            os._exit(0)  # the supervisor is gone: nobody waits for this or any other answer
        return "finding" in said

    def read(self, message: dict[str, Any]) -> dict[str, Any]:
        """The finding of a full reading."""
        files = [Path(name) for name in message["files"]]
        if message["out"] is not None:
            return self._full(message, files, Path(message["out"]))
        with tempfile.TemporaryDirectory(prefix="vesalius-") as folder:  # asked for the finding alone, of a model that has no short way
            return self._full(message, files, Path(folder) / "out")

    def _full(self, message: dict[str, Any], files: list[Path], out: Path) -> dict[str, Any]:
        ids = message["ids"] or message["job"]
        return self.reader(self.mapping, files, out, name=self.name, objects=tuple(message["objects"]), force=message["force"], ids=ids)


def reader_of(name: str) -> Reader:
    """The function that ``module:function`` names."""
    module, _, function = name.partition(":")
    made: Reader = getattr(importlib.import_module(module), function)
    return made


def main(fd: int, options: str) -> int:
    """Serve on one end of a pair of sockets; the exit code."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    line = Line(socket.socket(fileno=fd))
    try:
        process = Process(line, json.loads(options))
    except VesaliusError as error:
        line.send({"failed": error_facts(error)})
        return 2
    except Exception as error:  # noqa: BLE001 - nobody sees this process's output: whatever a library raises while a model loads is told by its kind
        line.send({"failed": error_facts(RunError("the model cannot be loaded", got=type(error).__name__, do="look at the model folder"))})
        return 2
    try:
        process.serve()
    except EOFError:
        os._exit(0)  # the service is gone: what is under way is begun again when it comes back
    for pool in (process.quick, process.full):
        pool.shutdown()
    if process.short:
        process.short.mapping.batcher.close()
    process.ends.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
