"""STOW-RS as a client: what a server's answer means, and what is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stages.serve.clinicnode import instance, site_at
from vesalius.errors import OptionError, RunError
from vesalius.stages.serve.node.stow import stow
from vesalius.stages.serve.site import Peer


@pytest.fixture
def server() -> Iterator[Any]:
    """Keeps what it is sent and answers with ``server.status``."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.kept.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.kept, made.status = [], 200
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    instance(1).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    return tmp_path / "a.dcm"


def peer(server: Any, **more: Any) -> Peer:
    return Peer(**({"name": "web", "ae_title": "WEB", "host": "127.0.0.1", "port": 1, "dicomweb": f"http://127.0.0.1:{server.server_port}/dw/"} | more))


def test_one_part_with_the_bytes_of_the_file(server: Any, stored: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n", "utf-8")
    assert stow(site_at(tmp_path), peer(server, token_file=tmp_path / "token"), stored).taken
    ((path, headers, body),) = server.kept
    assert path == "/dw/studies" and headers["Authorization"] == "Bearer secret"
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    assert body == b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + stored.read_bytes() + b"\r\n--" + boundary + b"--\r\n"


@pytest.mark.parametrize(("answer", "taken", "status"), [(202, True, 0), (409, False, 409), (401, False, 401), (429, False, None), (503, False, None)])
def test_what_an_answer_means(server: Any, stored: Path, tmp_path: Path, answer: int, taken: bool, status: int | None) -> None:
    server.status = answer
    sent = stow(site_at(tmp_path), peer(server), stored)
    assert (sent.taken, sent.status) == (taken, status)


def test_what_cannot_be_sent_is_told(server: Any, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the peer 'web' has no usable dicomweb URL"):
        stow(site_at(tmp_path), peer(server, dicomweb="ftp://127.0.0.1/x"), stored)
    with pytest.raises(RunError, match="the token for the peer 'web' cannot be read"):
        stow(site_at(tmp_path), peer(server, token_file=tmp_path / "absent"), stored)
