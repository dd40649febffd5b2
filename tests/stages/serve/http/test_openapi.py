"""schemathesis on the OpenAPI: whatever is asked, no answer is a mistake of the server."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from vesalius.stages.serve.http.app import OPENAPI, make_app
from vesalius.stages.serve.site import Limits

from .conftest import site_at_work

EXAMPLES = 6
"""For each operation: a wide look in a few seconds; the benchmark looks longer."""


@schemathesis.serializer("application/dicom", "multipart/related", "application/gzip", "application/octet-stream")
def as_bytes(ctx, value):
    """Whatever is generated goes out as it is: what comes in a hospital's network is no better."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    with site_at_work(tmp_path_factory.mktemp("schema"), limits=Limits(requests_per_minute=1_000_000)) as service:
        app = make_app(service)
        yield schemathesis.openapi.from_asgi(OPENAPI, app, headers={"Host": "127.0.0.1"})


def test_the_document_names_every_route_and_its_problems(schema):
    raw = schema.raw_schema
    asked = {"/v1/predict", "/v1/jobs/{id}", "/v1/findings/{id}/fhir", "/dicom-web/studies", "/health/ready"}
    assert raw["openapi"].startswith("3.1") and asked <= set(raw["paths"])
    assert {"202", "400", "413", "422", "429", "503"} <= set(raw["paths"]["/v1/predict"]["post"]["responses"])


def test_no_answer_is_a_mistake_of_the_server(schema):
    asked: Counter[str] = Counter()
    for found in schema.get_all_operations():
        look(found.ok(), asked)
    assert len(asked) > 25 and sum(asked.values()) > 100


def look(operation, asked: Counter[str]) -> None:
    """Ask what the document allows, and what it does not."""

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case):
        asked[operation.label] += 1
        answer = case.call(headers={"Host": "127.0.0.1"})
        assert answer.status_code < 500, f"{case.as_curl_command()}: {answer.text[:300]}"

    ask()
