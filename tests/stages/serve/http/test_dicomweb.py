"""DICOMweb with dicomweb-client over a real socket: stored, found, retrieved, the same bytes; refusals with their reasons."""

import io

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import RLELossless
from requests.exceptions import HTTPError

from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.server import Server

from .conftest import asking, film, related, site_at_work


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with site_at_work(tmp_path_factory.mktemp("web")) as service:
        server = Server(make_app(service), service.site)
        server.start()
        yield service, DICOMwebClient(f"{server.url}/dicom-web")
        server.stop(2.0)


@pytest.fixture(scope="module")
def stored(web):
    """Two studies: one with two series (one of them of three frames), one compressed."""
    _, client = web
    kept = [film("1.2.1", "1.2.1.1", "1.2.1.1.1"), film("1.2.1", "1.2.1.2", "1.2.1.2.1", frames=3),
            film("1.2.2", "1.2.2.1", "1.2.2.1.1", patient="P2", name="Li^Na")]
    packed = pydicom.dcmread(io.BytesIO(kept[2]))
    packed.compress(RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    packed.save_as(out, enforce_file_format=True)
    kept[2] = out.getvalue()
    answer = client.store_instances([pydicom.dcmread(io.BytesIO(each)) for each in kept])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.1.1.1", "1.2.1.2.1", "1.2.2.1.1"]
    assert answer.ReferencedSOPSequence[0].RetrieveURL.endswith("/dicom-web/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1")
    assert "FailedSOPSequence" not in answer
    return [pydicom.dcmread(io.BytesIO(each)) for each in kept]


def test_studies_are_found_by_attributes_wildcards_and_dates(web, stored):
    _, client = web
    found = [pydicom.Dataset.from_json(each) for each in client.search_for_studies()]
    assert {str(item.StudyInstanceUID) for item in found} == {"1.2.1", "1.2.2"}
    one = next(item for item in found if item.StudyInstanceUID == "1.2.1")
    assert (one.NumberOfStudyRelatedSeries, one.NumberOfStudyRelatedInstances, one.PatientName) == (2, 2, "Wang^Li")
    assert one.RetrieveURL.endswith("/studies/1.2.1")
    for filters, uids in (({"PatientID": "P2"}, {"1.2.2"}), ({"PatientName": "w*"}, {"1.2.1"}), ({"StudyDate": "20240101-20240201"}, {"1.2.1", "1.2.2"}),
                          ({"StudyDate": "20250101-"}, set()), ({"0020000D": "1.2.1"}, {"1.2.1"}), ({"StudyInstanceUID": "1.2.1,1.2.2"}, {"1.2.1", "1.2.2"})):
        assert {each["0020000D"]["Value"][0] for each in client.search_for_studies(search_filters=filters)} == uids, filters
    assert len(client.search_for_studies(limit=1)) == 1 and len(client.search_for_studies(limit=5, offset=1)) == 1


def test_series_and_instances_are_found_at_their_level(web, stored):
    _, client = web
    assert {each["0020000E"]["Value"][0] for each in client.search_for_series("1.2.1")} == {"1.2.1.1", "1.2.1.2"}
    assert len(client.search_for_series(search_filters={"Modality": "CR"})) == 3
    found = client.search_for_instances("1.2.1", "1.2.1.2")
    assert found[0]["00080018"]["Value"] == ["1.2.1.2.1"] and found[0]["00280008"]["Value"] == [3] and len(client.search_for_instances("1.2.1")) == 2
    assert len(client.search_for_instances(search_filters={"PatientID": "P2"})) == 1


def test_instances_come_back_as_they_were_sent(web, stored):
    _, client = web
    one = client.retrieve_instance("1.2.1", "1.2.1.1", "1.2.1.1.1")
    assert one == stored[0] and one.PixelData == stored[0].PixelData
    assert [each.SOPInstanceUID for each in client.retrieve_series("1.2.1", "1.2.1.2")] == ["1.2.1.2.1"]
    assert {each.SOPInstanceUID for each in client.retrieve_study("1.2.1")} == {"1.2.1.1.1", "1.2.1.2.1"}
    packed = client.retrieve_instance("1.2.2", "1.2.2.1", "1.2.2.1.1")
    assert packed.file_meta.TransferSyntaxUID == RLELossless and packed.PixelData == stored[2].PixelData


def test_metadata_refers_to_bulk_data_that_can_be_fetched(web, stored):
    _, client = web
    told = client.retrieve_instance_metadata("1.2.1", "1.2.1.1", "1.2.1.1.1")
    assert told["00100010"]["Value"][0]["Alphabetic"] == "Wang^Li" and "Value" not in told["7FE00010"]
    uri = told["7FE00010"]["BulkDataURI"]
    assert uri.endswith("/instances/1.2.1.1.1/bulkdata/7FE00010")
    uri = uri.replace("http://127.0.0.1/", client.base_url.removesuffix("dicom-web"))  # this client leaves the port out of its Host header
    assert client.retrieve_bulkdata(uri) == [stored[0].PixelData]
    assert len(client.retrieve_study_metadata("1.2.1")) == 2 and len(client.retrieve_series_metadata("1.2.1", "1.2.1.2")) == 1


def test_frames_are_decoded_samples(web, stored):
    _, client = web
    got = client.retrieve_instance_frames("1.2.1", "1.2.1.2", "1.2.1.2.1", [3, 1])
    whole = stored[1].pixel_array
    assert [np.frombuffer(each, "<u2").reshape(20, 30).tolist() for each in got] == [whole[2].tolist(), whole[0].tolist()]
    unpacked = client.retrieve_instance_frames("1.2.2", "1.2.2.1", "1.2.2.1.1", [1])
    assert np.array_equal(np.frombuffer(unpacked[0], "<u2").reshape(20, 30), stored[2].pixel_array)
    coded = client.retrieve_instance_frames("1.2.2", "1.2.2.1", "1.2.2.1.1", [1], media_types=(("image/dicom-rle", RLELossless),))
    assert coded[0] == next(pydicom.encaps.generate_frames(stored[2].PixelData, number_of_frames=1))


def test_the_same_again_is_kept_once_and_other_content_does_not_replace(web, stored):
    service, client = web
    n = len(service.store.find("instance", {}, 100, 0))
    client.store_instances([stored[0]])
    other = pydicom.dcmread(io.BytesIO(film("1.2.1", "1.2.1.1", "1.2.1.1.1", change=lambda item: setattr(item, "AccessionNumber", "B9"))))
    client.store_instances([other])
    assert len(service.store.find("instance", {}, 100, 0)) == n
    assert client.retrieve_instance("1.2.1", "1.2.1.1", "1.2.1.1.1").AccessionNumber == "A7"
    assert any("another object with the same SOPInstanceUID" in each["reason"] for each in service.store.refused())


def test_broken_objects_are_refused_beside_good_ones(web):
    service, _ = web
    with asking(service) as client:
        body, headers = related(film("1.3.1", "1.3.1.1", "1.3.1.1.1"), film("1.3.1", "1.3.1.1", "1.3.1.1.2")[:300], b"no dicom at all")
        answer = client.post("/dicom-web/studies", content=body, headers=headers)
        told = pydicom.Dataset.from_json(answer.json())
        assert answer.status_code == 202 and len(told.ReferencedSOPSequence) == 1 and [each.FailureReason for each in told.FailedSOPSequence] == [0xC000] * 2
        body, headers = related(b"no dicom at all")
        assert client.post("/dicom-web/studies", content=body, headers=headers).status_code == 409
        body, headers = related(film("1.3.2", "1.3.2.1", "1.3.2.1.1"))
        answer = client.post("/dicom-web/studies/1.9.9", content=body, headers=headers)
        assert answer.status_code == 409 and pydicom.Dataset.from_json(answer.json()).FailedSOPSequence[0].FailureReason == 0xA900
        assert client.post("/dicom-web/studies/1.3.2", content=body, headers=headers).status_code == 200
        answer = client.post("/dicom-web/studies/1.3.2", content=b"broken", headers=headers | {"Content-Type": "application/dicom"})
        assert answer.status_code == 409 and pydicom.Dataset.from_json(answer.json()).FailedSOPSequence[0].FailureReason == 0xC000


def test_what_is_not_dicom_is_told(web):
    service, _ = web
    with asking(service) as client:
        answer = client.post("/dicom-web/studies", content=b"{}", headers={"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=b'})
        assert answer.status_code == 415 and answer.json()["got"] == "multipart/related application/dicom+json"
        answer = client.post("/dicom-web/studies", content=b"--b--\r\n", headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'})
        assert answer.status_code == 400
        answer = client.post("/dicom-web/studies", content=b"", headers={"Content-Type": "application/dicom"})
        assert answer.status_code == 400 and "no object in the request" in answer.json()["detail"]


def test_a_full_disk_is_said_and_nothing_is_half_kept(web, monkeypatch):
    service, _ = web
    import errno
    import os

    real = os.fsync

    def full(handle):
        raise OSError(errno.ENOSPC, "full")

    with asking(service) as client:
        body, headers = related(film("1.5.1", "1.5.1.1", "1.5.1.1.1"))
        monkeypatch.setattr("vesalius.stages.serve.node.inbox.os.fsync", full)
        answer = client.post("/dicom-web/studies", content=body, headers=headers)
        assert os.fsync is full and answer.status_code == 503 and answer.headers["Retry-After"]
        monkeypatch.setattr("vesalius.stages.serve.node.inbox.os.fsync", real)
        assert client.post("/dicom-web/studies", content=body, headers=headers).status_code == 200


def test_addresses_and_forms_that_do_not_exist(web, stored):
    service, client = web
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_instance("1.2.1", "1.2.1.2", "1.2.1.1.1")
    with asking(service) as ask:
        where = "/dicom-web/studies/1.2.1/series/1.2.1.2/instances/1.2.1.2.1"
        for path, status, said in ((f"{where}/frames/4", 404, "no such frame"), (f"{where}/frames/0", 400, "no frame numbers"),
                                   (f"{where}/frames/a", 400, "no frame numbers"),
                                   (f"{where}/bulkdata/zz", 400, "no tag"), (f"{where}/bulkdata/00100010", 404, "no such bulk data"),
                                   ("/dicom-web/studies/1.9.9.9", 404, "nothing at this address"), ("/dicom-web/studies?limit=x", 400, "limit is no number"),
                                   ("/dicom-web/studies?Nonsense=1", 400, "no such attribute"), ("/dicom-web/studies?Rows=2", 400, "not matched on")):
            answer = ask.get(path)
            assert answer.status_code == status and said in answer.json()["detail"], path
        for path, accept in ((where, "image/png"), (f"{where}/metadata", "text/html"), (f"{where}/frames/1", "video/mp4"),
                             (where, 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50')):
            assert ask.get(path, headers={"Accept": accept}).status_code == 406, path
        assert ask.get("/dicom-web/studies?fuzzymatching=true").headers["Warning"].startswith("299")
        assert ask.get(f"{where}/bulkdata/7FE00010", headers={"Accept": "application/octet-stream"}).headers["content-type"] == "application/octet-stream"
