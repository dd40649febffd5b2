"""A service that is killed with SIGKILL at random moments while it receives, reads and sends; afterwards every promise is checked.

The service is a process of its own (forked from a server that has imported everything, so that a restart is quick); senders and the PACS live here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from stages.serve.clinicnode import Models, Pacs, reading, site_at, until
from stages.serve.clinictraffic import CANARIES, Traffic, free_port, listens
from vesalius.stages.serve.run import logged
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Limits, Peer, Route
from vesalius.stages.serve.store import Store

READING_S, PACS_S = 0.03, 0.05
PATIENCE_S = 10.0
PRELOADED = ["stages.serve.clinickills"]
SAID, NOW, METRICS = "said.txt", "now.json", "metrics.txt"
TELL_S = 0.05
MOST_WAITING = 3
"""A reading by a real model takes a while: no new series is sent while so many wait."""
WARM_S = 300.0
"""A model's process imports its libraries anew after each kill, on a busy machine for long."""


@dataclass
class Outcome:
    """What a campaign saw; ``faults`` is empty when every promise was kept."""

    kills: int
    series: int
    instances: int
    resent: int
    killed_during: dict[str, int]
    killed_models: int
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


def serve(folder: str, dicom_port: int, pacs_port: int, each: int, real: bool = False) -> None:
    """The killed process: a whole service; its model is a stand-in, or a saved one in a supervised process of its own."""
    site = site_of(Path(folder), dicom_port, pacs_port, each)
    site.folder.mkdir(parents=True, exist_ok=True)
    said = os.open(site.folder / SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    with logged(site.folder):
        service = Service(site, None if real else Slow())  # type: ignore[arg-type]
        service.start()
        while True:
            _tell(service, real)
            time.sleep(TELL_S)


def _tell(service: Service, real: bool) -> None:
    """What the service is at, for the one who kills, and what it would tell Prometheus."""
    worker = service.engine.workers["lung"] if real else None
    jobs = service.store.counts()["jobs"]
    child = worker._child if worker else None
    now = {"waits": sum(jobs.get(state, 0) for state in ("queued", "running", "retry")), "reading": len(worker._sent) if worker else 0,
           "model": child.pid if child else 0, "service": os.getpid()}
    for name, data in ((NOW, json.dumps(now).encode()), (METRICS, service.engine.metrics.text())):
        part = service.site.folder / f".{name}"
        part.write_bytes(data)
        part.replace(service.site.folder / name)


def site_of(folder: Path, dicom_port: int, pacs_port: int, each: int) -> Any:
    """Results leave by themselves; a series is complete at its count."""
    peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs_port)
    return site_at(folder, dicom_port=dicom_port, quiet_s=600.0, peers=(peer,), routes=(Route(model="lung", instances=each, send_to=("pacs",)),),
                   release="automatic", release_signed_by="test", release_reason="test", limits=Limits(retry_first_s=0.05, retry_last_s=0.5))


def campaign(folder: Path, kills: int, *, seed: int = 0, senders: int = 2, each: int = 4, longest_s: float = 0.1, wait_s: float = 60.0,
             model: Callable[[Path], object] | None = None, longest_min: float = 1e6) -> Outcome:
    """Kill the service ``kills`` times while ``senders`` send series of ``each`` instances, then let it finish and check.

    model: saves a model into a folder; then it is read with for real, and some of the kills are of its process alone. longest_min: no
        more kills after so many minutes.
    """
    chance, begun = random.Random(seed), time.monotonic()
    pacs, enough, real = Pacs(delay_s=PACS_S), threading.Event(), model is not None
    traffic: list[Traffic] = []
    victim = Victim(folder, pacs.port, each, real, {"receive": lambda: any(sender.busy for sender in traffic), "send": lambda: pacs.busy > 0})
    if model is not None:
        model(folder / "model")
    traffic += [Traffic(victim.port, k, each, enough, victim.is_full) for k in range(senders)]
    try:
        victim.start()
        for sender in traffic:
            sender.start()
        while victim.kills < kills and time.monotonic() - begun < 60 * longest_min:
            until(lambda: listens(victim.port), wait_s)
            if real:
                victim.wait(chance)
            else:
                _meanwhile(traffic, chance.randint(0, 3 * each), chance.uniform(0.0, longest_s))
            victim.strike(chance)
        enough.set()
        for sender in traffic:
            sender.join(wait_s)
        series = [name for sender in traffic for name in sender.series]
        faults = _settled(folder, len(series), pacs, WARM_S if real else wait_s)
        victim.end()
        faults += _checked(folder, traffic, pacs, each)
    finally:
        enough.set()
        victim.end()
        pacs.close()
    acked = sum(len(sender.acked) for sender in traffic)
    return Outcome(victim.kills, len(series), acked, sum(sender.tried for sender in traffic) - acked, victim.during, victim.models,
                   round(time.monotonic() - begun, 1), faults)


class Victim:
    """The service that is killed and started again; ``during`` counts what it had on its hands then, ``models`` the kills of its model's process alone.

    moments: whether its peers wait for its answer (``receive``), or it for the PACS's (``send``).
    """

    def __init__(self, folder: Path, pacs_port: int, each: int, real: bool, moments: dict[str, Callable[[], bool]]) -> None:
        self.folder, self.real, self.port = folder, real, free_port()
        self.moments = moments | {"read": lambda: bool(self.now.get("reading")), "idle": lambda: True}
        self.arguments = (str(folder), self.port, pacs_port, each, real)
        self.during: dict[str, int] = {"receive": 0, "read": 0, "send": 0, "idle": 0}
        self.kills, self.models, self._model_last = 0, 0, False

    def start(self) -> None:
        self.process = forking().Process(target=serve, args=self.arguments, daemon=True)
        self.process.start()

    def end(self) -> None:
        self.process.kill()
        self.process.join()

    @property
    def now(self) -> dict[str, Any]:
        """What it said last of what it is at; empty where that was said by one that has been killed."""
        try:
            told: dict[str, Any] = json.loads((self.folder / NOW).read_text())
        except FileNotFoundError:
            return {}
        return told if told["service"] == self.process.pid else {}

    def is_full(self) -> bool:
        """Whether so much waits for a real model that no more should come; nothing is known of one that starts."""
        return self.real and self.now.get("waits", MOST_WAITING) >= MOST_WAITING

    def wait(self, chance: random.Random) -> None:
        """Wait for work of a kind that chance chooses, and a moment more: most of the time a real model's process only starts."""
        kind = chance.choice(["idle", "read", "read", "send", "send", "receive", "receive"])
        deadline = time.monotonic() + WARM_S
        while not self.moments[kind]() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, {"read": 0.3, "send": PACS_S}.get(kind, 0.002)))

    def strike(self, chance: random.Random) -> None:
        """Kill it and start it again, or kill its model's process, which it starts again by itself. (Not that twice in a row: a job that was there both
        times would be set aside as poisoned, as it should.)"""
        doing = [name for name in ("receive", "read", "send") if self.moments[name]()] or ["idle"] if self.real else _doing(self.folder)
        self.kills += 1
        self._model_last = self.real and doing == ["read"] and not self._model_last and chance.random() < 0.5 and self._strike_model()
        if not self._model_last:
            self.end()
        for name in doing:
            self.during[name] += 1
        if not self._model_last:
            self.start()

    def _strike_model(self) -> bool:
        pid = self.now.get("model", 0)
        if pid <= 1:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.models += 1
        return True


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
        "findings are of a part of their series": [item["id"] for item in findings
                                                   if len(store.files_of(item["series_uid"], store.job(item["id"]).upto)) != each],
        "objects are set aside": store.refused(), "jobs are not done": {job.state for job in store.jobs(limit=100_000)} - {"done"},
        "the PACS has not what the findings have": len(pacs.objects) - sum(len(item["files"]["objects"]) for item in findings),
        "findings are without objects": [item["id"] for item in findings if not item["files"]["objects"]], "objects are not sent":
            {item.state for item in store.outgoing()} - {"sent"},
        "results are torn": [path.name for path in (folder / "results").iterdir() if not (path / "finding.json").is_file()],
        "something told names a patient": told_of(folder, store), "the audit trail is broken": store.audit_verify(),
        "files wait in the inbox": list((folder / "inbox").iterdir()),
    }
    store.close()
    return [f"{what}: {value}"[:300] for what, value in broken.items() if value]


def told_of(folder: Path, store: Store, *more: str) -> list[str]:
    """Planted words that the log, the process's output, the metrics or the audit trail hold; `AssertionError` when there is nothing to look through."""
    texts = {path.name: path.read_text("utf-8", "replace") for path in (*(folder / "log").iterdir(), folder / SAID, folder / METRICS) if path.is_file()}
    texts["audit"] = json.dumps([asdict(row) for row in store.audit_rows(0, 1_000_000)])
    assert texts["audit"] != "[]" and any(name.startswith("serve.log") for name in texts) and "vesalius_" in texts.get(METRICS, "vesalius_")
    return [f"{name}: {word}" for name, text in texts.items() for word in (*CANARIES, *more) if word.lower() in text.lower()]
