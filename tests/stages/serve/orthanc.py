"""The real PACS for tests: Orthanc with its DICOMweb plugin, in memory, on free ports of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.serve.clinicnode import until
from stages.serve.clinictraffic import free_port

PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"))
PLUGIN = "libOrthancDicomWeb.so"


@dataclass(frozen=True)
class Orthanc:
    """Where it listens."""

    http: int
    dicom: int

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def rest(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Its own REST interface."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def answers(self) -> bool:
        try:
            return bool(self.rest("/system"))
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def running(folder: Path, node_port: int, node_title: str = "VESALIUS") -> Iterator[Orthanc]:
    """Orthanc that knows our node; the test is skipped where the program or its plugin is missing."""
    program = shutil.which("Orthanc") or shutil.which("orthanc")
    plugin = next((path / PLUGIN for path in PLUGINS if (path / PLUGIN).is_file()), None)
    if program is None or plugin is None:
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    made = Orthanc(free_port(), free_port())
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "pacs"), "IndexDirectory": str(folder / "pacs"), "HttpPort": made.http, "DicomPort": made.dicom,
        "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "HttpServerEnabled": True,
        "DicomModalities": {"vesalius": {"AET": node_title, "Host": "127.0.0.1", "Port": node_port}}, "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False}, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowFind": True, "ConcurrentJobs": 1,
    }
    (folder / "pacs").mkdir(parents=True)
    (folder / "orthanc.json").write_text(json.dumps(settings), "utf-8")
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: process.poll() is not None or made.answers(), 40.0)
            if process.poll() is not None:
                raise AssertionError((folder / "orthanc.log").read_text("utf-8", "replace")[-2000:])
            yield made
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
