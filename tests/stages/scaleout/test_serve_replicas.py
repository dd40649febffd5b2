"""``vesalius serve --replicas 2`` as a user starts it: HTTP and C-STORE before a local Ray cluster, and nothing is left of it afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest

from stages.serve.clinicnode import deliver, until
from stages.serve.clinicstandins import film, picture, small_model
from stages.serve.test_serve_verb import Running
from vesalius.mapping import Mapping
from vesalius.stages.serve.reading import read_series

pytest.importorskip("ray", reason="Ray (the extra 'ray') is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.alone]
MARK = f"VESALIUS_TEST_{uuid.uuid4().hex[:8].upper()}"
GRACE_S = 60.0


def ours() -> list[psutil.Process]:
    """Every process that was started by the program, or by what it started: they inherit its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if MARK in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or is another user's
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    small_model(folder / "films")
    (folder / "site.toml").write_text('quiet_s = 0.5\n[models]\nfilms = "films"\n', "utf-8")
    return folder


@pytest.fixture
def running(site: Path) -> Iterator[Running]:
    words = [sys.executable, "-c", "from vesalius.cli import main; main()", "serve", "--folder", str(site), "--http-port", "0", "--dicom-port", "0",
             "--replicas", "2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", MARK: "1"})
    made = Running(process)
    threading.Thread(target=made.listen, daemon=True).start()
    try:
        yield made
    finally:
        for each in ours():
            each.kill()
        process.wait()


def predicted(running: Running, image: Path) -> dict[str, Any]:
    """The answer to ``POST /v1/predict``."""
    body = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a"\r\nContent-Type: application/dicom\r\n\r\n' + image.read_bytes()
    port = running.port(r"http://127.0.0.1:([0-9]+)")
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", body + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        made: dict[str, Any] = json.loads(answer.read())
    return made


def ready(running: Running) -> bool:
    try:
        return bool(running.asked("/health/ready"))
    except OSError:
        assert running.process.poll() is None, running.said
        return False


def test_findings_are_those_of_one_process_and_nothing_is_left_behind(running: Running, site: Path, tmp_path: Path) -> None:
    images = [film(tmp_path / f"{i}.dcm", patient=f"P{i}", image=picture(i, (40 + 8 * i, 40))) for i in range(4)]
    mapping = Mapping.load(site / "films")
    wanted = [read_series(mapping, [image], tmp_path / f"out{i}", name="films", objects=()) for i, image in enumerate(images)]
    assert len({json.dumps(each["scores"]) for each in wanted}) == 4
    until(lambda: ready(running), 240.0)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda image: predicted(running, image), images))
    for said, want in zip(answers, wanted, strict=True):
        assert said["scores"] == pytest.approx(want["scores"], abs=1e-5) and said["label"] == want["label"]
        assert (said["refused"], said["model"]) == (want["refused"], want["model"])
    item = pydicom.dcmread(images[2])
    node = running.port(r"DICOM node: VESALIUS on 127.0.0.1:([0-9]+)")
    assert deliver(node, [item], contexts=[str(item.SOPClassUID)]) == [0]
    rows = until(lambda: running.asked("/v1/worklist")["rows"], 60.0)
    kept = running.asked(f"/v1/findings/{rows[0]['id']}")
    assert kept["scores"] == pytest.approx(wanted[2]["scores"], abs=1e-5) and kept["patient"]["id"] == "P2"
    assert (site / "results" / rows[0]["id"] / "finding.json").is_file()
    assert len(ours()) > 3  # the service, two replicas, and what Ray needs
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(GRACE_S) == 0, running.said
    until(lambda: not ours(), 15.0)
    assert re.search("Traceback", running.said) is None
