"""A site on this machine for tests: small objects, a stand-in for the engine, senders and a receiving peer; every port is a free one."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Peer, Site, load_site
from vesalius.stages.serve.work.metrics import Metrics

CT = "1.2.840.10008.5.1.4.1.1.2"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def instance(n: int, *, series: str = "1.2.3", study: str = "1.2", patient: str = "p1", side: int = 8, kind: str = CT, **more: Any) -> Dataset:
    """A small image whose pixels say which it is."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = kind
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"{series}.{n}"
    item.StudyInstanceUID, item.SeriesInstanceUID = study, series
    item.PatientID, item.PatientName, item.Modality = patient, "Canary^Kanarienvogel", "CT"
    item.StudyDate, item.SeriesDescription, item.InstanceNumber = "20240501", "Chest", n
    item.Rows = item.Columns = side
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit = 15
    item.ImageOrientationPatient, item.ImagePositionPatient, item.PixelSpacing = [1, 0, 0, 0, 1, 0], [0, 0, float(n)], [1, 1]
    item.PixelData = np.full((side, side), n % 1000, np.uint16).tobytes()
    for name, value in more.items():
        setattr(item, name, value)
    return item


def encoded(item: Dataset) -> bytes:
    """The data set as it travels, without meta information."""
    kept = BytesIO()
    item.save_as(kept, enforce_file_format=True)
    whole = kept.getvalue()
    return whole[whole.index(b"\x08\x00\x16\x00UI"):]


def until(true: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait for something, with a deadline."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
    return found


class Models:
    """Stands for the engine: answers at once (or as `answer` does), and writes one object that follows from the job, as a real reading does."""

    def __init__(self, answer: Callable[[str, Sequence[Path], Path], dict[str, Any]] | None = None) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.metrics = Metrics()
        self.answer = answer or reading

    def start(self) -> None: ...

    def stop(self, grace_s: float = 0.0) -> None: ...

    def ready(self) -> dict[str, bool]:
        return {"lung": True}

    def reasons(self) -> dict[str, str]:
        return {}

    def submit(self, model: str, files: Sequence[Path], out: Path | None, *, job: str, objects: Sequence[str] = (), timeout_s: float = 1.0,
               **_: Any) -> Future[dict[str, Any]]:
        self.asked.append((job, tuple(path.name for path in files)))
        future: Future[dict[str, Any]] = Future()

        def work() -> None:
            try:
                assert out is not None
                future.set_result(self.answer(job, files, out))
            except Exception as error:  # noqa: BLE001 - handed on
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future


def named(job: str, what: str) -> str:
    """A UID that follows from the job."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{job}/{what}').int}"


def reading(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
    """A finding with one secondary capture, written as a whole; the UIDs follow from the job."""
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    made = instance(1, series=named(job, "series"), study=str(first.StudyInstanceUID), patient=str(first.PatientID), kind=CAPTURE, Modality="OT")
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = named(job, "sc")
    out.mkdir(parents=True, exist_ok=True)
    made.save_as(out / "sc.dcm", enforce_file_format=True)
    document = {"schema": 1, "id": job, "study_uid": str(first.StudyInstanceUID), "series_uid": str(first.SeriesInstanceUID),
                "patient": {"id": str(first.PatientID), "name": str(first.PatientName)}, "model": {"name": "lung"}, "label": f"{len(files)} images",
                "urgency": 0.5, "refused": [], "files": {"objects": ["sc.dcm"]},
                "instances": [], "forced": False, "grid": {"shape": [8, 8]}}
    part = out / ".finding.part"
    part.write_text(json.dumps(document), "utf-8")
    part.replace(out / "finding.json")
    return document


def site_at(folder: Path, **settings: Any) -> Site:
    """Quick and on free ports."""
    return load_site(folder, {"lung": folder / "model"}, **({"http_port": 0, "dicom_port": 0, "quiet_s": 0.3} | settings))


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder in memory where the machine has one, else on the disk."""
    fast = Path("/dev/shm")
    with TemporaryDirectory(dir=fast if fast.is_dir() and os.access(fast, os.W_OK) else None) as folder:
        yield Path(folder)


@contextmanager
def serving(folder: Path, models: Models | None = None, decided: Any = None, **settings: Any) -> Iterator[Service]:
    """A service without its HTTP side; stopped at the end."""
    service = Service(site_at(folder, **settings), models or Models(), decided)  # type: ignore[arg-type]
    service.start()
    try:
        yield service
    finally:
        service.stop(2.0)


@contextmanager
def calling(port: int, *, called: str = "VESALIUS", calling_ae: str = "SENDER", contexts: Sequence[Any] = (), **more: Any) -> Iterator[Any]:
    """An association with a node on this machine."""
    entity = AE(ae_title=calling_ae)
    entity.acse_timeout = entity.network_timeout = 20
    entity.dimse_timeout = 8
    for context in contexts:
        entity.add_requested_context(context)
    if not contexts:
        entity.add_requested_context(Verification)
        for kind in (CT, CAPTURE):
            entity.add_requested_context(kind, ExplicitVRLittleEndian)
    assoc = entity.associate("127.0.0.1", port, ae_title=called, **more)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def deliver(port: int, items: Sequence[Dataset], **more: Any) -> list[int]:
    """C-STORE; the statuses. What got no answer is sent again, as a modality does: on a busy machine the library's client can lose one."""
    statuses: list[int] = []
    for _ in range(4):
        with calling(port, **more) as assoc:
            assert assoc.is_established
            for item in items[len(statuses):]:
                status = assoc.send_c_store(item)
                if "Status" not in status:
                    break
                statuses.append(int(status.Status))
        if len(statuses) == len(items):
            break
    return statuses


class Pacs:
    """A peer that keeps what it is sent; ``deliveries`` counts every C-STORE by SOPInstanceUID, ``busy`` those that wait for its answer."""

    def __init__(self, port: int = 0, status: int = 0, delay_s: float = 0.0) -> None:
        self.deliveries: dict[str, int] = {}
        self.objects: dict[str, Dataset] = {}
        self.status, self.asked, self.commit, self.delay_s, self.busy = status, 0, True, delay_s, 0
        entity = AE(ae_title="PACS")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self._server: Any = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        self.busy += 1
        time.sleep(self.delay_s)
        self.busy -= 1
        item = event.dataset
        uid = str(item.SOPInstanceUID)
        if not self.status:
            self.deliveries[uid] = self.deliveries.get(uid, 0) + 1
            self.objects[uid] = item
        return self.status

    def _action(self, event: evt.Event) -> tuple[int, None]:
        """Storage commitment over the same association; `commit` says whether it has what it was asked for."""
        self.asked += 1
        request = event.action_information
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        setattr(report, "ReferencedSOPSequence" if self.commit else "FailedSOPSequence", request.ReferencedSOPSequence)
        if not self.commit:
            for each in report.FailedSOPSequence:
                each.FailureReason = 0x0112

        def tell() -> None:
            time.sleep(0.1)
            event.assoc.send_n_event_report(report, 1 if self.commit else 2, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")

        threading.Thread(target=tell, daemon=True).start()
        return 0, None

    def close(self) -> None:
        self._server.shutdown()

    def peer(self, **more: Any) -> Peer:
        return Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=self.port, **more)
