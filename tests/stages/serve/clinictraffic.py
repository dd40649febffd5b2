"""Senders that go on whatever becomes of the service: what a modality does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stages.serve.clinicnode import calling, instance

SIDE = 32
CANARIES = ("Canary", "Kanarienvogel", "p4711kanarie", "19330417", "acc4713kanarie")
"""In every header that is sent; in nothing that is told."""


def noise(seed: int) -> bytes:
    """Samples of an image that a model does not refuse as empty."""
    return np.random.default_rng(seed).integers(0, 4096, (SIDE, SIDE), np.uint16).tobytes()


class Traffic(threading.Thread):
    """Sends series after series; an instance that was not acknowledged is sent again until it is."""

    def __init__(self, port: int, number: int, each: int, enough: threading.Event, hold: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.hold = hold
        self.port, self.number, self.each, self.enough = port, number, each, enough
        self.acked: set[str] = set()
        self.series: list[str] = []
        self.tried, self.busy = 0, False

    def run(self) -> None:
        while not self.enough.is_set():
            if self.hold():
                time.sleep(0.05)
                continue
            name = f"1.2.{self.number + 1}.{len(self.series) + 1}"
            self.series.append(name)
            items = [instance(n + 1, series=name, study=name, patient=f"{CANARIES[2]}{name}", side=SIDE, PatientBirthDate=CANARIES[3],
                              AccessionNumber=CANARIES[4], PixelData=noise(n)) for n in range(self.each)]
            while items:
                items = self._send(items)

    def _send(self, items: list[Any]) -> list[Any]:
        """What is left to send after this association."""
        if not listens(self.port):
            time.sleep(0.02)
            return items
        with calling(self.port) as assoc:
            while items and assoc.is_established:
                self.tried += 1
                self.busy = True
                try:
                    status = assoc.send_c_store(items[0])
                except (RuntimeError, ValueError):
                    break
                finally:
                    self.busy = False
                if status.get("Status") != 0:
                    break
                self.acked.add(str(items[0].SOPInstanceUID))
                items = items[1:]
        return items


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
