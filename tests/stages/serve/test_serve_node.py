"""The node: what is acknowledged is on the disk, what is wrong is told by the right code, and a series becomes a finding that leaves."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from stages.serve.clinicnode import CT, Models, calling, deliver, encoded, in_memory, instance, reading, serving, site_at, until
from vesalius.errors import FormatError, RunError
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.node.inbox import Arrival, digest_of
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Limits, Peer, Route, User
from vesalius.stages.serve.work import Busy, Died


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: what is flushed there costs nothing (the tests of kills use the disk)."""
    with in_memory() as folder:
        yield folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "site") as service:
        yield service


def test_echo_and_a_series_becomes_one_finding(node: Service) -> None:
    with calling(node.scp.port) as assoc:
        assert assoc.send_c_echo().Status == 0
    assert deliver(node.scp.port, [instance(n) for n in (3, 1, 2)]) == [0, 0, 0]
    finding = until(node.store.findings)[0]
    assert finding["label"] == "3 images" and finding["state"] == "pending" and len(node.engine.asked) == 1  # type: ignore[attr-defined]
    row = node.store.series_row("1.2.3")
    assert (row.called_ae, row.calling_ae, row.modality) == ("VESALIUS", "SENDER", "CT")
    assert node.scp.counts["echo"] == 1 and node.scp.counts["store_0000"] == 3 and list((node.site.folder / "inbox").iterdir()) == []
    until(lambda: {row.action for row in node.store.audit_rows()} >= {"received", "read"})


def test_bytes_are_kept_as_they_came(node: Service) -> None:
    item = instance(1)
    deliver(node.scp.port, [item])
    until(lambda: node.store.have(["1.2.3.1"]))
    kept = node.store.object_row("1.2.3.1").path.read_bytes()
    assert kept.endswith(encoded(item))
    meta = pydicom.dcmread(node.store.object_row("1.2.3.1").path).file_meta
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle, meta.MediaStorageSOPInstanceUID) == ("SENDER", "VESALIUS", "1.2.3.1")
    assert kept[:128] == bytes(128)


def test_a_repeat_changes_nothing_and_a_late_instance_opens_the_series_again(node: Service) -> None:
    for _ in range(2):
        assert deliver(node.scp.port, [instance(1), instance(2)]) == [0, 0]
        until(node.store.findings)
        until(lambda: not node.store.list_series(unjudged=True))
    assert len(node.store.findings(superseded=True)) == 1
    deliver(node.scp.port, [instance(3)])
    until(lambda: node.store.findings()[0]["label"] == "3 images")
    assert [item["label"] for item in node.store.findings()] == ["3 images"] and len(node.store.findings(superseded=True)) == 2


def test_a_route_completes_a_series_at_its_count(tmp_path: Path) -> None:
    routes = (Route(model="lung", modality="CT", description="ch*", instances=2), Route(model="lung", modality="MR"))
    with serving(tmp_path / "site", quiet_s=600.0, routes=routes) as node:
        deliver(node.scp.port, [instance(1)])
        until(lambda: node.store.have(["1.2.3.1"]))
        assert node.store.jobs() == []
        deliver(node.scp.port, [instance(2), instance(1, series="1.2.9", Modality="US")])
        assert until(node.store.findings)[0]["label"] == "2 images" and len(node.store.jobs()) == 1


def test_routes_by_called_title_and_series_without_images(tmp_path: Path) -> None:
    with serving(tmp_path / "site", routes=(Route(model="lung", called_ae="LUNG*"),)) as node:
        assert deliver(node.scp.port, [instance(1, series="1.2.4")], called="LUNG1") == [0]
        assert deliver(node.scp.port, [instance(1, series="1.2.5")]) == [0]
        assert deliver(node.scp.port, [instance(1, series="1.2.6", Modality="SR")], called="LUNG1") == [0]
        until(lambda: node.store.findings() and not node.store.list_series(unjudged=True))
        assert [item["series_uid"] for item in node.store.findings()] == ["1.2.4"]
        assert node.router.counts["unrouted"] == 2


def test_wrong_titles_are_rejected_with_the_reason_of_the_standard(tmp_path: Path) -> None:
    with serving(tmp_path / "site", known_peers_only=True, peers=(Peer(name="a", ae_title="KNOWN", host="127.0.0.1", port=1, send=False),)) as node:
        answers = []
        for called, who in (("OTHER", "KNOWN"), ("VESALIUS", "STRANGER"), ("VESALIUS", "KNOWN")):
            with calling(node.scp.port, called=called, calling_ae=who) as assoc:
                given = assoc.acceptor.primitive
                answers.append((assoc.is_established, given.result, given.result_source if given.result else 0, given.diagnostic if given.result else 0))
        assert answers == [(False, 1, 1, 7), (False, 1, 1, 3), (True, 0, 0, 0)]
        assert node.scp.counts["rejected"] == 2


def test_an_unsupported_abstract_syntax_is_refused_and_counted(node: Service) -> None:
    with calling(node.scp.port, contexts=["1.2.840.10008.5.1.4.1.2.2.1", Verification]) as assoc:
        assert assoc.is_established and [context.result for context in assoc.rejected_contexts] == [3]
    until(lambda: node.scp.counts["contexts_refused"] == 1)


def test_a_caller_from_elsewhere_shows_a_token(tmp_path: Path) -> None:
    with serving(tmp_path / "site", users=(User(name="ct1", role="node", token_sha256=sha256(b"secret").hexdigest()),
                                           User(name="old", role="node", token_sha256=sha256(b"secret").hexdigest(), expires=1.0))) as node:
        node.scp._needs_identity = lambda: True  # type: ignore[method-assign]

        def tried(name: bytes, secret: bytes) -> bool:
            identity = UserIdentityNegotiation()
            identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, name, secret
            with calling(node.scp.port, ext_neg=[identity]) as assoc:
                return bool(assoc.is_established)

        assert [tried(b"ct1", b"secret"), tried(b"ct1", b"guess"), tried(b"who", b"secret"), tried(b"old", b"secret")] == [True, False, False, False]
        with calling(node.scp.port) as assoc:
            assert assoc.is_rejected


def test_what_the_guard_refuses_is_set_aside_with_its_reason(node: Service) -> None:
    nowhere, broken = instance(1), instance(2)
    del nowhere.StudyInstanceUID
    broken.PixelData = b"\0" * 20
    with calling(node.scp.port) as assoc:
        assert assoc.send_c_store(nowhere).Status == 0
        status = assoc.send_c_store(broken)
    assert status.Status == 0xC000 and 0 < len(status.ErrorComment) <= 64 and node.scp.counts["store_C000"] == 1
    refused = until(lambda: len(node.store.refused()) == 2 and node.store.refused())
    assert sorted(row["code"] for row in refused) == ["guard", "header"] and all(row["path"].exists() and "Canary" not in row["reason"] for row in refused)
    assert any("does not say where it belongs" in row["reason"] for row in refused) and node.store.find("instance", {}) == []


def test_a_data_set_that_is_not_what_the_request_says_is_told_so(node: Service) -> None:
    body = encoded(instance(1))
    outcome = node.receiver.take(body, Arrival(CT, "9.9.9", ExplicitVRLittleEndian))
    assert outcome.status == 0xA900 and "another SOPInstanceUID" in outcome.reason
    assert node.receiver.take(body[:-5], Arrival(CT, "1.2.3.1", ExplicitVRLittleEndian)).status == 0xC000


def test_two_patients_under_one_study_are_set_aside_and_nothing_is_lost(node: Service) -> None:
    assert deliver(node.scp.port, [instance(1), instance(2, series="1.2.7", patient="p2")]) == [0, 0]
    aside = until(node.store.refused)[0]
    assert "two patients" in aside["reason"] and pydicom.dcmread(aside["path"]).PatientID == "p2"
    assert node.store.series_row("1.2.3").aside and node.store.findings() == []
    node.store.readmit("1.2")
    assert until(node.store.findings)[0]["patient"]["id"] == "p1"


def test_a_full_disk_is_answered_with_a700_and_recovers(node: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with monkeypatch.context() as patch:

        def full(handle: int, data: Any) -> int:
            if len(data) > 300:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(handle, data)

        patch.setattr("vesalius.stages.serve.node.inbox.os.write", full)
        assert deliver(node.scp.port, [instance(1), instance(2)]) == [0xA700, 0xA700]
        assert list((node.site.folder / "inbox").iterdir()) == []
    assert deliver(node.scp.port, [instance(1), instance(2)]) == [0, 0]
    assert until(node.store.findings)[0]["label"] == "2 images" and node.receiver.counts["full"] == 2


def test_a_disk_that_fails_otherwise_is_a_processing_failure(node: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("vesalius.stages.serve.node.inbox.os.fsync", broken)
        assert deliver(node.scp.port, [instance(1)]) == [0x0110]
    assert deliver(node.scp.port, [instance(1)]) == [0]


def test_the_inbox_outlives_a_database_that_refuses(node: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def refuses(*_: Any) -> None:
            raise RunError("the disk is full")

        patch.setattr(node.store, "add_objects", refuses)
        assert deliver(node.scp.port, [instance(1)]) == [0]
        assert not node.receiver.drain(0.3) and node.receiver.backlog == 1
    assert until(node.store.findings)[0]["label"] == "1 images"


def test_a_torn_file_is_dropped_and_a_whole_one_is_taken_at_the_start(tmp_path: Path) -> None:
    with serving(tmp_path / "site") as node:
        deliver(node.scp.port, [instance(1)])
        until(lambda: node.store.have(["1.2.3.1"]))
        kept = node.store.object_row("1.2.3.1").path
    later = tmp_path / "later"
    (later / "inbox").mkdir(parents=True)
    digest = digest_of(kept)
    (later / "inbox" / f"aa-{digest}").write_bytes(kept.read_bytes())
    (later / "inbox" / f"bb-{digest}").write_bytes(kept.read_bytes()[:-7])
    (later / "inbox" / f"cc-{digest}").write_bytes(b"")
    with serving(later) as node:
        assert until(node.store.findings)[0]["label"] == "1 images"
        assert list((later / "inbox").iterdir()) == [] and node.store.refused() == []


def test_an_endless_message_ends_the_association_and_not_the_memory(tmp_path: Path) -> None:
    with serving(tmp_path / "site", limits=Limits(max_object_bytes=100_000)) as node:
        with calling(node.scp.port) as assoc:
            assert assoc.send_c_store(instance(1, side=200)).Status == 0 and assoc.send_c_store(instance(2, side=200)).Status == 0
            assoc.send_c_store(instance(3, side=600))
            until(lambda: not assoc.is_established)
        with socket.create_connection(("127.0.0.1", node.scp.port)) as raw:
            raw.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFFF))
            raw.settimeout(10)
            assert raw.recv(100) == b""
        assert deliver(node.scp.port, [instance(4)]) == [0]


@pytest.mark.parametrize(("error", "state", "told"), [
    (Died("the model's process died twice with this job"), "aside", "died twice"),
    (ValueError("Canary^Kanarienvogel"), "aside", "ValueError"),
    (FormatError("slices are missing", where="/x/Canary"), "done", "None"),
])
def test_a_poisoned_series_does_not_stop_the_queue(tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, state: str, told: str) -> None:
    def answer(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
        if pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID == "1.2.66":
            raise error
        return reading(job, files, out)

    with caplog.at_level(logging.DEBUG), serving(tmp_path / "site", Models(answer), limits=Limits(tries=2, retry_first_s=0.05)) as node:
        deliver(node.scp.port, [instance(1, series="1.2.66"), instance(1, series="1.2.67")])
        bad = until(lambda: [job for job in node.store.jobs() if job.series_uid == "1.2.66" and job.state == state])[0]
        assert told in str(bad.error)
        until(lambda: [item for item in node.store.findings() if item["series_uid"] == "1.2.67"])
        if state == "done":
            (refused,) = node.store.findings("refused")
            assert refused["refused"][0]["en"] == "slices are missing" and refused["patient"]["id"] == "p1"
    assert "Canary" not in caplog.text


def test_a_busy_model_costs_no_try(tmp_path: Path) -> None:
    models = Models()
    submit, times = models.submit, []

    def busy(*given: Any, **more: Any) -> Any:
        times.append(1)
        if len(times) < 3:
            raise Busy("there is more work than this service takes at a time")
        return submit(*given, **more)

    models.submit = busy  # type: ignore[method-assign]
    with serving(tmp_path / "site", models) as node:
        deliver(node.scp.port, [instance(1)])
        until(node.store.findings)
        assert node.store.jobs()[0].tries == 0 and len(times) == 3


def test_two_services_never_share_a_folder(node: Service) -> None:
    with pytest.raises(RunError, match="another service works in this folder"):
        Service(site_at(node.site.folder), Models())  # type: ignore[arg-type]


def test_a_port_that_is_taken_is_told(node: Service, tmp_path: Path) -> None:
    second = Service(site_at(tmp_path / "b", dicom_port=node.scp.port), Models())  # type: ignore[arg-type]
    with pytest.raises(RunError, match="the DICOM node cannot listen"):
        second.start()


def test_more_associations_than_allowed_are_rejected_for_now(tmp_path: Path) -> None:
    with serving(tmp_path / "site", limits=Limits(max_associations=1)) as node, calling(node.scp.port) as first:
        assert first.is_established
        with calling(node.scp.port) as second:
            given = second.acceptor.primitive
            assert not second.is_established and (given.result, given.result_source, given.diagnostic) == (2, 3, 2)


def test_health_says_what_runs(node: Service) -> None:
    told = until(lambda: node.health() if node.health()["live"] else None)
    assert told["ready"] and told["models"] == {"lung": True} and told["dicom_port"] == node.scp.port and told["backlog"] == 0


def test_four_senders_at_once_lose_nothing(node: Service) -> None:
    statuses: list[list[int]] = []

    def send(k: int) -> None:
        statuses.append(deliver(node.scp.port, [instance(n, series=f"1.2.{k}") for n in range(25)], calling_ae=f"S{k}"))

    threads = [threading.Thread(target=send, args=(k,)) for k in range(10, 14)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [sum(part) for part in statuses] == [0, 0, 0, 0]
    until(lambda: [item["label"] for item in node.store.findings()] == ["25 images"] * 4, 30.0)  # on a busy machine a sender's pause is a series' end
    assert len(node.store.find("instance", {}, limit=1000)) == 100


def test_what_is_refused_has_a_bound_that_is_counted_and_audited(tmp_path: Path) -> None:
    (tmp_path / "site" / "refused").mkdir(parents=True)
    (tmp_path / "site" / "refused" / "0-torn").write_bytes(b"the sender had no answer")
    with serving(tmp_path / "site", limits=Limits(refused_files=3)) as node:
        for n in range(8):
            assert node.receiver.take(b"\x01" * (50 + n), Arrival(CT, f"1.2.{n}", ExplicitVRLittleEndian)).status == 0xC000
        until(lambda: len(node.store.refused()) == 3)
        assert sorted(row["path"] for row in node.store.refused()) == sorted((node.site.folder / "refused").iterdir())
        until(lambda: node.engine.metrics.registry.get_sample_value("vesalius_refused_removed_total") == 5)
        until(lambda: node.store.audit_verify() == [] and sum(int(row.detail.split()[0]) for row in node.store.audit_rows() if row.action == "removed") == 5)
        assert node.health()["counts"]["receive"]["removed"] == 5


def test_why_a_model_does_not_start_is_told_to_whoever_asks(tmp_path: Path) -> None:
    models = Models()
    models.ready, models.reasons = lambda: {"lung": False}, lambda: {"lung": "there is no plan"}  # type: ignore[method-assign]
    with serving(tmp_path / "site", models) as node:
        assert node.health()["reasons"] == {"lung": "there is no plan"} and not node.health()["ready"]
        answer = TestClient(make_app(node), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)).get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready", "models": {"lung": False}, "reasons": {"lung": "there is no plan"}}
