"""A browser and a hospital that it looks at, for the tests of the reading page; a test module imports the fixtures that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import page_browser
import page_site


class Ward:
    """A browser and a hospital that it looks at."""

    def __init__(self, browser: Any, url: str, hospital: page_site.Hospital, ids: dict[str, str]) -> None:
        self.browser, self.url, self.hospital, self.ids = browser, url, hospital, ids

    def read(self, page: Any, name: str) -> None:
        """Open a finding and wait until its image is drawn."""
        page.goto(f"{self.url}/#/f/{self.ids[name]}")
        page.locator(".canvas[data-ready]").first.wait_for()

    def correction(self, name: str) -> dict[str, Any]:
        """The last correction of a finding."""
        made = self.hospital.store.decisions(self.ids[name])[-1].correction
        assert made is not None
        return made


@pytest.fixture(scope="module")
def launch() -> Iterator[Any]:
    with page_browser.chromium() as made:
        yield made


@pytest.fixture(scope="module")
def browser(launch: Any) -> Any:
    return launch(*page_browser.GL)


@contextmanager
def running(browser: Any, folder: Any) -> Iterator[Ward]:
    hospital, ids = page_site.full(folder)
    with page_site.serving(page_site.app_of(hospital)) as url:
        yield Ward(browser, url, hospital, ids)
    hospital.store.close()


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """For tests that only look."""
    with running(browser, tmp_path_factory.mktemp("shown")) as made:
        yield made


@pytest.fixture(scope="module")
def ward(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """For tests that decide, each on findings of its own."""
    with running(browser, tmp_path_factory.mktemp("ward")) as made:
        yield made
