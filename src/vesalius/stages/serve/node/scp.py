"""The node as it is called by others: C-ECHO, C-STORE and storage commitment (PS3.4 annexes A, B and J)."""

from __future__ import annotations

import fnmatch
import hmac
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from vesalius.errors import RunError
from vesalius.stages.serve.node.commitment import Commitment
from vesalius.stages.serve.node.receive import FULL_DISK, Outcome, Receiver
from vesalius.stages.serve.node.scu import take
from vesalius.stages.serve.node.spool import Spool
from vesalius.stages.serve.node.syntaxes import STORAGE_CLASSES, SYNTAXES
from vesalius.stages.serve.node.wire import MAX_PDU, Budget, Meter, Unhurried
from vesalius.stages.serve.site import Site

log = logging.getLogger("vesalius.serve.node")
BUDGET_OBJECTS = 2
"""So many objects of the largest size may be in the air at a time."""
PERMANENT, TRANSIENT = 0x01, 0x02
USER, PROVIDER = 0x01, 0x02
CALLING_UNKNOWN, CALLED_UNKNOWN, NO_REASON = 0x03, 0x07, 0x01
COMMENT_LENGTH = 64
"""(0000,0902) Error Comment is of VR LO."""


class Scp:
    """The listening side; every event is counted in ``counts``.

    Parameters
    ----------
    audit: called as ``audit(who, action, subject, detail)`` when an association that brought objects ends.
    """

    def __init__(self, site: Site, receiver: Receiver, commitment: Commitment, audit: Callable[[str, str, str, str], object]) -> None:
        self.site, self.receiver, self.commitment, self._audit = site, receiver, commitment, audit
        self.counts: Counter[str] = Counter()
        self._budget = Budget(BUDGET_OBJECTS * site.limits.max_object_bytes)
        self._patterns = [route.called_ae.lower() for route in site.routes if route.called_ae]
        self._meters: WeakKeyDictionary[Association, Meter] = WeakKeyDictionary()
        self._spools: WeakKeyDictionary[Association, Spool] = WeakKeyDictionary()
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before `start`."""
        return int(self._server.server_address[1]) if self._server is not None else 0

    def start(self) -> None:
        """Listen.

        Raises
        ------
        RunError: the port is taken, or the certificate cannot be used.
        """
        try:
            self._server = self._entity().start_server(
                (self.site.host, self.site.dicom_port), block=False, evt_handlers=self._handlers(), ssl_context=self._tls())
        except OSError as error:
            raise RunError("the DICOM node cannot listen", where=f"{self.site.host}:{self.site.dicom_port}", got=error.strerror or str(error),
                           do="choose another dicom_port, or end what uses it") from error

    def stop(self) -> None:
        """Take no new association, and end those that are there."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _entity(self) -> AE:
        entity = AE(ae_title=self.site.ae_title)
        entity.maximum_pdu_size = MAX_PDU
        entity.maximum_associations = self.site.limits.max_associations
        timeout = self.site.limits.network_timeout_s
        entity.acse_timeout = entity.dimse_timeout = timeout
        entity.network_timeout = 2 * timeout
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        for kind in STORAGE_CLASSES:
            entity.add_supported_context(kind, list(SYNTAXES))
        return entity

    def _tls(self) -> ssl.SSLContext | None:
        tls = self.site.tls
        if tls is None:
            return None
        context = Unhurried(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(tls.ca)
        return context

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened), (evt.EVT_REQUESTED, self._requested), (evt.EVT_USER_ID, self._identified), (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected), (evt.EVT_C_ECHO, self._echo), (evt.EVT_C_STORE, self._store), (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_N_ACTION, self._asked_to_commit), (evt.EVT_N_EVENT_REPORT, self._commit_reported),
        ]

    def _opened(self, event: evt.Event) -> None:
        meter = Meter(event.assoc.dul.socket, self.site.limits.max_object_bytes, self._budget, self.site.limits.network_timeout_s)
        self._meters[event.assoc] = meter
        self._spools[event.assoc] = Spool(event.assoc, self.receiver.inbox, lambda: _titles(event), meter.end)

    def _requested(self, event: evt.Event) -> None:
        """Reject by AE title before anything else is negotiated (PS3.8 table 9-21)."""
        request = _primitive(event)
        called, calling = str(request.called_ae_title).strip(), str(request.calling_ae_title).strip()
        reason = 0
        if not self._is_called(called):
            reason = CALLED_UNKNOWN
        elif self.site.known_peers_only and calling not in {peer.ae_title for peer in self.site.peers}:
            reason = CALLING_UNKNOWN
        elif self._needs_identity() and not event.assoc.requestor.user_identity:
            reason = NO_REASON
        if reason:
            self._reject(event, reason)

    def _reject(self, event: evt.Event, reason: int) -> None:
        """The answer, then the end when it has gone out; the library does the same when it rejects by itself."""
        event.assoc.acse.send_reject(PERMANENT, USER, reason)
        event.assoc.is_rejected = True
        self._rejected(event)
        event.assoc.kill()
        log.warning("an association was rejected: reason %d", reason)

    def _is_called(self, title: str) -> bool:
        return title == self.site.ae_title or any(fnmatch.fnmatchcase(title.lower(), pattern) for pattern in self._patterns)

    def _needs_identity(self) -> bool:
        """Beyond this machine a caller shows a certificate (TLS with a CA) or the token of a user with the role node."""
        return not self.site.loopback and not (self.site.tls is not None and self.site.tls.ca is not None)

    def _identified(self, event: Any) -> tuple[bool, bytes | None]:
        """User name and passcode (PS3.7 D.3.3.7): the passcode is the token of a user with the role node."""
        given = sha256(event.secondary_field or b"").hexdigest() if event.user_id_type == 2 else ""
        name = (event.primary_field or b"").decode("utf-8", "replace")
        known = next((user for user in self.site.users if user.name == name and user.role == "node"), None)
        return bool(known is not None and known.token_sha256 and hmac.compare_digest(known.token_sha256, given)
                    and not (known.expires and known.expires < event.timestamp.timestamp())), None

    def _accepted(self, event: evt.Event) -> None:
        self.counts["accepted"] += 1
        self.counts["contexts_refused"] += len(event.assoc.rejected_contexts)
        self._meters[event.assoc].clear()

    def _rejected(self, event: evt.Event) -> None:
        self.counts["rejected"] += 1

    def _echo(self, event: evt.Event) -> int:
        self.counts["echo"] += 1
        self._meters[event.assoc].clear()
        return 0

    def _store(self, event: evt.Event) -> Dataset | int:
        """Acknowledged only when the object is on the disk; what fails is told by its status."""
        meter = self._meters[event.assoc]
        outcome = take(self.receiver, event, *_titles(event))
        meter.clear()
        meter.stored += outcome.status == 0
        self.counts[f"store_{outcome.status:04X}"] += 1
        return _status(outcome)

    def _closed(self, event: evt.Event) -> None:
        meter, spool = self._meters.pop(event.assoc, None), self._spools.pop(event.assoc, None)
        if spool is not None:
            spool.close()
        if meter is not None:
            meter.clear()
            if meter.stored:
                self._audit(str(event.assoc.requestor.ae_title).strip(), "received", "objects", str(meter.stored))

    def _asked_to_commit(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self.counts["commitment_asked"] += 1
        self._meters[event.assoc].clear()
        return self.commitment.asked(event), None

    def _commit_reported(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self.counts["commitment_reported"] += 1
        self._meters[event.assoc].clear()
        return self.commitment.reported(event), None


def _primitive(event: evt.Event) -> Any:
    """The association request as it came."""
    return event.assoc.requestor.primitive


def _titles(event: evt.Event) -> tuple[str, str]:
    """AE titles of the caller and of whom it called."""
    return str(event.assoc.requestor.ae_title).strip(), str(_primitive(event).called_ae_title).strip()


def _status(outcome: Outcome) -> Dataset | int:
    if outcome.status == 0:
        return 0
    told = Dataset()
    told.Status = outcome.status
    told.ErrorComment = ("the disk is full" if outcome.status == FULL_DISK else outcome.reason)[:COMMENT_LENGTH]
    return told


