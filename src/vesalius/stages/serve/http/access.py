"""Who asks, and whether he may: bearer tokens, client certificates, roles.

Without users a site serves this machine only, and whoever is on it is its administrator. Then a page of another origin in the same browser could ask
too: a request whose ``Host`` is no loopback name, or whose ``Origin`` is another, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.site import Site, User, is_loopback

LOCAL = User(name="local", role="admin")
"""Everybody, on a machine whose site has no users."""
CERTIFICATE = "certificate_sha256"
"""Key of ``scope["state"]`` under which the server keeps the fingerprint of the caller's certificate."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="vesalius"'}


class Access:
    """Finds the user of a request.

    Parameters
    ----------
    site: its users. clock: seconds since 1970.
    """

    def __init__(self, site: Site, clock: Callable[[], float] = time.time) -> None:
        self.users, self.clock = site.users, clock

    def user(self, scope: Mapping[str, Any]) -> User:
        """Who asks.

        Raises
        ------
        Refused: 401, nobody whom the site knows, or a token that has expired; 403, a page of another origin.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self.users:
            _same_origin(headers)
            return LOCAL
        found = self._by_token(headers.get("authorization", "")) or self._by_certificate(scope.get("state", {}).get(CERTIFICATE))
        if found is None:
            raise Refused(401, "the site does not know who asks", expected="Authorization: Bearer TOKEN, or a client certificate of a user",
                          got="none, or one that no user has", do="ask whoever looks after the site for a token", headers=CHALLENGE)
        if found.expires is not None and found.expires <= self.clock():
            raise Refused(401, "the token or certificate has expired", expected="one that is valid now", got=f"one that ended {_day(found.expires)}",
                          do="ask whoever looks after the site for a new one", headers=CHALLENGE)
        return found

    def _by_token(self, header: str) -> User | None:
        """The user of a bearer token. All users are compared, each in constant time, so that time tells nothing."""
        scheme, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest() if scheme.lower() == "bearer" and token.strip() else ""
        return self._alike("token_sha256", digest)

    def _by_certificate(self, digest: str | None) -> User | None:
        return self._alike("certificate_sha256", digest or "")

    def _alike(self, name: str, digest: str) -> User | None:
        found = None
        for user in self.users:
            if hmac.compare_digest(getattr(user, name) or "-", digest or ""):
                found = user
        return found


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def _same_origin(headers: Mapping[str, str]) -> None:
    host = headers.get("host", "")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        raise Refused(403, "this service answers on this machine only", expected="a request to 127.0.0.1 or localhost", got=host[:80])
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Refused(403, "a page of another origin may not ask", expected=host, got=origin[:80])


def who(request: Request) -> User:
    """The user of the request, as the gate found it; a dependency of routes."""
    found: User = request.state.user
    return found


def needs(*roles: str) -> Any:
    """A dependency that refuses (403) a user of another role; an admin may do everything.

    roles: of ``reader``, ``admin``, ``node``.
    """

    def check(request: Request) -> User:
        user = who(request)
        if user.role != "admin" and user.role not in roles:
            raise Refused(403, f"a user of the role '{user.role}' may not do this", expected=f"the role {' or '.join(dict.fromkeys((*roles, 'admin')))}")
        return user

    return Depends(check)
