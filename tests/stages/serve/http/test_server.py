"""A real server: TLS, client certificates, an end that lets requests finish, a taken port."""

import shutil
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving import until
from vesalius.errors import RunError
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.server import Server
from vesalius.stages.serve.site import Site, Tls, User

from .conftest import signed, site_at_work, user

OPENSSL = shutil.which("openssl")


@dataclass
class Papers:
    """An authority, and what it signed."""

    folder: Path

    def make(self) -> None:
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority", "-days", "2")
        for name, more in (("server", "subjectAltName=IP:127.0.0.1"), ("ada", "extendedKeyUsage=clientAuth"), ("eve", "extendedKeyUsage=clientAuth")):
            (self.folder / "ext").write_text(more)
            self._run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "2",
                      "-extfile", "ext")

    def _run(self, *words: str) -> None:
        subprocess.run([str(OPENSSL), *words], cwd=self.folder, check=True, capture_output=True)

    def print_of(self, name: str) -> str:
        import hashlib

        return hashlib.sha256(ssl.PEM_cert_to_DER_cert((self.folder / f"{name}.pem").read_text())).hexdigest()

    def context(self, name: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name:
            made.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return made


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Papers:
    if OPENSSL is None:
        pytest.skip("the program openssl is not here")
    made = Papers(tmp_path_factory.mktemp("papers"))
    made.make()
    return made


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_and_client_certificates(papers, tmp_path, mutual):
    tls = Tls(certificate=papers.folder / "server.pem", key=papers.folder / "server.key", ca=papers.folder / "ca.pem" if mutual else None)
    users = (User(name="ada", certificate_sha256=papers.print_of("ada")), user("root", "admin"))
    with site_at_work(tmp_path, tls=tls, users=users) as service:
        server = Server(make_app(service), service.site)
        server.start()
        try:
            jobs = f"{server.url}/v1/jobs"
            assert server.url.startswith("https://")
            if not mutual:
                assert httpx.get(jobs, verify=papers.context(None), headers=signed("root")).status_code == 200
                assert httpx.get(jobs, verify=papers.context(None)).status_code == 401
                return
            assert httpx.get(jobs, verify=papers.context("ada")).status_code == 200
            assert httpx.get(jobs, verify=papers.context("eve")).status_code == 401  # signed by the authority, yet no user of this site
            with pytest.raises(httpx.TransportError):
                httpx.get(jobs, verify=papers.context(None))
            assert {row.user for row in service.store.audit_rows()} >= {"ada", "-"}
        finally:
            server.stop(2.0)


def test_going_down_finishes_what_is_under_way(tmp_path):
    with site_at_work(tmp_path) as service:
        server = Server(make_app(service), service.site)
        server.start()
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{server.url}/v1/predict", content=b"sleep 0.8", timeout=20).status_code))
        asking.start()
        until(lambda: service.engine.workers["films"].held)
        server.stop(10.0)
        asking.join(20)
        assert answers == [200]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health/live", timeout=2)


def test_a_taken_port_is_told(tmp_path):
    with site_at_work(tmp_path) as service:
        server = Server(make_app(service), service.site)
        server.start()
        try:
            with pytest.raises(RunError, match="the address cannot be listened on .*choose another http_port"):
                Server(make_app(service), Site(folder=tmp_path, models={"m": tmp_path}, http_port=server.port))
        finally:
            server.stop(1.0)


def test_a_certificate_that_is_none_is_told(tmp_path):
    with site_at_work(tmp_path) as service:
        (tmp_path / "no.pem").write_text("nothing")
        site = Site(folder=tmp_path, models={"m": tmp_path}, http_port=0, tls=Tls(certificate=tmp_path / "no.pem", key=tmp_path / "no.pem"))
        with pytest.raises(RunError, match="certificates of the site cannot be used: expected PEM files"):
            Server(make_app(service), site)
