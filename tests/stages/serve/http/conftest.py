"""A site with a light engine behind its HTTP side, and DICOM files to send."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from page_ward import browser, launch, shown, ward  # noqa: F401  (fixtures)
from serving import TESTS, until
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Site, User
from vesalius.stages.serve.work import Engine
from vesalius.stages.serve.work.options import Options

HERE = "http://127.0.0.1"
CR = "1.2.840.10008.5.1.4.1.1.1"


def token_of(name: str) -> str:
    return f"token-of-{name}"


def user(name: str, role: str, **more: Any) -> User:
    return User(name=name, role=role, token_sha256=hashlib.sha256(token_of(name).encode()).hexdigest(), **more)  # type: ignore[arg-type]


def signed(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(name)}"}


@contextlib.contextmanager
def site_at_work(folder: Path, **fields: Any) -> Iterator[Service]:
    """A service whose engine loads nothing (tests/serving_light.py)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (TESTS, before)))
    site = Site(folder=folder, **{"models": {"films": folder / "run"}, "http_port": 0, "dicom_port": 0, "quiet_s": 0.0} | fields)
    made = Service(site, Engine(site.models, Options(module="serving_light", queue=site.limits.queue, backoff_s=0.02)))
    made.start()
    try:
        until(lambda: all(made.engine.ready().values()))
        yield made
    finally:
        made.stop(1.0)
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@contextlib.contextmanager
def asking(service: Service) -> Iterator[TestClient]:
    """A client of the application, in memory; a mistake of the server is an answer, not an exception."""
    with TestClient(make_app(service), base_url=HERE, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with site_at_work(tmp_path_factory.mktemp("site"), routes=()) as made:
        yield made


@pytest.fixture(scope="module")
def client(service) -> Iterator[TestClient]:
    with asking(service) as made:
        yield made


def film(study: str = "1.2.3", series: str = "1.2.3.1", instance: str = "1.2.3.1.1", *, patient: str = "P1", name: str = "Wang^Li", frames: int = 1,
         change: Callable[[Dataset], object] = lambda item: None) -> bytes:
    """A small radiograph, explicit little endian, 16 bits."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, CR, instance
    item = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID, item.StudyInstanceUID, item.SeriesInstanceUID = CR, instance, study, series
    item.PatientID, item.PatientName, item.Modality, item.StudyDate, item.StudyTime = patient, name, "CR", "20240131", "101500"
    item.SeriesDescription, item.InstanceNumber, item.AccessionNumber, item.PatientSex, item.PatientBirthDate = "PA", 1, "A7", "F", "19700102"
    item.Rows, item.Columns, item.SamplesPerPixel, item.PhotometricInterpretation = 20, 30, 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    if frames > 1:
        item.NumberOfFrames = frames
    seed = int(hashlib.sha256(instance.encode()).hexdigest()[:8], 16)
    item.PixelData = np.random.default_rng(seed).integers(0, 4096, (frames, 20, 30), np.uint16).tobytes()
    change(item)
    out = io.BytesIO()
    item.save_as(out, enforce_file_format=True)
    return out.getvalue()


def related(*objects: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart/related body of DICOM objects and its headers."""
    parts = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + each + b"\r\n" for each in objects)
    return parts + b"--edge--\r\n", {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
