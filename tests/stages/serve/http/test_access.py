"""Who asks: tokens, roles, expiry, origins; every access in the audit trail; nothing of a patient in metrics."""

import time

import pytest

from vesalius.stages.serve.http.access import Access
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.site import Site

from .conftest import asking, signed, site_at_work, user


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    users = (user("ada", "reader"), user("root", "admin"), user("pacs", "node"), user("old", "reader", expires=time.time() - 3600))
    with site_at_work(tmp_path_factory.mktemp("guarded"), users=users) as service, asking(service) as client:
        yield service, client


PATHS = ["/v1/jobs", "/v1/models", "/v1/audit", "/v1/worklist", "/v1/findings/x/fhir", "/dicom-web/studies", "/metrics", "/v1/openapi.json"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_let_in_without_a_token(guarded, path):
    _, client = guarded
    answer = client.get(path)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == 401 and "Authorization: Bearer TOKEN" in told["expected"] and "ask whoever looks after the site" in told["do"]


def test_a_wrong_an_empty_and_an_odd_token_are_refused(guarded):
    _, client = guarded
    for header in ("Bearer wrong", "Bearer ", "Basic token-of-ada", "token-of-ada", "Bearer -"):
        assert client.get("/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_an_expired_token_is_told_apart(guarded):
    _, client = guarded
    told = client.get("/v1/jobs", headers=signed("old"))
    assert told.status_code == 401 and told.json()["detail"] == "the token or certificate has expired" and "UTC" in told.json()["got"]


def test_roles(guarded):
    _, client = guarded
    every = {"ada", "root", "pacs"}
    for path, allowed in (("/v1/jobs", every), ("/v1/audit", {"root"}), ("/v1/worklist", {"ada", "root"}), ("/dicom-web/studies", every)):
        for name in ("ada", "root", "pacs"):
            answer = client.get(path, headers=signed(name))
            assert answer.status_code == (200 if name in allowed else 403), (path, name)
    told = client.post("/v1/jobs/x/again", headers=signed("ada")).json()
    assert told["detail"] == "a user of the role 'reader' may not do this" and told["expected"] == "the role admin"


def test_health_and_page_are_open(guarded):
    _, client = guarded
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json()["status"] == "ready"
    assert client.get("/").status_code == 200


def test_every_access_is_in_the_audit_trail_also_the_refused_ones(guarded):
    service, client = guarded
    before = service.store.audit_head()[0]
    client.get("/v1/jobs/some-id", headers=signed("ada"))
    client.get("/v1/jobs")
    client.get("/dicom-web/studies?PatientName=Secret", headers=signed("pacs"))
    client.get("/health/live")
    rows = [(row.user, row.action, row.subject, row.detail) for row in service.store.audit_rows(before) if row.user != "vesalius"]
    assert rows == [("ada", "GET", "/v1/jobs/some-id", "404"), ("-", "GET", "/v1/jobs", "401"), ("pacs", "GET", "/dicom-web/studies", "200")]
    answer = client.get("/v1/audit/verify", headers=signed("root")).json()
    assert answer == {"whole": True, "broken": []}
    shown = client.get(f"/v1/audit?after={before}&limit=2", headers=signed("root")).json()
    assert [row["user"] for row in shown] == ["ada", "-"]


def test_metrics_name_routes_and_no_values(guarded):
    _, client = guarded
    client.get("/v1/jobs/1.2.826.0.1.999", headers=signed("ada"))
    text = client.get("/metrics", headers=signed("pacs")).text
    assert 'route="/v1/jobs/{id}",status="404"' in text and "1.2.826" not in text and 'vesalius_model_ready{model="films"} 1.0' in text


def test_a_page_of_another_origin_and_another_host_name_are_refused_where_there_are_no_users(client):
    assert client.get("/v1/jobs").status_code == 200
    for headers, said in (({"Host": "evil.example"}, "this machine only"), ({"Origin": "https://evil.example"}, "another origin")):
        answer = client.get("/v1/jobs", headers=headers)
        assert answer.status_code == 403 and said in answer.json()["detail"]
    assert client.get("/v1/jobs", headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_certificates_name_users_too(tmp_path):
    site = Site(folder=tmp_path, models={"m": tmp_path}, users=(user("ada", "reader", certificate_sha256="ab" * 32),))
    access = Access(site)
    assert access.user({"headers": [], "state": {"certificate_sha256": "ab" * 32}}).name == "ada"
    with pytest.raises(Refused, match="does not know who asks"):
        access.user({"headers": [], "state": {"certificate_sha256": "cd" * 32}})
    with pytest.raises(Refused, match="does not know who asks"):
        access.user({"headers": [], "state": {}})
