"""The page over the whole service: sign in, drop a picture, read what the model says of it, accept it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import page_browser
from serving import model_in, pictures_in, until
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.server import Server
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Site, User

pytestmark = [pytest.mark.slow, pytest.mark.alone]
TOKEN = "a token of ada"
DROP = """([selector, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    const dropped = new DataTransfer();
    dropped.items.add(new File([bytes], name, {type: "image/png"}));
    document.querySelector(selector).dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with page_browser.chromium() as launch:
        yield launch(*page_browser.GL)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    folder = tmp_path_factory.mktemp("clinic")
    model_in(folder / "run")
    users = (User(name="ada", role="reader", token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest()),)
    site = Site(folder=folder / "site", models={"films": folder / "run"}, http_port=0, dicom_port=0, users=users)
    service = Service(site)
    service.start()
    server = Server(make_app(service), site)
    server.start()
    try:
        until(lambda: all(service.engine.ready().values()), 240)
        yield service, f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        service.stop(2.0)


def test_a_dropped_picture_is_read_and_accepted(browser: Any, clinic: tuple[Service, str], tmp_path: Path) -> None:
    service, url = clinic
    data = base64.b64encode(pictures_in(tmp_path, 1)[0].read_bytes()).decode()
    with page_browser.opened(browser) as page:
        page.expected = ["401"]
        page.goto(url)
        page.get_by_label("Token").fill("a guess")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="not valid, or it has expired").wait_for()
        page_browser.keep(page, "sign-in")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator(".upload").wait_for()
        page.evaluate(DROP, [".upload", "../../film.png", data])
        page.locator(".upload").get_by_role("link", name="Open").click(timeout=120_000)
        page.locator(".canvas[data-ready]").wait_for()
        page_browser.keep(page, "uploaded")
        assert page.locator(".verdict strong").inner_text() in ("healthy", "ill", "unclear")
        page.keyboard.press("h")
        page.keyboard.press("a")
        page.locator(".badge[data-state=accepted]").wait_for()
    (finding,) = service.store.findings()
    assert finding["state"] == "accepted" and service.store.decisions(finding["id"])[0].user == "ada"
    seen = {(row.user, row.subject) for row in service.store.audit_rows()}
    assert {("ada", f"/v1/findings/{finding['id']}/files/image"), ("ada", f"/v1/findings/{finding['id']}/decision"), ("-", "/v1/me")} <= seen
    assert service.store.audit_verify() == []
    until(lambda: not service.store.unreleased())


def test_a_file_that_is_no_image_is_refused_with_the_reason(browser: Any, clinic: tuple[Service, str]) -> None:
    with page_browser.opened(browser) as page:
        page.expected = ["401", "422", "400"]
        page.goto(clinic[1])
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#chooser").set_input_files({"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear colleague"})
        alert = page.locator(".upload").get_by_role("alert")
        alert.wait_for()
        assert "The upload failed" in alert.inner_text() and len(alert.inner_text()) > 30
