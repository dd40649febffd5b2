"""The way out: what a doctor released reaches the peer once, whatever the peer does; storage commitment on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from stages.serve.clinicnode import CT, Pacs, calling, deliver, in_memory, instance, serving, until
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Limits


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: what is flushed there costs nothing (the tests of kills use the disk)."""
    with in_memory() as folder:
        yield folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "site") as service:
        yield service


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs()
    yield made
    made.close()


def test_a_released_finding_goes_to_the_peer_of_its_route_once(tmp_path: Path, pacs: Pacs) -> None:
    with serving(tmp_path / "site", peers=(pacs.peer(commit=True),)) as node:
        deliver(node.scp.port, [instance(1)])
        finding = until(node.store.findings)[0]
        assert pacs.deliveries == {} and node.store.outgoing() == []
        node.store.decide(finding["id"], "dr", "accept")
        for _ in range(2):
            node.release(finding["id"], [node.store.folder_of(finding["id"]) / "sc.dcm"])
            until(lambda: [item.state for item in node.store.outgoing()] == ["committed"])
        assert list(pacs.deliveries.values()) == [1] and pacs.asked == 1
        (made,) = pacs.objects.values()
        # The PACS forwards it to us, as some do with everything: it is kept and not read.
        deliver(node.scp.port, [pydicom.dcmread(node.store.folder_of(finding["id"]) / "sc.dcm")])
        until(lambda: node.store.have([made.SOPInstanceUID]) and not node.store.list_series(unjudged=True))
        assert len(node.store.jobs()) == 1


def test_a_decision_whose_release_a_stop_prevented_is_released_later(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.stages.serve.service.SETTLE_S", 0.0)
    asked: list[Any] = []

    def decided(store: Any, finding: dict[str, Any], *said: Any) -> list[Path]:
        asked.append(said)
        if len(asked) == 1:
            raise KeyError("a decision whose objects cannot be made does not hold up the next")
        return [store.folder_of(finding["id"]) / "sc.dcm"]

    with serving(tmp_path / "site", decided=decided, peers=(pacs.peer(),)) as node:
        deliver(node.scp.port, [instance(1), instance(1, series="1.2.4")])
        for finding in until(lambda: len(node.store.findings()) == 2 and node.store.findings()):
            node.store.decide(finding["id"], "dr", "accept", "yes")
        until(lambda: list(pacs.deliveries.values()) == [1] and len(node.store.unreleased()) == 1)
        assert asked == [("dr", "accept", "yes", None)] * 2


def test_what_the_pacs_has_lost_is_sent_again(tmp_path: Path, pacs: Pacs) -> None:
    pacs.commit = False
    with serving(tmp_path / "site", peers=(pacs.peer(commit=True),), release="automatic", release_signed_by="Dr A", release_reason="study") as node:
        deliver(node.scp.port, [instance(1)])
        until(lambda: list(pacs.deliveries.values()) == [2])


def test_a_pacs_that_is_away_is_tried_again(tmp_path: Path) -> None:
    first = Pacs()
    first.close()
    limits = Limits(retry_first_s=0.2, retry_last_s=0.5, network_timeout_s=5)
    with serving(tmp_path / "site", peers=(first.peer(),), release="automatic", release_signed_by="Dr A", release_reason="study", limits=limits) as node:
        deliver(node.scp.port, [instance(1)])
        until(lambda: node.store.outgoing() and node.store.outgoing()[0].tries >= 3)
        assert "cannot be reached" in str(node.store.outgoing()[0].error)
        again = Pacs(first.port)
        try:
            until(lambda: node.store.outgoing()[0].state == "sent")
            assert list(again.deliveries.values()) == [1]
        finally:
            again.close()


def test_a_pacs_that_refuses_an_object_for_good_is_not_asked_for_ever(tmp_path: Path) -> None:
    refusing = Pacs(status=0xC123)
    limits = Limits(retry_first_s=0.05, retry_last_s=0.1, tries=2)
    try:
        with serving(tmp_path / "site", peers=(refusing.peer(),), release="automatic", release_signed_by="Dr A", release_reason="s", limits=limits) as node:
            deliver(node.scp.port, [instance(1)])
            item = until(lambda: [item for item in node.store.outgoing() if item.state == "failed"])[0]
            assert item.tries == 2 and item.error == "status 0xC123"
    finally:
        refusing.close()


def test_storage_commitment_as_provider(node: Service) -> None:
    deliver(node.scp.port, [instance(1)])
    reports: list[Any] = []

    def reported(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    request = Dataset()
    request.TransactionUID = "1.2.99"
    request.ReferencedSOPSequence = [Dataset(), Dataset(), Dataset()]
    for item, (kind, uid) in zip(request.ReferencedSOPSequence, ((CT, "1.2.3.1"), (CT, "1.2.3.77"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.1")), strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
    with calling(node.scp.port, contexts=[StorageCommitmentPushModel], evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)]) as assoc:
        status, _ = assoc.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        assert status.Status == 0
        until(lambda: reports)
        lacking = Dataset()
        lacking.TransactionUID = "1.2.98"
        broken, _ = assoc.send_n_action(lacking, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        assert broken.Status == 0x0115
    (kind, information), = reports
    assert kind == 2 and information.TransactionUID == "1.2.99"
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == ["1.2.3.1"]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in information.FailedSOPSequence] == [("1.2.3.77", 0x0112), ("1.2.3.1", 0x0119)]
