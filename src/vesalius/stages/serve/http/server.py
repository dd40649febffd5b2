"""The application behind uvicorn: TLS, client certificates, and an end that lets requests finish."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vesalius.errors import RunError
from vesalius.stages.serve.http.access import CERTIFICATE
from vesalius.stages.serve.site import Site

START_S = 30.0
BACKLOG = 2048
MOST_CONNECTIONS = 2000
"""More at a time are answered 503 at once."""


class Certified(HttpToolsProtocol):
    """A connection that knows the fingerprint (SHA-256 of the DER form) of the certificate that its caller has shown."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the fingerprint where every request of this connection finds it."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        if shown:
            self.app_state = {**self.app_state, CERTIFICATE: hashlib.sha256(shown).hexdigest()}


class Server:
    """One site's HTTP server in a thread of its own.

    Parameters
    ----------
    app: see `make_app`. site: address, port (0: any free one) and TLS.

    Attributes
    ----------
    port: that it listens on.

    Raises
    ------
    RunError: the address is taken, or the certificate, its key or the authority cannot be read.
    """

    def __init__(self, app: FastAPI, site: Site) -> None:
        self.site = site
        config = _config(app, site)
        self._socket = _bound(site)
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        host = f"[{self.site.host}]" if ":" in self.site.host else self.site.host
        return f"{'https' if self.site.tls else 'http'}://{host}:{self.port}"

    def start(self) -> None:
        """Return when it takes requests.

        Raises
        ------
        RunError: it ended before that.
        """
        self._thread.start()
        for _ in range(int(START_S / 0.01)):
            if self._server.started or self._ended.wait(0.01):
                break
        if not self._server.started:
            raise RunError("the HTTP server did not start", where=self.url, do="look at the certificate and the address")

    def stop(self, grace_s: float = 30.0) -> None:
        """Take no new connection, let requests finish for so many seconds, end."""
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(grace_s + 5.0)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()


def _bound(site: Site) -> socket.socket:
    family = socket.AF_INET6 if ":" in site.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((site.host, site.http_port))
    except OSError as error:
        made.close()
        raise RunError("the address cannot be listened on", where=f"{site.host}:{site.http_port}", got=error.strerror,
                       do="choose another http_port, or end what listens there") from error
    made.listen(BACKLOG)
    return made


def _config(app: FastAPI, site: Site) -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if site.tls is not None:
        tls = {"ssl_certfile": str(site.tls.certificate), "ssl_keyfile": str(site.tls.key)}
        if site.tls.ca is not None:
            tls |= {"ssl_ca_certs": str(site.tls.ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    made = uvicorn.Config(app, http=Certified, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none",
                          limit_concurrency=MOST_CONNECTIONS, **tls)
    try:
        made.load()
    except OSError as error:  # ssl.SSLError is one
        raise RunError("the certificates of the site cannot be used", got=type(error).__name__, expected="PEM files: certificate, key, ca",
                       do="look at [tls] of the site") from error
    return made
