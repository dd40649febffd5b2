"""``vesalius serve`` as a user starts it: a series comes in, its finding is in the worklist, an accepted one leaves, nothing private is in any log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest

from stages.serve.clinicnode import Pacs, deliver, until
from stages.serve.clinicstandins import film, small_model

pytestmark = [pytest.mark.slow, pytest.mark.alone]
CANARIES = ("KANARIENVOGEL", "PID4711", "ACC4712", "19330417")
TOLD = ("/metrics", "/v1/audit?limit=1000", "/v1/models", "/health/live", "/health/ready")


@dataclass
class Running:
    """The program, what it said, and where it listens."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def port(self, pattern: str) -> int:
        found = until(lambda: re.search(pattern, self.said) or self.process.poll() is not None, 120.0)
        assert not isinstance(found, bool), self.said
        return int(found[1])

    def asked(self, path: str, body: Any = None) -> Any:
        return json.loads(self.text(path, body))

    def text(self, path: str, body: Any = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port(r'http://127.0.0.1:([0-9]+)')}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read(), "utf-8")


@pytest.fixture(scope="module")
def pacs() -> Iterator[Pacs]:
    made = Pacs()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pacs: Pacs) -> Path:
    folder = tmp_path_factory.mktemp("site")
    small_model(folder / "films")
    (folder / "site.toml").write_text(
        f'quiet_s = 0.5\n[models]\nfilms = "films"\n[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n', "utf-8")
    return folder


@pytest.fixture(scope="module")
def running(site: Path) -> Iterator[Running]:
    code = "from vesalius.cli import main; main()"
    words = [sys.executable, "-c", code, "serve", "--folder", str(site), "--http-port", "0", "--dicom-port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"})
    made = Running(process)
    threading.Thread(target=made.listen, daemon=True).start()
    try:
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_from_the_modality_to_the_doctor_to_the_pacs(running: Running, site: Path, pacs: Pacs, tmp_path: Path) -> None:
    item = pydicom.dcmread(film(tmp_path / "a.dcm", patient=CANARIES[1], name=f"{CANARIES[0]}^X", AccessionNumber=CANARIES[2],
                                PatientBirthDate=CANARIES[3]))
    assert deliver(running.port(r"DICOM node: VESALIUS on 127.0.0.1:([0-9]+)"), [item], contexts=[str(item.SOPClassUID)]) == [0]
    until(lambda: running.asked("/health/ready") if _ready(running) else None, 120.0)
    rows = until(lambda: _rows(running), 120.0)
    assert rows[0]["state"] == "pending" and rows[0]["patient"]["id"] == CANARIES[1] and pacs.deliveries == {}
    document = running.asked(f"/v1/findings/{rows[0]['id']}")
    assert document["probability"] is not None or document["refused"]
    running.asked(f"/v1/findings/{rows[0]['id']}/decision", {"action": "accept", "comment": "seen"})
    until(lambda: pacs.objects, 60.0)
    assert all(made.PatientID == CANARIES[1] and made.StudyInstanceUID == item.StudyInstanceUID for made in pacs.objects.values())
    told = {path: running.text(path) for path in TOLD}
    assert "vesalius_jobs_total" in told["/metrics"] and "received" in told["/v1/audit?limit=1000"]
    assert [f"{path}: {word}" for path, text in told.items() for word in CANARIES if word.lower() in text.lower()] == []


def test_it_stops_in_order_and_no_log_names_the_patient(running: Running, site: Path) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert "Research use: a doctor decides." in running.said
    logs = "".join(path.read_text("utf-8") for path in (site / "log").iterdir()) + running.said
    assert [word for word in CANARIES if word.lower() in logs.lower()] == []


def _ready(running: Running) -> bool:
    try:
        return bool(running.asked("/health/ready"))
    except OSError:
        return False


def _rows(running: Running) -> list[dict[str, Any]]:
    told = running.asked("/v1/worklist")
    rows: list[dict[str, Any]] = told if isinstance(told, list) else next(value for value in told.values() if isinstance(value, list))
    return rows
