"""A real PACS: a series goes from Orthanc to us, the findings come back into Orthanc and are fetched and compared voxel by voxel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from stages.serve.clinicnode import Models, instance, site_at, until
from stages.serve.clinicstandins import mask_model, series, volume
from stages.serve.clinictraffic import free_port
from stages.serve.orthanc import Orthanc, running
from vesalius.core.cohort import Source
from vesalius.errors import OptionError, RunError
from vesalius.formats import open_study
from vesalius.formats.dicomseg import segment_mask
from vesalius.stages.serve.node import scu
from vesalius.stages.serve.node.stow import stow
from vesalius.stages.serve.reading import read_series
from vesalius.stages.serve.run import logged
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Peer

pytestmark = [pytest.mark.slow, pytest.mark.alone]
MODEL = mask_model((8, 32, 32))
CANARIES = ("PID4711K", "19330417", "ACC4713K", "Xiaoming", "Zhang", "小明")
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Hospital:
    """A PACS that holds one CT series, a site, and the peer by which the site knows the PACS."""

    pacs: Orthanc
    site: Service
    files: list[Path]

    @property
    def peer(self) -> Peer:
        return self.site.site.peers[0]

    @property
    def headers(self) -> pydicom.Dataset:
        return pydicom.dcmread(self.files[0], stop_before_pixels=True)


def really_read(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
    return read_series(MODEL, files, out, name="lung", objects=("seg", "sr"), ids=job)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder, port = tmp_path_factory.mktemp("hospital"), free_port()
    files = series(folder / "ct")
    for path in files:
        item = pydicom.dcmread(path)
        item.PatientID, item.PatientBirthDate, item.AccessionNumber = CANARIES[:3]
        item.save_as(path)
    with running(folder, port) as pacs:
        for path in files:
            pacs.rest("/instances", path.read_bytes())
        # Results go by C-STORE (and are committed); a second name of the same PACS takes them by STOW-RS.
        peers = (Peer(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=pacs.dicom, commit=True),
                 Peer(name="web", ae_title="ORTHANCWEB", host="127.0.0.1", port=pacs.dicom, dicomweb=pacs.dicomweb))
        site = site_at(folder / "site", dicom_port=port, quiet_s=1.0, peers=peers, release="automatic", release_signed_by="Dr A", release_reason="test")
        with logged(site.folder):
            service = Service(site, Models(really_read))  # type: ignore[arg-type]
            service.start()
            try:
                yield Hospital(pacs, service, files)
            finally:
                service.stop(5.0)


def test_the_pacs_answers_and_is_asked(hospital: Hospital) -> None:
    assert scu.echo(hospital.site.site, hospital.peer)
    found = scu.find(hospital.site.site, hospital.peer, "series", {"PatientID": hospital.headers.PatientID, "SeriesInstanceUID": "", "Modality": "CT"})
    assert [item.SeriesInstanceUID for item in found] == [hospital.headers.SeriesInstanceUID]
    assert scu.find(hospital.site.site, hospital.peer, "study", {"PatientID": "nobody"}) == []
    assert len(scu.find(hospital.site.site, hospital.peer, "instance", {"StudyInstanceUID": hospital.headers.StudyInstanceUID,
                        "SeriesInstanceUID": hospital.headers.SeriesInstanceUID, "SOPInstanceUID": ""}, limit=3)) == 3
    with pytest.raises(OptionError, match="'PatientNumber' is no attribute of DICOM"):
        scu.find(hospital.site.site, hospital.peer, "study", {"PatientNumber": "1"})
    with pytest.raises(OptionError, match="unknown level 'patient'"):
        scu.find(hospital.site.site, hospital.peer, "patient", {})
    with pytest.raises(RunError, match="did not send what was asked for"):
        scu.move(hospital.site.site, hospital.peer, "study", {"StudyInstanceUID": hospital.headers.StudyInstanceUID}, "NOWHERE")


def test_a_series_comes_from_the_pacs_and_its_findings_go_back_voxel_by_voxel(hospital: Hospital) -> None:
    moved = scu.move(hospital.site.site, hospital.peer, "series",
                     {"StudyInstanceUID": hospital.headers.StudyInstanceUID, "SeriesInstanceUID": hospital.headers.SeriesInstanceUID})
    assert (moved.status, moved.completed, moved.failed) == (0, len(hospital.files), 0)
    finding = until(hospital.site.store.findings, 60.0)[0]
    assert finding["label"] == "liver" and finding["patient"]["name"] == str(hospital.headers.PatientName)
    until(lambda: {item.state for item in hospital.site.store.outgoing()} == {"committed", "sent"}, 30.0)
    assert sorted((item.peer, item.state) for item in hospital.site.store.outgoing()) == [("orthanc", "committed")] * 2 + [("web", "sent")] * 2
    kept = {item.class_uid: item for item in hospital.site.store.outgoing() if item.peer == "web"}
    client = DICOMwebClient(hospital.pacs.dicomweb)
    held = {item["0020000D"]["Value"][0]: item for item in client.search_for_instances(search_filters={"Modality": "SEG"})}
    assert list(held) == [hospital.headers.StudyInstanceUID]
    (seg,) = held.values()
    back = client.retrieve_instance(hospital.headers.StudyInstanceUID, seg["0020000E"]["Value"][0], seg["00080018"]["Value"][0])
    ours = pydicom.dcmread(kept["1.2.840.10008.5.1.4.1.1.66.4"].path)
    assert back.PixelData == ours.PixelData and back.SOPInstanceUID == ours.SOPInstanceUID and back.PatientName == ours.PatientName
    path = hospital.site.store.folder / "back.dcm"
    back.save_as(path, enforce_file_format=True)
    study = open_study(Source("dicom", str(hospital.files[0].parent), None, tuple(map(str, hospital.files))))
    mask = segment_mask(Source("dicom-seg", str(path), "1"), study)
    assert np.array_equal(mask, study.image[0] > 2000) and mask.sum() == (volume() == 3600).sum()


def test_what_went_through_us_is_bit_for_bit_what_the_pacs_sent(hospital: Hospital) -> None:
    until(hospital.site.store.findings, 60.0)
    for path in hospital.files:
        sent = pydicom.dcmread(path)
        kept = pydicom.dcmread(hospital.site.store.object_row(str(sent.SOPInstanceUID)).path)
        assert kept == sent


def test_c_get_brings_objects_over_our_own_association(hospital: Hospital) -> None:
    item = instance(1, series="1.2.88.1", study="1.2.88", patient="p88", side=900, kind=CAPTURE, Modality="SR")
    path = hospital.site.store.folder / "given.dcm"
    item.save_as(path, enforce_file_format=True)
    sent = scu.send(hospital.site.site, hospital.peer, [path])
    assert [each.taken for each in sent] == [True]
    wanted = {"StudyInstanceUID": "1.2.88", "SeriesInstanceUID": "1.2.88.1"}
    got = scu.get(hospital.site.site, hospital.peer, "series", wanted, hospital.site.receiver, [CAPTURE])
    assert (got.status, got.completed, got.failed) == (0, 1, 0)
    hospital.site.receiver.drain()
    row = hospital.site.store.series_row("1.2.88.1")
    assert (row.calling_ae, row.called_ae, row.instances) == ("ORTHANC", "VESALIUS", 1)
    kept = hospital.site.store.object_row(str(item.SOPInstanceUID)).path
    assert pydicom.dcmread(kept).PixelData == item.PixelData and list((hospital.site.store.folder / "inbox").iterdir()) == []


def test_a_pacs_that_has_gone_is_told(hospital: Hospital) -> None:
    gone = Peer(name="gone", ae_title="ORTHANC", host="127.0.0.1", port=free_port(), dicomweb=f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(RunError, match="the peer 'gone' cannot be reached: got no connection"):
        scu.send(hospital.site.site, gone, [hospital.files[0]])
    with pytest.raises(RunError, match="the peer 'gone' cannot be reached: got ConnectionRefusedError"):
        stow(hospital.site.site, gone, hospital.files[0])


def test_nothing_that_is_told_names_the_patient(hospital: Hospital) -> None:
    until(hospital.site.store.findings, 60.0)
    told = {path.name: path.read_text("utf-8") for path in (hospital.site.store.folder / "log").iterdir()}
    told["audit"] = json.dumps([asdict(row) for row in hospital.site.store.audit_rows(0, 100_000)], ensure_ascii=False)
    told["metrics"], told["health"] = hospital.site.engine.metrics.text().decode(), json.dumps(hospital.site.health())
    assert "serve.log" in told and "received" in told["audit"] and "vesalius_" in told["metrics"]
    assert CANARIES[0] == hospital.headers.PatientID and CANARIES[3] in str(hospital.headers.PatientName)
    assert [f"{name}: {word}" for name, text in told.items() for word in CANARIES if word.lower() in text.lower()] == []
