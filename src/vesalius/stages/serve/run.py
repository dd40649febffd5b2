"""What ``vesalius serve`` does: start everything, say where it is, wait for the end, stop in order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from vesalius.mapping import Mapping
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.server import Server
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Site
from vesalius.storage import telling

LOG_BYTES, LOG_FILES = 10_000_000, 5
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
WAKE_S = 3600.0
GRACE_S = 30.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_site(site: Site, tell: Callable[[str], object], grace_s: float = GRACE_S, engine: Any = None) -> None:
    """Serve until SIGTERM or SIGINT; then take nothing new, finish what runs for ``grace_s`` seconds, and keep the rest.

    tell: is given two lines that say where the site listens. engine: instead of a process a model (`stages.scaleout.replicas`).

    Raises
    ------
    RunError: a model cannot be loaded, a port is taken, the folder is another service's, or it cannot be written.
    """
    for model in site.models.values():
        Mapping.load(model)  # what its process would say much later, and nobody would see
    end = threading.Event()
    with logged(site.folder), _until_told(end):
        service = Service(site, engine, decided=decided)
        try:
            server = Server(make_app(service), site)
            service.start()
            server.start()
        except BaseException:
            service.stop(0.0)
            raise
        try:
            tell(f"page, REST and DICOMweb: {server.url}   DICOM node: {site.ae_title} on {site.host}:{service.scp.port}")
            tell("Research use: a doctor decides.")
            while not end.wait(WAKE_S):
                pass
        finally:
            server.stop(grace_s)
            service.stop(grace_s)


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """The service's own log goes to ``log/serve.log``; nothing of the DICOM library, as what it quotes may identify a patient."""
    with telling(folder / "log"):
        (folder / "log").mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(folder / "log" / "serve.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    ours, library = logging.getLogger("vesalius"), logging.getLogger("pynetdicom")
    before = ours.level, library.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        handler.close()
        ours.setLevel(before[0])
        library.setLevel(before[1])


@contextmanager
def _until_told(end: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: end.set()) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
