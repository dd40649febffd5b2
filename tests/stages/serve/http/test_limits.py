"""Limits: lengths before a byte is read, chunked bodies counted, too many requests and files; the audit trail that cannot be written stops the answer."""

import socket

import pytest

from vesalius.errors import RunError
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.limits import Rate
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.http.server import Server
from vesalius.stages.serve.site import Limits

from .conftest import asking, related, signed, site_at_work, user


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    limits = Limits(max_request_bytes=50_000, max_object_bytes=20_000, max_files=3)
    with site_at_work(tmp_path_factory.mktemp("small"), limits=limits) as service:
        yield service


@pytest.fixture(scope="module")
def server(small):
    made = Server(make_app(small), small.site)
    made.start()
    yield made
    made.stop(2.0)


def said(server: Server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(data)
        came = b""
        while b"\r\n\r\n" not in came or b"}" not in came:
            block = line.recv(65536)
            if not block:
                break
            came += block
        return came


def test_four_gigabytes_are_refused_before_a_byte_is_read(server):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: image/png\r\nContent-Length: {4 * 2**30}\r\n\r\n"
    came = said(server, head.encode())
    assert came.startswith(b"HTTP/1.1 413") and b"connection: close" in came.lower()
    assert b'"expected":"at most 50,000 bytes","got":"4,294,967,296 bytes"' in came


def test_a_chunked_body_is_counted(server):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    came = said(server, head.encode() + b"2710\r\n" + b"x" * 10_000 + b"\r\n" + b"c350\r\n" + b"y" * 50_000 + b"\r\n0\r\n\r\n")
    assert came.startswith(b"HTTP/1.1 413") and b"at most" in came


def test_a_file_too_large_and_too_many_files_are_refused_and_nothing_is_left(small):
    with asking(small) as client:
        answer = client.post("/v1/predict", files={"files": ("a.png", b"x" * 30_000)})
        assert answer.status_code == 413 and answer.json()["expected"] == "at most 20,000 bytes"
        answer = client.post("/v1/predict", files=[("files", (f"{i}.png", b"x")) for i in range(4)])
        assert answer.status_code == 413 and answer.json()["detail"] == "there are too many files in one request"
        body, headers = related(*[b"x"] * 4)
        assert client.post("/dicom-web/studies", content=body, headers=headers).status_code == 413
    assert list((small.site.folder / "uploads").iterdir()) == []


def test_broken_lengths_and_multiparts_are_told(small):
    with asking(small) as client:
        assert client.post("/v1/predict", content=b"", headers={"Content-Length": "-4"}).status_code == 400
        for kind in ("multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 80}"):
            answer = client.post("/v1/predict", content=b"abc", headers={"Content-Type": kind})
            assert answer.status_code == 400 and "no usable boundary" in answer.json()["detail"], kind
        answer = client.post("/v1/predict", content=b"no parts here", headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 400 and "broken" in answer.json()["detail"]
        part = b"--b\r\nContent-Disposition: form-data; " + b"x" * 9000 + b"\r\n\r\n\r\n--b--\r\n"
        answer = client.post("/v1/predict", content=part, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 400 and "broken" in answer.json()["detail"]


def test_a_bucket_empties_and_fills():
    now = [0.0]
    rate = Rate(6, lambda: now[0])
    for _ in range(6):
        rate.take("a")
    with pytest.raises(Refused) as told:
        rate.take("a")
    assert told.value.status_code == 429 and told.value.headers == {"Retry-After": "10"}
    rate.take("b")
    now[0] = 10.0
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_too_many_requests_and_too_many_guesses(tmp_path):
    with site_at_work(tmp_path, users=(user("ada", "reader"),), limits=Limits(requests_per_minute=5)) as service, asking(service) as client:
        answers = [client.get("/v1/jobs", headers=signed("ada")) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] and int(answers[-1].headers["Retry-After"]) >= 1
        guesses = [client.get("/v1/jobs", headers={"Authorization": f"Bearer {i}"}).status_code for i in range(6)]
        assert guesses == [401] * 5 + [429]


def test_what_cannot_be_recorded_is_not_answered(tmp_path, monkeypatch):
    with site_at_work(tmp_path) as service, asking(service) as client:
        def refuse(rows):
            raise RunError("the database could not be written", do="look at the disk")

        monkeypatch.setattr(service.store, "audit_all", refuse)
        answer = client.get("/v1/models")
        assert answer.status_code == 503 and answer.json()["detail"] == "the database could not be written" and "films" not in answer.text
        monkeypatch.undo()
        assert client.get("/v1/models").status_code == 200
