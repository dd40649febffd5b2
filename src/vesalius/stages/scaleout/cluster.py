"""A Ray cluster: one that is there, or one of this machine, started without dashboard and without reports to its makers."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vesalius.errors import OptionError, RunError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_worker_niceness": "0"}
"""Ray gives its workers the lowest share of a busy machine unless told otherwise: theirs is the work here."""


def library(name: str = "ray") -> Any:
    """Ray, or a part of it.

    Raises
    ------
    OptionError: it is not installed.
    """
    os.environ.update(QUIET)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError("Ray is not installed", expected="the extra 'ray'", got=f"no module '{error.name}'", do="pip install 'vesalius[ray]'") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray answers SIGTERM itself, by leaving at once with code 1. Who has a handler of his own, to stop in order, keeps it."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler) and handler is not signal.default_int_handler:
                signal.signal(number, handler)


@contextmanager
def cluster(workers: int, address: str | None = None) -> Iterator[Any]:
    """Inside, Ray is connected; one that this block has started or joined is left at its end.

    Parameters
    ----------
    workers: processor cores of a cluster of this machine. address: of one that is there (``"auto"``, ``"ray://host:10001"``).

    Raises
    ------
    OptionError: Ray is not installed. RunError: there is no cluster at the address.
    """
    ray = library()
    if ray.is_initialized():
        yield ray
        return
    try:
        with _signals_kept():
            if address:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            else:
                ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, OSError, ValueError) as error:
        raise RunError("the Ray cluster cannot be reached", where=address or "this machine", got=type(error).__name__,
                       do="start it with 'ray start --head', or leave --ray-address out") from error
    try:
        yield ray
    finally:
        ray.shutdown()
