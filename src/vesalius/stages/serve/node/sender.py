"""The way out: one thread a peer empties its part of the outbox, so that a peer that is away holds up nobody else."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from vesalius.errors import FormatError, OptionError, RunError
from vesalius.stages.serve.node.commitment import Commitment
from vesalius.stages.serve.node.reading import backoff_s
from vesalius.stages.serve.node.scu import Sent, send
from vesalius.stages.serve.node.stow import stow
from vesalius.stages.serve.site import Peer, Site
from vesalius.stages.serve.store import Outgoing, Store

log = logging.getLogger("vesalius.serve.sender")
PAUSE_S = 0.5
ASK_AGAIN_S = 600.0
OUT_OF_RESOURCES = range(0xA700, 0xA800)


class Sender:
    """Threads for the peers that take results; `wake` when something was entered."""

    def __init__(self, site: Site, store: Store, commitment: Commitment, audit: Callable[[str, str, str, str], object]) -> None:
        self.site, self.store, self.commitment, self._audit = site, store, commitment, audit
        self.counts: Counter[str] = Counter()
        self._woken = threading.Condition()
        self._news = 0
        self._stopping = False
        self._asked: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._run, args=(peer,), name=f"vesalius-send-{peer.name}", daemon=True) for peer in site.peers if peer.send]

    def start(self) -> None:
        """Begin to send what is due."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the object that is on its way; the rest waits in the database."""
        self._stopping = True
        self.wake()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """Look at the outbox now."""
        with self._woken:
            self._news += 1
            self._woken.notify_all()

    def _run(self, peer: Peer) -> None:
        while not self._stopping:
            seen = self._news
            try:
                busy = self.turn(peer)
            except RunError as error:
                log.error("the outbox waits: %s", error.what)
                busy = False
            if not busy:
                with self._woken:
                    self._woken.wait_for(lambda seen=seen: self._news != seen or self._stopping, PAUSE_S)  # type: ignore[misc]

    def turn(self, peer: Peer) -> bool:
        """Send what is due for a peer and ask for commitment of what was sent; whether there was anything."""
        items = self.store.due(peer=peer.name)
        if items:
            self._send(peer, items)
        if peer.commit:
            self._commit(peer)
        return bool(items)

    def _send(self, peer: Peer, items: Sequence[Outgoing]) -> None:
        left = {item.path: item for item in items}
        try:
            if peer.dicomweb:
                for item in items:
                    self._noted(peer, left.pop(item.path), stow(self.site, peer, item.path))
            else:
                send(self.site, peer, [item.path for item in items], lambda sent: self._noted(peer, left.pop(sent.path), sent))
        except RunError as error:
            for item in left.values():
                self._again(item, error.what)
        except (FormatError, OptionError, OSError) as error:
            self._broken(peer, list(left.values()), error)

    def _broken(self, peer: Peer, items: Sequence[Outgoing], error: Exception) -> None:
        """A file that cannot be sent must not hold up the others: alone, it is given up."""
        if len(items) > 1:
            for item in items:
                self._send(peer, [item])
        elif items:
            self.store.failed(items[0].id, str(getattr(error, "what", type(error).__name__)), None)
            self.counts["failed"] += 1

    def _noted(self, peer: Peer, item: Outgoing, sent: Sent) -> None:
        if sent.taken:
            self.store.sent(item.id)
            self._audit("vesalius", "sent", f"finding {item.finding_id}", f"{peer.name} {item.sop_uid}")
            self.counts["sent"] += 1
        elif sent.status is None or sent.status in OUT_OF_RESOURCES or item.tries + 1 < self.site.limits.tries:
            self._again(item, sent.reason)
        else:
            self.store.failed(item.id, sent.reason, None)
            self.counts["failed"] += 1
            log.error("an object was refused by the peer %s for good: %s", peer.name, sent.reason)

    def _again(self, item: Outgoing, reason: str) -> None:
        limits = self.site.limits
        self.store.failed(item.id, reason, time.time() + backoff_s(item.tries, limits.retry_first_s, limits.retry_last_s))
        self.counts["retried"] += 1

    def _commit(self, peer: Peer) -> None:
        now = time.time()
        items = [item for item in self.store.uncommitted(peer.name, now) if now - self._asked.get(item.sop_uid, 0.0) > ASK_AGAIN_S]
        if not items:
            return
        self._asked |= {item.sop_uid: now for item in items}
        try:
            took = self.commitment.ask(peer, [(item.class_uid, item.sop_uid) for item in items])
            self.counts["commitment_asked" if took else "commitment_refused"] += 1
        except RunError as error:
            log.warning("the peer %s could not be asked for storage commitment: %s", peer.name, error.what)
