"""The node as it calls others: C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE (PS3.4 annexes A, B and C)."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from vesalius.errors import FormatError, OptionError, RunError
from vesalius.stages.serve.node.inbox import Arrival
from vesalius.stages.serve.node.receive import Outcome, Receiver
from vesalius.stages.serve.node.spool import Spool
from vesalius.stages.serve.node.syntaxes import SYNTAXES
from vesalius.stages.serve.site import Peer, Site

LEVELS = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
PENDING = (0xFF00, 0xFF01)
MOST_CONTEXTS = 126
WARNINGS = (0xB000, 0xB006, 0xB007)
"""PS3.4 table B.2-1: stored, with a remark."""


@dataclass(frozen=True)
class Sent:
    """What became of one object: ``status`` of the C-STORE (None: the peer did not answer) and a reason for the record, without patient data."""

    path: Path
    status: int | None
    reason: str = ""

    @property
    def taken(self) -> bool:
        """Whether the peer has it."""
        return self.status == 0 or self.status in WARNINGS


@dataclass(frozen=True)
class Fetched:
    """The counts that a peer states at the end of a C-MOVE or C-GET, and its last status."""

    status: int
    completed: int
    failed: int
    warnings: int


def connecting(site: Site) -> AE:
    """An application entity of this site for calling others."""
    entity = AE(ae_title=site.ae_title)
    timeout = site.limits.network_timeout_s
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    return entity


@contextmanager
def associated(site: Site, peer: Peer, contexts: Sequence[Any], *, roles: Sequence[Any] = (), handlers: Sequence[Any] = ()) -> Iterator[Association]:
    """An association with a peer, released at the end.

    Raises
    ------
    RunError: the peer is away, rejects us, or takes none of the contexts.
    """
    tls = (tls_of(site), peer.host) if peer.tls else None
    assoc = connecting(site).associate(peer.host, peer.port, contexts=list(contexts), ae_title=peer.ae_title, ext_neg=list(roles),
                                       evt_handlers=list(handlers), tls_args=tls)  # type: ignore[arg-type]
    if not assoc.is_established:
        none = "it took none of the presentation contexts" if assoc.rejected_contexts else "no connection"
        why = "it rejected the association" if assoc.is_rejected else none
        raise RunError(f"the peer '{peer.name}' cannot be reached", got=why, do="look at its address, AE titles and whether it runs")
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def tls_of(site: Site) -> ssl.SSLContext:
    """For calling others: their certificate is checked (against the CA of the site where it has one), and ours is shown."""
    context = ssl.create_default_context(cafile=str(site.tls.ca) if site.tls and site.tls.ca else None)
    if site.tls is not None:
        context.load_cert_chain(site.tls.certificate, site.tls.key)
    return context


def echo(site: Site, peer: Peer) -> bool:
    """Whether the peer answers a C-ECHO; `RunError` when it cannot be reached."""
    with associated(site, peer, [build_context(Verification)]) as assoc:
        return bool(assoc.send_c_echo().get("Status") == 0)


def find(site: Site, peer: Peer, level: str, query: Mapping[str, Any], limit: int = 1000) -> list[Dataset]:
    """What the peer knows that matches (study root).

    Parameters
    ----------
    level: ``"study"``, ``"series"`` or ``"instance"``. query: attributes by keyword, empty for those that are only asked for. limit: the query is
        cancelled after so many answers.

    Raises
    ------
    OptionError: an unknown level or keyword. RunError: the peer cannot be reached, or refuses the query.
    """
    found: list[Dataset] = []
    with associated(site, peer, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as assoc:
        for status, item in assoc.send_c_find(identifier(level, query), StudyRootQueryRetrieveInformationModelFind):
            if status and status.Status in PENDING and item is not None:
                found.append(item)
                if len(found) >= limit:
                    assoc.send_c_cancel(1, None, StudyRootQueryRetrieveInformationModelFind)
                    break
            elif not status or status.Status != 0:
                raise RunError(f"the peer '{peer.name}' did not answer the query", got=_told(status), do="ask for fewer attributes")
    return found


def identifier(level: str, query: Mapping[str, Any]) -> Dataset:
    """The identifier of a query at a level; `OptionError` for a level or keyword that DICOM does not know."""
    if level not in LEVELS:
        raise OptionError(f"unknown level '{level}'", expected=f"one of {', '.join(LEVELS)}")
    made = Dataset()
    made.QueryRetrieveLevel = LEVELS[level]
    for name, value in query.items():
        if pydicom.datadict.tag_for_keyword(name) is None:
            raise OptionError(f"'{name}' is no attribute of DICOM", expected="a keyword of PS3.6, e.g. StudyDate")
        setattr(made, name, list(value) if isinstance(value, tuple) else value)
    return made


def move(site: Site, peer: Peer, level: str, query: Mapping[str, Any], destination: str | None = None) -> Fetched:
    """Ask the peer to send what matches to an AE title that it knows, our own when left out (it then comes through the node).

    Raises
    ------
    OptionError: an unknown level or keyword. RunError: the peer cannot be reached, or refuses.
    """
    with associated(site, peer, [build_context(StudyRootQueryRetrieveInformationModelMove)]) as assoc:
        answers = assoc.send_c_move(identifier(level, query), destination or site.ae_title, StudyRootQueryRetrieveInformationModelMove)
        return _ended(peer, answers)


def get(site: Site, peer: Peer, level: str, query: Mapping[str, Any], receiver: Receiver, classes: Sequence[str]) -> Fetched:
    """Let the peer send what matches over this association; objects are taken as those of a C-STORE.

    classes: the SOP classes that may come, at most 125 (ask by `find` first).

    Raises
    ------
    OptionError: an unknown level or keyword. RunError: the peer cannot be reached, or refuses.
    """
    kinds = list(dict.fromkeys(classes))[: MOST_CONTEXTS - 1]
    contexts = [build_context(StudyRootQueryRetrieveInformationModelGet), *(build_context(kind, list(SYNTAXES)) for kind in kinds)]
    handlers = [(evt.EVT_C_STORE, lambda event: take(receiver, event, peer.ae_title, site.ae_title).status)]
    with associated(site, peer, contexts, roles=[build_role(kind, scp_role=True) for kind in kinds], handlers=handlers) as assoc:
        spool = Spool(assoc, receiver.inbox, lambda: (peer.ae_title.strip(), site.ae_title.strip()), assoc.abort)
        try:
            return _ended(peer, assoc.send_c_get(identifier(level, query), StudyRootQueryRetrieveInformationModelGet))
        finally:
            spool.close()


def take(receiver: Receiver, event: evt.Event, calling_ae: str, called_ae: str) -> Outcome:
    """The object of a C-STORE request, taken; see `Receiver.take`."""
    request: Any = event.request
    arrival = Arrival(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), str(event.context.transfer_syntax), calling_ae.strip(),
                      called_ae.strip())
    return receiver.take(request.DataSet or io.BytesIO(), arrival)


def _ended(peer: Peer, answers: Any) -> Fetched:
    status = Dataset()
    for status, _ in answers:
        if not status or status.Status not in PENDING:
            break
    if not status or status.Status not in (0, 0xB000):
        raise RunError(f"the peer '{peer.name}' did not send what was asked for", got=_told(status), do="look whether it knows our AE title and address")
    counts = [int(status.get(f"NumberOf{kind}Suboperations") or 0) for kind in ("Completed", "Failed", "Warning")]
    return Fetched(int(status.Status), *counts)


def send(site: Site, peer: Peer, paths: Sequence[Path], done: Callable[[Sent], object] = lambda sent: None) -> list[Sent]:
    """C-STORE files to a peer over one association, as they lie on the disk (no transfer syntax is changed).

    One file is in memory at a time: what is asked for before the association is only of which kinds the files are.

    done: called after each. One that the peer refuses does not stop the others; after a lost connection the rest has status None.

    Raises
    ------
    FormatError: a file is no DICOM object (then nothing is sent), or it can no longer be read when its turn comes. RunError: the peer cannot be reached.
    """
    wanted = list(dict.fromkeys(_kind(path) for path in paths))[:MOST_CONTEXTS]
    results = []
    with associated(site, peer, [build_context(kind, syntax) for kind, syntax in wanted]) as assoc:
        for path in paths:
            results.append(_send(assoc, path))
            done(results[-1])
    return results


def _kind(path: Path) -> tuple[str, str]:
    """SOP class and transfer syntax, from the start of a file."""
    item = _opened(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    syntax = item.file_meta.get("TransferSyntaxUID")
    if "SOPClassUID" not in item or not syntax:
        raise FormatError("this is no DICOM object that can be sent", where=path.name, expected="a SOP Class UID and a Transfer Syntax UID", got="none")
    return str(item.SOPClassUID), str(syntax)


def _opened(path: Path, **options: Any) -> Dataset:
    try:
        return pydicom.dcmread(path, **options)
    except (OSError, InvalidDicomError) as error:
        raise FormatError("this is no DICOM object that can be sent", where=path.name, got=type(error).__name__) from error


def _send(assoc: Association, path: Path) -> Sent:
    if not assoc.is_established:
        return Sent(path, None, "the connection was lost")
    try:
        status = assoc.send_c_store(_opened(path))
    except ValueError:
        return Sent(path, 0x0122, "the peer does not take this kind of object")
    except RuntimeError:
        return Sent(path, None, "the connection was lost")
    return Sent(path, int(status.Status), "" if status.Status == 0 else _told(status)) if status else Sent(path, None, "the peer did not answer in time")


def _told(status: Any) -> str:
    return f"status 0x{int(status.Status):04X}" if status and "Status" in status else "no answer"
