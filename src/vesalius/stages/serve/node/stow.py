"""STOW-RS as a client (PS3.18 10.5): one instance a request, so that each has its own answer."""

from __future__ import annotations

import http.client
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from vesalius.errors import OptionError, RunError
from vesalius.stages.serve.node.scu import Sent, tls_of
from vesalius.stages.serve.site import Peer, Site

TAKEN, OVERLOADED = (200, 202), (408, 425, 429)
BLOCK = 1 << 20


def stow(site: Site, peer: Peer, path: Path) -> Sent:
    """Send one file to the peer's DICOMweb service.

    ``status`` of the answer is 0 where it was taken, None where it may be tried again (overload, a server's error), else the HTTP status.

    Raises
    ------
    OptionError: the peer's URL is none of http or https. RunError: the peer cannot be reached.
    """
    url = urlsplit(f"{(peer.dicomweb or '').rstrip('/')}/studies")
    boundary = f"vesalius-{secrets.token_hex(12)}"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', "Accept": "application/dicom+json",
               "Content-Length": str(len(head) + path.stat().st_size + len(tail))} | _authorization(peer)
    connection = _connection(site, peer, url.scheme, url.hostname or "", url.port)
    try:
        connection.request("POST", url.path, body=_body(head, path, tail), headers=headers)
        answer = connection.getresponse()
        answer.read(BLOCK)
        return _judged(path, answer.status)
    except (OSError, http.client.HTTPException) as error:
        raise RunError(f"the peer '{peer.name}' cannot be reached", got=type(error).__name__, do="look at its dicomweb URL and whether it runs") from error
    finally:
        connection.close()


def _connection(site: Site, peer: Peer, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    timeout = site.limits.network_timeout_s
    if scheme == "http" and host:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    if scheme == "https" and host:
        context: ssl.SSLContext = tls_of(site)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    raise OptionError(f"the peer '{peer.name}' has no usable dicomweb URL", expected="http://... or https://...", do="correct it in [[peers]]")


def _authorization(peer: Peer) -> dict[str, str]:
    """The bearer token of the peer's file, if any."""
    if peer.token_file is None:
        return {}
    try:
        token = peer.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise RunError(f"the token for the peer '{peer.name}' cannot be read", where=peer.token_file, got=error.strerror, do="correct token_file") from error
    return {"Authorization": f"Bearer {token}"}


def _body(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block
    yield tail


def _judged(path: Path, status: int) -> Sent:
    if status in TAKEN:
        return Sent(path, 0)
    if status in OVERLOADED or status >= 500:
        return Sent(path, None, f"HTTP {status}")
    return Sent(path, status, f"HTTP {status}")
