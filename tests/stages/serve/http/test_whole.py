"""The whole service with a real model: a picture at once, a DICOM series kept, its finding as FHIR and in the worklist, one program that ends well."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from serving import model_in, pictures_in, until
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Site
from vesalius.stages.serve.work import Engine
from vesalius.stages.serve.work.options import Options

from .conftest import HERE, film, related

CLOSE = 1e-5


@pytest.mark.slow
def test_a_real_model_answers_at_once_and_through_the_worklist(tmp_path):
    mapping = model_in(tmp_path / "run")
    site = Site(folder=tmp_path / "site", models={"films": tmp_path / "run"}, http_port=0, dicom_port=0, quiet_s=0.0)
    service = Service(site, Engine(site.models, Options(engine="torch", threads=1)))
    service.start()
    try:
        until(lambda: service.engine.ready()["films"], 120)
        with TestClient(make_app(service), base_url=HERE) as client:
            (path,) = pictures_in(tmp_path / "films", 1)
            made = client.post("/v1/predict", files={"files": ("x.png", path.read_bytes())}).json()
            expected = mapping(path)
            assert made["label"] == expected.label and made["scores"] == pytest.approx(expected.scores, abs=CLOSE)
            assert client.get("/v1/models").json()[0]["hash"] == mapping.hash and client.get("/health/ready").status_code == 200

            assert client.post("/v1/predict", files={"files": ("x.png", path.read_bytes()[:60])}).status_code == 422
            gif = io.BytesIO()
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(gif, "gif", save_all=True, append_images=[Image.fromarray(np.ones((4, 4), np.uint8) * 90)])
            answer = client.post("/v1/predict", content=gif.getvalue())
            assert answer.status_code == 422 and answer.json()["expected"] == "2-D" and answer.json()["got"] == "3-D"

            body, headers = related(film("1.8", "1.8.1", "1.8.1.1", name="Secret^Name"))
            assert client.post("/dicom-web/studies", content=body, headers=headers).status_code == 200
            until(lambda: client.get("/v1/worklist").json()["rows"], 60)
            row = client.get("/v1/worklist").json()["rows"][0]
            job = client.get(f"/v1/jobs/{row['id']}").json()
            assert job["state"] == "done" and job["finding"] == f"/v1/findings/{row['id']}"
            answer = client.get(f"/v1/findings/{row['id']}/fhir")
            kinds = [entry["resource"]["resourceType"] for entry in answer.json()["entry"]]
            assert answer.headers["content-type"] == "application/fhir+json" and kinds[0] == "DiagnosticReport" and kinds.count("Observation") == 3
            assert answer.json()["entry"][0]["resource"]["status"] == "preliminary"
            at_once = client.post("/v1/predict", content=film("1.8", "1.8.1", "1.8.1.1")).json()
            assert at_once["scores"] == pytest.approx(client.get(f"/v1/findings/{row['id']}").json()["scores"], abs=CLOSE)
            text = client.get("/metrics").text
            assert "Secret" not in text and "1.8.1" not in text and "vesalius_jobs_total" in text
    finally:
        service.stop(2.0)
    assert not service.engine.ready()["films"]
