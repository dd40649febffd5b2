"""A service that is killed with SIGKILL at random moments while it receives, reads and sends; afterwards every promise is checked.

The service is a process of its own (forked from a server that has imported everything, so that a restart is quick); senders and the PACS live here.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from stages.serve.clinicnode import Models, Pacs, calling, instance, reading, site_at, until
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Limits, Peer, Route
from vesalius.stages.serve.store import Store

READING_S, PACS_S = 0.03, 0.05
PATIENCE_S = 10.0
PRELOADED = ["stages.serve.clinickills"]


@dataclass
class Outcome:
    """What a campaign saw; ``faults`` is empty when every promise was kept."""

    kills: int
    series: int
    instances: int
    resent: int
    killed_during: dict[str, int]
    seconds: float
    faults: list[str] = field(default_factory=list)


class Slow(Models):
    """Takes a moment for each series, so that kills fall into it."""

    def submit(self, model: str, files: Sequence[Path], out: Path | None, *, job: str, **more: Any) -> Future[dict[str, Any]]:
        def answer(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
            time.sleep(READING_S)
            return reading(job, files, out)

        self.answer = answer
        return super().submit(model, files, out, job=job, **more)


def serve(folder: str, dicom_port: int, pacs_port: int, each: int) -> None:
    """The killed process: a whole service but for the network in the model."""
    Service(site_of(Path(folder), dicom_port, pacs_port, each), Slow()).start()  # type: ignore[arg-type]
    signal.pause()


def site_of(folder: Path, dicom_port: int, pacs_port: int, each: int) -> Any:
    """Results leave by themselves; a series is complete at its count."""
    peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs_port)
    return site_at(folder, dicom_port=dicom_port, quiet_s=600.0, peers=(peer,), routes=(Route(model="lung", instances=each, send_to=("pacs",)),),
                   release="automatic", release_signed_by="test", release_reason="test", limits=Limits(retry_first_s=0.05, retry_last_s=0.5))


def campaign(folder: Path, kills: int, *, seed: int = 0, senders: int = 2, each: int = 4, longest_s: float = 0.1, wait_s: float = 60.0) -> Outcome:
    """Kill the service ``kills`` times while ``senders`` send series of ``each`` instances, then let it finish and check."""
    chance, begun = random.Random(seed), time.monotonic()
    context = forking()
    pacs, port = Pacs(delay_s=PACS_S), free_port()
    enough = threading.Event()
    traffic = [Traffic(port, k, each, enough) for k in range(senders)]
    process = _started(context, folder, port, pacs.port, each)
    during: dict[str, int] = {"receive": 0, "read": 0, "send": 0, "idle": 0}
    try:
        for sender in traffic:
            sender.start()
        for _ in range(kills):
            until(lambda: listens(port), wait_s)
            _meanwhile(traffic, chance.randint(0, 3 * each), chance.uniform(0.0, longest_s))
            os.kill(process.pid, signal.SIGKILL)
            for name in _doing(folder):
                during[name] += 1
            process.join()
            process = _started(context, folder, port, pacs.port, each)
        enough.set()
        for sender in traffic:
            sender.join(wait_s)
        series = [name for sender in traffic for name in sender.series]
        faults = _settled(folder, len(series), pacs, wait_s)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        faults += _checked(folder, traffic, pacs, each)
    finally:
        enough.set()
        process.kill()
        pacs.close()
    acked = sum(len(sender.acked) for sender in traffic)
    return Outcome(kills, len(series), acked, sum(sender.tried for sender in traffic) - acked, during, round(time.monotonic() - begun, 1), faults)


def _meanwhile(traffic: Sequence[Traffic], requests: int, seconds: float) -> None:
    """Let so many requests begin and so much time pass: on a busy machine too a kill falls into work."""
    before, deadline = sum(sender.tried for sender in traffic), time.monotonic() + PATIENCE_S
    while sum(sender.tried for sender in traffic) < before + requests and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(seconds)


def forking() -> Any:
    """A fork server that has imported everything. It finds the modules by the environment only, and swallows it when it does not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _started(context: Any, folder: Path, port: int, pacs_port: int, each: int) -> Any:
    process = context.Process(target=serve, args=(str(folder), port, pacs_port, each), daemon=True)
    process.start()
    return process


class Traffic(threading.Thread):
    """Sends series after series; an instance that was not acknowledged is sent again until it is."""

    def __init__(self, port: int, number: int, each: int, enough: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.each, self.enough = port, number, each, enough
        self.acked: set[str] = set()
        self.series: list[str] = []
        self.tried = 0

    def run(self) -> None:
        while not self.enough.is_set():
            name = f"1.2.{self.number + 1}.{len(self.series) + 1}"
            self.series.append(name)
            items = [instance(n + 1, series=name, study=name, patient=name) for n in range(self.each)]
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
                try:
                    status = assoc.send_c_store(items[0])
                except (RuntimeError, ValueError):
                    break
                if status.get("Status") != 0:
                    break
                self.acked.add(str(items[0].SOPInstanceUID))
                items = items[1:]
        return items


def _doing(folder: Path) -> list[str]:
    """What the service has on its hands at this moment, for the record."""
    store = Store(f"sqlite:///{folder / 'vesalius.db'}", folder)
    try:
        counts = store.counts()
    finally:
        store.close()
    busy = {"receive": any((folder / "inbox").iterdir()), "read": counts["jobs"].get("running") or counts["jobs"].get("queued"),
            "send": counts["outgoing"].get("waiting")}
    return [name for name, value in busy.items() if value] or ["idle"]


def _settled(folder: Path, series: int, pacs: Pacs, wait_s: float) -> list[str]:
    store = Store(f"sqlite:///{folder / 'vesalius.db'}", folder)
    try:
        until(lambda: len(store.findings(limit=100_000)) >= series and store.counts()["outgoing"].get("waiting", 0) == 0, wait_s)
    except AssertionError:
        return [f"not everything was finished: {store.counts()}"]
    finally:
        store.close()
    return []


def _checked(folder: Path, traffic: Sequence[Traffic], pacs: Pacs, each: int) -> list[str]:
    """Every promise that was broken, in words."""
    store = Store(f"sqlite:///{folder / 'vesalius.db'}", folder)
    acked, names = {uid for sender in traffic for uid in sender.acked}, {name for sender in traffic for name in sender.series}
    findings = store.findings(limit=100_000, superseded=True)
    kept = [item["SOPInstanceUID"] for item in store.find("instance", {}, limit=1_000_000)]
    files = set((folder / "objects").rglob("*.dcm"))
    broken = {
        "acknowledged objects are not in the store": acked - set(kept), "objects are in the store twice": len(kept) - len(set(kept)),
        "files of the store are missing": {path for name in names for path in store.files_of(name)} - files,
        "series have no finding or several": names ^ {item["series_uid"] for item in findings} or len(findings) - len(names),
        "findings are of a part of their series": [item["id"] for item in findings if item["label"] != f"{each} images"],
        "objects are set aside": store.refused(), "jobs are not done": {job.state for job in store.jobs(limit=100_000)} - {"done"},
        "the PACS has not one object a finding": len(pacs.objects) - len(findings), "objects are not sent":
            {item.state for item in store.outgoing()} - {"sent"},
        "results are torn": [path.name for path in (folder / "results").iterdir() if not (path / "finding.json").is_file()],
        "the audit trail is broken": store.audit_verify(), "files wait in the inbox": list((folder / "inbox").iterdir()),
    }
    store.close()
    return [f"{what}: {value}"[:300] for what, value in broken.items() if value]


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
