"""Storage commitment, push model (PS3.4 annex J), on both sides.

As provider we answer for what is flushed to our disk; as user we ask a peer about what we sent and send again what it does not have.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]

from vesalius.errors import VesaliusError
from vesalius.stages.serve.node.receive import Receiver
from vesalius.stages.serve.node.scu import associated
from vesalius.stages.serve.site import Peer, Site
from vesalius.stages.serve.store import Store

log = logging.getLogger("vesalius.serve.commitment")
ALL_THERE, SOME_MISSING = 1, 2
NO_SUCH_OBJECT, OTHER_CLASS = 0x0112, 0x0119
INVALID_ARGUMENT = 0x0115
SAME_ASSOCIATION_S = 0.5
"""The report comes over the association of the request while it is open for so long, else over one of its own."""
MOST = 10_000


class Commitment:
    """Both sides over one store."""

    def __init__(self, site: Site, store: Store, receiver: Receiver) -> None:
        self.site, self.store, self.receiver = site, store, receiver
        self._threads: list[threading.Thread] = []

    def asked(self, event: evt.Event) -> int:
        """N-ACTION of a sender: the status for it; the report follows from a thread of its own."""
        try:
            request = event.action_information
            wanted = [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in request.ReferencedSOPSequence][:MOST]
            transaction = str(request.TransactionUID)
        except Exception:  # noqa: BLE001 - whatever a sender's data set lets the parser raise is one answer: it is not what PS3.4 J.3.2 asks for
            log.warning("a request for storage commitment could not be understood")
            return INVALID_ARGUMENT
        self._start(lambda: self._report(event.assoc, transaction, wanted))
        return 0

    def _start(self, work: Callable[[], object]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=work, name="vesalius-commitment", daemon=True))
        self._threads[-1].start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let reports that are under way end."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _report(self, assoc: Association, transaction: str, wanted: Sequence[tuple[str, str]]) -> None:
        self.receiver.drain()
        information, kind = self.judged(transaction, wanted)
        calling = str(assoc.requestor.ae_title).strip()
        time.sleep(SAME_ASSOCIATION_S)
        if assoc.is_established and _reported_over(assoc, information, kind):
            return
        peer = next((peer for peer in self.site.peers if peer.ae_title == calling), None)
        if peer is None:
            log.warning("a report of storage commitment has nowhere to go: its sender is no peer of this site")
            return
        try:
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            with associated(self.site, peer, [build_context(StorageCommitmentPushModel)], roles=[role]) as again:
                _reported_over(again, information, kind)
        except VesaliusError as error:
            log.warning("a report of storage commitment could not be delivered: %s", error.what)

    def judged(self, transaction: str, wanted: Sequence[tuple[str, str]]) -> tuple[Dataset, int]:
        """The event information and its type: which of the instances (SOP class, SOP instance) are in the store with that class."""
        have = self.store.have(sop for _, sop in wanted)
        classes = {sop: self.store.object_row(sop).class_uid for sop in have}
        information = Dataset()
        information.TransactionUID = transaction
        good = [pair for pair in wanted if classes.get(pair[1]) == pair[0]]
        bad = [(pair, OTHER_CLASS if pair[1] in have else NO_SUCH_OBJECT) for pair in wanted if classes.get(pair[1]) != pair[0]]
        if good:
            information.ReferencedSOPSequence = Items(_referenced(pair) for pair in good)
        if bad:
            information.FailedSOPSequence = Items(_failed(pair, reason) for pair, reason in bad)
        return information, SOME_MISSING if bad else ALL_THERE

    def ask(self, peer: Peer, items: Sequence[tuple[str, str]], wait_s: float = 2.0) -> bool:
        """Ask a peer to take responsibility for what it was sent; whether it took the request. Its report may come later, over an association of its own.

        Raises
        ------
        RunError: the peer cannot be reached.
        """
        request = Dataset()
        request.TransactionUID = f"2.25.{uuid.uuid4().int}"
        request.ReferencedSOPSequence = Items(_referenced(pair) for pair in items)
        came = threading.Event()

        def reported(event: evt.Event) -> tuple[int, Dataset | None]:
            status = self.reported(event, peer)
            came.set()
            return status, None

        with associated(self.site, peer, [build_context(StorageCommitmentPushModel)], handlers=[(evt.EVT_N_EVENT_REPORT, reported)]) as assoc:
            status, _ = assoc.send_n_action(request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
            took = bool(status and status.Status == 0)
            if took:
                came.wait(wait_s)
        return took

    def reported(self, event: evt.Event, peer: Peer | None = None) -> int:
        """N-EVENT-REPORT of a peer: what it has is committed, what it has not is sent again."""
        if peer is None:
            calling = str(event.assoc.requestor.ae_title).strip()
            peer = next((each for each in self.site.peers if each.ae_title == calling), None)
        if peer is None:
            return INVALID_ARGUMENT
        try:
            information = event.event_information
            have = [str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence", [])]
            lack = [str(item.ReferencedSOPInstanceUID) for item in information.get("FailedSOPSequence", [])]
        except Exception:  # noqa: BLE001 - as in `asked`
            return INVALID_ARGUMENT
        self.store.committed(have, peer.name)
        self.store.resend(lack, peer.name)
        return 0


def _referenced(pair: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    return item


def _failed(pair: tuple[str, str], reason: int) -> Dataset:
    item = _referenced(pair)
    item.FailureReason = reason
    return item


def _reported_over(assoc: Association, information: Dataset, kind: int) -> bool:
    try:
        status, _ = assoc.send_n_event_report(information, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    except (ValueError, RuntimeError) as error:
        log.warning("a report of storage commitment was not sent: %s", type(error).__name__)
        return False
    return bool(status and status.get("Status") == 0)


