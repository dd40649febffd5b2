"""DICOM over mutual TLS: who shows a certificate of the hospital's authority is heard, nobody else; and we show ours."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.serve.clinicnode import calling, in_memory, instance, serving, site_at, until
from vesalius.errors import RunError
from vesalius.stages.serve.node import scu
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Peer, Site, Tls

OPENSSL = shutil.which("openssl")
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@pytest.fixture(scope="module")
def papers() -> Iterator[Path]:
    """An authority, a certificate of it for this machine, and one of an authority that nobody knows."""
    if OPENSSL is None:
        pytest.skip("the program openssl is not here")
    with in_memory() as folder:

        def run(*words: str) -> None:
            subprocess.run([str(OPENSSL), *words], cwd=folder, check=True, capture_output=True)

        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1")
        for name in ("ca", "other"):
            run("req", "-x509", *EC, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
        for name, signer in (("ours", "ca"), ("eve", "other")):
            run("req", *EC, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "2",
                "-extfile", "ext")
        yield folder


def tls(papers: Path, name: str) -> Tls:
    return Tls(certificate=papers / f"{name}.pem", key=papers / f"{name}.key", ca=papers / "ca.pem")


@pytest.fixture(scope="module")
def node(papers: Path) -> Iterator[Service]:
    with in_memory() as folder, serving(folder / "site", tls=tls(papers, "ours")) as service:
        yield service


def caller(folder: Path, papers: Path, name: str) -> Site:
    return site_at(folder / name, tls=tls(papers, name), limits={"network_timeout_s": 5.0})


def test_a_known_certificate_is_heard(node: Service, papers: Path, tmp_path: Path) -> None:
    peer = Peer(name="us", ae_title="VESALIUS", host="127.0.0.1", port=node.scp.port, tls=True)
    assert scu.echo(caller(tmp_path, papers, "ours"), peer)
    instance(1).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert [sent.status for sent in scu.send(caller(tmp_path, papers, "ours"), peer, [tmp_path / "a.dcm"])] == [0]
    until(lambda: node.store.have(["1.2.3.1"]))


def test_a_stranger_and_a_plain_caller_are_not(node: Service, papers: Path, tmp_path: Path) -> None:
    peer = Peer(name="us", ae_title="VESALIUS", host="127.0.0.1", port=node.scp.port, tls=True)
    with pytest.raises(RunError, match="the peer 'us' cannot be reached"):
        scu.echo(caller(tmp_path, papers, "eve"), peer)
    with calling(node.scp.port) as assoc:
        assert not assoc.is_established
    assert scu.echo(caller(tmp_path, papers, "ours"), peer)


def test_a_silent_caller_keeps_nobody_out(node: Service, papers: Path, tmp_path: Path) -> None:
    peer = Peer(name="us", ae_title="VESALIUS", host="127.0.0.1", port=node.scp.port, tls=True)
    with socket.create_connection(("127.0.0.1", node.scp.port)):
        assert scu.echo(caller(tmp_path, papers, "ours"), peer)
