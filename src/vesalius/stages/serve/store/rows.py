"""What the store gives and takes: frozen rows, no open connection behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesalius.errors import DataError

QUEUED, RUNNING, DONE, RETRY, ASIDE = "queued", "running", "done", "retry", "aside"
PENDING, ACCEPTED, CORRECTED, REJECTED, REFUSED = "pending", "accepted", "corrected", "rejected", "refused"
WAITING, SENT, COMMITTED, FAILED = "waiting", "sent", "committed", "failed"
ACTIONS = {"accept": ACCEPTED, "correct": CORRECTED, "reject": REJECTED}


class Missing(DataError):
    """What was asked for by its id is not in the store."""


@dataclass(frozen=True)
class Received:
    """An object that lies, flushed to the disk, in the inbox (or anywhere on the same file system); ``header`` are its attributes by keyword."""

    path: Path
    sop_uid: str
    class_uid: str
    series_uid: str
    study_uid: str
    syntax: str
    sha256: str
    size: int
    header: Mapping[str, Any] = field(default_factory=dict)
    called_ae: str = ""
    calling_ae: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class ObjectRow:
    """One instance in the store; ``arrival`` is its place in the order of arrival over all instances."""

    sop_uid: str
    class_uid: str
    series_uid: str
    study_uid: str
    syntax: str
    sha256: str
    size: int
    path: Path
    arrival: int
    header: dict[str, Any]
    at: float


@dataclass(frozen=True)
class SeriesRow:
    """One series with what routes ask for. ``first`` and ``last`` are the times of its first and last instance, ``upto`` the arrival of the last.

    ``judged`` is the ``upto`` at which the routes were asked last; below ``upto`` there is something new. ``aside``: why its study is not read.
    """

    series_uid: str
    study_uid: str
    modality: str
    body_part: str
    description: str
    called_ae: str
    calling_ae: str
    first: float
    last: float
    instances: int
    upto: int
    judged: int
    aside: str | None


@dataclass(frozen=True)
class Job:
    """A series to be read by a model: its instances up to ``upto`` in the order of arrival, which makes it repeatable when later ones arrive."""

    id: str
    series_uid: str
    study_uid: str
    model: str
    route: dict[str, Any]
    upto: int
    state: str
    tries: int
    at: float
    error: str | None


@dataclass(frozen=True)
class Outgoing:
    """An object on its way to a peer."""

    id: int
    finding_id: str
    peer: str
    path: Path
    sop_uid: str
    class_uid: str
    state: str
    tries: int
    at: float
    error: str | None


@dataclass(frozen=True)
class Decision:
    """What a doctor decided about a finding."""

    id: int
    finding_id: str
    user: str
    action: str
    comment: str
    correction: dict[str, Any] | None
    at: float


@dataclass(frozen=True)
class AuditRow:
    """Who did what to which subject; ``hash`` is the SHA-256 of the previous row's hash and this row."""

    n: int
    at: float
    user: str
    action: str
    subject: str
    detail: str
    hash: str
