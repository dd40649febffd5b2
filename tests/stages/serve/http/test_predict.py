"""Prediction and jobs over HTTP: forms and plain bodies, refusals, the full queue, kept jobs that become findings, FHIR."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from serving import until
from vesalius.stages.serve.http.capture import captured
from vesalius.stages.serve.site import Limits

from .conftest import asking, film, site_at_work


def png(value: int = 7) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 9), value, np.uint8)).save(out, "png")
    return out.getvalue()


def test_a_form_and_a_plain_body_are_read(client):
    for sent in ({"files": {"files": ("../../etc/passwd", b"fine")}}, {"content": b"fine"}, {"content": b"fine", "headers": {"Content-Type": "image/png"}}):
        answer = client.post("/v1/predict", **sent)
        assert answer.status_code == 200 and answer.json()["label"] == "fine" and answer.json()["model"] == "films"


def test_nothing_is_left_of_an_upload(client, service):
    assert client.post("/v1/predict", content=b"fine").status_code == 200
    assert list((service.site.folder / "uploads").iterdir()) == []


def test_requests_without_sense_are_told(client):
    form = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--b--\r\n'
    for sent, status, said in (({"content": b""}, 400, "no file in the request"), ({"data": {"a": "b"}}, 415, "kind of content is not understood"),
                               ({"content": form, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "no file in the request"),
                               ({"content": b"x", "params": {"model": "lung"}}, 400, "no model of that name"),
                               ({"content": b"x", "params": {"wait": "maybe"}}, 422, "query.wait")):
        answer = client.post("/v1/predict", **sent)
        assert answer.status_code == status and said in answer.json()["detail"], sent
    assert client.get("/v1/predict").status_code == 405 and client.get("/v1/none").status_code == 404


def test_a_dicom_bomb_is_refused_before_it_is_parsed(client):
    meta = b"\x02\0\x10\0UI" + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99"
    blown = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"\x09\0\x10\x10OB\0\0" + struct.pack("<L", 100 * 2**20)
    body = blown.compress(zeros) + b"".join(blown.compress(bytes(2**20)) for _ in range(100)) + blown.flush()
    bomb = bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0" + struct.pack("<L", len(meta)) + meta + body
    assert len(bomb) < 200_000
    answer = client.post("/v1/predict", content=bomb, headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json"
    assert "67,108,864" in answer.text or "64" in answer.text, answer.text


def test_an_input_that_kills_its_reader_is_bad_input_and_others_are_read(client, service):
    killing = threading.Thread(target=lambda: said.append(client.post("/v1/predict", content=b"kill")))
    said: list = []
    killing.start()
    answers = [client.post("/v1/predict", content=b"fine").status_code for _ in range(5)]
    killing.join(60)
    assert answers == [200] * 5 and said[0].status_code == 422 and "died twice" in said[0].json()["detail"]
    until(lambda: client.get("/health/ready").status_code == 200)


def test_a_full_queue_answers_503_and_goes_on(tmp_path):
    with site_at_work(tmp_path, limits=Limits(queue=2)) as service, asking(service) as client:
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(client.post("/v1/predict", content=b"sleep 0.3").status_code)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert set(codes) == {200, 503} and codes.count(200) >= 2
        assert client.post("/v1/predict", content=b"fine").status_code == 200


def test_several_models_must_be_named(tmp_path):
    with site_at_work(tmp_path, models={"a": tmp_path / "a", "b": tmp_path / "b"}) as service, asking(service) as client:
        answer = client.post("/v1/predict", content=b"fine")
        assert answer.status_code == 400 and answer.json()["expected"] == "?model=a or b in the address"
        assert client.post("/v1/predict?model=b", content=b"fine").json()["model"] == "b"
        assert [each["name"] for each in client.get("/v1/models").json()] == ["a", "b"]


def test_a_job_that_is_kept_goes_the_way_of_a_series_and_the_same_again_is_the_same(client, service):
    answer = client.post("/v1/predict?wait=0", content=film("1.7", "1.7.1", "1.7.1.1"))
    assert answer.status_code == 202 and answer.headers["Location"] == answer.json()["href"]
    href = answer.json()["href"]
    told = client.get(href).json()
    assert told["series_uid"] == "1.7.1" and told["model"] == "films" and told["state"] in ("queued", "running", "retry", "done", "aside")
    assert client.post("/v1/predict?wait=0", content=film("1.7", "1.7.1", "1.7.1.1")).json()["href"] == href
    assert told["id"] in [each["id"] for each in client.get("/v1/jobs").json()]


def test_a_picture_that_is_kept_becomes_a_dicom_object(client, service):
    for data in (png(3), png(3)):
        answer = client.post("/v1/predict?wait=0", files={"files": ("a.png", data)})
        assert answer.status_code == 202
    row = service.store.find("instance", {"PatientID": "UPLOAD-*"}, 10, 0)
    assert len(row) == 1 and row[0]["Rows"] == 8 and row[0]["Columns"] == 9
    answer = client.post("/v1/predict?wait=0", content=b"text")
    assert answer.status_code == 422


@pytest.mark.parametrize("image", [np.arange(72, dtype=np.uint8).reshape(8, 9), np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3),
                                   (np.arange(72) * 900).astype(np.uint16).reshape(8, 9)])
def test_captured_samples_are_those_of_the_picture(tmp_path, image):
    from vesalius.core.cohort import Source
    from vesalius.formats import open_study

    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    made = tmp_path / "a.dcm"
    made.write_bytes(next(captured(path)))
    kept = open_study(Source("dicom", str(made)))
    flat = image if image.ndim == 3 else image[..., None]
    assert np.array_equal(np.moveaxis(kept.image, 0, -1), flat) and kept.bits == image.dtype.itemsize * 8


def test_unknown_jobs_and_findings(client):
    for path in ("/v1/jobs/none", "/v1/findings/none/fhir", "/v1/findings/none"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.headers["Content-Type"] == "application/problem+json", path
    assert client.post("/v1/jobs/none/again").status_code == 404
    assert client.get("/v1/jobs?state=nonsense").status_code == 422
