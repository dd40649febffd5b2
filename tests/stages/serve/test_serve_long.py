"""Long objects go to the disk while they come: bounded memory, nothing left behind, and the same answers as for short ones."""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE, _config

from stages.serve.clinickills import forking, serve
from stages.serve.clinicnode import CT, calling, encoded, in_memory, instance, serving, until
from stages.serve.clinictraffic import free_port, listens
from vesalius.stages.serve.node import spool
from vesalius.stages.serve.node.describe import describe
from vesalius.stages.serve.node.inbox import Arrival, Inbox, Part
from vesalius.stages.serve.node.spool import Incoming
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.store import Store

SIDE = 10_240
LONG = SIDE * SIDE * 2
MEMORY = 64 << 20
SHORT = 600
"""A side that is just long enough to be written out."""
LONGEST_UNWRITTEN = 2 * spool.IN_MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with in_memory() as folder:
        yield folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "site", quiet_s=600.0) as service:
        yield service


def zeros(path: Path, **more: Any) -> Path:
    """An image of 200 MB whose pixels take no room on the disk."""
    item = instance(1, **more)
    item.Rows = item.Columns = SIDE
    item.PixelData = bytes(8)
    held = io.BytesIO()
    item.save_as(held, enforce_file_format=True)
    head = held.getvalue()[:-12]
    with open(path, "wb") as file:
        file.write(head + LONG.to_bytes(4, "little"))
        file.truncate(file.tell() + LONG)
    return path


def deflated(path: Path) -> Path:
    """The same 200 MB as a few hundred kilobytes."""
    item = instance(2)
    item.Rows = item.Columns = SIDE
    del item.PixelData
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(encoded(item) + b"\xe0\x7f\x10\x00OW\0\0" + LONG.to_bytes(4, "little"))
    for _ in range(LONG >> 20):
        body += packer.compress(bytes(1 << 20))
    path.write_bytes(Arrival(CT, "1.2.3.2", DeflatedExplicitVRLittleEndian).preamble() + body + packer.flush())
    return path


def highest(process: int) -> int:
    """Bytes of memory that a process has had at most."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def sent(what: Any, port: int, syntax: str) -> int:
    """The status of one C-STORE; a file is sent piece by piece."""
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(CT, syntax)
    entity.dimse_timeout = entity.network_timeout = 60
    assoc = entity.associate("127.0.0.1", port, ae_title="VESALIUS")
    try:
        return int(assoc.send_c_store(what).Status)
    finally:
        assoc.release()


@pytest.mark.slow
def test_200_megabytes_are_received_in_less_than_64(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the disk: what lies in a folder in memory would not be counted, and yet be there."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    scratch, port = tmp_path_factory.mktemp("long"), free_port()
    process = forking().Process(target=serve, args=(str(scratch / "site"), port, free_port(), 99), daemon=True)
    process.start()
    try:
        until(lambda: listens(port), 60.0)
        for syntax, path in ((ExplicitVRLittleEndian, zeros(scratch / "long.dcm")), (DeflatedExplicitVRLittleEndian, deflated(scratch / "deflated.dcm"))):
            assert sent(instance(3), port, ExplicitVRLittleEndian) == 0  # what a first object costs whatever its length
            before = highest(process.pid)
            assert sent(path, port, syntax) == 0
            until(lambda: not any((scratch / "site" / "inbox").iterdir()), 60.0)
            assert highest(process.pid) - before < MEMORY
    finally:
        process.kill()
        process.join()
    store = Store(f"sqlite:///{scratch / 'site' / 'vesalius.db'}", scratch / "site")
    kept = store.object_row("1.2.3.1")
    meta = pydicom.dcmread(kept.path, stop_before_pixels=True).file_meta
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle, meta.MediaStorageSOPInstanceUID) == ("SENDER", "VESALIUS", "1.2.3.1")
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian and kept.size == kept.path.stat().st_size > LONG
    summed = sha256()
    with open(scratch / "long.dcm", "rb") as given, open(kept.path, "rb") as got:
        for file in (given, got):
            head = file.read(1 << 12)
            file.seek(head.index(b"\x08\x00\x16\x00UI"))
        while block := given.read(1 << 24):
            summed.update(block)
            assert got.read(1 << 24) == block
        assert got.read(1) == b"" and summed.hexdigest() == kept.sha256
    assert store.object_row("1.2.3.2").header["Rows"] == SIDE
    store.close()


def test_what_is_written_out_is_kept_as_what_is_not(node: Service) -> None:
    items = [instance(n, side=side) for n, side in ((1, SHORT * 2), (2, 8), (3, SHORT * 3))]
    with calling(node.scp.port) as assoc:
        assert [assoc.send_c_store(item).Status for item in items] == [0, 0, 0]
    until(lambda: len(node.store.have([f"1.2.3.{n}" for n in (1, 2, 3)])) == 3)
    for item in items:
        row = node.store.object_row(str(item.SOPInstanceUID))
        assert row.path.read_bytes().endswith(encoded(item)) and row.sha256 == sha256(encoded(item)).hexdigest()
        assert row.path.read_bytes()[:128] == bytes(128) and pydicom.dcmread(row.path) == item
    assert list((node.site.folder / "inbox").iterdir()) == []


def test_a_long_object_that_is_refused_is_set_aside(node: Service) -> None:
    data = encoded(instance(1, side=SHORT * 2))
    wrong = Arrival(CT, "1.2.3.7", ExplicitVRLittleEndian, "SENDER", "VESALIUS")
    made = Incoming(lambda: node.receiver.inbox.begin(wrong), lambda: None)
    made.write(data)
    assert node.receiver.take(made, wrong).status == 0xA900
    (row,) = node.store.refused()
    assert row["path"].read_bytes() == wrong.preamble() + data and row["code"] == "guard" and row["sha256"] == sha256(data).hexdigest()
    assert list((node.site.folder / "inbox").iterdir()) == [] and list((node.site.folder / "refused").iterdir()) == [row["path"]]


def test_a_connection_that_ends_in_the_middle_leaves_nothing(node: Service) -> None:
    item = instance(1, side=SHORT * 4)
    inbox = node.site.folder / "inbox"
    passed, seen = 0, list[str]()
    with calling(node.scp.port) as assoc:
        send = assoc.dul.socket.send

        def half(data: bytes) -> None:
            """Once a part has gone out the other side is given the time to write it, however busy the machine is; the rest is never sent."""
            nonlocal passed
            if seen:
                return
            send(data)
            passed += len(data)
            if passed > LONGEST_UNWRITTEN:
                seen.extend(until(lambda: [path.name for path in inbox.iterdir()]))
                assoc.dul.socket.close()

        assoc.dul.socket.send, assoc.dimse_timeout = half, 15.0
        assert "Status" not in assoc.send_c_store(item)
    until(lambda: list(inbox.iterdir()) == [])
    assert seen and seen[0].endswith(".part") and node.receiver.backlog == 0 and node.store.refused() == []


def test_what_a_stop_tore_off_is_removed_at_the_start(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    part = inbox.begin(Arrival(CT, "1.2.3", ExplicitVRLittleEndian))
    part.write(b"half")
    assert [path.name for path in tmp_path.iterdir()] == [part.path.name]
    assert inbox.waiting() == [] and list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_half_way_is_told_as_such(node: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Part.write

    def full(part: Part, data: Any) -> None:
        if part.size > 1_500_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(part, data)

    monkeypatch.setattr(Part, "write", full)
    with calling(node.scp.port) as assoc:
        assert assoc.send_c_store(instance(1, side=SHORT * 3)).Status == 0xA700
        assert assoc.send_c_store(instance(2)).Status == 0
        monkeypatch.undo()
        assert assoc.send_c_store(instance(1, side=SHORT * 3)).Status == 0
    assert node.receiver.counts["full"] == 1
    until(lambda: list((node.site.folder / "inbox").iterdir()) == [] and len(node.store.have(["1.2.3.1", "1.2.3.2"])) == 2)


def test_a_disk_that_cannot_flush_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(tmp_path)
    part = inbox.begin(Arrival(CT, "1.2.3", ExplicitVRLittleEndian))

    def refuse(_handle: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="input/output error"):
        inbox.keep(part, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_long_message_that_is_no_object_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    made = Incoming(lambda: None, lambda: ended.append(True))
    made.write(bytes(spool.OTHERS))
    assert not ended and made.error is None and len(made.getvalue()) == spool.OTHERS
    made.write(b"1")
    assert ended == [True] and made.error is not None and made.error.errno == errno.EMSGSIZE


def test_what_its_association_left_is_not_taken(node: Service) -> None:
    arrival = Arrival(CT, "1.2.3.1", ExplicitVRLittleEndian)
    made = Incoming(lambda: node.receiver.inbox.begin(arrival), lambda: None)
    made.write(bytes(spool.IN_MEMORY + 1))
    assert len(list((node.site.folder / "inbox").iterdir())) == 1
    made.drop()
    assert list((node.site.folder / "inbox").iterdir()) == []
    outcome = node.receiver.take(made, arrival)
    assert (outcome.status, outcome.reason) == (0x0110, "the association has ended")


@pytest.mark.parametrize("place", [0, 7, spool.IN_MEMORY - 3])
def test_it_reads_like_a_file_wherever_it_lies(tmp_path: Path, place: int) -> None:
    data = os.urandom(spool.IN_MEMORY + 100)
    made = Incoming(lambda: Inbox(tmp_path).begin(Arrival(CT, "1.2.3", ExplicitVRLittleEndian)), lambda: None)
    for start in range(0, len(data), 10_000):
        made.write(data[start : start + 10_000])
    assert made.seek(0, os.SEEK_END) == len(data) and made.seek(place) == place
    assert made.read(50) == data[place : place + 50] and made.seek(-10, os.SEEK_CUR) == place + 40 and made.read() == data[place + 40 :]
    assert made.digest == sha256(data).hexdigest()


def test_another_name_than_it_was_begun_with_is_written_anew(tmp_path: Path) -> None:
    inbox, data = Inbox(tmp_path), os.urandom(spool.IN_MEMORY + 1)
    made = Incoming(lambda: inbox.begin(Arrival(CT, "1.2.3", ExplicitVRLittleEndian)), lambda: None)
    made.write(data)
    path = made.keep(inbox, Arrival(CT, "1.2.4", ExplicitVRLittleEndian))
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == Arrival(CT, "1.2.4", ExplicitVRLittleEndian).preamble() + data


def test_the_header_of_a_deflated_object_is_found_behind_a_long_private_part(tmp_path: Path) -> None:
    item = instance(1)
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    item.add_new(0x00090010, "LO", "TEST")
    item.add_new(0x00091001, "OB", os.urandom(3 << 20))
    item.save_as(tmp_path / "a", enforce_file_format=True)
    found = describe(Inbox(tmp_path / "in").put(Arrival(CT, "1.2.3.1", DeflatedExplicitVRLittleEndian), [packed(item)], "0"), "0")
    assert found.series_uid == "1.2.3" and found.header["PatientID"] == "p1" and found.syntax == DeflatedExplicitVRLittleEndian


def packed(item: pydicom.Dataset) -> bytes:
    """The deflated data set as it travels."""
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(encoded(item)) + packer.flush()
