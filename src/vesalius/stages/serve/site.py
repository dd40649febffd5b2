"""A site: one hospital's service, as read from ``SITE/site.toml`` (absent: defaults, this machine only).

    ae_title = "VESALIUS"
    [models]
    lung = "runs/lung"
    [[peers]]
    name = "pacs"
    ae_title = "PACS"
    host = "10.0.0.2"
    port = 104
    [[routes]]
    model = "lung"
    modality = "CT"
    description = "*chest*"
    send_to = ["pacs"]

Unknown keys, unknown models and unknown peers are refused. Beyond this machine (``host`` not a loopback address) a site has users and TLS, or it does
not start.
"""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from vesalius.errors import OptionError, RunError

FILE = "site.toml"
GIB, MIB = 1 << 30, 1 << 20
AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")]
"""PS3.5 table 6.2-1, AE: at most 16 characters of the default repertoire without backslash and control characters."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Names of models, peers and users become parts of addresses, labels and file names: letters, digits, dot, dash and underscore."""
Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """Frozen; a key that nobody knows is an error, not a silent nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Peer(_Part):
    """Another application entity: a PACS, a workstation.

    dicomweb: base URL of its DICOMweb services; where given, results go there by STOW-RS instead of C-STORE. token_file: a file whose first line is sent
    there as bearer token. commit: ask it for storage commitment (PS3.4 annex J) of what was sent. send: False for one that only sends to us.
    """

    name: Name
    ae_title: AeTitle
    host: str
    port: Port
    tls: bool = False
    dicomweb: str | None = None
    token_file: Path | None = None
    commit: bool = False
    send: bool = True


class Route(_Part):
    """Which series goes to which model and where its results go; the patterns are globs that ignore case, None matches everything.

    instances: the series is complete at this count; else after ``quiet_s`` without a new instance.
    """

    model: Name
    called_ae: str | None = None
    modality: str | None = None
    body_part: str | None = None
    description: str | None = None
    instances: Count | None = None
    send_to: tuple[Name, ...] = ()
    objects: tuple[str, ...] = ("seg", "sr", "sc")

    def matches(self, *, called_ae: str, modality: str, body_part: str, description: str) -> bool:
        """Whether a series with these attributes takes this route.

        >>> Route(model="lung", modality="CT", description="*chest*").matches(called_ae="A", modality="CT", body_part="", description="CT CHEST 1mm")
        True
        """
        pairs = ((self.called_ae, called_ae), (self.modality, modality), (self.body_part, body_part), (self.description, description))
        return all(pattern is None or fnmatch.fnmatchcase(value.strip().lower(), pattern.lower()) for pattern, value in pairs)


class User(_Part):
    """Who may do what: a reader reads and decides, an admin also sees the audit trail, a node (a machine) only delivers and asks.

    token_sha256: SHA-256 of the bearer token (the token itself is kept nowhere). certificate_sha256: fingerprint of a client certificate. expires: seconds
    since 1970 (UTC), or a TOML date-time.
    """

    name: Name
    role: Literal["reader", "admin", "node"] = "reader"
    token_sha256: Sha256 | None = None
    certificate_sha256: Sha256 | None = None
    expires: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _moment(cls, data: Any) -> Any:
        """A date-time of the file becomes seconds; one without a zone is meant in the zone of the machine."""
        if isinstance(data, Mapping) and hasattr(data.get("expires"), "timestamp"):
            return {**data, "expires": data["expires"].timestamp()}
        return data


class Tls(_Part):
    """PEM files. With ``ca`` every caller shows a certificate signed by it (mutual TLS)."""

    certificate: Path
    key: Path
    ca: Path | None = None


class Limits(_Part):
    """What a sender may ask of us. Bytes, counts, pixels, seconds; more is refused with a reason.

    ``refused_bytes`` and ``refused_files`` bound what is kept of refused objects; the oldest go first.
    """

    max_object_bytes: Count = 2 * GIB
    max_request_bytes: Count = GIB
    max_files: Count = 5000
    max_elements: Count = 20_000
    max_depth: Count = 16
    max_pixels: Count = 2_000_000_000
    inflate_bytes: Count = 64 * MIB
    requests_per_minute: Count = 600
    max_associations: Count = 32
    queue: Count = 256
    refused_bytes: Count = 10 * GIB
    refused_files: Count = 10_000
    tries: Count = 5
    job_timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    network_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    retry_first_s: Annotated[float, Field(gt=0)] = 2.0
    retry_last_s: Annotated[float, Field(gt=0)] = 300.0


class Site(_Part):
    """Everything that one service is told; see the module's text for the file.

    A port of 0 takes any free one. release ``"automatic"``: results leave without a person, which the site signs for by name and reason. known_peers_only:
    associations from AE titles that are no peer are rejected. database: a SQLAlchemy URL; SQLite in the folder when left out.
    """

    folder: Path
    models: dict[Name, Path]
    host: str = "127.0.0.1"
    http_port: Port = 8080
    dicom_port: Port = 11112
    ae_title: AeTitle = "VESALIUS"
    peers: tuple[Peer, ...] = ()
    routes: tuple[Route, ...] = ()
    quiet_s: Annotated[float, Field(ge=0)] = 10.0
    release: Literal["person", "automatic"] = "person"
    release_signed_by: str | None = None
    release_reason: str | None = None
    known_peers_only: bool = False
    users: tuple[User, ...] = ()
    tls: Tls | None = None
    limits: Limits = Limits()
    database: str | None = None
    lang: Literal["en", "zh"] = "en"

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database or f"sqlite:///{self.folder / 'vesalius.db'}"

    @property
    def loopback(self) -> bool:
        """Whether the service can be reached from this machine only."""
        return is_loopback(self.host)

    def peer(self, name: str) -> Peer:
        """The peer of that name; `OptionError` when there is none."""
        found = next((peer for peer in self.peers if peer.name == name), None)
        if found is None:
            raise OptionError(f"unknown peer '{name}'", expected=_listed(peer.name for peer in self.peers), do=f"add it to [[peers]] in {FILE}")
        return found

    def all_routes(self) -> tuple[Route, ...]:
        """The routes of the file; without any, a site with one model gives it every series."""
        if self.routes or len(self.models) != 1:
            return self.routes
        return (Route(model=next(iter(self.models)), send_to=tuple(peer.name for peer in self.peers if peer.send)),)


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine only.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.2", "pacs")]
    [True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_site(folder: Path | str, models: Mapping[str, Path] | Iterable[Path | str] = (), **overrides: Any) -> Site:
    """The site of ``folder``: its file, the models given on the command line, and further settings that replace the file's.

    Parameters
    ----------
    folder: state folder; it need not exist yet. models: by name, or folders named after themselves; added to those of the file. overrides: fields of
        `Site`; None leaves the file's.

    Raises
    ------
    RunError: the file cannot be read or is no TOML. OptionError: an unknown key, an impossible value, no model, a route to an unknown model or peer, or a
    host beyond this machine without users and TLS.
    """
    folder = Path(folder)
    data = _read(folder / FILE)
    data["models"] = _models(folder, data.get("models", {}), models)
    data |= {key: value for key, value in overrides.items() if value is not None}
    site = _validated(folder, data)
    _check_names(site)
    _check_release(site)
    _check_exposure(site)
    return site


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError("the site's configuration cannot be read", where=path, got=error.strerror, do="look at its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError("the site's configuration is no TOML", where=path, got=str(error), do="mend that line") from error


def _models(folder: Path, named: Any, given: Mapping[str, Path] | Iterable[Path | str]) -> dict[str, Path]:
    """Folders of the file are relative to the site; those of the command line to the working directory."""
    if not isinstance(named, Mapping):
        raise OptionError("[models] is not a table", where=folder / FILE, expected='lines like lung = "runs/lung"', got=type(named).__name__)
    found = {str(name): folder / Path(str(path)) for name, path in named.items()}
    pairs = given.items() if isinstance(given, Mapping) else ((_name_of(Path(path)), path) for path in given)
    for name, path in pairs:
        if name in found and found[name].resolve() != Path(path).resolve():
            raise OptionError(f"two models are called '{name}'", do=f"name them in [models] of {folder / FILE}")
        found[name] = Path(path)
    return found


def _name_of(path: Path) -> str:
    """A run folder's own name; what a name may not hold becomes a dash.

    >>> _name_of(Path("runs/my lung"))
    'my-lung'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-._")[:64] or "model"


def _validated(folder: Path, data: dict[str, Any]) -> Site:
    try:
        return Site(folder=folder, **{key: value for key, value in data.items() if key != "folder"})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _known(first["loc"]), n=1)
            raise OptionError(f"unknown setting '{place}'", where=folder / FILE, expected=near[0] if near else None, do="remove or correct it") from error
        raise OptionError(f"the setting '{place}' cannot be used", where=folder / FILE, expected=first["msg"], got=repr(first["input"])[:80],
                          do="correct it") from error


def _known(place: tuple[int | str, ...]) -> list[str]:
    parts: dict[str, type[_Part]] = {"peers": Peer, "routes": Route, "users": User, "tls": Tls, "limits": Limits}
    return list((parts.get(str(place[0]), Site) if len(place) > 1 else Site).model_fields)


def _check_names(site: Site) -> None:
    where = site.folder / FILE
    if not site.models:
        raise OptionError("the site has no model", where=where, expected="a run folder", do="give one: vesalius serve RUN, or name it in [models]")
    for route in site.routes:
        if route.model not in site.models:
            raise OptionError(f"a route leads to the unknown model '{route.model}'", where=where, expected=_listed(site.models), do="correct [[routes]]")
        for name in route.send_to:
            site.peer(name)
    for kind, names in (("peer", [peer.name for peer in site.peers]), ("user", [user.name for user in site.users])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OptionError(f"two {kind}s are called '{twice[0]}'", where=where, do="give each its own name")


def _check_release(site: Site) -> None:
    if site.release == "automatic" and not (site.release_signed_by and site.release_reason):
        raise OptionError("results would leave without a doctor and nobody signs for it", where=site.folder / FILE,
                          expected="release_signed_by and release_reason", do="write who decides this and why, or set release = \"person\"")


def _check_exposure(site: Site) -> None:
    if site.loopback:
        return
    lacking = [name for name, value in (("[[users]]", site.users), ("[tls]", site.tls)) if not value]
    if lacking:
        raise OptionError(f"host {site.host} can be reached from other machines", where=site.folder / FILE, expected="users and TLS",
                          got=f"no {' and no '.join(lacking)}", do="add them, or serve on 127.0.0.1")


def _listed(names: Iterable[str]) -> str:
    return f"one of {', '.join(sorted(names)) or '(none)'}"
